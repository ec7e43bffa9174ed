"""How fast Image GPT draws: ours against transformers' `generate` with its cache, with the same weights.

    GOMP_SPINCOUNT=1000 PYTHONPATH=.venv-peers:src python benchmarks/igpt_sampling.py [--size s] [--side 32]
        [--batch 1 8] [--pixels 1024] [--pairs 3] [--threads 2] [--out FILE.md]

iGPT-S at 32 x 32 pixels (`make peers` fetches transformers). Both draw the last `--pixels` of a picture, or
all of it, to the same beginning, by lot from the 40 likeliest colours at temperature 1; reading the beginning
is part of the time of both. Two modes:

    float32   both in float32
    default   as people get them: ours in the precision that the engine chooses, with its matrices held in it;
              transformers' in float32, as its class comes

The two take turns, each being first in every second pair, so that a busy machine is busy for both. The table
has the median of pixels a second over all pictures of the batch, and the median, least and most of the ratio
within a pair. Before that, drawn without chance, both must give the same pixels.
"""

import argparse
import datetime
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

import beside_cpu_torch  # noqa: F401
from rayformer.core.memory import keep_large_blocks
from rayformer.engine.precision import choose_precision
from rayformer.nets.igpt import IGPT, SIZES, for_sampling, sample
from rayformer.nets.weights.igpt import for_transformers

COLOURS, TOP_K = 512, 40
ALIKE = 8
"""Pixels that both draw without chance."""


def networks(size: str, side: int):
    """Ours with weights of chance, and transformers' with the same."""
    import transformers

    torch.manual_seed(0)
    config = replace(SIZES[size], bias=True)
    ours = IGPT(config, side, COLOURS).eval()
    torch.nn.init.normal_(ours.to_colours.weight, std=0.05)
    theirs = transformers.ImageGPTForCausalImageModeling(
        transformers.ImageGPTConfig(
            n_positions=side * side, n_embd=config.width, n_layer=config.depth, n_head=config.heads
        )
    )
    theirs.load_state_dict(for_transformers(ours))
    return ours, theirs.eval()


def by_transformers(model, given: Tensor, tokens: int, by_lot: bool) -> Tensor:
    start = torch.full((len(given), 1), COLOURS)
    asked = torch.cat([start, given], dim=1)
    options = {"do_sample": True, "top_k": TOP_K, "temperature": 1.0} if by_lot else {"do_sample": False}
    with torch.inference_mode():
        found = model.generate(
            asked, attention_mask=torch.ones_like(asked), max_length=tokens + 1, use_cache=True,
            pad_token_id=COLOURS, **options,
        )  # fmt: skip
    return found[:, 1:]


def compare(
    one: Callable[[], Tensor], other: Callable[[], Tensor], pairs: int
) -> tuple[list[float], list[float]]:
    times: tuple[list[float], list[float]] = ([], [])
    for pair in range(pairs):
        for which in ((0, 1), (1, 0))[pair % 2]:
            began = time.perf_counter()
            (one, other)[which]()
            times[which].append(time.perf_counter() - began)
    return times


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", default="s", choices=SIZES)
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--pixels", type=int, help="the last ones; all of them if not given")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    keep_large_blocks()
    ours, theirs = networks(asked.size, asked.side)
    tokens = ours.tokens
    pixels = asked.pixels or tokens
    known = tokens - pixels
    precision = choose_precision(torch.device("cpu"))
    dtype = torch.bfloat16 if precision.name == "bf16" else torch.float32
    quick = for_sampling(ours, dtype)
    cpu = platform.processor() or platform.machine()
    lines = [
        f"# Drawing: iGPT-{asked.size.upper()}, the last {pixels} of {asked.side} x {asked.side} pixels",
        "",
        f"{datetime.date.today()}, {cpu}, {asked.threads} threads, torch {torch.__version__}; "
        f"default precision: {precision.name}, {precision.reason}.",
        "",
        "| pictures | mode | ours, pixels/s | transformers, pixels/s | ratio: median (least to most) |",
        "|---|---|---|---|---|",
    ]
    for batch in asked.batch:
        given = torch.randint(COLOURS, (batch, known), generator=torch.Generator().manual_seed(1))
        some = torch.randint(COLOURS, (batch, tokens - ALIKE), generator=torch.Generator().manual_seed(2))
        alike = sample(ours, batch, given=some) == by_transformers(theirs, some, tokens, by_lot=False)
        assert alike.all(), "without chance both draw the same pixels"

        def drawn(model: IGPT, batch: int = batch, given: Tensor = given) -> Tensor:
            return sample(model, batch, torch.Generator().manual_seed(0), given=given, top_k=TOP_K)

        def halved(batch: int = batch, given: Tensor = given) -> Tensor:
            with precision.autocast():
                return drawn(quick, batch, given)

        def others_drawn(given: Tensor = given) -> Tensor:
            return by_transformers(theirs, given, tokens, by_lot=True)

        for mode, one in (("float32", partial(drawn, ours)), ("default", halved)):
            mine, others = compare(one, others_drawn, asked.pairs)
            ratios = [b / a for a, b in zip(mine, others, strict=True)]
            rates = [batch * pixels / statistics.median(times) for times in (mine, others)]
            lines.append(
                f"| {batch} | {mode} | {rates[0]:.0f} | {rates[1]:.0f} | {statistics.median(ratios):.2f} "
                f"({min(ratios):.2f} to {max(ratios):.2f}) |"
            )
            print(lines[-1], flush=True)
    text = "\n".join(lines) + "\n"
    print(text)
    if asked.out:
        asked.out.write_text(text)


if __name__ == "__main__":
    main()
