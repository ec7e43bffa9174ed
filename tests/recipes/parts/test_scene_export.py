"""What is exported of a field that is known exactly, in the coordinates of the input."""

import json
import math
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open

from rayformer.core.errors import ConfigError, DataError, MissingExtra
from rayformer.data.scenes.read import read_scene
from rayformer.data.scenes.scene import SceneConfig
from rayformer.engine.checkpoint import read_tensors
from rayformer.geometry.ndc import ndc_points, ndc_rays, ndc_stretch, points_from_ndc
from rayformer.geometry.rays import Rays
from rayformer.recipes.parts.scene_export import (
    SCENE_EXPORTS,
    CameraOptions,
    CloudOptions,
    GridOptions,
    MeshOptions,
    thinned,
)
from rayformer.recipes.parts.scene_space import SceneSpace
from rayformer.runs.baked_grid import read_grid
from rayformer.runs.ply import read_points
from tests.data.scenes import scene_folders as folders

from .known_field import BLUE, CENTRE, MOVE, ORANGE, RADIUS, Ball, loaded, scene

trimesh = pytest.importorskip("trimesh")
pytest.importorskip("skimage")


def export(name, run, path, **options):
    one = SCENE_EXPORTS[name]
    return one.write(run, replace(one.options, **options), path)


def halves_off(places, colours) -> np.ndarray:
    """How far colours are from those of the ball, away from the border between its halves."""
    height = places[:, 2] - CENTRE[2].item()
    right = np.where(height[:, None] > 0, np.array(ORANGE), np.array(BLUE))
    return np.abs(colours[:, :3] / 255 - right)[np.abs(height) > 0.2]


# ---------------------------------------------------------------------- mesh


@pytest.mark.parametrize(
    ("suffix", "how"), [(".ply", "normal"), (".ply", "mean"), (".obj", "normal"), (".glb", "normal")]
)
def test_the_mesh_of_a_ball_is_the_ball_in_the_coordinates_of_the_input(tmp_path, suffix, how):
    path = tmp_path / f"mesh{suffix}"
    told = export("mesh", loaded(tmp_path, Ball()), path, resolution=40, colour=how)
    mesh = trimesh.load(path, force="mesh", process=False)
    voxel = 2.2 * RADIUS / 40
    off = np.abs(np.linalg.norm(mesh.vertices - CENTRE.numpy(), axis=1) - RADIUS)
    assert told["vertices"] == len(mesh.vertices)
    assert told["closed"]
    assert mesh.is_watertight
    assert off.max() < voxel / 2
    assert mesh.volume == pytest.approx(4 / 3 * math.pi * RADIUS**3, rel=0.02)  # positive: normals outward
    colours = np.asarray(mesh.visual.vertex_colors)
    if suffix == ".glb":  # linear light in the file
        light = colours[:, :3] / 255
        stored = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
        colours = 255 * stored
    assert halves_off(mesh.vertices, colours).max() < 0.03


def test_the_usual_threshold_does_not_depend_on_the_resolution(tmp_path):
    run = loaded(tmp_path, Ball())
    one, other = (export("mesh", run, tmp_path / "m.ply", resolution=size) for size in (16, 24))
    assert one["threshold"] == other["threshold"]


def test_a_fog_that_is_opaque_only_as_a_whole_has_a_surface_without_being_told_a_threshold(tmp_path):
    thin = Ball(density=12.0)  # a tenth of it takes no more than half of the light
    told = export("mesh", loaded(tmp_path, thin), tmp_path / "m.ply", resolution=24)
    assert told["threshold"] <= 12.0
    assert told["closed"]


def test_a_box_in_the_coordinates_of_the_input_cuts_the_mesh(tmp_path):
    x, y, z = CENTRE.tolist()
    box = (x - 2.0, y - 2.0, z - 2.0, x + 2.0, y + 2.0, z)
    path = tmp_path / "half.ply"
    run = loaded(tmp_path, Ball())
    open_below = export("mesh", run, path, resolution=48, box=box)
    assert not open_below["closed"]
    export("mesh", run, path, resolution=48, box=box, close=True)
    mesh = trimesh.load(path, process=False)
    assert mesh.is_watertight
    assert mesh.bounds[1][2] == pytest.approx(z, abs=0.01)
    assert mesh.volume == pytest.approx(2 / 3 * math.pi * RADIUS**3, rel=0.03)


def test_the_box_that_is_found_holds_the_ball_and_little_else(tmp_path):
    run = loaded(tmp_path, Ball())
    low, high = SceneSpace(run.recipe.render(run)).auto_box
    centre = MOVE.points(CENTRE[None])[0]
    radius = MOVE.scale * RADIUS
    assert (low < centre - 0.97 * radius).all()
    assert (high > centre + 0.97 * radius).all()
    assert ((high - low) < 2.5 * radius).all()


def test_what_no_camera_looks_at_is_left_out(tmp_path):
    class Everywhere(Ball):
        """A second ball, far behind the cameras."""

        def radiance(self, positions, directions):
            density, colour = super().radiance(positions, directions)
            there = MOVE.inverse().points(positions.double()) - CENTRE
            return density + 400.0 * ((there - torch.tensor([0, 0, 9.0])).norm(dim=-1) < 1), colour

    x, y, z = CENTRE.tolist()
    box = (x - 2, y - 2, z - 2, x + 2, y + 2, z + 12)
    run = loaded(tmp_path, Everywhere())
    export("mesh", run, tmp_path / "m.ply", resolution=60, box=box)
    assert trimesh.load(tmp_path / "m.ply").bounds[1][2] < z + 1.1 * RADIUS
    export("mesh", run, tmp_path / "m.ply", resolution=60, box=box, min_views=0)
    assert trimesh.load(tmp_path / "m.ply").bounds[1][2] > z + 9


def test_insides_are_left_out_where_only_what_is_seen_is_wanted(tmp_path):
    class Hollow(Ball):
        """With another ball inside, and nothing between them."""

        def radiance(self, positions, directions):
            density, colour = super().radiance(positions, directions)
            way = (MOVE.inverse().points(positions.double()) - CENTRE).norm(dim=-1)
            return density * ((way > 0.8 * RADIUS) | (way < 0.3 * RADIUS)), colour

    run = loaded(tmp_path, Hollow())
    both = export("mesh", run, tmp_path / "m.ply", resolution=40)
    assert trimesh.load(tmp_path / "m.ply").body_count == 3
    seen = export("mesh", run, tmp_path / "m.ply", resolution=40, seen_only=True)
    mesh = trimesh.load(tmp_path / "m.ply")
    assert 0 < seen["faces"] < both["faces"]
    assert np.linalg.norm(mesh.vertices - CENTRE.numpy(), axis=1).min() > 0.95 * RADIUS
    assert np.linalg.norm(mesh.vertices - CENTRE.numpy(), axis=1).max() < 1.05 * RADIUS


# ---------------------------------------------------------------------- cloud and grid


def test_the_points_of_a_cloud_lie_on_the_ball_and_have_its_colours(tmp_path):
    told = export("ply", loaded(tmp_path, Ball()), tmp_path / "cloud.ply", spacing=0.02)
    places, colours = read_points(tmp_path / "cloud.ply")
    off = np.abs(np.linalg.norm(places - CENTRE.numpy(), axis=1) - RADIUS)
    step = 2.0 / 96 / MOVE.scale  # of the field's samples, in the input's units
    assert told["points"] == len(places) > 500
    assert np.quantile(off, 0.99) < step
    assert np.quantile(halves_off(places, colours), 0.99) < 0.03


def test_a_cloud_is_thinned_to_one_point_a_cube():
    draw = np.random.default_rng(0)
    points = draw.random((1000, 3))
    colours = draw.integers(0, 256, (1000, 3), dtype=np.uint8)
    few, shades = thinned(points, colours, 0.5)
    assert few.shape == shades.shape == (8, 3)
    assert few.mean(axis=0) == pytest.approx(points.mean(axis=0), abs=0.03)


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
@pytest.mark.parametrize("boxed", [False, True])
def test_a_baked_grid_comes_back_as_the_ball_that_it_was(tmp_path, suffix, boxed):
    x, y, z = CENTRE.tolist()
    box = (x - 1.5, y - 1.5, z - 1.5, x + 1.5, y + 1.5, z + 1.5) if boxed else None
    path = tmp_path / f"grid{suffix}"
    told = export("grid", loaded(tmp_path, Ball()), path, resolution=40, box=box)
    grid = read_grid(path)
    voxel = float(grid.step[0]) * np.linalg.norm(grid.to_input[:3, 0])  # in the input's units
    inside = np.linalg.norm(grid.middles - CENTRE.numpy(), axis=1)
    assert told["voxels"] == len(grid.cells)
    assert inside.max() <= RADIUS
    assert len(inside) * voxel**3 == pytest.approx(4 / 3 * math.pi * RADIUS**3, rel=0.02)
    assert halves_off(grid.middles, grid.colour).max() < 0.01
    through = -math.expm1(-400.0 * voxel * MOVE.scale)  # however long a unit is
    assert grid.opacity == pytest.approx(through, rel=1e-4)
    density, colour = grid.dense()
    assert density.shape == tuple(grid.shape)
    assert colour.shape == (*grid.shape, 3)
    assert (density > 0).sum() == len(grid.cells)


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_what_is_no_grid_is_refused(tmp_path, suffix, snapshot):
    path = tmp_path / f"grid{suffix}"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(DataError) as refusal:
        read_grid(path)
    assert str(path) in str(refusal.value)
    if suffix == ".npz":
        np.savez(path, cells=np.zeros((3, 3)))
        with pytest.raises(DataError) as refusal:
            read_grid(path)
        snapshot("no_grid", str(refusal.value))


# ---------------------------------------------------------------------- cameras and weights


def test_cameras_come_back_as_the_data_had_them(tmp_path):
    run = loaded(tmp_path, Ball(), scene(tmp_path, count=8))
    cameras = [view.original for view in scene(tmp_path, count=8).views]
    folders.transforms(tmp_path, cameras)
    told = export("cameras", replace(run, config=_Data(tmp_path)), tmp_path / "out")
    assert told == {"views": 8, "points": 0}
    again = read_scene(SceneConfig(source=str(tmp_path / "out")))
    for old, new in zip(cameras, again.views, strict=True):
        assert torch.equal(old.pose, new.original.pose)
    export("cameras", run, tmp_path / "alone", photos=False)
    assert [path.name for path in (tmp_path / "alone").iterdir()] == ["transforms.json"]
    assert len(read_scene(SceneConfig(source=str(tmp_path / "alone"))).views) == 8


class _Data:
    """A recipe's config, as far as its data go."""

    def __init__(self, folder):
        self.data = SceneConfig(source=str(folder))


def test_points_of_a_reconstruction_go_with_its_cameras(tmp_path):
    folder = folders.colmap(tmp_path / "data", folders.ring(), binary=True)
    first = read_scene(SceneConfig(source=str(folder)))
    run = loaded(tmp_path, Ball(), first)
    told = export("cameras", replace(run, config=_Data(folder)), tmp_path / "out")
    assert told == {"views": 9, "points": 20}
    places, colours = read_points(tmp_path / "out" / "points.ply")
    there = first.normalisation.inverse().points(torch.from_numpy(first.points))
    np.testing.assert_allclose(places, there, atol=1e-5)
    np.testing.assert_array_equal(colours, first.point_colours)


def test_weights_come_back_with_a_word_about_them(tmp_path):
    field = Ball(density=123.0)
    path = tmp_path / "model.safetensors"
    told = export("safetensors", loaded(tmp_path, field), path)
    assert told == {"tensors": 1, "parameters": 1, "step": 7}
    assert read_tensors(path)["density"] == 123.0
    with safe_open(path, framework="pt") as file:
        head = file.metadata()
    assert (head["recipe"], head["step"]) == ("ball", "7")
    assert json.loads(head["config"]) is None


# ---------------------------------------------------------------------- forward-facing scenes


def test_ndc_of_points_and_back_is_where_they_were():
    points = torch.randn(50, 3, generator=torch.manual_seed(0), dtype=torch.float64) - torch.tensor(
        [0, 0, 6.0]
    )
    camera = (50.0, 40.0, 64, 48)
    assert torch.allclose(points_from_ndc(ndc_points(points, *camera), *camera), points)


def test_a_density_in_ndc_stops_as_much_light_as_in_the_scene():
    points = torch.tensor([[0.3, -0.2, -3.0], [1.0, 1.0, -7.0]], dtype=torch.float64)
    towards = torch.nn.functional.normalize(points, dim=-1)
    short, camera = 1e-6, (50.0, 40.0, 64, 48)
    moved = ndc_points(points + short * towards, *camera) - ndc_points(points, *camera)
    assert torch.allclose(moved.norm(dim=-1) / short, ndc_stretch(points), rtol=1e-4)
    rays = Rays(0 * points, towards, towards, *torch.tensor([[0.0, 0.0], [9.0, 9.0]]).double())
    warped = ndc_rays(rays, *camera)
    assert torch.allclose(torch.linalg.cross(warped.directions, moved / short), 0 * points, atol=1e-6)


def test_a_field_in_ndc_gives_points_and_densities_of_the_scene(tmp_path):
    """A wall at z = -4 before cameras that all look along -z."""

    class Wall(Ball):
        def radiance(self, positions, directions):
            behind = positions[:, 2] > 1 + 2 / -4.0
            return 800.0 * behind, torch.full_like(positions, 0.5)

    cameras = folders.facing()
    there = scene(tmp_path, count=9)
    turned = torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]).double()
    views = []
    for number, (view, camera) in enumerate(zip(there.views, cameras, strict=True)):
        pose = turned.clone()
        pose[:2, 3] = torch.tensor([0.1 * (number % 3), 0.1 * (number // 3)])
        views.append(replace(view, camera=camera.at(pose), original=camera.at(MOVE.inverse().pose(pose))))
    facing = replace(there, views=tuple(views), forward_facing=True)
    run = loaded(tmp_path, Wall(), facing, ndc=True)
    export("ply", run, tmp_path / "cloud.ply", spacing=0.0)
    places = MOVE.points(torch.from_numpy(read_points(tmp_path / "cloud.ply")[0]).double())
    assert len(places) > 100
    assert (places[:, 2] + 4).abs().max() < 0.2
    export("mesh", run, tmp_path / "m.ply", resolution=32, min_views=1)
    wall = MOVE.points(torch.from_numpy(np.array(trimesh.load(tmp_path / "m.ply").vertices)))
    assert (wall[:, 2] + 4).abs().median() < 0.02


# ---------------------------------------------------------------------- refusals


@pytest.mark.parametrize("name", ["mesh", "ply", "grid"])
def test_a_field_that_has_learned_nothing_is_said_to_be_empty(tmp_path, name, snapshot):
    with pytest.raises(DataError) as refusal:
        export(name, loaded(tmp_path, Ball(density=0.0)), tmp_path / "out.ply")
    snapshot(f"nothing_in_{name}", str(refusal.value))
    assert not (tmp_path / "out.ply").exists()


@pytest.mark.parametrize("name", ["mesh", "ply", "grid"])
def test_a_fog_that_fills_all_of_space_is_no_scene(tmp_path, name, snapshot):
    class Fog(Ball):
        def radiance(self, positions, directions):
            return torch.full_like(positions[:, 0], 2.0), torch.full_like(positions, 0.5)

    with pytest.raises(DataError) as refusal:
        export(name, loaded(tmp_path, Fog()), tmp_path / "out.ply")
    snapshot("fog", str(refusal.value))


@pytest.mark.parametrize("name", ["mesh", "grid"])
def test_a_box_with_nothing_in_it_tells_what_densities_there_are(tmp_path, name, snapshot):
    x, y, z = CENTRE.tolist()
    with pytest.raises(DataError) as refusal:
        export(
            name, loaded(tmp_path, Ball()), tmp_path / "out.ply",
            resolution=8, box=(x + 1.3, y, z, x + 1.6, y + 0.3, z + 0.3),
        )  # fmt: skip
    snapshot(f"empty_box_{name}", str(refusal.value))


def test_a_box_that_is_full_has_no_surface(tmp_path, snapshot):
    x, y, z = CENTRE.tolist()
    with pytest.raises(DataError) as refusal:
        export(
            "mesh", loaded(tmp_path, Ball()), tmp_path / "out.ply",
            resolution=8, box=(x, y, z, x + 0.3, y + 0.3, z + 0.3),
        )  # fmt: skip
    snapshot("full_box", str(refusal.value))


def test_a_box_that_no_camera_looks_into_is_refused(tmp_path, snapshot):
    with pytest.raises(DataError) as refusal:
        export(
            "mesh", loaded(tmp_path, Ball()), tmp_path / "out.ply", resolution=8,
            box=(100.0, 100.0, 100.0, 101.0, 101.0, 101.0),
        )  # fmt: skip
    snapshot("box_out_of_sight", str(refusal.value))


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        (MeshOptions, {"resolution": 3}),
        (MeshOptions, {"resolution": 100_000}),
        (MeshOptions, {"threshold": 0.0}),
        (MeshOptions, {"box": (1.0, 0.0, 0.0, 0.0, 1.0, 1.0)}),
        (MeshOptions, {"min_views": -1}),
        (MeshOptions, {"min_share": 2.0}),
        (CloudOptions, {"views": 0}),
        (CloudOptions, {"width": 0}),
        (CloudOptions, {"spacing": -1.0}),
        (CloudOptions, {"min_opacity": 1.5}),
        (GridOptions, {"min_alpha": 0.0}),
    ],
    ids=str,
)
def test_impossible_options_are_refused(options, wrong, snapshot):
    with pytest.raises(ConfigError) as refusal:
        options(**wrong)
    (name, value), *_ = wrong.items()
    shown = "_".join(f"{number:g}" for number in value) if isinstance(value, tuple) else f"{value:g}"
    snapshot(f"option_{name}_{shown}", str(refusal.value))


def test_photographs_that_are_gone_are_named(tmp_path, snapshot):
    with pytest.raises(DataError) as refusal:
        export("cameras", loaded(tmp_path, Ball()), tmp_path / "out")
    snapshot("photographs_gone", str(refusal.value))


def test_a_missing_extra_is_named(tmp_path, monkeypatch, snapshot):
    monkeypatch.setitem(sys.modules, "trimesh", None)
    with pytest.raises(MissingExtra) as refusal:
        export("mesh", loaded(tmp_path, Ball()), tmp_path / "m.ply", resolution=8)
    snapshot("without_trimesh", str(refusal.value))


def test_every_format_says_what_it_writes_and_explains_its_options():
    from rayformer.core.config import field_docs

    for name, one in SCENE_EXPORTS.items():
        assert one.does, name
        assert all(doc.help for doc in field_docs(one.options).values()), name
    assert field_docs(CameraOptions())["photos"].default is True
