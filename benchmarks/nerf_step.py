"""How fast a training step of NeRF is: ours, in pieces, against the ordinary way to write it.

    python benchmarks/nerf_step.py [--rays 4096] [--plain-rays 1024] [--piece 64] [--repeats 3]

One step is forward, backward and Adam on 64 coarse + 192 fine samples per ray, two fields of 8 x 256:

    plain, float32, one batch      the most ordinary torch, written below without the package: layers on
                                   `rays samples features`, concatenations, a running product of 1 - alpha
    ours, float32, pieces          the package's NeRF, so many rays at a time; no graph outlives its piece
    ours, in the chosen precision  the same under autocast, where the device multiplies bf16 in hardware

They take turns, so that a busy machine is busy for all; samples per second and ratios are medians over turns.
The plain step keeps every activation of its batch, about 14 kB per sample: `--plain-rays` bounds its memory.
"""

import argparse
import datetime
import platform
import statistics
import time
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import nn

from rayformer.core.seeds import generator
from rayformer.engine.precision import choose_precision
from rayformer.fields.nerf import NeRF, NeRFConfig
from rayformer.geometry.rays import Rays


class PlainField(nn.Module):
    """The network of the paper's figure 7 as one would write it from the figure."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Linear(63 if i == 0 else 319 if i == 5 else 256, 256) for i in range(8)
        )
        self.density, self.feature = nn.Linear(256, 1), nn.Linear(256, 256)
        self.view, self.colour = nn.Linear(256 + 27, 128), nn.Linear(128, 3)

    def forward(self, points, directions):
        place, view = encode(points, 10), encode(directions, 4)
        hidden = place
        for index, layer in enumerate(self.layers):
            hidden = F.relu(layer(torch.cat([place, hidden], dim=-1) if index == 5 else hidden))
        seen = F.relu(self.view(torch.cat([self.feature(hidden), view], dim=-1)))
        return F.relu(self.density(hidden))[..., 0], torch.sigmoid(self.colour(seen))


def encode(x, octaves):
    waves = [f(2.0**k * x) for k in range(octaves) for f in (torch.sin, torch.cos)]
    return torch.cat([x, *waves], dim=-1)


def plain_render(field, rays, z):
    points = rays.origins[:, None] + rays.directions[:, None] * z[..., None]
    density, colour = field(points, rays.view_directions[:, None].expand_as(points))
    lengths = torch.cat([z[:, 1:] - z[:, :-1], torch.full_like(z[:, :1], 1e10)], dim=-1)
    alpha = 1 - torch.exp(-density * lengths)
    before = torch.cumprod(torch.cat([torch.ones_like(alpha[:, :1]), 1 - alpha + 1e-10], dim=-1), dim=-1)
    weights = alpha * before[:, :-1]
    return (weights[..., None] * colour).sum(dim=1) + (1 - weights.sum(dim=-1, keepdim=True)), weights


def plain_loss(coarse, fine, rays, colours):
    share = (torch.arange(64) + torch.rand(len(rays), 64)) / 64
    z = rays.near[:, None] + (rays.far - rays.near)[:, None] * share
    first, weights = plain_render(coarse, rays, z)
    middles = (z[:, 1:] + z[:, :-1]) / 2
    inner = weights[:, 1:-1].detach() + 1e-5
    cdf = torch.cumsum(inner / inner.sum(dim=-1, keepdim=True), dim=-1)
    cdf = torch.cat([torch.zeros_like(cdf[:, :1]), cdf], dim=-1)
    quantiles = torch.rand(len(rays), 128)
    index = torch.searchsorted(cdf, quantiles, right=True)
    below, above = (index - 1).clamp(min=0), index.clamp(max=62)
    low, high = cdf.gather(1, below), cdf.gather(1, above)
    part = (quantiles - low) / (high - low).clamp(min=1e-5)
    start, end = middles.gather(1, below), middles.gather(1, above)
    z = torch.cat([z, start + part * (end - start)], dim=-1).sort(dim=-1).values
    second, _ = plain_render(fine, rays, z)
    return F.mse_loss(first, colours) + F.mse_loss(second, colours)


class PlainStep:
    """Forward, backward and Adam on one whole batch."""

    def __init__(self, rays: int):
        self.fields = nn.ModuleList([PlainField(), PlainField()])
        self.optimiser = torch.optim.Adam(self.fields.parameters(), lr=5e-4)
        self.rays, self.colours = drawn(rays)

    def __call__(self):
        self.optimiser.zero_grad()
        plain_loss(*self.fields, self.rays, self.colours).backward()
        self.optimiser.step()


class OurStep:
    """The same, `piece` rays at a time, each piece's gradient added before its graph is let go."""

    def __init__(self, rays: int, piece: int, autocast):
        self.nerf = NeRF(NeRFConfig())
        self.optimiser = torch.optim.Adam(self.nerf.parameters(), lr=5e-4)
        self.rays, self.colours = drawn(rays)
        self.piece, self.autocast = piece, autocast

    def __call__(self):
        self.optimiser.zero_grad()
        for start in range(0, len(self.rays), self.piece):
            rays, colours = self.rays[start : start + self.piece], self.colours[start : start + self.piece]
            with self.autocast():
                loss = self.nerf.loss(rays, colours, torch.ones_like(colours), generator(0, start)).total
            (loss * (len(rays) / len(self.rays))).backward()
        self.optimiser.step()


def drawn(count: int) -> tuple[Rays, torch.Tensor]:
    """Rays from a sphere of radius 4 towards the origin, near 2 and far 6, and any colours."""
    source = generator(0, "rays")
    origins = 4 * F.normalize(torch.randn(count, 3, generator=source), dim=-1)
    view = F.normalize(torch.randn(count, 3, generator=source) * 0.5 - origins, dim=-1)
    ends = torch.full((count,), 2.0), torch.full((count,), 6.0)
    return Rays(origins, view, view, *ends), torch.rand(count, 3, generator=source)


def main():
    parser = argparse.ArgumentParser(description="A training step of NeRF, ours against plain torch.")
    parser.add_argument("--rays", type=int, default=4096, help="rays per step of ours")
    parser.add_argument("--plain-rays", type=int, default=1024, help="rays per step of plain torch (memory)")
    parser.add_argument("--piece", type=int, default=64, help="rays per piece of ours")
    parser.add_argument("--repeats", type=int, default=3, help="timed turns, after one that is not")
    options = parser.parse_args()
    torch.manual_seed(0)
    precision = choose_precision(torch.device("cpu"))
    plain_rays = min(options.rays, options.plain_rays)
    ways = {
        f"plain, float32, one batch of {plain_rays} rays": (plain_rays, PlainStep(plain_rays)),
        f"ours, float32, pieces of {options.piece} rays": (
            options.rays,
            OurStep(options.rays, options.piece, nullcontext),
        ),
    }
    if precision.name != "float32":
        ways[f"ours, {precision.name}, pieces of {options.piece} rays"] = (
            options.rays,
            OurStep(options.rays, options.piece, precision.autocast),
        )
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(options.repeats + 1):
        for name, (rays, step) in ways.items():
            start = time.perf_counter()
            step()
            if turn > 0:
                speeds[name].append(rays * 256 / (time.perf_counter() - start))
    report(options, precision, speeds)


def report(options, precision, speeds: dict[str, list[float]]):
    plain = next(iter(speeds.values()))
    threads = f"{torch.get_num_threads()} threads, torch {torch.__version__}"
    print(f"{datetime.date.today()}, {processor()}, {threads}")
    print(f"Precision: {precision.name}, because {precision.reason}.")
    print(
        f"Command: `python benchmarks/nerf_step.py --rays {options.rays} --plain-rays {options.plain_rays} "
        f"--piece {options.piece} --repeats {options.repeats}`\n"
    )
    print("| way | k samples/s, median | least ... most | seconds per 4,096 rays | against plain |")
    print("|---|---|---|---|---|")
    for name, speed in speeds.items():
        middle = statistics.median(speed)
        ratio = statistics.median(own / other for own, other in zip(speed, plain, strict=True))
        print(
            f"| {name} | {middle / 1e3:.1f} | {min(speed) / 1e3:.1f} ... {max(speed) / 1e3:.1f} "
            f"| {4096 * 256 / middle:.1f} | {ratio:.2f} |"
        )


def processor() -> str:
    """The processor's own name where Linux tells it, with what multiplies bf16."""
    able = [name for name, has in torch.cpu.get_capabilities().items() if has is True and "bf16" in name]
    try:
        with open("/proc/cpuinfo") as info:
            name = next(line.split(":")[1].strip() for line in info if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{name} ({', '.join(able) or 'no bf16'})"


if __name__ == "__main__":
    main()
