"""How fast the kernels are, against the plain torch that says what they compute.

    python benchmarks/kernels.py [--samples 131072] [--turns 3] [--device cpu]

    hash grid      features of samples along rays, and forward and backward together: 8 levels x 4
                   features and 16 x 2, 2^17 and 2^19 rows, resolutions 16 to 2048; against the eager twin
    Adam           one step of the table of 8 levels x 4 features after such a backward; against
                   torch.optim.Adam(fused=True), which steps every row
    compositing    packed rays of 0 to 64 samples, forward and backward; against the twin
    marching       rays through a grid of 128^3 cells of which a shell is occupied; against the twin

Samples come in the order of their rays: 1,024 rays from around the box through it. Ways take turns, so that a
busy machine is busy for all; times and ratios are medians over turns, after one turn that is not timed. Peak
memory of the 16-level twin is about 3 GB at 131,072 samples.
"""

import argparse
import datetime
import platform
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F

from rayformer.core.seeds import generator
from rayformer.encodings.hash_grid import spread
from rayformer.kernels.compositing import composite_packed, composite_packed_twin
from rayformer.kernels.hash_grid import GridLayout, hash_grid, hash_grid_twin
from rayformer.kernels.marching import Space, march, march_twin
from rayformer.kernels.table_adam import table_adam_
from rayformer.kernels.warm_up import warm_up

Way = Callable[[], object]


def main():
    parser = argparse.ArgumentParser(description="Kernels against plain torch.")
    parser.add_argument("--samples", type=int, default=131072, help="samples along 1,024 rays")
    parser.add_argument("--turns", type=int, default=3, help="timed turns, after one that is not")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    options = parser.parse_args()
    device = torch.device(options.device)
    print(f"{datetime.date.today()}, {name_of(device)}, torch {torch.__version__}")
    print(f"Command: `python benchmarks/kernels.py --samples {options.samples} --turns {options.turns} "
          f"--device {options.device}`")  # fmt: skip
    # Gradients of places are left out below, as in training without learned cameras.
    print(f"Warm-up: {warm_up(device, (2, 4))}.\n")
    print("| what | samples or rows | ours, ms | plain, ms | ours, M/s | least ... most, ms | plain / ours |")
    print("|---|---|---|---|---|---|---|")
    for levels, features in ((8, 4), (16, 2)):
        for log2_rows in (17, 19):
            resolutions = spread(16, 2048, levels)
            layout = GridLayout(resolutions=resolutions, features=features, log2_rows=log2_rows)
            grid(f"{levels} x {features}, 2^{log2_rows}", layout, options.samples, device, options.turns)
    for log2_rows in (17, 19):
        layout = GridLayout(resolutions=spread(16, 2048, 8), features=4, log2_rows=log2_rows)
        adam(f"8 x 4, 2^{log2_rows}", layout, options.samples, device, options.turns)
    compositing(options.samples, device, options.turns)
    marching(device, options.turns)


def grid(name: str, layout: GridLayout, samples: int, device: torch.device, turns: int):
    where = along_rays(samples, device)
    table = (0.1 * torch.randn(layout.rows, layout.features)).to(device).requires_grad_()
    arriving = torch.randn(samples, layout.size).to(device)

    def forward(encode) -> Way:
        return lambda: encode(where, table.detach(), layout)

    def both(encode) -> Way:
        return lambda: torch.autograd.grad(encode(where, table, layout), table, arriving)

    compare(f"hash grid {name}, forward", samples, forward(hash_grid), forward(hash_grid_twin), device, turns)
    compare(
        f"hash grid {name}, forward and backward",
        samples,
        both(hash_grid),
        both(hash_grid_twin),
        device,
        turns,
    )


def adam(name: str, layout: GridLayout, samples: int, device: torch.device, turns: int):
    table = torch.randn(layout.rows, layout.features).to(device).requires_grad_()
    found = hash_grid(along_rays(samples, device), table, layout)
    (slope,) = torch.autograd.grad(found, table, torch.randn_like(found))
    plain = torch.nn.Parameter(table.detach().clone())
    plain.grad = slope
    optimiser = torch.optim.Adam([plain], lr=1e-2, betas=(0.9, 0.99), eps=1e-15, fused=True)
    ours = [table.detach().clone(), torch.zeros_like(slope), torch.zeros_like(slope)]
    touched = (slope != 0).any(dim=-1).float().mean().item()

    def step():
        table_adam_(ours[0], slope, *ours[1:], step=1, rate=1e-2, betas=(0.9, 0.99), eps=1e-15)

    compare(f"Adam {name}, {touched:.0%} of rows met", layout.rows, step, optimiser.step, device, turns)


def compositing(samples: int, device: torch.device, turns: int):
    counts = torch.randint(0, 65, (samples // 32,), generator=generator(0, "counts"))
    starts = F.pad(counts.cumsum(0), (1, 0)).to(device)
    count = int(starts[-1])
    density, colour = 20 * torch.rand(count, device=device), torch.rand(count, 3, device=device)
    begin = torch.rand(count, device=device)
    given, rest = (density.requires_grad_(), colour.requires_grad_()), (begin, begin + 0.01, starts)

    def both(composite) -> Way:
        def step():
            seen, opacity, _, _ = composite(*given, *rest)
            return torch.autograd.grad(seen.square().sum() + opacity.sum(), given)

        return step

    name = f"compositing, {len(counts):,} rays, forward and backward"
    compare(name, count, both(composite_packed), both(composite_packed_twin), device, turns)


def marching(device: torch.device, turns: int):
    centres = (torch.arange(128) + 0.5) / 64 - 1
    radius = torch.stack(torch.meshgrid(*[centres] * 3, indexing="ij")).norm(dim=0)
    shell = ((radius > 0.5) & (radius < 0.55)).to(device)
    origins, directions = rays(4096, device)
    ends = torch.zeros(4096, device=device), torch.full((4096,), 6.0, device=device)
    arguments = (origins, directions, *ends, shell, Space((0.0, 0.0, 0.0), 1.0), 3**0.5 / 512)
    count = len(march(*arguments))
    compare("marching, 4,096 rays, 128^3", count, lambda: march(*arguments), lambda: march_twin(*arguments),
            device, turns)  # fmt: skip


def rays(count: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """From a sphere of radius 3 through a box from -1 to 1."""
    source = generator(0, "rays")
    origins = 3 * F.normalize(torch.randn(count, 3, generator=source), dim=-1)
    aims = 0.4 * torch.randn(count, 3, generator=source)
    return origins.to(device), F.normalize(aims - origins, dim=-1).to(device)


def along_rays(samples: int, device: torch.device) -> torch.Tensor:
    """Places in the unit box, in the order of 1,024 rays through it."""
    origins, directions = rays(1024, device)
    distances = torch.linspace(2, 4, samples // 1024, device=device)
    places = origins[:, None] + distances[:, None] * directions[:, None]
    return ((places.reshape(-1, 3) + 1) / 2).clamp(0, 1)


def compare(name: str, count: int, ours: Way, plain: Way, device: torch.device, turns: int):
    """A line of the table: both ways in turn, after one turn that is not timed."""
    times = [(timed(ours, device), timed(plain, device)) for _ in range(turns + 1)][1:]
    own, other = zip(*times, strict=True)
    middle = statistics.median(own)
    ratio = statistics.median(slow / fast for fast, slow in times)
    print(
        f"| {name} | {count:,} | {middle * 1e3:.2f} | {statistics.median(other) * 1e3:.1f} "
        f"| {count / middle / 1e6:.2f} | {min(own) * 1e3:.2f} ... {max(own) * 1e3:.2f} | {ratio:.1f} |",
        flush=True,
    )


def timed(way: Way, device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    way()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def name_of(device: torch.device) -> str:
    """The device's own name, where the system tells it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        with open("/proc/cpuinfo") as info:
            name = next(line.split(":")[1].strip() for line in info if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{name}, {torch.get_num_threads()} threads"


if __name__ == "__main__":
    main()
