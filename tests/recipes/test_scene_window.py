"""A scene in a window: depth that composites, choices that reach the rays, faults that spare the training."""

import logging
import math
from pathlib import Path

import numpy as np
import torch

from rayformer.core.losses import Losses
from rayformer.data.scenes.scene import Scene, View
from rayformer.engine.precision import Precision
from rayformer.fields.parts.volume import Rendered
from rayformer.geometry.cameras import Camera, project
from rayformer.geometry.poses import look_at
from rayformer.geometry.rays import Rays, camera_rays
from rayformer.geometry.similarity import Similarity
from rayformer.recipes.parts.scene_view import Rendering, SceneView, Window
from rayformer.recipes.parts.scene_window import MOST_PHOTOS, TrainingWindow, along_the_axis, drawing, show_of
from rayformer.runs.run import Run
from rayformer.viewer.address import Address
from rayformer.viewer.desk import Style
from tests.engine.toys import Line

CAMERA = Camera(40, 30, 35.0, 33.0, 21.0, 13.0, look_at([0.3, -0.2, 0.5], [0.1, 0.2, -4.0], [0, 1, 0]))


def scene(views: int = 5, forward: bool = False) -> Scene:
    def view(number: int) -> View:
        angle = 2 * math.pi * number / views
        place = [0.3 * math.cos(angle), 0.3 * math.sin(angle), 0.0]
        around = [4 * math.cos(angle), 4 * math.sin(angle), 1.0]
        pose = look_at(place, [0, 0, -9], [0, 1, 0]) if forward else look_at(around, [0, 0, 0])
        camera = Camera.from_fov(40, 30, 40.0, pose)
        image = Path("nowhere") / f"{number}.png"
        return View(str(number), camera, camera, image, None, "train", None, None)

    return Scene(
        source="nowhere", format="drawn", views=tuple(view(number) for number in range(views)), points=None,
        point_colours=None, normalisation=Similarity.identity(), background=(1.0, 1.0, 1.0),
        near=2.0, far=6.0, forward_facing=forward, remarks=(), fingerprint="",
    )  # fmt: skip


class Fog:
    """A field that is nowhere: background behind everything; it notes where rays began and ended."""

    samples_per_ray = 4

    def __init__(self) -> None:
        self.bounds: set[tuple[float, float]] = set()

    def render(self, rays: Rays, background: torch.Tensor) -> Rendered:
        self.bounds |= set(zip(rays.near.tolist(), rays.far.tolist(), strict=True))
        nothing = torch.zeros(len(rays))
        return Rendered(background, nothing[:, None], nothing, nothing)

    def loss(self, *_: object) -> Losses:
        raise AssertionError("nobody trains here")

    def radiance(self, *_: object) -> tuple[torch.Tensor, torch.Tensor]:
        raise AssertionError("nobody asks for single places here")


def view_of(scene: Scene, field: Fog, ndc: bool = False) -> SceneView:
    return SceneView(field, Window(scene, ndc), torch.device("cpu"), Precision("float32", "a test", "cpu"))


def test_depth_along_the_axis_is_that_of_the_point_that_was_hit():
    distance = torch.rand(30 * 40, generator=torch.Generator().manual_seed(0)) * 5 + 0.5
    rays = camera_rays(CAMERA, dtype=torch.float64)
    _, truth = project(CAMERA, rays.origins + distance[:, None] * rays.directions)
    rendering = Rendering(np.zeros((30, 40, 3), np.uint8), distance.view(30, 40).numpy())
    np.testing.assert_allclose(
        along_the_axis(rendering, CAMERA, Window(scene())).ravel(), truth, rtol=1e-5, atol=1e-5
    )


def test_in_ndc_too_though_depth_is_that_of_the_scene_there():
    rays = camera_rays(CAMERA, dtype=torch.float64)
    points = rays.origins + 3.0 * rays.directions
    _, truth = project(CAMERA, points)
    rendering = Rendering(np.zeros((30, 40, 3), np.uint8), -points[:, 2].view(30, 40).float().numpy())
    window = Window(scene(forward=True), ndc=True)
    np.testing.assert_allclose(along_the_axis(rendering, CAMERA, window).ravel(), truth, rtol=1e-5, atol=1e-5)


def test_near_far_and_background_are_those_chosen_and_else_the_scenes():
    field = Fog()
    draw = drawing(view_of(scene(), field))
    assert (draw(CAMERA, Style()).colour == 255).all()
    assert field.bounds == {(2.0, 6.0)}
    field.bounds.clear()
    drawn = draw(CAMERA, Style(near=1.0, far=3.0, background=(0.0, 0.0, 1.0)))
    assert (drawn.colour == (0, 0, 255)).all()
    assert field.bounds == {(1.0, 3.0)}
    assert np.isnan(drawn.depth).all()


def test_the_first_look_stands_before_no_photograph_and_photographs_that_are_gone_are_left_out():
    show = show_of(view_of(scene(), Fog()), "gone")
    gaps = [(show.start.position - photo.camera.position).norm() for photo in show.photos]
    assert min(gaps) > 1.5  # of five cameras on a circle of radius 4
    assert [photo.thumbnail() for photo in show.photos] == [None] * 5
    assert show.points() is None


def test_of_many_photographs_some_are_shown_and_all_are_counted():
    show = show_of(view_of(scene(views=3 * MOST_PHOTOS), Fog()), "many")
    assert (len(show.photos), show.photos_in_all) == (MOST_PHOTOS, 3 * MOST_PHOTOS)


def test_ndc_has_no_range_to_choose():
    assert not show_of(view_of(scene(forward=True), Fog(), ndc=True), "facing").has_range


def test_a_fault_of_the_window_closes_it_and_spares_the_training(tmp_path, caplog):
    def broken(task: object) -> SceneView:
        raise ValueError("no view of that")

    window = TrainingWindow(Address("127.0.0.1", 1), Run(tmp_path), broken)
    with caplog.at_level(logging.WARNING):
        assert not window.wants(Line(), 1)
    assert "training goes on: ValueError: no view of that" in caplog.text
    assert not window.wants(Line(), 2)
    said: list[str] = []
    window.stay(said.append)
    assert said == []
