"""The drawn scene is exact: its pictures, depths and colours agree with one another and with closed forms."""

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from rayformer.data.scenes.read import read_scene
from rayformer.data.scenes.scene import SceneConfig
from rayformer.data.scenes.still_life import (
    BALL_CENTRE,
    BALL_IN_RING,
    BALL_IN_RING_RADIUS,
    BALL_POINT,
    BALL_RADIUS,
    CAMERA_ANGLE_X,
    FAR,
    MARBLE,
    MARBLE_RADIUS,
    NEAR,
    NOTHING,
    SOLIDS,
    TABLE_RADIUS,
    TABLE_THICKNESS,
    depth,
    draw_still_life,
    picture,
    radiance,
    still_life_views,
    surface,
    trace,
)
from rayformer.geometry.cameras import project
from rayformer.geometry.rays import camera_rays

SIZE = 24
BALLS = {0: (BALL_CENTRE, BALL_RADIUS), 5: (BALL_IN_RING, BALL_IN_RING_RADIUS), 6: (MARBLE, MARBLE_RADIUS)}


@pytest.fixture(scope="module")
def views():
    return still_life_views(SIZE, train=6, val=2, test=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return draw_still_life(tmp_path_factory.mktemp("scene"), size=SIZE, train=3, val=1, test=2)


def rays_of(cameras):
    rays = [camera_rays(camera, dtype=torch.float64) for camera in cameras]
    return torch.cat([each.origins for each in rays]), torch.cat([each.directions for each in rays])


def directions_from_above(count: int, seed: int = 0) -> torch.Tensor:
    """Unit viewing directions that travel downwards, evenly over the hemisphere."""
    drawn = torch.randn(count, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    drawn[:, 2] = -drawn[:, 2].abs()
    return drawn / drawn.norm(dim=1, keepdim=True)


def test_distances_to_the_balls_are_those_of_the_closed_form(views):
    origins, directions = rays_of(views["train"])
    distance, which = trace(origins.T.contiguous(), directions.T.contiguous())
    for number, (centre, radius) in BALLS.items():
        met = which == number
        assert met.sum() > 2
        away = origins[met] - torch.tensor(centre)
        along = (away * directions[met]).sum(dim=1)
        root = along**2 - (away**2).sum(dim=1) + radius**2
        assert torch.allclose(distance[met], -along - root.sqrt(), rtol=0, atol=1e-6)


def test_no_ray_passes_through_a_solid_and_every_one_ends_on_a_surface(views):
    origins, directions = rays_of(views["test"])
    distance, which = trace(origins.T.contiguous(), directions.T.contiguous())
    hit = which != NOTHING
    reach = torch.where(hit, distance, 7.0)

    def inside(share: float) -> torch.Tensor:
        places = (origins + share * reach[:, None] * directions).T.contiguous()
        return torch.stack([solid.shape.distance(places) for solid in SOLIDS]).amin(dim=0)

    for share in np.linspace(0.4, 0.999, 150):
        assert inside(share).min() > -1e-6
    assert inside(1.0)[hit].abs().max() < 1e-6
    assert 0.2 < hit.double().mean() < 0.8


def test_signed_distances_never_promise_more_than_the_way():
    generator = torch.Generator().manual_seed(0)
    first, second = (3 * torch.rand(2, 3, 5000, generator=generator, dtype=torch.float64) - 1.5).unbind()
    near = first + 0.01 * second
    for solid in SOLIDS:
        for other in (second, near):
            change = (solid.shape.distance(first) - solid.shape.distance(other)).abs()
            assert (change <= (first - other).norm(dim=0) + 1e-9).all(), solid.name


def test_two_cameras_agree_on_where_things_are(views):
    """A place seen by one camera is met by the other at the same distance, or hidden by something nearer."""
    one, other = views["train"][:2]
    rays = camera_rays(one, dtype=torch.float64)
    seen = depth(one).reshape(-1)
    places = (rays.origins + seen[:, None] * rays.directions)[seen.isfinite()]
    pixels, _ = project(other, places)
    again = camera_rays(other, pixels, dtype=torch.float64)
    _, found, _ = surface(again.origins, again.directions)
    true = (places - again.origins).norm(dim=1)
    assert (found <= true + 1e-4).all()
    assert ((found - true).abs() < 1e-4).double().mean() > 0.1


def test_float32_rays_find_the_same_distances(views):
    origins, directions = rays_of(views["val"])
    _, exact, _ = surface(origins, directions)
    _, found, _ = surface(origins.float(), directions.float())
    both = exact.isfinite() & found.isfinite()
    assert (exact.isfinite() == found.isfinite()).double().mean() > 0.99
    assert (exact[both] - found[both]).abs().quantile(0.99) < 1e-3


def test_everything_lies_between_near_and_far(views):
    for camera in [camera for split in views.values() for camera in split]:
        seen = depth(camera)
        assert seen.min() > NEAR
        assert seen[seen.isfinite()].max() < FAR


def test_a_ray_beside_the_table_sees_nothing():
    hit, distance, colour = surface(
        torch.tensor([[4.0, 0, 1], [0, 0, 3]]), torch.tensor([[0.0, 0, 1], [1.0, 0, 0]])
    )
    assert not hit.any()
    assert distance.isinf().all()
    assert (colour == 0).all()


def test_colours_are_colours(views):
    hit, _, colour = surface(*rays_of(views["train"]))
    assert colour.min() >= 0
    assert colour.max() <= 1
    assert colour[hit].std() > 0.15


def test_radiance_is_the_colour_that_a_ray_to_the_point_sees(views):
    origins, directions = rays_of(views["train"][:1])
    hit, distance, colour = surface(origins, directions)
    for index in hit.nonzero().squeeze(-1)[::17]:
        place = origins[index] + distance[index] * directions[index]
        assert torch.allclose(radiance(place, directions[index][None])[0], colour[index], atol=1e-4)


def test_the_glossy_ball_changes_with_the_view_and_the_block_does_not():
    point = torch.tensor(BALL_POINT, dtype=torch.float64)
    outward = (point - torch.tensor(BALL_CENTRE, dtype=torch.float64)) / BALL_RADIUS
    directions = directions_from_above(500)
    directions = directions[directions @ outward < -0.1]
    assert radiance(point, directions).std(dim=0).mean() > 0.12
    assert radiance(point, directions).max() > 0.95
    on_block = torch.tensor([-0.5, -0.42, 0.54], dtype=torch.float64)
    assert radiance(on_block, directions).std(dim=0).max() < 1e-9


def test_the_highlight_lies_where_the_sun_is_mirrored():
    from rayformer.data.scenes.still_life import LIGHT

    point = torch.tensor(BALL_POINT, dtype=torch.float64)
    outward = (point - torch.tensor(BALL_CENTRE, dtype=torch.float64)) / BALL_RADIUS
    sun = torch.tensor(LIGHT.sun, dtype=torch.float64)
    mirrored = 2 * (sun @ outward) * outward - sun
    directions = directions_from_above(4000)
    directions = directions[directions @ outward < -0.1]
    warmth = radiance(point, directions).sum(dim=1)
    brightest = -directions[warmth >= warmth.quantile(0.99)].mean(dim=0)
    assert brightest @ mirrored / brightest.norm() / mirrored.norm() > math.cos(math.radians(12))


def test_shadows_lie_away_from_the_sun():
    """Two like squares of the table: dark behind the column as the sun sees it, bright beside it."""
    down = torch.tensor([[0.0, 0, -1]])
    dark, bright = (surface(torch.tensor([[x, 0.72, 3.0]]), down)[2].mean() for x in (-0.73, -0.73 + 0.64))
    assert dark < 0.75 * bright


def test_every_solid_lies_inside_its_bound():
    generator = torch.Generator().manual_seed(0)
    places = 3 * torch.rand(3, 200_000, generator=generator) - 1.5
    for solid in SOLIDS:
        inside = places[:, (solid.shape.distance(places) < 0) & (places[2] >= -TABLE_THICKNESS)]
        assert inside.shape[1] > 20
        away = (inside - torch.tensor(solid.shape.centre)[:, None]).norm(dim=0)
        assert away.max() <= solid.shape.reach + 1e-6, solid.name


def test_a_picture_is_the_mean_of_its_rays(views):
    camera = views["test"][0]
    rays = camera_rays(camera)
    hit, _, colour = surface(rays.origins, rays.directions)
    plain = picture(camera, supersampling=1)
    assert np.array_equal(plain[..., 3] == 255, hit.reshape(SIZE, SIZE).numpy())
    assert np.abs(plain[..., :3] / 255 - colour.reshape(SIZE, SIZE, 3).numpy()).max() < 0.003
    fine = picture(camera, supersampling=2)
    assert np.abs(fine.astype(int) - plain).mean() < 12
    assert 0 < ((fine[..., 3] > 0) & (fine[..., 3] < 255)).mean() < 0.2


def test_the_same_seed_draws_the_same_bytes(tmp_path, folder):
    again = draw_still_life(tmp_path / "again", size=SIZE, train=3, val=1, test=2)
    files = sorted(path.relative_to(folder) for path in folder.rglob("*.*"))
    assert len(files) == 3 + 6
    assert all((folder / file).read_bytes() == (again / file).read_bytes() for file in files)


def test_another_seed_places_other_cameras():
    one, other = (still_life_views(8, 3, 1, 1, seed)["train"][0].pose for seed in (0, 1))
    assert not torch.equal(one, other)


def test_no_held_out_view_is_a_training_view():
    cameras = still_life_views()
    train = torch.stack([camera.position for camera in cameras["train"]])
    for camera in [*cameras["val"], *cameras["test"]]:
        assert (train - camera.position).norm(dim=1).min() > 0.05


def test_cameras_fill_the_dome_and_look_inwards():
    cameras = still_life_views()["train"]
    places = torch.stack([camera.position for camera in cameras])
    rise = torch.rad2deg(torch.asin(places[:, 2] / places.norm(dim=1)))
    assert 12 < rise.min() < 20
    assert 60 < rise.max() < 70
    turns = torch.atan2(places[:, 1], places[:, 0]).sort().values
    assert turns.diff().max() < 0.5
    assert all(camera.direction @ -camera.position / camera.position.norm() > 0.98 for camera in cameras)


def test_the_files_are_those_of_a_blender_scene(folder):
    transforms = json.loads((folder / "transforms_train.json").read_text())
    assert transforms["camera_angle_x"] == CAMERA_ANGLE_X
    cameras = still_life_views(SIZE, 3, 1, 2)["train"]
    for frame, camera in zip(transforms["frames"], cameras, strict=True):
        assert torch.equal(torch.tensor(frame["transform_matrix"], dtype=torch.float64), camera.pose)
        image = Image.open(folder / f"{frame['file_path']}.png")
        assert (image.mode, image.size) == ("RGBA", (SIZE, SIZE))
        assert image.getpixel((0, 0))[3] == 0


def test_our_own_reader_finds_the_cameras_exactly(folder):
    scene = read_scene(SceneConfig(source=str(folder), normalise=False))
    cameras = still_life_views(SIZE, 3, 1, 2)
    for split, wanted in cameras.items():
        for view, camera in zip(scene.split(split), wanted, strict=True):
            assert torch.allclose(view.camera.pose, camera.pose, atol=1e-12)
            assert view.camera.fx == pytest.approx(camera.fx, rel=1e-12)
    assert (scene.near, scene.far) == (NEAR, FAR)


def test_drawing_leaves_the_number_of_threads_alone(tmp_path):
    before = torch.get_num_threads()
    draw_still_life(tmp_path, size=4, train=1, val=0, test=0)
    assert torch.get_num_threads() == before


def test_nothing_lies_beyond_the_table(views):
    origins, directions = rays_of(views["train"])
    hit, distance, _ = surface(origins, directions)
    places = (origins + distance[:, None] * directions)[hit]
    assert places.norm(dim=1).max() < TABLE_RADIUS + 0.04
