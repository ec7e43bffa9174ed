"""A street cut into blocks: where they stand, how far each reaches, and whose picture counts where.

    Line           a line through space, with lengths along it
    line_through   the line along which photographs were taken, whatever their order
    Site           one block's place: a ball round a place of the line
    sites_along    as many as wanted, each sharing some of its ball with the next
    merged         those with too few places in their balls joined to a neighbour
    blend_weights  how much each block lends to the picture of a camera

Tancik et al. 2022 (Block-NeRF), https://arxiv.org/abs/2202.05263, section 4.2. The paper puts blocks at
crossings by hand; along one street they stand as far from each other as the sharing asks for.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

MOST_PLACES = 1500
"""Of more places so many are looked at, evenly: a line needs no more, and all distances are too many."""
SMOOTH = 5
"""Places of the line that are averaged: two drives on two lanes make one line and no zigzag."""


@dataclass(frozen=True, eq=False)
class Line:
    knots: Float[Tensor, "points 3"]
    """In order; straight between them."""

    @property
    def ends(self) -> Float[Tensor, "points"]:
        """The length of the line up to each knot."""
        steps = self.knots.diff(dim=0).norm(dim=-1)
        return torch.cat([steps.new_zeros(1), steps.cumsum(0)])

    @property
    def length(self) -> float:
        return self.ends[-1].item()

    def at(self, along: float) -> Float[Tensor, "3"]:
        """The place so far along the line; before its first knot and behind its last one, straight on."""
        ends = self.ends
        left = int((torch.searchsorted(ends, along) - 1).clamp(0, len(ends) - 2))
        share = (along - ends[left]) / (ends[left + 1] - ends[left])
        return torch.lerp(self.knots[left], self.knots[left + 1], share)

    def along(self, places: Float[Tensor, "points 3"]) -> Float[Tensor, "points"]:
        """How far along the line the nearest of its points is to each place."""
        starts, steps = self.knots[:-1], self.knots.diff(dim=0)
        lengths = steps.norm(dim=-1)
        offsets = places[:, None].to(starts) - starts
        share = ((offsets * steps).sum(-1) / lengths.square()).clamp(0, 1)
        gaps = (offsets - share[..., None] * steps).norm(dim=-1)
        nearest = gaps.argmin(dim=1, keepdim=True)
        return (self.ends[:-1] + share * lengths).gather(1, nearest)[:, 0]


def line_through(places: Float[Tensor, "views 3"]) -> Line | None:
    """The line along which `places` lie, in whatever order and however often each; None where they are one
    place.

    It is the longest way through the shortest tree that joins all places, smoothed, so that several drives
    down one street make one line. It begins at the end that is nearer to the first of the places.
    """
    from scipy.sparse.csgraph import dijkstra, minimum_spanning_tree

    places = places.double()
    spread = (places - places.mean(dim=0)).norm(dim=-1).max().item()
    if spread <= 1e-9 * (1 + places.abs().max().item()):
        return None
    # Places of cameras on one car differ by nothing, or by rounding; a tree takes no ways of length zero.
    _, rows = np.unique((places / (1e-6 * spread)).round().numpy(), axis=0, return_index=True)
    rows = np.sort(rows)
    if len(rows) > MOST_PLACES:
        rows = rows[np.linspace(0, len(rows) - 1, MOST_PLACES).round().astype(int)]
    if len(rows) < 2:
        return None
    apart = places[rows]
    tree = minimum_spanning_tree(torch.cdist(apart, apart).numpy())
    one_end = int(dijkstra(tree, directed=False, indices=0).argmax())
    ways, before = dijkstra(tree, directed=False, indices=one_end, return_predecessors=True)
    chain = [int(ways.argmax())]
    while chain[-1] != one_end:
        chain.append(int(before[chain[-1]]))
    knots = _smooth(apart[chain])
    if (knots[0] - places[0]).norm() > (knots[-1] - places[0]).norm():
        knots = knots.flip(0)
    return Line(knots)


def _smooth(knots: Float[Tensor, "points 3"]) -> Float[Tensor, "points 3"]:
    """Each knot as the mean of those around it, of fewer towards the ends, which stay."""
    half = SMOOTH // 2
    rows = range(len(knots))
    reach = [min(half, row, len(knots) - 1 - row) for row in rows]
    return torch.stack(
        [knots[row - by : row + by + 1].mean(dim=0) for row, by in zip(rows, reach, strict=True)]
    )


@dataclass(frozen=True)
class Site:
    centre: tuple[float, float, float]
    radius: float
    along: float
    """How far along the line the centre lies."""

    def distances(self, places: Float[Tensor, "points 3"]) -> Float[Tensor, "points"]:
        """From the centre to each place."""
        return (places - torch.tensor(self.centre).to(places)).norm(dim=-1)

    def holds(self, places: Float[Tensor, "points 3"]) -> list[bool]:
        """Which places lie in the ball."""
        return (self.distances(places) <= self.radius).tolist()


def sites_along(line: Line, count: int, overlap: float) -> list[Site]:
    """`count` sites evenly along the line, each of whose balls has the share `overlap` of its width in common
    with the next one's."""
    apart = line.length / count
    radius = apart / (2 * (1 - overlap))
    return [_site(line, (number + 0.5) * apart, radius) for number in range(count)]


def _site(line: Line, along: float, radius: float) -> Site:
    x, y, z = line.at(along).tolist()
    return Site((x, y, z), radius, along)


def merged(
    sites: Sequence[Site], line: Line, places: Float[Tensor, "views 3"], least: int
) -> tuple[list[Site], list[tuple[int, int, int]]]:
    """Sites that hold at least `least` of the `places` each, unless one alone is left; and what was joined:
    the numbers of two neighbours as they were counted at that time, and how many places the poorer one held.

    The poorest site is joined first, with the poorer of its neighbours, to one that reaches as far as both.
    """
    kept, joined = list(sites), []
    while len(kept) > 1:
        counts = [sum(site.holds(places)) for site in kept]
        poorest = min(range(len(kept)), key=lambda row: counts[row])
        if counts[poorest] >= least:
            break
        beside = [row for row in (poorest - 1, poorest + 1) if 0 <= row < len(kept)]
        left, right = sorted((poorest, min(beside, key=lambda row: counts[row])))
        joined.append((left, right, counts[poorest]))
        first, last = kept[left], kept[right]
        begin = min(first.along - first.radius, last.along - last.radius)
        end = max(first.along + first.radius, last.along + last.radius)
        kept[left : right + 1] = [_site(line, (begin + end) / 2, (end - begin) / 2)]
    return kept, joined


def blend_weights(
    place: Float[Tensor, "3"],
    centres: Float[Tensor, "blocks 3"],
    radii: Float[Tensor, "blocks"],
    power: float | None = 4.0,
) -> Float[Tensor, "blocks"]:
    """How much each block lends to the picture of a camera at `place`; they sum to one.

    (1 / d - 1 / r)^power for a block at distance d < r, its radius, over the sum; nothing beyond. Near a
    block this is the paper's d^-power. Its edge is ours: with the paper's, a block that comes within reach
    of a moving camera appears in the picture at once. Beyond all radii the block counts that is nearest in
    units of its radius. With `power` None the nearest block is all there is.
    """
    distances = (centres - place.to(centres)).norm(dim=-1)
    near = (radii.reciprocal() * distances).argmin()
    alone = torch.zeros_like(distances)
    alone[near] = 1
    if power is None or distances[near] >= radii[near]:
        return alone
    closeness = (1 / distances.clamp(min=1e-12 * float(radii[near])) - 1 / radii).clamp(min=0)
    weights = (closeness / closeness.max()) ** power
    return weights / weights.sum()
