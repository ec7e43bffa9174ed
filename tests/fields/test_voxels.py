"""Voxels: matter whose picture is known exactly, directions told apart, coarse to fine."""

import math

import pytest
import torch
import torch.nn.functional as F

from rayformer.core.errors import ConfigError
from rayformer.encodings.spherical_harmonics import SphericalHarmonics
from rayformer.fields.parts.scene_field import ChangingField, SceneField
from rayformer.fields.voxels import Voxels, VoxelsConfig
from rayformer.geometry.rays import Rays
from rayformer.kernels.marching import Space

BOX = Space((0.0, 0.0, 0.0), 1.0)
EVERYWHERE = Space((0.0, 0.0, 0.0), 1.0, contracted=True)
KINDS = ("plenoxels", "dvgo", "table")
TINY = {"sides": (9, 17), "grow_at": (4,), "cells": 16, "features": 4, "width": 8, "bins": (3, 4), "every": 2}
every_kind = pytest.mark.parametrize("kind", KINDS)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def tiny(kind="plenoxels", space=BOX, alive=0.0, **changes) -> Voxels:
    torch.manual_seed(0)
    voxels = Voxels(VoxelsConfig(kind=kind, **{**TINY, **changes}), space)
    if alive:
        for table in voxels.field.grid.tables.values():
            table.data += alive * torch.randn(table.shape)
    return voxels


def drawn_rays(count=8, seed=0) -> Rays:
    """Rays from round (0, 0, 4) towards places round the origin."""
    source = generator(seed)
    origins = torch.tensor([0.0, 0.0, 4.0]) + 0.2 * torch.randn(count, 3, generator=source)
    targets = 0.8 * (2 * torch.rand(count, 3, generator=source) - 1)
    directions = F.normalize(targets - origins, dim=-1)
    return Rays(origins, directions, directions, torch.full((count,), 2.0), torch.full((count,), 8.0))


def chords(rays: Rays, half: float = 1.0):
    """How long each ray is inside the box."""
    one, other = ((side * half - rays.origins) / rays.directions for side in (-1, 1))
    enter, leave = torch.minimum(one, other).amax(dim=-1), torch.maximum(one, other).amin(dim=-1)
    return (leave.minimum(rays.far) - enter.maximum(rays.near)).clamp(min=0)


@every_kind
def test_it_is_a_field_that_changes(kind):
    assert isinstance(tiny(kind), SceneField)
    assert isinstance(tiny(kind), ChangingField)


@every_kind
def test_before_it_has_learned_it_is_a_grey_fog_as_thick_as_was_asked_for(kind):
    voxels, rays = tiny(kind, fog=0.7, step=0.05), drawn_rays(64)
    seen = voxels.render(rays, torch.zeros(64, 3))
    wanted = 1 - torch.exp(-0.35 * chords(rays))
    torch.testing.assert_close(seen.opacity, wanted, atol=4e-3, rtol=0)
    if kind != "dvgo":  # whose network starts from random numbers
        torch.testing.assert_close(seen.colour, 0.5 * seen.opacity[:, None].expand(-1, 3), atol=3e-3, rtol=0)


@every_kind
def test_what_a_ray_shows_and_what_it_lets_through_sum_to_one(kind):
    voxels, rays = tiny(kind, alive=3.0, faint=0.0), drawn_rays(64)
    white, black = (voxels.render(rays, value * torch.ones(64, 3)) for value in (1.0, 0.0))
    torch.testing.assert_close(white.colour - black.colour, (1 - black.opacity)[:, None].expand(-1, 3))


@every_kind
def test_density_knows_no_direction_and_colour_may(kind):
    voxels, places = tiny(kind, alive=1.0), 1.8 * torch.rand(50, 3, generator=generator(1)) - 0.9
    ways = [F.normalize(torch.randn(50, 3, generator=generator(seed)), dim=-1) for seed in (2, 3)]
    (thick, red), (thin, blue) = (voxels.radiance(places, way) for way in ways)
    assert torch.equal(thick, thin)
    assert (red - blue).abs().max() > 0.01
    assert ((red >= 0) & (red <= 1)).all()


def test_outside_a_box_there_is_nothing():
    places = torch.tensor([[0.0, 0.0, 1.1], [3.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    density, _ = tiny().radiance(places, F.normalize(torch.ones(3, 3), dim=-1))
    assert (density > 0).tolist() == [False, False, True]


def test_a_direction_is_told_by_its_bin_alone():
    """As many bins as were asked for, each seen from a solid angle of its own."""
    colour = tiny("table").field.colour
    directions = F.normalize(torch.randn(4000, 3, generator=generator(4)), dim=-1)
    bins = colour.told(directions)
    assert sorted(set(bins.tolist())) == list(range(12))
    theta = torch.arccos(directions[:, 2])
    assert torch.equal(bins // 4, (3 * theta / math.pi).long())
    poles = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0], [1.0, -1e-9, 0.0]])
    assert ((colour.told(poles) >= 0) & (colour.told(poles) < 12)).all()


def test_plenoxels_colour_is_the_sum_of_its_harmonics_and_never_negative():
    voxels = tiny(alive=2.0)
    place = torch.tensor([[0.5, 0.5, 0.5]])  # a voxel stands there
    values = voxels.field.grid("colour", place).view(3, 9)
    direction = F.normalize(torch.tensor([[1.0, 2.0, -2.0]]), dim=-1)
    wanted = F.relu(values @ SphericalHarmonics(3)(direction)[0] + 0.5)
    told = voxels.field.told(direction)
    torch.testing.assert_close(voxels.field.colour_at(place, told)[0], wanted)


def test_activating_after_blending_cuts_within_a_voxel():
    """Sun et al., fig. 3: between a full voxel and an empty one there is an edge, and not a ramp."""
    voxels = tiny("dvgo", sides=(5, 9), fog=0.01)
    raw = voxels.field.grid.tables["density"].data.view(5, 5, 5)
    raw[:3], raw[3:] = 400.0, -400.0
    x = torch.linspace(0.5, 0.75, 101)
    density = voxels.field.density(torch.stack([x, x * 0 + 0.5, x * 0 + 0.5], dim=-1))
    assert (density[:50] > 0.5).all()
    assert (density[52:] < 1e-3 * density[0]).all()


# Coarse to fine.


@every_kind
@pytest.mark.parametrize("space", [BOX, EVERYWHERE])
def test_growing_changes_no_picture_by_much_and_finds_matter_again(kind, space):
    """A ball that is learned already stands in as many voxels as it needs."""
    voxels, rays = tiny(kind, space, sides=(17, 33)), drawn_rays(200)
    grid = voxels.field.grid
    axis = torch.linspace(-1, 1, 17) * (2 if space.contracted else 1)
    inside = 8 * (0.6 - torch.cartesian_prod(axis, axis, axis).norm(dim=-1))
    grid.tables["density"].data[:, 0] = inside if kind == "plenoxels" else 4 * inside
    before = voxels.render(rays, torch.zeros(200, 3)).opacity
    rows = len(grid.tables["density"])
    voxels.before_step(2, generator(), drawn_rays)
    shut = voxels.occupied.float().mean().item()
    assert 0.01 < shut < 0.5
    torch.testing.assert_close(voxels.render(rays, torch.zeros(200, 3)).opacity, before, atol=0.02, rtol=0)
    voxels.before_step(4, generator(), drawn_rays)
    assert grid.side == 33
    assert len(grid.tables["density"]) < 8 * rows / 2, "most of space is empty"
    after = voxels.render(rays, torch.zeros(200, 3)).opacity
    assert (after - before).abs().mean() < 0.01


def test_what_no_camera_sees_is_let_go():
    voxels = tiny()
    seen = torch.zeros(16, 16, 16, dtype=torch.bool)
    seen[:8] = True
    voxels.hide(seen)
    assert voxels.field.grid.kept[:5].all()
    assert not voxels.field.grid.kept[7:].any()
    density, _ = voxels.radiance(torch.tensor([[0.9, 0.0, 0.0], [-0.9, 0.0, 0.0]]), torch.eye(3)[:2])
    assert (density > 0).tolist() == [False, True]


@every_kind
def test_every_number_that_a_ray_meets_learns(kind):
    voxels, rays = tiny(kind, alive=0.5, smooth_density=0.0, smooth_colour=0.0), drawn_rays(64)
    losses = voxels.loss(rays, torch.rand(64, 3), torch.ones(64, 3), generator())
    losses.total.backward()
    assert set(losses.terms) == {"colour", "entropy", "point_colour"}
    for name, value in voxels.named_parameters():
        assert value.grad is not None, name
        assert value.grad.abs().sum() > 0, name


def test_smoothness_alone_makes_voxels_alike():
    voxels = tiny(alive=1.0, smooth_density=1.0, smooth_colour=1.0, entropy=0.0, point_colour=0.0)
    table = voxels.field.grid.tables["colour"]
    before = table.std().item()
    for step in range(30):
        losses = voxels.loss(drawn_rays(2), torch.zeros(2, 3), torch.zeros(2, 3), generator(step))
        (slope,) = torch.autograd.grad(losses.terms["smooth_colour"], table)
        table.data -= 500 * slope
    assert table.std().item() < 0.9 * before


def test_a_step_is_shorter_where_voxels_are_smaller():
    voxels = tiny()
    before = voxels.step
    voxels.field.grid.grow(17)
    assert voxels.step == pytest.approx(before / 2)


def test_a_ray_does_not_depend_on_the_rays_beside_it():
    voxels, rays = tiny(alive=2.0), drawn_rays(16)
    whole = voxels.render(rays, torch.ones(16, 3)).colour
    alone = torch.cat(
        [voxels.render(rays[number : number + 1], torch.ones(1, 3)).colour for number in range(16)]
    )
    torch.testing.assert_close(whole, alone)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("too_few_steps", {"grow_at": ()}),
        ("falling_sides", {"sides": (17, 9)}),
        ("side", {"sides": (2, 9)}),
        ("harmonics", {"harmonics": 5}),
        ("features", {"features": 0}),
        ("bins", {"bins": (0, 4)}),
        ("cells", {"cells": 10}),
        ("step", {"step": 0.0}),
        ("opaque", {"opaque": 1.0}),
        ("smooth", {"smooth_density": -1.0}),
    ],
)
def test_voxels_that_cannot_be_are_refused(name, wrong, snapshot):
    with pytest.raises(ConfigError) as refusal:
        VoxelsConfig(**{**TINY, **wrong})
    snapshot(name, str(refusal.value))
