"""One surface point seen from everywhere: the learned radiance over the hemisphere (Mildenhall et al. 2020,
fig. 3).

    rayformer reproduce view-dependence

A point of the drawn still life's glossy ball sends another colour into every direction, and we know exactly
which. The picture shows the hemisphere above it as a disc, the surface's normal in the middle and grazing
directions at the rim: the truth, what a NeRF learned from photographs, and what one learned that may not
see the direction. Inside the thin ring lie the directions from which there were photographs; outside it the
field only guesses.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rayformer.claims.claim import Cell, Claim, Measured, Verdict
from rayformer.claims.scenes import modest_nerf
from rayformer.data.scenes.still_life import BALL_CENTRE, BALL_POINT, BALL_RADIUS, radiance
from rayformer.geometry.rays import Rays
from rayformer.recipes.open_run import open_run
from rayformer.runs.pictures import PAPER, Picture, side_by_side

SIDE = 240
"""Pixels across a disc."""
GRAZING = math.radians(80)
"""The angle from the normal at the rim."""
PHOTOGRAPHED = (math.radians(14), math.radians(68))
"""Heights above the horizon from which the still life was photographed."""
AWAY, REACH = 4.0, 0.04
"""From where the point is looked at, and how far before and behind it, in scene units. A longer look would
see into the ball, where a field that may not see the direction builds the mirror image of a highlight."""


def cells(smoke: bool) -> Sequence[Cell]:
    sees = modest_nerf(smoke)
    if not smoke:  # shape is learned long before gloss, so train longer, on smaller photographs to afford it
        sees = replace(sees, data=replace(sees.data, width=64), plan=replace(sees.plan, steps=2500))
    blind = replace(sees, model=replace(sees.model, view_dependence=False))
    return (Cell("complete", "nerf", sees), Cell("no view dependence", "nerf", blind))


@dataclass(frozen=True, eq=False)
class Hemisphere:
    """Directions above a surface point, one per pixel of a disc."""

    inside: Bool[Tensor, "height width"]
    """Which pixels are on the disc."""
    outward: Float[Tensor, "points 3"]
    """For each of them the unit direction from the surface towards the viewer."""
    photographed: Bool[Tensor, "points"]
    """Whether there were photographs from there."""


def hemisphere(normal: Float[Tensor, "3"]) -> Hemisphere:
    """The disc's directions: azimuth as it is, the angle from the normal growing evenly to GRAZING at the
    rim."""
    axis = torch.linspace(-1, 1, SIDE, dtype=torch.float64)
    y, x = torch.meshgrid(-axis, axis, indexing="ij")
    radius, azimuth = (x**2 + y**2).sqrt(), torch.atan2(y, x)
    inside = radius <= 1
    across = torch.linalg.cross(torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64), normal)
    across = across / across.norm()
    upward = torch.linalg.cross(normal, across)
    angle = radius[inside] * GRAZING
    tangent = azimuth[inside].cos()[:, None] * across + azimuth[inside].sin()[:, None] * upward
    outward = angle.cos()[:, None] * normal + angle.sin()[:, None] * tangent
    height = outward[:, 2].asin()
    return Hemisphere(inside, outward, (height > PHOTOGRAPHED[0]) & (height < PHOTOGRAPHED[1]))


def ball_hemisphere() -> Hemisphere:
    point, centre = (torch.tensor(place, dtype=torch.float64) for place in (BALL_POINT, BALL_CENTRE))
    return hemisphere((point - centre) / BALL_RADIUS)


@torch.no_grad()
def learned(row: Measured, directions: Float[Tensor, "points 3"]) -> Float[Tensor, "points 3"]:
    """What the field of a cell shows of the ball's point along viewing `directions`: a short look through
    its surface."""
    loaded = open_run(row.runs[0])
    point = torch.tensor(BALL_POINT, dtype=torch.float64)
    colours = []
    for some in directions.split(512):
        ones = torch.ones(len(some))
        way = some.float()
        rays = Rays((point - AWAY * some).float(), way, way, (AWAY - REACH) * ones, (AWAY + REACH) * ones).to(
            loaded.device
        )
        with loaded.precision.autocast():
            seen = loaded.task.field.render(rays, torch.zeros(len(some), 3, device=loaded.device))
        colours.append((seen.colour / seen.opacity[:, None].clamp(min=1e-6)).clamp(0, 1).cpu())
    return torch.cat(colours).double()


def judge(measured: Mapping[str, Measured]) -> Verdict:
    """How much of the variance of the true radiance over the photographed directions each field explains."""
    sky = ball_hemisphere()
    directions = -sky.outward[sky.photographed]
    truth = radiance(torch.tensor(BALL_POINT, dtype=torch.float64), directions)
    varies = (truth - truth.mean(dim=0)).square().mean().item()
    explained = {
        name: 1 - (learned(row, directions) - truth).square().mean().item() / varies
        for name, row in measured.items()
    }
    sees, blind = explained.values()
    return Verdict(
        holds=sees > 1 / 3 and blind < 1 / 10,
        reason="of how the point's colour varies over the directions photographed, the field explains "
        f"{sees:.0%}; the one that may not see the direction explains {blind:.0%} (at least 33% and at most "
        "10% were asked for)",
    )


def draw(measured: Mapping[str, Measured]) -> Mapping[str, Picture]:
    sky = ball_hemisphere()
    truth = radiance(torch.tensor(BALL_POINT, dtype=torch.float64), -sky.outward)
    discs = {"truth": truth} | {name: learned(row, -sky.outward) for name, row in measured.items()}
    panels = [Picture(_disc(sky, colours)) for colours in discs.values()]
    caption = (
        "the hemisphere above one point of the glossy ball, its normal in the middle; "
        "photographs came from inside the ring"
    )
    return {"hemisphere": side_by_side(panels, list(discs), caption)}


def _disc(sky: Hemisphere, colours: Float[Tensor, "points 3"]) -> np.ndarray:
    pixels = torch.tensor(PAPER, dtype=torch.float64).expand(SIDE, SIDE, 3).clone()
    pixels[sky.inside] = colours * 255
    seen = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    seen[sky.inside] = sky.photographed
    rim = torch.zeros_like(seen)  # where the photographed directions end
    rim[1:] |= seen[1:] != seen[:-1]
    rim[:, 1:] |= seen[:, 1:] != seen[:, :-1]
    pixels[rim & sky.inside] = 255.0
    return pixels.round().clamp(0, 255).to(torch.uint8).numpy()


CLAIM = Claim(
    name="view-dependence",
    statement="the field learns which colour a glossy surface point sends into which direction",
    paper="Mildenhall et al. 2020, fig. 3",
    metrics=("psnr_db", "ssim"),
    cells=cells,
    judge=judge,
    draw=draw,
)
