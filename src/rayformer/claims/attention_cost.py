"""What attention costs as pictures grow: everybody looks at everybody, or within windows (Liu et al. 2021,
eq. 1 and 2).

    rayformer reproduce attention-cost

One transformer block on maps of growing size: `global`, as in ViT, by torch's fused kernel and, `openly`, by
the lecture's equation with its table of all weights; and `windows`, as in Swin, of 8 x 8 tokens. Then whole
networks of about equal size, ViT-S/16 and Swin-T, on growing pictures. Nothing is trained. Operations are
counted, seconds measured (inference, one picture, float32, the median of several rounds through all sizes),
and so is what a block keeps for its gradient.

A number grows with pixels to some power, the slope of a line on log axes: 1 is linear, 2 is quadratic. The
attention itself has exactly these, by the paper's equations. A block also has linear layers, whose cost is
linear in tokens, so that its own power comes near 2 only once tokens are many more than channels: the table
has the powers between the largest three sizes.
"""

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from rayformer.claims.claim import Cell, Claim, Measured, Verdict
from rayformer.claims.recognition import flops_of
from rayformer.nets import swin, vit
from rayformer.nets.parts.block import PreNormBlock
from rayformer.nets.parts.relative_bias import RelativeBias
from rayformer.nets.parts.window import cut
from rayformer.recipes.parts.signal_pictures import curves
from rayformer.runs.pictures import Picture

WIDTH, HEADS, WINDOW = 96, 3, 8
"""Of the block: Swin-T's first stage, with windows that divide maps evenly."""
PATCH = 4
"""Pixels along a side of the block's tokens."""
LARGEST = 3
"""Sizes between which powers are told."""
Kind = Literal["global", "global, openly", "windows", "vit", "swin"]
BLOCKS: tuple[Kind, ...] = ("global", "global, openly", "windows")


@dataclass(frozen=True, kw_only=True)
class CostConfig:
    kind: Kind
    sizes: tuple[int, ...]
    """Sides of square pictures, in pixels."""
    rounds: int = 5
    """Times that every size is timed, after once for nothing."""
    published: bool = True
    """Whole networks at their published size, not as small as they run."""


def cells(smoke: bool) -> Sequence[Cell]:
    blocks = (32, 64, 96) if smoke else (64, 96, 128, 192, 256)
    networks = (56, 112, 168) if smoke else (224, 448, 672, 896)
    base = CostConfig(kind="global", sizes=blocks, rounds=1 if smoke else 5, published=not smoke)
    whole = replace(base, sizes=networks, rounds=1 if smoke else 3)
    made = [
        *(replace(base, kind=kind) for kind in BLOCKS),
        replace(whole, kind="vit"),
        replace(whole, kind="swin"),
    ]
    return [Cell(_name(config), CLAIM.name, config) for config in made]


def _name(config: CostConfig) -> str:
    if config.kind in BLOCKS:
        return f"block, {config.kind}"
    networks = {"vit": "ViT-S/16", "swin": "Swin-T"}
    return networks[config.kind] if config.published else f"small {config.kind}"


# ---------------------------------------------------------------------- by the equations


def attention_flops(tokens: int, keys: int, width: int) -> int:
    """q k^T and its product with v, where each of `tokens` looks at `keys` (the second terms of eq. 1
    and 2; an addition and a multiplication are two operations)."""
    return 4 * tokens * keys * width


def linear_flops(tokens: int, width: int, expansion: int = 4) -> int:
    """q, k, v, what is made of them, and the perceptron (the first terms)."""
    return 2 * tokens * width * width * (4 + 2 * expansion)


def keys_of(kind: Kind, tokens: int) -> int:
    """At how many tokens each looks."""
    return WINDOW * WINDOW if kind == "windows" else tokens


def power(amounts: Sequence[int | float], sizes: Sequence[int]) -> float:
    """The slope of amounts against pixels on log axes, by least squares."""
    pixels = np.log([size * size for size in sizes])
    return float(np.polyfit(pixels, np.log(amounts), 1)[0])


# ---------------------------------------------------------------------- counted and measured


def work(config: CostConfig) -> Mapping[str, float]:
    """Powers, and behind them the numbers for each size."""
    torch.manual_seed(0)
    runs = [_forward(config, size) for size in config.sizes]
    flops = [flops_of(run) for run in runs]
    seconds = _seconds(runs, config.rounds)
    found = {
        "flops_power": power(flops[-LARGEST:], config.sizes[-LARGEST:]),
        "time_power": power(seconds[-LARGEST:], config.sizes[-LARGEST:]),
    }
    series = {"gflop": [some / 1e9 for some in flops], "seconds": seconds}
    if config.kind in BLOCKS:
        kept = [kept_bytes(run) for run in runs]
        found["memory_power"] = power(kept[-LARGEST:], config.sizes[-LARGEST:])
        counts = [(size // PATCH) ** 2 for size in config.sizes]
        alone = [attention_flops(count, keys_of(config.kind, count), WIDTH) for count in counts]
        found["attention_power"] = power(alone, config.sizes)
        series["kept_mib"] = [some / 2**20 for some in kept]
    each = {
        f"{name}_{size}px": value
        for name, values in series.items()
        for size, value in zip(config.sizes, values, strict=True)
    }
    return {**found, **each}


def _forward(config: CostConfig, size: int) -> Callable[[], Tensor]:
    """One pass forward at a size, ready to be called."""
    if config.kind in BLOCKS:
        side = size // PATCH
        tokens = torch.randn(1, side * side, WIDTH)
        block = PreNormBlock(WIDTH, HEADS, 4 * WIDTH).eval()
        if config.kind == "windows":
            bias = RelativeBias(WINDOW, HEADS)
            windows = cut(side, side, WINDOW, shifted=True)
            return partial(swin.look_about, tokens, block, bias, windows)
        if config.kind == "global, openly":
            block.attention.watch = _unseen
        return partial(block, tokens)
    pictures = torch.randn(1, 3, size, size)
    return partial(_network(config).eval(), pictures)


def _unseen(weights: Float[Tensor, "*batch heads queries keys"]) -> None:
    """Who watches attention makes it write its weights down."""


def _network(config: CostConfig) -> nn.Module:
    if config.kind == "vit":
        small = vit.ViTConfig(image_size=56, patch_size=8, width=48, depth=2, heads=3)
        return vit.ViT(vit.SIZES["s"] if config.published else small, 10)
    small = swin.SwinConfig(patch_size=2, width=24, depths=(1, 1), heads=(3, 6))
    return swin.Swin(swin.SIZES["t"] if config.published else small, 10)


def _seconds(runs: Sequence[Callable[[], Tensor]], rounds: int) -> list[float]:
    """The median time of each; they take turns, so that what disturbs a while disturbs all of them."""
    times: list[list[float]] = [[] for _ in runs]
    with torch.inference_mode():
        for turn in range(1 + rounds):
            for run, taken in zip(runs, times, strict=True):
                start = time.perf_counter()
                run()
                if turn:
                    taken.append(time.perf_counter() - start)
    return [statistics.median(taken) for taken in times]


def kept_bytes(run: Callable[[], Tensor]) -> int:
    """What a pass forward keeps for the gradient, parameters left out."""
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, nn.Parameter) and not isinstance(tensor._base, nn.Parameter):
            kept[tensor.untyped_storage().data_ptr()] = tensor  # held, so that its place is not given away
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        run()
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


# ---------------------------------------------------------------------- judged and drawn


def judge(measured: Mapping[str, Measured]) -> Verdict:
    """By the equations exactly 2 and 1; measured, of blocks and of whole networks, nearer to these than to
    each other's."""
    rows = {row.cell.config.kind: row for row in measured.values()}
    exact = {kind: rows[kind].median("attention_power") for kind in BLOCKS}
    as_told = all(
        math.isclose(found, 1 if kind == "windows" else 2, abs_tol=1e-6) for kind, found in exact.items()
    )
    pairs = [("global", "windows"), ("vit", "swin")]
    steeper = all(
        rows[every].median(metric) > rows[windows].median(metric)
        for every, windows in pairs
        for metric in ("flops_power", "time_power")
    )
    linear = all(rows[kind].median("flops_power") < 1.1 for kind in ("windows", "swin"))
    linear = linear and all(rows[kind].median("time_power") < 1.25 for kind in ("windows", "swin"))
    told = [
        f"{row.cell.name}: operations {row.median('flops_power'):.2f}, "
        f"time {row.median('time_power'):.2f}{_memory(row)}"
        for row in rows.values()
    ]
    alone = f"{exact['global']:.2f} global and {exact['windows']:.2f} in windows"
    return Verdict(
        holds=as_told and steeper and linear,
        reason=f"with pixels to the power of ... grow: attention alone {alone}, by the equations; "
        f"{'; '.join(told)}",
    )


def _memory(row: Measured) -> str:
    return f", memory {row.median('memory_power'):.2f}" if "memory_power" in row.results[0] else ""


def draw(measured: Mapping[str, Measured]) -> Mapping[str, Picture]:
    blocks = [row for row in measured.values() if row.cell.config.kind in BLOCKS]
    networks = [row for row in measured.values() if row.cell.config.kind not in BLOCKS]
    return {
        "blocks": _against_pixels(blocks, ("gflop", "seconds", "kept_mib"), "one block"),
        "networks": _against_pixels(networks, ("gflop", "seconds"), "whole networks"),
    }


AXES = {
    "gflop": ("operations, 10⁹", "flops_power"),
    "seconds": ("seconds forward", "time_power"),
    "kept_mib": ("kept for the gradient, MiB", "memory_power"),
}


def _against_pixels(rows: Sequence[Measured], series: Sequence[str], title: str) -> Picture:
    def onto(figure: Any) -> None:
        for axes, name in zip(figure.subplots(1, len(series)), series, strict=True):
            label, metric = AXES[name]
            for row, colour in zip(rows, ("tab:red", "tab:orange", "tab:blue"), strict=False):
                colour = "tab:blue" if row.cell.config.kind == "swin" else colour
                sizes = row.cell.config.sizes
                values = [row.median(f"{name}_{size}px") for size in sizes]
                pixels = [size * size for size in sizes]
                said = f"{row.cell.name.removeprefix('block, ')}: power {row.median(metric):.2f}"
                line = "o--" if "openly" in row.cell.name else "o-"
                axes.plot(pixels, values, line, color=colour, ms=4, label=said)
            axes.set(xlabel="pixels", ylabel=label, xscale="log", yscale="log")
            axes.set_xticks(pixels, [f"{size}²" for size in sizes])
            axes.minorticks_off()
            axes.grid(which="both", color="0.93")
            axes.legend(fontsize=8)
        figure.suptitle(f"{title}: what it costs as pictures grow")

    caption = f"{title}: cost against pixels on log axes; the slope at the right end is the power"
    return curves(onto, (4.6 * len(series), 4.2), caption)


CLAIM = Claim(
    name="attention-cost",
    statement="the cost of global attention grows with the square of the pixels, that of attention in "
    "windows with the pixels",
    paper="Liu et al. 2021, eq. 1 and 2",
    metrics=("attention_power", "flops_power", "time_power", "memory_power"),
    cells=cells,
    judge=judge,
    draw=draw,
    work=work,
)
