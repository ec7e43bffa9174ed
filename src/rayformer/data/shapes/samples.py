"""Places about a shape, and how far from it they are: what a field of distances learns from.

    Samples        places, distances, and on the surface the normals
    on_surface     places on the surface, drawn evenly by area
    about_surface  places near it: from the surface, a random way off
    in_cube        places anywhere in the cube
    joined         several of these as one

Places are rounded to float32 before their distance is measured: it is the distance of the place that the
field is asked at.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor

from rayformer.data.shapes.shape import Shape


@dataclass(frozen=True, eq=False)
class Samples:
    places: Float[Tensor, "points 3"]
    """In the cube from -1 to 1."""
    distance: Float[Tensor, "points"]
    """To the surface, negative inside, in half sides of the cube."""
    normals: Float[Tensor, "points 3"]
    """Unit and outward where a place was drawn on the surface; zero elsewhere."""

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, which: slice | Tensor) -> "Samples":
        return Samples(self.places[which], self.distance[which], self.normals[which])

    def to(self, device: torch.device) -> "Samples":
        return Samples(self.places.to(device), self.distance.to(device), self.normals.to(device))

    @property
    def on_surface(self) -> Bool[Tensor, "points"]:
        return self.normals.any(dim=-1)


def on_surface(shape: Shape, count: int, generator: Generator) -> Samples:
    places, face = shape.mesh.sample(count, generator)
    return Samples(places.float(), torch.zeros(count), shape.mesh.face_normals[face].float())


def about_surface(shape: Shape, count: int, widths: Sequence[float], generator: Generator) -> Samples:
    """From places on the surface, off by a normal distribution of each of the `widths`, as often as of the
    others; what would leave the cube stays on its side."""
    start, _ = shape.mesh.sample(count, generator)
    which = torch.arange(count) * len(widths) // max(count, 1)
    width = torch.tensor(widths, dtype=torch.float64)[which]
    off = torch.randn(count, 3, generator=generator, dtype=torch.float64) * width[:, None]
    places = (start + off).clamp(-1, 1).float()
    return _measured(shape, places, within=(places.double() - start).norm(dim=-1))


def in_cube(shape: Shape, count: int, generator: Generator) -> Samples:
    return _measured(shape, 2 * torch.rand(count, 3, generator=generator) - 1)


def joined(parts: Sequence[Samples]) -> Samples:
    return Samples(
        torch.cat([part.places for part in parts]),
        torch.cat([part.distance for part in parts]),
        torch.cat([part.normals for part in parts]),
    )


def _measured(shape: Shape, places: Tensor, within: Tensor | None = None) -> Samples:
    distance = shape.signed_distance(places, within)
    return Samples(places, distance.float(), torch.zeros_like(places))
