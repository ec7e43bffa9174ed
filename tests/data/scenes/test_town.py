"""The drawn town is exact: distances, shadows and colours agree with one another and with closed forms."""

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from rayformer.data.scenes import town as town_module
from rayformer.data.scenes import town_rays
from rayformer.data.scenes.read import read_scene
from rayformer.data.scenes.scene import SceneConfig
from rayformer.data.scenes.town import (
    BLOCK,
    EXPOSURES,
    LIGHTS,
    STOP,
    Town,
    draw_town,
    drive,
    raise_town,
    srgb,
    town,
)
from rayformer.data.scenes.town_rays import BALL, GROUND, HOUSE, POST, SKY, THING
from rayformer.geometry.cameras import project
from rayformer.geometry.rays import camera_rays

WIDTH = 24
DOME = (0.0, 0.0, 0.0, 100.0)
DOUBLE = torch.float64


@pytest.fixture(scope="module")
def street():
    return town(1)


@pytest.fixture(scope="module")
def shots():
    return list(drive(1, WIDTH))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return draw_town(tmp_path_factory.mktemp("town"), blocks=1, width=WIDTH)


def only(**numbers) -> Town:
    """A town in which one thing stands."""
    plain = {"kind": HOUSE, "cos": 1.0, "along": 1.0, "across": 1.0, "height": 1.0}
    thing = np.zeros(1, THING)
    for name, value in (plain | numbers).items():
        thing[name] = value
    return Town(thing, DOME)


def drawn_rays(count: int, seed: int = 0, spread: float = 3.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Rays that begin on a sphere of radius 20 and pass the origin within about `spread`."""
    draw = torch.Generator().manual_seed(seed)
    start = torch.randn(count, 3, generator=draw, dtype=DOUBLE)
    start[:, 2] = start[:, 2].abs()
    start = 20 * start / start.norm(dim=1, keepdim=True)
    target = spread * (2 * torch.rand(count, 3, generator=draw, dtype=DOUBLE) - 1)
    way = target - start
    return start, way / way.norm(dim=1, keepdim=True)


def rays_of(cameras) -> tuple[torch.Tensor, torch.Tensor]:
    rays = [camera_rays(camera, dtype=DOUBLE) for camera in cameras]
    return torch.cat([each.origins for each in rays]), torch.cat([each.directions for each in rays])


def inside(thing: np.void, places: torch.Tensor) -> torch.Tensor:
    """How deep places lie inside a thing: a slow twin of the planes that rays are cut by."""
    x, y, z = (places - torch.tensor([thing["x"], thing["y"], thing["base"]])).unbind(-1)
    u, v = thing["cos"] * x + thing["sin"] * y, thing["cos"] * y - thing["sin"] * x
    along, across, height, rise = (float(thing[name]) for name in ("along", "across", "height", "rise"))
    if thing["kind"] == BALL:
        return along - torch.stack([u, v, z - along]).norm(dim=0)
    if thing["kind"] == POST:
        return torch.stack([along - torch.hypot(u, v), z, height - z]).amin(dim=0)
    ridge, half = (u, along) if thing["gabled"] else (v, across)
    roof = height + rise * (1 - ridge.abs() / half) - z
    return torch.stack([along - u.abs(), across - v.abs(), z, roof]).amin(dim=0)


# ------------------------------------------------------------------------------------------ rays


def test_the_distance_to_a_box_is_that_of_the_nearest_plane_whose_point_lies_in_it():
    box = only(x=0.4, y=-0.3, along=2.0, across=1.5, height=2.5, cos=math.cos(0.4), sin=math.sin(0.4))
    origins, directions = drawn_rays(4000)
    hits = box.surface(origins, directions)
    c, s = math.cos(0.4), math.sin(0.4)
    turn = torch.tensor([[c, -s, 0], [s, c, 0], [0, 0, 1]], dtype=DOUBLE)
    middle = torch.tensor([0.4, -0.3, 1.25], dtype=DOUBLE)
    half = torch.tensor([2.0, 1.5, 1.25], dtype=DOUBLE)
    start, way = (origins - middle) @ turn, directions @ turn
    best = torch.full_like(hits.distance, math.inf)
    for axis in range(3):
        for side in (-1, 1):
            t = (side * half[axis] - start[:, axis]) / way[:, axis]
            place = start + t[:, None] * way
            within = ((place.abs() <= half) | (torch.arange(3) == axis)).all(dim=1)
            best = torch.where(within & (t > 0) & (t < best), t, best)
    ground = torch.where(directions[:, 2] < 0, -origins[:, 2] / directions[:, 2], math.inf)
    met = best < ground
    assert 0.1 < met.double().mean() < 0.9
    assert torch.equal(hits.which == 0, met)
    assert torch.allclose(hits.distance[met], best[met], rtol=0, atol=1e-9)


def test_the_distance_to_a_ball_is_that_of_the_closed_form():
    ball = only(kind=BALL, x=0.2, y=0.5, base=0.4, along=1.3)
    origins, directions = drawn_rays(2000)
    hits = ball.surface(origins, directions)
    away = origins - torch.tensor([0.2, 0.5, 1.7], dtype=DOUBLE)
    along = (away * directions).sum(dim=1)
    root = along**2 - (away**2).sum(dim=1) + 1.3**2
    met = hits.which == 0
    assert met.sum() > 200
    assert torch.allclose(hits.distance[met], (-along - root.sqrt())[met], rtol=0, atol=1e-9)
    assert (root[hits.which == SKY] <= 0).all()


@pytest.mark.parametrize(
    "numbers",
    [
        {"height": 2.0, "rise": 1.5, "along": 2.0, "cos": math.cos(1.0), "sin": math.sin(1.0)},
        {"height": 2.0, "rise": 1.5, "across": 2.0, "gabled": 1, "y": 0.5},
        {"kind": POST, "height": 3.0, "along": 0.7, "base": 0.2},
        {"kind": BALL, "base": 0.5},
    ],
    ids=["roof along the front", "gable to the front", "post", "ball"],
)
def test_a_ray_ends_on_the_skin_of_a_thing_and_is_outside_all_the_way(numbers):
    one = only(**numbers)
    origins, directions = drawn_rays(3000, seed=1)
    hits = one.surface(origins, directions)
    met = hits.which == 0
    assert 100 < met.sum() < 2900
    ends = origins + hits.distance[:, None] * directions
    assert inside(one.things[0], ends[met]).abs().max() < 1e-9
    for share in torch.linspace(0.5, 0.999, 60, dtype=DOUBLE):
        assert inside(one.things[0], origins + share * hits.distance[:, None] * directions).max() < 1e-9


def test_in_a_whole_town_rays_end_on_skins_and_pass_through_nothing(street, shots):
    origins, directions = rays_of(shot.camera for shot in shots[::7])
    hits = street.surface(origins, directions)
    ends = origins + hits.distance[:, None] * directions
    for number, thing in enumerate(street.things):
        met = hits.which == number
        assert (inside(thing, ends[met]).abs() < 1e-9).all()
        for share in (0.2, 0.4, 0.6, 0.8, 0.9, 0.99):
            assert inside(thing, origins + share * hits.distance[:, None] * directions).max() < 1e-9
    assert ends[hits.which == GROUND][:, 2].abs().max() < 1e-9
    dome = torch.from_numpy(street.dome)
    assert ((ends[hits.which == SKY] - dome[:3]).norm(dim=1) - dome[3]).abs().max() < 1e-9
    assert all((hits.which == kind).any() for kind in (GROUND, SKY))


def test_the_cells_hide_no_thing_from_any_ray(street):
    """Each ray meets what it would meet if every thing were asked by itself."""
    draw = torch.Generator().manual_seed(3)
    origins = torch.rand(1500, 3, generator=draw, dtype=DOUBLE) * torch.tensor([90.0, 60.0, 9.0])
    origins -= torch.tensor([35.0, 30.0, 0.0])
    directions = torch.randn(1500, 3, generator=draw, dtype=DOUBLE)
    directions[:300, 0] = 0.0
    directions /= directions.norm(dim=1, keepdim=True)
    found = street.surface(origins, directions).distance
    alone = [Town(street.things[[row]], tuple(street.dome)) for row in range(len(street.things))]
    slow = torch.stack([each.surface(origins, directions).distance for each in alone]).amin(dim=0)
    assert torch.allclose(found, slow, rtol=0, atol=1e-9)


def test_a_place_that_a_camera_sees_is_met_by_another_camera_at_its_distance_or_hidden(street, shots):
    morning, evening = shots[3].camera, shots[len(shots) // 2 + 3].camera
    rays = camera_rays(morning, dtype=DOUBLE)
    places = rays.points(street.depth(morning).reshape(-1, 1))[:, 0]
    pixels, deep = project(evening, places)
    again = camera_rays(evening, pixels[deep > 0], dtype=DOUBLE)
    found = street.surface(again.origins, again.directions).distance
    true = (places[deep > 0] - again.origins).norm(dim=1)
    assert (found <= true + 1e-6).all()
    assert ((found - true).abs() < 1e-6).double().mean() > 0.4


# ------------------------------------------------------------------------------------------ visibility


def test_visibility_is_the_same_both_ways(street):
    draw = torch.Generator().manual_seed(5)
    places = torch.rand(60, 3, generator=draw, dtype=DOUBLE) * torch.tensor([30.0, 26.0, 6.0])
    places -= torch.tensor([7.0, 13.0, 0.0])
    seen = torch.stack([street.visibility(place, places) for place in places])
    assert torch.equal(seen, seen.T)
    assert 0.1 < seen.double().mean() < 0.9


def test_what_a_camera_sees_is_visible_and_what_lies_behind_it_is_not(street, shots):
    for shot in shots[1::9]:
        rays = camera_rays(shot.camera, dtype=DOUBLE)
        hits = street.surface(rays.origins, rays.directions)
        solid = hits.which != SKY
        for share in (0.5, 1.0):
            places = rays.origins + share * hits.distance[:, None] * rays.directions
            assert street.visibility(shot.camera.position, places).all()
        behind = (rays.origins + (hits.distance[:, None] + 0.02) * rays.directions)[solid]
        steep = behind[:, 2] < -0.0011  # a flat ray is not yet a millimetre under the ground
        assert not street.visibility(shot.camera.position, behind[steep]).any()
        things = (hits.which >= 0)[solid]
        assert street.visibility(shot.camera.position, behind[things]).double().mean() < 0.05


def test_taking_away_what_stands_in_the_way_makes_a_place_visible():
    wall = only(x=5.0, along=0.5, across=2.5, height=3.0)
    post = only(x=2.0, kind=POST, along=0.2, height=3.0)
    both = Town(np.concatenate([wall.things, post.things]), DOME)
    here, there = torch.tensor([0.0, 0, 1]), torch.tensor([[10.0, 0, 1], [10.0, 6, 1], [3.0, 0, 1]])
    assert both.visibility(here, there).tolist() == [False, True, False]
    assert both.without(0).visibility(here, there).tolist() == [False, True, False]
    assert both.without(1).visibility(here, there).tolist() == [False, True, True]
    assert wall.visibility(here, there).tolist() == [False, True, True]


# ------------------------------------------------------------------------------------------ light


def test_exposure_is_a_factor_of_linear_light(street, shots):
    for shot in shots[:6]:
        linear = street.linear_picture(shot.camera, shot.light)
        for exposure in EXPOSURES:
            stored = torch.from_numpy(street.picture(shot.camera, shot.light, exposure)).double() / 255
            wanted = (exposure * linear).clamp(max=1)
            assert (stored - srgb(wanted)).abs().max() <= 0.5 / 255 + 1e-9
            curved = ((stored + 0.055) / 1.055) ** 2.4
            open_to = (stored > 0.05) & (stored < 1)
            assert (curved / exposure - linear)[open_to].abs().max() < 0.012 / exposure
            assert open_to.double().mean() > 0.5


def test_bright_photographs_are_cut_off_and_dark_ones_are_not(street, shots):
    ahead = shots[1].camera
    shares = [(street.picture(ahead, "morning", exposure) == 255).mean() for exposure in sorted(EXPOSURES)]
    assert shares[0] == 0
    assert 0.02 < shares[2] < 0.6


def test_two_drives_see_one_town_in_different_light(street, shots):
    """The same camera in both lights: what is in shadow in both differs as the skies do, by one factor."""
    camera = shots[4].camera
    morning, evening = (street.linear_picture(camera, name, supersampling=1) for name in LIGHTS)
    assert (morning - evening).abs().mean() > 0.03
    rays = camera_rays(camera, dtype=DOUBLE)
    hits = street.surface(rays.origins, rays.directions)
    flat = hits.which == GROUND
    places = (rays.origins + hits.distance[:, None] * rays.directions)[flat]
    shaded = []
    for light in LIGHTS.values():
        sun = torch.from_numpy(light.rows()[0])
        above = places + torch.tensor([0.0, 0, 1e-3])
        shaded.append(street.surface(above, sun.expand_as(above)).which != SKY)
    for dark, light, picture in zip(shaded, LIGHTS.values(), (morning, evening), strict=True):
        rows = torch.from_numpy(light.rows())
        sky, sun = rows[4] * rows[2], rows[4] * (rows[2] + rows[0, 2] * rows[1])
        paint = picture.reshape(-1, 3)[flat] / torch.where(dark[:, None], sky, sun)
        if light is LIGHTS["morning"]:
            first = paint
        else:
            assert torch.allclose(paint, first, rtol=1e-9, atol=1e-12)
    assert 0.02 < torch.stack(shaded).double().mean() < 0.95
    assert (shaded[0] != shaded[1]).double().mean() > 0.05


def test_a_shadow_lies_away_from_the_sun():
    post = only(kind=POST, along=0.5, height=4.0)
    for name, light in LIGHTS.items():
        sun = torch.from_numpy(light.rows()[0])
        away = -sun[:2] / sun[:2].norm()
        places = torch.stack([torch.cat([side * 1.5 * away, torch.tensor([0.05])]) for side in (1, -1)])
        down = torch.tensor([[0.0, 0, -1], [0.0, 0, -1]], dtype=DOUBLE)
        hits = post.surface(places, down)
        assert (hits.which == GROUND).all()
        clear = post.surface(places, sun.expand(2, 3)).which == SKY
        assert clear.tolist() == [False, True]
        bare, shown = (each.radiance(places, down, name) for each in (only(x=50.0), post))
        assert torch.allclose(bare[1], shown[1])
        assert (shown[0] < 0.8 * bare[0]).all()


def test_light_is_never_negative_and_paint_never_gives_more_than_comes(street, shots):
    origins, directions = rays_of(shot.camera for shot in shots[::5])
    for name in LIGHTS:
        colour = street.radiance(origins, directions, name)
        assert colour.min() >= 0
        assert colour.max() < 2
        assert colour.std(dim=0).min() > 0.1


# ------------------------------------------------------------------------------------------ the drive


def test_no_held_out_view_is_a_training_view():
    shots = list(drive(4))
    train = torch.stack([shot.camera.position for shot in shots if shot.split == "train"])
    held_out = [shot for shot in shots if shot.split == "test"]
    assert {shot.light for shot in held_out} == set(LIGHTS)
    assert {shot.exposure for shot in held_out} == set(EXPOSURES)
    assert 0.1 < len(held_out) / len(shots) < 0.2
    for shot in held_out:
        assert (train - shot.camera.position).norm(dim=1).min() > STOP / 2


def test_cameras_stand_in_the_open_above_the_road_and_go_along_it():
    street = town(2)
    for name in LIGHTS:
        places = torch.stack([s.camera.position for s in drive(2) if s.light == name and "ahead" in s.name])
        assert (places[:, 0].diff() > 0.5 * STOP).all()
        assert places[:, 0].min() >= 0
        assert places[:, 0].max() < 2 * BLOCK + STOP
        for place in places:
            assert all(inside(thing, place[None]).item() < -0.3 for thing in street.things)
    turned = {shot.name: shot.camera.direction for shot in drive(1) if shot.name.startswith("morning/000")}
    assert turned["morning/000_left.png"][1] > 0.8 > -0.8 > turned["morning/000_right.png"][1]


def test_a_longer_town_begins_as_a_shorter_one():
    short, long = raise_town(BLOCK), raise_town(4 * BLOCK)
    begins = {thing.tobytes() for thing in long[long["x"] < 2 * BLOCK]}
    assert all(thing.tobytes() in begins for thing in short[short["x"] < 2 * BLOCK])
    assert len(long) > len(short) + 20


def test_houses_do_not_stand_in_the_road_nor_in_each_other():
    things = raise_town(4 * BLOCK)
    tall = things[(things["kind"] == HOUSE) & (things["rise"] > 0)]
    corners = torch.tensor([[1.0, 1], [1, -1], [-1, -1], [-1, 1]], dtype=DOUBLE)
    for number, house in enumerate(tall):
        u, v = (corners * torch.tensor([house["along"], house["across"]])).T
        x = house["x"] + house["cos"] * u - house["sin"] * v
        y = house["y"] + house["sin"] * u + house["cos"] * v
        places = torch.stack([x, y, torch.full_like(x, 1.0)], dim=1)
        for other in np.delete(tall, number):
            assert inside(other, places).max() < 0
        if -40 < house["x"] < 4 * BLOCK + 40:
            for place in places.tolist():
                assert abs(place[1] - town_rays.road_offset(place[0])[0]) > town_rays.PAVEMENT


# ------------------------------------------------------------------------------------------ the files


def test_the_same_town_is_the_same_bytes(tmp_path, folder):
    again = draw_town(tmp_path / "again", blocks=1, width=WIDTH)
    files = sorted(path.relative_to(folder) for path in folder.rglob("*.*"))
    assert len(files) == 1 + 2 * 3 * round(BLOCK / STOP)
    assert all((folder / file).read_bytes() == (again / file).read_bytes() for file in files)


def test_the_reader_finds_cameras_exposures_lights_and_split(folder, shots):
    scene = read_scene(SceneConfig(source=str(folder), normalise=False))
    by_name = {view.name: view for view in scene.views}
    assert len(by_name) == len(shots)
    for shot in shots:
        view = by_name[shot.name]
        assert torch.allclose(view.camera.pose, shot.camera.pose, rtol=0, atol=1e-12)
        assert view.camera.fx == pytest.approx(shot.camera.fx, rel=1e-12)
        assert (view.exposure, view.light, view.split) == (shot.exposure, shot.light, shot.split)
    assert scene.background is None
    assert not scene.forward_facing


def test_a_normalised_town_is_upright_round_the_origin_and_goes_back_to_metres(folder, shots):
    scene = read_scene(SceneConfig(source=str(folder)))
    places = torch.stack([view.camera.position for view in scene.views])
    assert places.norm(dim=1).max() == pytest.approx(1, abs=1e-6)
    up = scene.normalisation.rotation @ torch.tensor([0.0, 0, 1], dtype=DOUBLE)
    assert up[2] > 0.995
    back = scene.normalisation.inverse().points(places)
    wanted = {shot.name: shot.camera.position for shot in shots}
    for view, place in zip(scene.views, back, strict=True):
        assert torch.allclose(place, wanted[view.name], rtol=0, atol=1e-9)
    assert scene.near > 0.02  # nothing but air so near to a camera


def test_distances_in_the_file_are_those_of_the_pictures(folder, street, shots):
    frames = json.loads((folder / "transforms.json").read_text())["frames"]
    for shot, frame in list(zip(shots, frames, strict=True))[::5]:
        seen = street.depth(shot.camera)
        assert (frame["near"], frame["far"]) == (seen.min().item(), seen.max().item())
        with Image.open(folder / shot.name) as image:
            assert (image.mode, image.size) == ("RGB", (WIDTH, round(WIDTH * town_module.SHAPE)))
