"""A field that is known exactly, in a scene that was moved, as a finished run of it would be.

In the input's coordinates there is a ball, orange in its upper half and blue below; cameras stand around it.
"""

from pathlib import Path

import torch

from rayformer.data.scenes.scene import Scene, View
from rayformer.engine.precision import Precision
from rayformer.engine.task import Chain, Recipe
from rayformer.fields.parts.stepfun import stratified
from rayformer.fields.parts.volume import composite, interval_lengths
from rayformer.geometry.cameras import Camera
from rayformer.geometry.poses import look_at
from rayformer.geometry.similarity import Similarity
from rayformer.recipes.parts.open import Loaded
from rayformer.recipes.parts.scene_export import SCENE_EXPORTS
from rayformer.recipes.parts.scene_view import SceneView, Window
from rayformer.runs.run import Run

CENTRE, RADIUS = torch.tensor([5.0, -2.0, 1.0], dtype=torch.float64), 1.2
ORANGE, BLUE = (0.9, 0.5, 0.1), (0.1, 0.2, 0.8)
_Q = torch.linalg.qr(torch.randn(3, 3, generator=torch.manual_seed(3), dtype=torch.float64)).Q
TURN = _Q * torch.linalg.det(_Q).sign()
MOVE = Similarity(0.35, TURN, torch.tensor([0.1, -0.05, 0.2], dtype=torch.float64) - 0.35 * TURN @ CENTRE)
"""From the input to the scene."""


class Ball(torch.nn.Module):
    """Of one density inside, and none outside; which half is which is decided in the input's coordinates."""

    samples_per_ray = 96

    def __init__(self, density: float = 400.0):
        super().__init__()
        self.density = torch.nn.Parameter(torch.tensor(density))

    def radiance(self, positions, directions):
        there = MOVE.inverse().points(positions.double()) - CENTRE
        colour = torch.where(there[:, 2:] > 0, torch.tensor(ORANGE), torch.tensor(BLUE))
        return self.density * (there.norm(dim=-1) < RADIUS), colour

    def render(self, rays, background):
        distances = stratified(rays.near, rays.far, self.samples_per_ray, None)
        along = rays.view_directions[:, None].expand(-1, self.samples_per_ray, 3)
        density, colour = self.radiance(rays.points(distances).flatten(0, 1), along.flatten(0, 1))
        lengths = interval_lengths(distances, rays.directions, 0.0)
        shape = distances.shape
        return composite(density.view(shape), colour.view(*shape, 3), distances, lengths).over(background)

    def loss(self, rays, colours, background, generator):
        raise AssertionError("this field is known, not trained")


def scene(folder: Path, count: int = 12) -> Scene:
    views = []
    for number in range(count):
        turn, up = torch.tensor(2 * torch.pi * number / count), 1.5 * (-1) ** number
        eye = (
            CENTRE + 4.5 * torch.stack([turn.cos(), turn.sin(), torch.tensor(0.0)]) + torch.tensor([0, 0, up])
        )
        original = Camera.from_fov(64, 48, 40, look_at(eye, CENTRE))
        views.append(
            View(
                f"images/{number:03d}.png",
                original.at(MOVE.pose(original.pose)),
                original,
                folder / f"images/{number:03d}.png",
                None,
                "train" if number % 4 else "test",
                None,
                None,
            )
        )
    return Scene(
        source=str(folder), format="transforms.json", views=tuple(views), points=None, point_colours=None,
        normalisation=MOVE, background=(1.0, 1.0, 1.0), near=0.6, far=2.6, forward_facing=False, remarks=(),
        fingerprint="",
    )  # fmt: skip


def loaded(tmp_path: Path, field: torch.nn.Module, of: Scene | None = None, ndc: bool = False) -> Loaded:
    """A finished run of `field`."""
    run = Run.create(tmp_path / "run", "ball", {})
    precision, device = Precision("float32", "it is a test", "cpu"), torch.device("cpu")
    view = SceneView(field, Window(of or scene(tmp_path), ndc), device, precision)
    recipe = Recipe(
        default=None, smoke=None, build=lambda *_: None, render=lambda _: view, exports=SCENE_EXPORTS
    )

    class Task:
        model = field

    return Loaded(
        run=run, name="ball", recipe=recipe, config=None, seed=0, chain=Chain(stages=[]),
        tasks={"ball": Task()}, step=7, device=device, precision=precision,
    )  # fmt: skip
