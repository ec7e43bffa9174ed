"""Attention openly, all at once and a few examples at a time, and by torch's fused kernel.

    GOMP_SPINCOUNT=1000 python benchmarks/attention.py [--batch 8] [--turns 7] [--tokens 577 1025]

Openly is two products and a softmax (`attend_openly`), fused is `scaled_dot_product_attention`. Which of them
`attend` takes, and how many scores it makes at a time, are the constants at the top of
`nets/parts/attention.py`, which this table is to settle. Shapes are those of Swin-T's four stages and of
ViT-S/16 at 224 pixels, then of ViT-S with as many tokens as `--tokens` says. Swin's scores have a relative
bias added, which is learned: with its gradient the fused kernel cannot serve, and torch does it in the open
by itself. The ratio is fused / a few at a time.

The three take turns; times are medians. "forward" is without gradients, "both" forward and backward. With one
thread, seconds of the processor are counted, which neighbours on the machine change less.
"""

import argparse
import datetime
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from rayformer.nets.parts import attention
from rayformer.nets.parts.attention import attend_openly


@dataclass(frozen=True)
class Shape:
    name: str
    batch: int
    heads: int
    tokens: int
    features: int
    biased: bool


def shapes(batch: int, tokens: list[int]) -> list[Shape]:
    windows = [64, 16, 4, 1]
    stages = [
        Shape(f"Swin-T, stage {1 + stage}", batch * count, 3 * 2**stage, 49, 32, True)
        for stage, count in enumerate(windows)
    ]
    return [
        *stages,
        Shape("ViT-S/16, 224", batch, 6, 197, 64, False),
        *(Shape(f"ViT-S, {count} tokens", batch, 6, count, 64, False) for count in tokens),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=8, help="pictures at a time")
    parser.add_argument("--turns", type=int, default=7, help="timed turns of each, after one that is not")
    parser.add_argument("--threads", type=int, help="torch's own choice unless it is said")
    parser.add_argument("--tokens", type=int, nargs="*", default=[401, 577, 785, 1025])
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    threads = torch.get_num_threads()
    print("# Attention openly, and by torch's fused kernel\n")
    print(f"{datetime.date.today()}, {processor()}, {threads} threads, torch {torch.__version__}")
    tokens = " ".join(map(str, options.tokens))
    given = f"--batch {options.batch} --turns {options.turns} --threads {threads} --tokens {tokens}"
    print(f"Command: `python benchmarks/attention.py {given}`")
    print(f"{attention.AT_ONCE:,} scores at a time; fused from {attention.MOST:,} scores of an example on.\n")
    print("| shape | of queries | numbers | what | openly, ms | few, ms | fused, ms | ratio |")
    print("|---|---|---|---|---|---|---|---|")
    for shape in shapes(options.batch, options.tokens):
        for dtype in (torch.float32, torch.bfloat16):
            for learning in (False, True):
                compare(shape, dtype, learning, options.turns)


def compare(shape: Shape, dtype: torch.dtype, learning: bool, turns: int) -> None:
    """A line of the table."""
    size = (shape.batch, shape.heads, shape.tokens, shape.features)
    count = max(1, attention.AT_ONCE // (shape.heads * shape.tokens**2))
    q, k, v = [torch.randn(size).to(dtype).requires_grad_(learning) for _ in range(3)]
    bias = torch.randn(shape.heads, shape.tokens, shape.tokens) if shape.biased else None
    if bias is not None:
        bias.requires_grad_(learning)

    def openly() -> Tensor:
        return attend_openly(q, k, v, bias)[0]

    def few() -> Tensor:
        return attention._a_few_at_a_time(q, k, v, bias, 0.0, count)

    def fused() -> Tensor:
        mask = None if bias is None else bias[None].to(dtype)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)

    ways = (openly, few, fused)
    times = [[timed(way, learning) for way in ways] for _ in range(turns + 1)][1:]
    middles = " | ".join(f"{1e3 * statistics.median(of):.2f}" for of in zip(*times, strict=True))
    ratio = statistics.median(theirs / mine for _, mine, theirs in times)
    print(
        f"| {shape.name} | {', '.join(map(str, size))} | {str(dtype).removeprefix('torch.')} "
        f"| {'both' if learning else 'forward'} | {middles} | {ratio:.2f} |",
        flush=True,
    )


def timed(way: Callable[[], Tensor], learning: bool) -> float:
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    start = clock()
    with torch.set_grad_enabled(learning):
        out = way()
    if learning:
        out.backward(torch.ones_like(out))
    return clock() - start


def processor() -> str:
    """The processor's own name where Linux tells it."""
    try:
        with open("/proc/cpuinfo") as info:
            return next(line.split(":")[1].strip() for line in info if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
