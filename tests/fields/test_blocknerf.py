"""Block-NeRF's parts: looks change colours and nothing else, visibility learns what is to be learned, and a
street is the weighted sum of its blocks."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from rayformer.core.errors import ConfigError
from rayformer.core.seeds import generator, seeded
from rayformer.encodings.hash_grid import HashGridConfig
from rayformer.fields.blocknerf import (
    Block,
    BlockConfig,
    LitStreet,
    Photographed,
    Street,
    StreetConfig,
    Visibility,
    seen_by_both,
    transmittance,
)
from rayformer.fields.ngp import NGPConfig
from rayformer.fields.parts.occupancy import OccupancyConfig
from rayformer.fields.parts.scene_field import AppearingField, ChangingField, PictureMaker, RoundedField
from rayformer.geometry.blocks import Site
from rayformer.geometry.cameras import Camera
from rayformer.geometry.poses import look_at
from rayformer.geometry.rays import Rays, camera_rays
from rayformer.kernels.compositing import composite_packed
from rayformer.kernels.marching import Packed, Space

TRUNK = NGPConfig(
    grid=HashGridConfig(levels=3, features=2, coarsest=8, finest=32, log2_rows=9),
    occupancy=OccupancyConfig(cells=16, asked=512),
    density_width=16, places=8, colour_width=16, steps_across=24, fog=4.0,
)  # fmt: skip
SMALL = BlockConfig(code=4, deviation=1.0, visibility_width=16, visibility_depth=2)
SPACE = Space((0.0, 0.0, 0.0), 1.0, True)
TOLD = Photographed(
    codes=(0, 1, 0, 1), names=("evening", "morning"), exposures=(1.0, 0.5, 0.25, 1.0), usual=0.75
)


def block(
    seed: int = 0, config: BlockConfig = SMALL, told: Photographed = TOLD, space: Space = SPACE
) -> Block:
    with seeded(seed, "block"):
        made = Block(config, TRUNK, space, told)
        for layer in made.trunk.field.to_colour:
            if hasattr(layer, "weight"):
                layer.weight.data *= 3  # an untrained network is too timid to show what it is told
    return made


def some_rays(count: int, seed: int = 0) -> Rays:
    draw = generator(seed, "rays")
    directions = torch.nn.functional.normalize(torch.randn(count, 3, generator=draw), dim=-1)
    origins = 0.2 * torch.randn(count, 3, generator=draw)
    ends = torch.full((count,), 0.05), torch.full((count,), 6.0)
    view = torch.randint(4, (count,), generator=draw)
    return Rays(origins, directions, directions, *ends, view=view)


BLACK = torch.zeros(1, 3)


def picture(field, rays):
    with torch.no_grad():
        return field.render(rays, BLACK.expand(len(rays), 3))


# ---------------------------------------------------------------- one block


def test_a_block_is_a_field_of_every_kind_that_is_asked_for():
    made = block()
    assert isinstance(made, AppearingField)
    assert isinstance(made, ChangingField)
    assert isinstance(made, RoundedField)


def test_code_and_exposure_change_colours_and_neither_depth_nor_opacity():
    made, rays = block(), some_rays(64)
    dim, bright = (picture(made.seen(made.code_named("evening"), exposure), rays) for exposure in (0.2, 1.0))
    other = picture(made.seen(made.code_named("morning"), 1.0), rays)
    for one in (dim, other):
        assert not torch.allclose(one.colour, bright.colour, atol=1e-3)
        assert torch.equal(one.opacity, bright.opacity)
        assert torch.equal(one.depth, bright.depth)


def test_the_loss_of_a_photograph_s_rays_is_that_of_its_code_and_exposure():
    """The picture that training compares is the one that `seen` shows, ray by ray."""
    made, rays = block(), some_rays(48)
    looks = made._looks_of(rays)
    trained, _ = made.trunk.look(rays, None, looks)
    for view in range(4):
        mine = rays.view == view
        code, exposure = made.code_of(view), TOLD.exposures[view]
        with torch.enable_grad():  # the same marching as in training, not in rounds
            shown = made.seen(code, exposure).render(rays[mine], BLACK.expand(int(mine.sum()), 3))
        assert torch.allclose(shown.colour, trained.colour[mine], atol=1e-5)


def test_photographs_in_one_light_share_a_code_and_the_usual_one_is_their_mean():
    made = block()
    assert torch.equal(made.code_of(0), made.code_of(2))
    assert not torch.equal(made.code_of(0), made.code_of(1))
    assert torch.allclose(
        made.usual_code(), torch.stack([made.code_of(view) for view in range(4)]).mean(dim=0)
    )
    assert torch.equal(made.code_named("noon"), made.usual_code()), "a light it never saw"


def test_another_usual_exposure_shares_all_parameters():
    made = block()
    other = made.at(0.2)
    assert [*other.parameters()] == [*made.parameters()] or all(
        one is two for one, two in zip(other.parameters(), made.parameters(), strict=True)
    )
    rays, code = some_rays(16), made.code_named("evening")
    assert torch.equal(picture(other.in_light(code), rays).colour, picture(made.seen(code, 0.2), rays).colour)
    assert torch.equal(picture(made.in_light(code), rays).colour, picture(made.seen(code, 0.75), rays).colour)


def test_nothing_known_of_photographs_leaves_the_plain_trunk():
    made, rays = block(told=Photographed((), (), ())), some_rays(32)
    assert (made.code_size, made.look_size) == (0, 0)
    assert torch.equal(picture(made, rays).colour, picture(made.trunk, rays).colour)
    assert made.seen(made.usual_code()) is made.trunk


def test_only_codes_of_photographs_that_were_seen_get_a_gradient():
    made = block(told=replace(TOLD, codes=(0, 1, 2, 3), names=("a", "b", "c", "d")))
    rays = some_rays(64).replaced(view=torch.full((64,), 2))
    losses = made.loss(rays, torch.rand(64, 3), BLACK.expand(64, 3), generator(0, "loss"))
    losses.total.backward()
    moved = made.codes.code.grad.abs().sum(dim=1) > 0
    assert moved.tolist() == [False, False, True, False]


def test_visibility_is_learned_from_the_field_and_teaches_it_nothing():
    made, rays = block(), some_rays(64)
    losses = made.loss(rays, torch.rand(64, 3), BLACK.expand(64, 3), generator(0, "loss"))
    losses.terms["visibility"].backward()
    assert all(value.grad is None or not value.grad.any() for value in made.trunk.parameters())
    assert any(value.grad.abs().sum() > 0 for value in made.visibility.parameters())


# ---------------------------------------------------------------- transmittance and visibility


@pytest.mark.parametrize("seed", range(3))
def test_transmittance_is_the_closed_form_of_even_fog(seed):
    """exp(-density * length), up to the curve of the exponential within one step."""
    draw, steps, step, density = generator(seed, "fog"), 50, 0.02, 1.7
    begin = (torch.arange(steps) * step).repeat(2)
    packed = Packed(
        torch.tensor([0, steps, 2 * steps]), torch.arange(2).repeat_interleave(steps), begin, begin + step
    )
    none = torch.empty(2 * steps, 0)
    *_, weights = composite_packed(
        torch.full((2 * steps,), density), none, packed.begin, packed.end, packed.starts, 0.0
    )
    asked = torch.rand(2, 40, generator=draw) * 1.2
    expected = torch.exp(-density * asked.clamp(max=steps * step))
    assert torch.allclose(transmittance(packed, weights, asked), expected, atol=1e-3)


def test_it_begins_at_one_falls_and_ends_at_what_opacity_leaves():
    made, rays = block(), some_rays(32)
    with torch.no_grad():
        seen, packed = made.trunk.look(rays, None, made._looks_of(rays))
    along = torch.linspace(0, 6, 60).expand(32, 60)
    found = transmittance(packed, seen.weights, along)
    assert torch.allclose(found[:, 0], torch.ones(32), atol=1e-6)
    assert (found.diff(dim=1) <= 1e-6).all()
    assert torch.allclose(found[:, -1], 1 - seen.opacity, atol=1e-4)


@pytest.mark.slow
def test_a_visibility_network_learns_the_exact_visibility_of_a_wall():
    """Cameras before a wall with a gap: what is behind it is seen through the gap and nowhere else."""
    torch.manual_seed(0)
    net = Visibility(BlockConfig(visibility_width=64, visibility_depth=3), Space((0.0, 0.0, 0.0), 1.0))
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)

    def drawn(count, seed):
        draw = generator(seed, "wall")
        origins = torch.rand(count, 3, generator=draw) * torch.tensor([1.6, 1.6, 0.2]) - torch.tensor(
            [0.8, 0.8, 0.9]
        )
        places = 1.8 * torch.rand(count, 3, generator=draw) - 0.9
        directions = torch.nn.functional.normalize(places - origins, dim=-1)
        share = (0.0 - origins[:, 2]) / (places[:, 2] - origins[:, 2])
        through = origins + share[:, None] * (places - origins)  # where the line meets the wall at z = 0
        free = (places[:, 2] < 0) | (through[:, 0].abs() < 0.3)
        return places, directions, free.float()

    for step in range(300):
        loss = net.loss(*drawn(1024, step))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    places, directions, free = drawn(4096, 10_000)
    with torch.no_grad():
        right = ((net(places, directions) > 0.5) == (free > 0.5)).float().mean()
    assert right > 0.93
    assert 0.2 < free.mean() < 0.9, "both kinds are there, or nothing was learned"


def test_visibility_is_a_share_everywhere():
    made = block()
    far = 100 * torch.randn(64, 3)
    found = made.visibility(far, torch.nn.functional.normalize(far, dim=-1))
    assert ((found >= 0) & (found <= 1)).all()


# ---------------------------------------------------------------- the street


def street(config: StreetConfig = StreetConfig(visible=0.0), count: int = 3) -> Street:
    places = [(1.0 * number, 0.0, 0.0) for number in range(count)]
    blocks = [block(number, space=Space(place, 1.0, True)) for number, place in enumerate(places)]
    sites = [Site(place, 1.0, place[0]) for place in places]
    return Street(config, blocks, sites, [(0.05, 6.0)] * count)


def camera(x: float, y: float = 0.0) -> Camera:
    return Camera.from_fov(12, 8, 60.0, look_at((x, y, 0.0), (x + 1.0, y + 0.3, 0.1)))


def codes_of(made: Street) -> tuple:
    return tuple(made.block(number).code_named("evening").detach() for number in range(len(made)))


def test_a_picture_is_the_weighted_sum_of_the_blocks_pictures():
    made = street()
    lit, view = LitStreet(made, codes_of(made), 0.6), camera(0.4)
    assert isinstance(lit, PictureMaker)
    weights = made.weights(view)
    assert (weights > 0).tolist() == [True, True, False]
    whole, depth = lit.picture(view, BLACK[0])
    parts = [lit.alone(number, view, BLACK[0]) for number in range(2)]
    assert torch.allclose(whole, sum(weights[number] * parts[number][0] for number in range(2)), atol=1e-6)
    assert torch.equal(depth.nan_to_num(-1), parts[0][1].nan_to_num(-1)), "that of the block that counts most"


def test_at_a_block_s_centre_the_picture_is_that_block_s():
    made = street()
    lit = LitStreet(made, codes_of(made))
    whole, alone = lit.picture(camera(1.0), BLACK[0])[0], lit.alone(1, camera(1.0), BLACK[0])[0]
    assert torch.allclose(whole, alone, atol=1e-6)


def test_pictures_do_not_jump_as_the_camera_crosses_from_block_to_block():
    made = street()
    lit = LitStreet(made, codes_of(made))
    frames = [lit.picture(camera(0.5 + 0.001 * step), BLACK[0])[0] for step in range(-2, 3)]
    changes = [(two - one).abs().max().item() for one, two in pairwise(frames)]
    hard = LitStreet(made, codes_of(made), merge="nearest")
    jump = (hard.picture(camera(0.501), BLACK[0])[0] - hard.picture(camera(0.499), BLACK[0])[0]).abs().max()
    assert max(changes) < 0.2 * jump, "the nearest block alone jumps here"


def test_a_block_that_saw_too_little_lends_nothing_and_more_sight_never_lends_less(monkeypatch):
    made = street(StreetConfig(visible=0.1))
    view, shares = camera(0.45), {}
    monkeypatch.setattr(Street, "mean_visibility", lambda self, number, camera: shares[number])
    weights = []
    for share in (0.0, 0.1, 0.12, 0.15, 0.2, 0.9):
        shares.update({0: 0.8, 1: share})
        weights.append(made.weights(view)[1].item())
    assert weights[0] == weights[1] == 0
    assert weights == sorted(weights)
    assert weights[-2] == weights[-1] > 0.15
    shares.update({0: 0.02, 1: 0.05})
    assert made.weights(view).tolist() == [0, 1, 0], "of two that saw nothing, the one that saw more"


def test_beyond_all_blocks_the_nearest_one_makes_the_picture():
    made = street()
    assert not made.beyond(camera(0.3))
    assert made.beyond(camera(9.0))
    assert made.weights(camera(9.0)).tolist() == [0, 0, 1]


def test_what_both_saw_is_the_same_whoever_is_asked_first():
    made = street()
    rays = camera_rays(camera(0.5), near=0.05, far=6.0)
    assert torch.equal(seen_by_both(made, 0, 1, rays), seen_by_both(made, 1, 0, rays))


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("name", "config", "changes"),
    [
        ("dark", StreetConfig, {"exposure": 0.0}),
        ("darker", StreetConfig, {"exposure": -1.0}),
        ("flat_power", StreetConfig, {"power": 0.0}),
        ("blind", StreetConfig, {"visible": 0.7}),
        ("no_steps", StreetConfig, {"align_steps": 0}),
        ("still_codes", StreetConfig, {"align_rate": 0.0}),
        ("no_code", BlockConfig, {"code": 0}),
        ("negative_octaves", BlockConfig, {"exposure_octaves": -1}),
        ("weightless", BlockConfig, {"visibility_weight": 0.0}),
    ],
)
def test_options_that_cannot_work_are_refused_by_name(name, config, changes, snapshot):
    with pytest.raises(ConfigError) as refusal:
        config(**changes)
    snapshot(name, str(refusal.value))
