"""Zip-NeRF: what may depend on what, cones in contracted space, its losses, and a picture learned in
seconds."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from rayformer.core.errors import ConfigError
from rayformer.fields.parts.multisample import downweight, hexagon
from rayformer.fields.parts.scene_field import ChangingField, SceneField
from rayformer.fields.zipnerf import GAIN, HORIZON, ZipNeRF, ZipNeRFConfig
from rayformer.geometry.contraction import contract
from rayformer.geometry.rays import Rays
from rayformer.losses.histogram import distortion

TINY = {
    "samples": (8, 8, 6),
    "coarsest": 4,
    "finest": (8, 16, 32),
    "log2_rows": 9,
    "features": 2,
    "width": 16,
    "bottleneck": 8,
    "view_width": 16,
}


def tiny(lively=True, **changes) -> ZipNeRF:
    """A small field; a lively one has features as after some training."""
    torch.manual_seed(0)
    field = ZipNeRF(ZipNeRFConfig(**{**TINY, **changes}))
    if lively:
        with torch.no_grad():
            for net in nets(field):
                net.grid.grid.table.normal_(0, 0.1)
    return field


def nets(field: ZipNeRF):
    return [*field.proposals, field.radiant]


def drawn_rays(count=6, seed=0, dtype=torch.float32, radius=0.01) -> Rays:
    """Rays from around (0, 0, 3) towards the origin."""
    source = torch.Generator().manual_seed(seed)
    origins = torch.tensor([0.0, 0.0, 3.0]) + 0.2 * torch.randn(count, 3, generator=source)
    view = F.normalize(0.5 * torch.randn(count, 3, generator=source) - origins, dim=-1)
    ends = torch.full((count,), 1.5), torch.full((count,), 4.5)
    return Rays(origins, view, view, *ends, torch.full((count,), radius)).to(dtype)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def white(rays: Rays):
    return torch.ones_like(rays.origins)


# The networks.


def test_the_field_of_the_paper_has_its_grids_and_layers():
    config = ZipNeRFConfig()
    assert ZipNeRFConfig().samples == (64, 64, 32)
    layouts = [config.layout(number) for number in range(3)]
    assert [layout.levels for layout in layouts] == [6, 8, 10]
    assert [layout.features for layout in layouts] == [1, 1, 4]
    assert [layout.resolutions[-1] for layout in layouts] == [512, 2048, 8192]
    assert all(layout.primes == (1, 19349663, 83492791) and layout.shift == -0.5 for layout in layouts)
    dense = [side**3 <= 2**21 for side in layouts[2].sides]
    assert dense == [True] * 4 + [False] * 6
    field = ZipNeRF(replace(config, log2_rows=9))
    shapes = [tuple(p.shape) for name, p in field.named_parameters() if name.endswith("weight")]
    assert shapes == [
        (64, 12), (1, 64), (64, 16), (1, 64),
        (64, 50), (1, 64), (256, 64), (256, 283), (256, 256), (256, 539), (3, 256),
    ]  # fmt: skip
    assert field.samples_per_ray == 160
    assert isinstance(field, SceneField)
    assert isinstance(field, ChangingField)


def test_tables_start_within_a_tenth_of_what_features_do():
    table = tiny(lively=False).radiant.grid.grid.table
    assert 0.9e-5 < table.abs().max() <= 1e-5


def test_density_does_not_depend_on_viewing_direction_and_colour_does():
    field, rays = tiny(), drawn_rays()
    positions = torch.randn(6, 3)
    here, there = (
        field.radiance(positions, rays.view_directions),
        field.radiance(positions, -rays.view_directions),
    )
    assert torch.equal(here[0], there[0])
    assert (here[1] - there[1]).abs().max() > 1e-3


def test_density_is_positive_and_colours_leave_the_unit_cube_by_a_thousandth_at_most():
    field = tiny()
    with torch.no_grad():
        field.radiant.to_colour.weight.mul_(1e3)
    density, colour = field.radiance(3 * torch.randn(300, 3), F.normalize(torch.randn(300, 3), dim=-1))
    assert (density > 0).all()
    assert colour.min().item() == pytest.approx(-0.001, abs=1e-6)
    assert colour.max().item() == pytest.approx(1.001, abs=1e-6)


def test_a_density_beyond_all_bounds_is_finite_and_finds_its_way_back():
    field = tiny()
    with torch.no_grad():
        field.radiant.to_density.bias.fill_(1e4)
    density, _ = field.radiance(torch.zeros(1, 3), torch.eye(3)[:1])
    assert torch.isfinite(density).all()
    density.sum().backward()
    assert field.radiant.to_density.bias.grad.item() > 0


def test_a_blob_sees_the_mean_of_its_places_level_by_level_faded():
    grid = tiny(scale_features=False).radiant.grid
    places, deviations = torch.rand(5, 6, 3, generator=generator()), torch.full((5, 6), 0.05)
    kept = downweight(deviations, torch.tensor(grid.layout.resolutions).float())
    each = grid.grid(places.view(-1, 3)).view(5, 6, grid.layout.levels, -1)
    torch.testing.assert_close(
        grid(places, deviations), GAIN * (kept[..., None] * each).mean(dim=1).flatten(1)
    )
    point = torch.rand(5, 1, 3, generator=generator())
    torch.testing.assert_close(grid(point, torch.zeros(5, 1)), GAIN * grid.grid(point[:, 0]))


def test_the_scale_of_a_point_is_the_size_of_the_features_and_that_of_a_wide_blob_minus_it():
    grid = tiny().radiant.grid
    levels, start = grid.layout.levels, grid.layout.size
    places = torch.rand(2, 6, 3, generator=generator())
    features = grid(places, torch.tensor([[0.0], [1e6]]).expand(2, 6))
    rows = grid.layout.starts
    for level in range(levels):
        size = GAIN * grid.grid.table[rows[level] : rows[level + 1]].square().mean().sqrt()
        torch.testing.assert_close(features[0, start + level], size)
        torch.testing.assert_close(features[1, start + level], -size)
    (gradient,) = torch.autograd.grad(features[:, start:].sum(), grid.grid.table)
    assert not gradient.any(), "the size is told, not learned"


def test_bf16_products_stay_near_float32_and_the_results_are_float32():
    field, rays = tiny(), drawn_rays(32)
    exact = field.render(rays, white(rays))
    with torch.autocast("cpu", torch.bfloat16):
        rounded = field.render(rays, white(rays))
    assert rounded.colour.dtype == rounded.depth.dtype == torch.float32
    torch.testing.assert_close(rounded.colour, exact.colour, atol=0.05, rtol=0)


# Along a ray.


def test_each_round_has_its_intervals_and_the_picture_is_the_last_ones():
    field, rays = tiny(), drawn_rays()
    picture, rounds = field(rays, white(rays))
    assert [round.weights.shape[1] for round in rounds] == [8, 8, 6]
    assert torch.equal(picture.weights, rounds[-1].weights)
    assert field.samples_per_ray == 22
    for round in rounds:
        assert (round.edges.diff(dim=-1) >= 0).all()
        assert (round.weights.sum(dim=-1) <= 1 + 1e-6).all()


def test_unbounded_rays_begin_at_near_and_run_to_the_horizon():
    rays = drawn_rays()
    _, rounds = tiny()(rays, white(rays))
    torch.testing.assert_close(rounds[0].edges[:, 0], rays.near)
    torch.testing.assert_close(rounds[0].edges[:, -1], torch.full((6,), HORIZON))
    _, rounds = tiny(unbounded=False)(rays, white(rays))
    torch.testing.assert_close(rounds[0].edges[:, 0], rays.near)
    torch.testing.assert_close(rounds[0].edges[:, -1], rays.far)


def test_unbounded_space_fits_into_the_box_and_its_blobs_shrink_with_it():
    field, rays = tiny(), drawn_rays(50)
    positions, deviations = hexagon(rays, torch.tensor([[0.1, 1.0, 10.0, 1e6]]).expand(50, 4))
    places, spreads = field._in_box(positions.view(-1, 3), deviations.view(-1))
    assert ((places >= 0) & (places <= 1)).all()
    step = 1e-3 * torch.randn(1, 3, generator=generator())
    near = positions.view(-1, 3)[:6]
    moved = contract(near + step) - contract(near)
    assert moved.norm(dim=-1).max() <= step.norm() + 1e-6
    far = positions.view(50, 3, 6, 3).norm(dim=-1) > 100
    shrunk = (spreads.view(50, 3, 6) * 4 / deviations)[far]
    assert (shrunk < 0.01).all()


def test_within_the_unit_ball_contraction_changes_nothing():
    inside = 0.5 * drawn_rays().view_directions
    one, other = tiny(), tiny(unbounded=False)
    directions = drawn_rays().view_directions
    torch.testing.assert_close(one.radiance(inside, directions), other.radiance(inside, directions))


def test_wider_pixels_see_less_of_the_fine_levels():
    field = tiny(unbounded=False, scale_features=False, samples=(16, 16, 16))
    contrast = []
    for radius in (1e-4, 0.05, 0.5):
        rays = drawn_rays(200, radius=radius)
        with torch.no_grad():
            positions, deviations = hexagon(rays, torch.linspace(2, 4, 9).expand(200, 9))
            places, spreads = field._in_box(positions.view(-1, 3), deviations.view(-1))
            features = field.radiant.grid(places.view(-1, 6, 3), spreads.view(-1, 6))
        contrast.append(features[:, -2:].std().item())
    assert contrast[0] > contrast[1] > 4 * contrast[2]


def test_opacity_never_exceeds_one_and_depth_is_a_median():
    field, rays = tiny(), drawn_rays(100)
    seen = field.render(rays, white(rays))
    assert (seen.opacity <= 1).all()
    _, (*_, found) = field(rays, white(rays))
    share = found.weights * (
        (seen.mean_depth[:, None] - found.edges[:, :-1]) / found.edges.diff(dim=-1)
    ).clamp(0, 1)
    torch.testing.assert_close(
        share.sum(-1) / found.weights.sum(-1), torch.full((100,), 0.5), atol=1e-3, rtol=0
    )


def test_an_empty_field_shows_the_background():
    field, rays = tiny(), drawn_rays()
    with torch.no_grad():
        for net in nets(field):
            net.to_density.bias.fill_(-200)
    background = torch.rand(6, 3, generator=generator())
    seen = field.render(rays, background)
    torch.testing.assert_close(seen.colour, background)
    torch.testing.assert_close(seen.depth, torch.zeros(6))


def test_without_a_generator_the_picture_is_the_same_every_time():
    field, rays = tiny(), drawn_rays()
    assert torch.equal(field.render(rays, white(rays)).colour, field.render(rays, white(rays)).colour)


def test_a_ray_does_not_depend_on_the_rays_beside_it():
    field, rays = tiny().double(), drawn_rays(9, dtype=torch.float64)
    together = field.render(rays, white(rays))
    alone = field.render(rays[2:3], white(rays)[2:3])
    torch.testing.assert_close(alone.colour, together.colour[2:3])
    torch.testing.assert_close(alone.depth, together.depth[2:3])


# Learning.


def test_the_loss_is_what_the_paper_adds_up():
    field, rays, truth = tiny(), drawn_rays(), torch.rand(6, 3, generator=generator())
    losses = field.loss(rays, truth, white(rays), generator(3))
    picture, (*_, found) = field(rays, white(rays), generator(3))
    colour = ((picture.colour - truth).square() + 1e-6).sqrt().mean()
    torch.testing.assert_close(losses.terms["colour"], colour)
    bent = 5 * (1 - (found.edges * 1e4 / 1.25 + 1) ** -0.25)
    torch.testing.assert_close(
        losses.terms["distortion"], 0.01 * distortion(bent, found.weights).mean(), rtol=1e-4, atol=0
    )
    squares = [
        net.grid.grid.table[first:last].square().mean()
        for net in nets(field)
        for first, last in zip(net.grid.layout.starts, net.grid.layout.starts[1:], strict=False)
    ]
    torch.testing.assert_close(losses.terms["decay"], 0.1 / 2 * sum(squares))
    torch.testing.assert_close(losses.total, sum(losses.terms.values()))


def test_proposals_learn_from_what_they_miss_and_from_nothing_else():
    field, rays = tiny(), drawn_rays()
    picture, _ = field(rays, white(rays), generator())
    picture.colour.sum().backward()
    assert all(p.grad is None for net in field.proposals for p in net.parameters())
    field.zero_grad()
    with torch.no_grad():
        for net in field.proposals:
            net.to_density.bias.fill_(-8)
    losses = field.loss(rays, white(rays), white(rays), generator())
    losses.terms["interlevel"].backward()
    assert all(p.grad is None or not p.grad.any() for p in field.radiant.parameters())
    assert all(net.to_density.bias.grad.item() < 0 for net in field.proposals), "they must say more"


def test_every_gradient_is_finite_from_the_first_step_on():
    for unbounded in (True, False):
        field, rays = tiny(lively=False, unbounded=unbounded), drawn_rays(32)
        field.before_step(0, generator(), drawn_rays)
        field.loss(rays, torch.rand(32, 3), white(rays), generator()).total.backward()
        assert all(torch.isfinite(p.grad).all() for p in field.parameters())


def test_proposals_are_trusted_more_and_more_in_training_and_wholly_afterwards():
    field, rays = tiny(trust_steps=100), drawn_rays()
    trust = []
    for step in (0, 10, 50, 100, 1000):
        field.before_step(step, generator(), drawn_rays)
        trust.append(field.trust)
    assert trust == sorted(trust)
    assert (trust[0], trust[1], trust[-1]) == (0, pytest.approx(1 / 1.9), 1)
    trusting = field.render(rays, white(rays)).colour
    field.before_step(0, generator(), drawn_rays)
    assert torch.equal(field.render(rays, white(rays)).colour, trusting)


def test_training_is_a_function_of_its_generator():
    field, rays = tiny(), drawn_rays()
    losses = [
        field.loss(rays, torch.zeros(6, 3), white(rays), generator(seed)).total.item() for seed in (1, 1, 2)
    ]
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.slow
def test_a_ball_before_white_is_learned_in_seconds():
    sizes = {"samples": (16, 16, 12), "finest": (32, 32, 64), "log2_rows": 15, "trust_steps": 50}
    field = tiny(lively=False, unbounded=False, **sizes)
    optimiser = torch.optim.Adam(field.parameters(), lr=1e-2, eps=1e-15, betas=(0.9, 0.99))

    def truth(rays: Rays):
        closest = rays.origins - (rays.origins * rays.directions).sum(-1, keepdim=True) * rays.directions
        return torch.where(
            closest.norm(dim=-1, keepdim=True) < 0.5, torch.tensor([0.9, 0.3, 0.1]), torch.ones(3)
        )

    for step in range(150):
        rays = drawn_rays(256, seed=step)
        field.before_step(step, generator(), drawn_rays)
        optimiser.zero_grad()
        field.loss(rays, truth(rays), white(rays), generator(step)).total.backward()
        optimiser.step()
    rays = drawn_rays(500, seed=10_000)
    with torch.no_grad():
        error = (field.render(rays, white(rays)).colour - truth(rays)).square().mean()
    assert -10 * math.log10(error.item()) > 20


# Refusals.


@pytest.mark.parametrize(
    "wrong",
    [
        {"finest": (512, 2048, 5000)},
        {"finest": (8, 2048, 8192)},
        {"samples": (64, 1, 32)},
        {"bottleneck": 0},
        {"blur": (0.03, 0.0)},
        {"decay": -1.0},
        {"direction_octaves": 40},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_what_cannot_work_is_refused_by_name(wrong, snapshot, request):
    with pytest.raises(ConfigError) as error:
        ZipNeRFConfig(**wrong)
    snapshot(f"refused_{request.node.callspec.id}", str(error.value))
