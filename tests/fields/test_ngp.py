"""Instant-NGP: what may depend on what, matter whose picture is known exactly, empty space, far space."""

import math

import pytest
import torch
import torch.nn.functional as F

from rayformer.core.errors import ConfigError, ShapeError
from rayformer.encodings.hash_grid import HashGridConfig
from rayformer.fields.ngp import NGP, NGPConfig
from rayformer.fields.parts.occupancy import OccupancyConfig
from rayformer.fields.parts.scene_field import ChangingField, SceneField
from rayformer.geometry.rays import Rays
from rayformer.kernels.marching import Space

BOX = Space((0.0, 0.0, 0.0), 1.0)
EVERYWHERE = Space((0.0, 0.0, 0.0), 1.0, contracted=True)
TINY = {
    "grid": HashGridConfig(levels=3, features=2, coarsest=4, finest=32, log2_rows=10),
    "occupancy": OccupancyConfig(cells=16, asked=2**15),
    "density_width": 16,
    "places": 8,
    "colour_width": 16,
    "steps_across": 64,
}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def tiny(space: Space = BOX, views: int = 0, alive: float = 1.0, **changes) -> NGP:
    """A field whose table is not the near zero it starts from, so that places differ."""
    torch.manual_seed(0)
    ngp = NGP(NGPConfig(**{**TINY, **changes}), space, views)
    torch.nn.init.uniform_(ngp.field.grid.table, -alive, alive)
    return ngp


def even_matter(density: float, space: Space = BOX, **changes) -> NGP:
    """The same density everywhere: the table is zero, and the networks have no biases."""
    ngp = tiny(space, fog=2 * space.half * density, **changes)
    torch.nn.init.zeros_(ngp.field.grid.table)
    return ngp


def drawn_rays(count=8, seed=0, reach=0.8) -> Rays:
    """Rays from round (0, 0, 4) towards places round the origin."""
    source = generator(seed)
    origins = torch.tensor([0.0, 0.0, 4.0]) + 0.2 * torch.randn(count, 3, generator=source)
    targets = reach * (2 * torch.rand(count, 3, generator=source) - 1)
    directions = F.normalize(targets - origins, dim=-1)
    ends = torch.full((count,), 2.0), torch.full((count,), 8.0)
    return Rays(origins, directions, directions, *ends, view=torch.arange(count) % 3)


def chords(rays: Rays, half: float = 1.0):
    """How long each ray is inside the box."""
    one, other = ((side * half - rays.origins) / rays.directions for side in (-1, 1))
    enter, leave = torch.minimum(one, other).amax(dim=-1), torch.maximum(one, other).amin(dim=-1)
    return (leave.minimum(rays.far) - enter.maximum(rays.near)).clamp(min=0)


def behind(rays: Rays, seed=3):
    return torch.rand(len(rays), 3, generator=generator(seed))


# What is seen.


@pytest.mark.parametrize("density", [0.1, 1.0, 5.0])
def test_even_matter_in_a_box_hides_what_its_thickness_hides(density):
    rays = drawn_rays(50)
    ngp = even_matter(density, steps_across=1000, most_samples=4000, stop=0.0, faint=0.0)
    seen = ngp.render(rays, behind(rays))
    wanted = 1 - torch.exp(-density * chords(rays))
    torch.testing.assert_close(seen.opacity, wanted, atol=density * 4e-3, rtol=0)


def test_the_colour_of_even_matter_is_its_own_over_the_background_by_its_opacity():
    rays, ngp = drawn_rays(), even_matter(1.0)
    on_black, over = (ngp.render(rays, value) for value in (torch.zeros(8, 3), behind(rays)))
    torch.testing.assert_close(over.colour, on_black.colour + (1 - over.opacity)[:, None] * behind(rays))
    _, colour = ngp.radiance(torch.zeros(8, 3), rays.view_directions)
    torch.testing.assert_close(on_black.colour, over.opacity[:, None] * colour, atol=1e-5, rtol=1e-4)


def test_dense_matter_is_seen_where_it_begins():
    rays = drawn_rays(20)
    seen = even_matter(1e4, steps_across=500).render(rays, behind(rays))
    one, other = ((side - rays.origins) / rays.directions for side in (-1, 1))
    torch.testing.assert_close(
        seen.mean_depth, torch.minimum(one, other).amax(dim=-1), atol=2 * 2 / 500, rtol=0
    )
    assert (seen.opacity <= 1).all()


def test_opacity_never_exceeds_one():
    ngp, rays = tiny(fog=30.0), drawn_rays(100)
    with torch.no_grad():
        opacity = ngp(rays, behind(rays), generator()).opacity
    assert opacity.max() <= 1
    assert opacity.max() > 0.5


def test_rays_that_miss_the_box_see_the_background_and_teach_nothing():
    ngp, rays = tiny(fog=5.0), drawn_rays()
    aside = rays.replaced(origins=rays.origins + torch.tensor([20.0, 0.0, 0.0]))
    seen = ngp(aside, behind(rays), generator())
    assert torch.equal(seen.colour, behind(rays))
    assert torch.equal(seen.depth, torch.zeros(8))
    ngp.loss(aside, torch.zeros(8, 3), behind(rays), generator()).total.backward()
    assert all(value.grad is None or not value.grad.any() for value in ngp.parameters())


@pytest.mark.parametrize("space", [BOX, EVERYWHERE], ids=["box", "contracted"])
def test_where_all_is_known_to_be_empty_there_is_the_background_and_a_finite_gradient(space):
    ngp, rays = tiny(space, fog=5.0), drawn_rays()
    ngp.occupancy.hide(torch.zeros(16, 16, 16, dtype=torch.bool))
    seen = ngp(rays, behind(rays), generator())
    assert torch.equal(seen.colour, behind(rays))
    ngp.loss(rays, torch.zeros(8, 3), behind(rays), generator()).total.backward()
    assert all(value.grad is None or torch.isfinite(value.grad).all() for value in ngp.parameters())


def test_no_rays_give_no_picture():
    ngp, rays = tiny(), drawn_rays()
    assert ngp.render(rays[:0], behind(rays)[:0]).colour.shape == (0, 3)


@pytest.mark.parametrize("space", [BOX, EVERYWHERE], ids=["box", "contracted"])
def test_a_ray_does_not_depend_on_the_rays_beside_it(space):
    ngp, rays = tiny(space, fog=5.0), drawn_rays(40)
    together = ngp.render(rays, behind(rays))
    for cut in (slice(0, 1), slice(3, 20), slice(20, 40)):
        alone = ngp.render(rays[cut], behind(rays)[cut])
        torch.testing.assert_close(alone.colour, together.colour[cut], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(alone.depth, together.depth[cut], atol=1e-4, rtol=1e-4)


def test_without_a_generator_the_picture_is_the_same_every_time_and_training_follows_its_generator():
    ngp, rays = tiny(fog=5.0), drawn_rays()
    assert torch.equal(ngp.render(rays, behind(rays)).colour, ngp.render(rays, behind(rays)).colour)
    losses = [
        ngp.loss(rays, torch.zeros(8, 3), behind(rays), generator(seed)).total.item() for seed in (1, 1, 2)
    ]
    assert losses[0] == losses[1] != losses[2]


def test_stretching_the_directions_changes_the_numbers_along_the_ray_and_not_the_picture():
    """As in NDC, where directions have any length: density is a property of a place."""
    ngp, rays = tiny(fog=5.0), drawn_rays()
    stretched = rays.replaced(directions=2 * rays.directions, near=rays.near / 2, far=rays.far / 2)
    once, twice = ngp.render(rays, behind(rays)), ngp.render(stretched, behind(rays))
    torch.testing.assert_close(once.colour, twice.colour)
    torch.testing.assert_close(once.opacity, twice.opacity)
    torch.testing.assert_close(once.depth, 2 * twice.depth)


def test_density_does_not_depend_on_viewing_direction_and_colour_does():
    ngp, places = tiny(), 1.6 * torch.rand(50, 3, generator=generator()) - 0.8
    there = F.normalize(torch.randn(50, 3, generator=generator(1)), dim=-1)
    here, back = ngp.radiance(places, there), ngp.radiance(places, -there)
    assert torch.equal(here[0], back[0])
    assert (here[1] - back[1]).abs().max() > 1e-3


# Rounds.


def in_rounds(ngp: NGP, rays: Rays, background):
    with torch.no_grad():
        return ngp.render(rays, background)


@pytest.mark.parametrize("fog", [0.3, 3.0, 30.0, 3000.0])
@pytest.mark.parametrize("space", [BOX, EVERYWHERE], ids=["box", "contracted"])
def test_a_picture_looked_for_in_rounds_is_the_picture_to_a_level_of_255_or_two(space, fog):
    ngp, rays = tiny(space, fog=fog, alive=3.0, faint=0.0), drawn_rays(100)
    at_once, rounds = ngp.render(rays, behind(rays)), in_rounds(ngp, rays, behind(rays))
    torch.testing.assert_close(rounds.colour, at_once.colour, atol=2.5 / 255, rtol=0)
    torch.testing.assert_close(rounds.opacity, at_once.opacity, atol=2.5e-3, rtol=0)
    torch.testing.assert_close(rounds.mean_depth, at_once.mean_depth, atol=0.02, rtol=0)


def test_haze_of_samples_that_are_all_too_thin_to_be_seen_has_its_colour():
    rays, ngp = drawn_rays(20), even_matter(0.3, steps_across=1000, most_samples=4000, faint=0.0)
    seen = in_rounds(ngp, rays, torch.zeros(20, 3))
    _, colour = ngp.radiance(torch.zeros(20, 3), rays.view_directions)
    assert seen.opacity.min() > 0.2
    torch.testing.assert_close(seen.colour, seen.opacity[:, None] * colour, atol=0.02, rtol=0)


def test_what_is_opaque_is_opaque_in_rounds_too():
    rays = drawn_rays(50)
    seen = in_rounds(even_matter(200.0), rays, behind(rays))
    thick = chords(rays) > 0.2
    assert torch.equal(seen.opacity[thick], torch.ones(int(thick.sum())))


def test_in_rounds_too_a_ray_does_not_depend_on_the_rays_beside_it():
    ngp, rays = tiny(fog=5.0, alive=3.0), drawn_rays(40)
    together, alone = in_rounds(ngp, rays, behind(rays)), in_rounds(ngp, rays[3:20], behind(rays)[3:20])
    torch.testing.assert_close(alone.colour, together.colour[3:20], atol=1e-5, rtol=1e-4)


def test_in_rounds_too_empty_space_and_no_rays_are_the_background():
    ngp, rays = tiny(fog=5.0), drawn_rays()
    ngp.occupancy.hide(torch.zeros(16, 16, 16, dtype=torch.bool))
    assert torch.equal(in_rounds(ngp, rays, behind(rays)).colour, behind(rays))
    assert in_rounds(ngp, rays[:0], behind(rays)[:0]).colour.shape == (0, 3)


# What is passed over.


def test_passing_over_faint_samples_changes_colours_by_no_more_than_they_weigh():
    rays, pictures, gradients = drawn_rays(40), {}, {}
    for faint in (0.0, 1e-3):
        ngp = tiny(fog=5.0, faint=faint, stop=0.0, alive=3.0)
        pictures[faint] = ngp.render(rays, behind(rays))
        loss = ngp.loss(rays, torch.zeros(40, 3), behind(rays), generator()).total
        gradients[faint] = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(ngp.parameters()))])
    samples = {faint: len(seen.weights) for faint, seen in pictures.items()}
    assert samples[1e-3] < samples[0.0]
    most = int(samples[0.0] / 40 * 3)
    difference = (pictures[0.0].colour - pictures[1e-3].colour).abs().max().item()
    assert 0 < difference < 1e-3 * most
    cosine = F.cosine_similarity(gradients[0.0], gradients[1e-3], dim=0).item()
    assert cosine > 0.999


def test_light_that_is_gone_meets_nothing_more():
    rays = drawn_rays(20)
    whole, stopped = (tiny(fog=20.0, stop=stop, faint=0.0, alive=3.0) for stop in (0.0, 1e-2))
    pictures = [ngp.render(rays, behind(rays)) for ngp in (whole, stopped)]
    assert (pictures[1].weights > 0).sum() < (pictures[0].weights > 0).sum()
    torch.testing.assert_close(pictures[1].colour, pictures[0].colour, atol=1e-2, rtol=0)


# The loss.


def test_the_loss_is_finite_and_pulls_at_table_networks_and_exposures():
    ngp, rays = tiny(fog=5.0, views=3, exposure=True), drawn_rays(30)
    losses = ngp.loss(rays, torch.rand(30, 3, generator=generator()), behind(rays), generator(1))
    losses.total.backward()
    assert set(losses.terms) == {"colour", "distortion", "exposure"}
    torch.testing.assert_close(losses.total, sum(losses.terms.values()))
    for name, value in ngp.named_parameters():
        assert value.grad is not None, name
        assert torch.isfinite(value.grad).all(), name
        assert value.grad.any(), name


def test_gradients_agree_with_finite_differences_along_any_direction():
    """Through look-up, networks and compositing, with nothing passed over."""
    ngp, rays = tiny(fog=3.0, faint=0.0, stop=0.0, huber=10.0), drawn_rays(20)
    truth = torch.rand(20, 3, generator=generator())

    def loss():
        return ngp.loss(rays, truth, behind(rays), generator(1)).total

    parameters = list(ngp.parameters())
    for number, value in enumerate(parameters):
        (slope,) = torch.autograd.grad(loss(), value)
        step = slope / slope.norm()
        width = 2e-2 * float(value.detach().abs().mean()) * value.numel() ** 0.5 * 0.05
        with torch.no_grad():
            value += width * step
            above = loss().double()
            value -= 2 * width * step
            below = loss().double()
            value += width * step
        assert ((above - below) / (2 * width)).item() == pytest.approx(slope.norm().item(), rel=0.03), number


def test_exposure_brightens_the_scene_and_leaves_the_background_as_it_is():
    rays, black = drawn_rays(30), torch.zeros(30, 3)
    ngp = tiny(fog=2.0, views=3, exposure=True, huber=10.0)
    with torch.no_grad():
        ngp.exposure[1] = math.log(2.0)
        seen = ngp(rays, black, generator(1))
        gain = torch.where(rays.view == 1, 2.0, 1.0)[:, None]
        truth = seen.colour * gain + (1 - seen.opacity)[:, None] * behind(rays)
        loss = ngp.loss(rays, truth, behind(rays), generator(1))
    assert loss.terms["colour"].item() < 1e-12
    assert loss.terms["exposure"].item() == pytest.approx(1e-2 * 3 * (math.log(2) / 3) ** 2)
    assert torch.equal(ngp.render(rays, black).colour, ngp.render(rays.replaced(view=None), black).colour)


def test_exposures_need_rays_that_know_their_views():
    ngp, rays = tiny(views=3, exposure=True), drawn_rays()
    with pytest.raises(AssertionError, match="must know their views"):
        ngp.loss(rays.replaced(view=None), torch.zeros(8, 3), behind(rays), generator())


def test_the_gradient_of_a_batch_is_the_mean_of_its_pieces_gradients():
    ngp, rays = tiny(fog=5.0), drawn_rays(12)
    truth = torch.zeros(12, 3)
    whole, pieces = [], []
    for cuts, into in (([slice(0, 12)], whole), ([slice(0, 5), slice(5, 12)], pieces)):
        ngp.zero_grad()
        for cut in cuts:
            seen = ngp(rays[cut], behind(rays)[cut])
            ((cut.stop - cut.start) / 12 * (seen.colour - truth[cut]).square().mean()).backward()
        into += [value.grad.clone() for value in ngp.parameters()]
    torch.testing.assert_close(whole, pieces, atol=1e-6, rtol=1e-3)


# Radiance, and space.


@pytest.mark.parametrize("space", [BOX, EVERYWHERE], ids=["box", "contracted"])
def test_a_picture_composited_from_radiance_is_the_rendered_one(space):
    ngp, rays = tiny(space, fog=2.0, faint=0.0, stop=0.0, steps_across=128), drawn_rays(20)
    rays = rays.replaced(near=torch.full((20,), 1.0), far=torch.full((20,), 7.0))
    edges = torch.linspace(1, 7, 6001)
    middles, length = (edges[1:] + edges[:-1]) / 2, edges[1] - edges[0]
    places = rays.points(middles.expand(20, -1))
    along = rays.view_directions[:, None].expand_as(places)
    density, colour = ngp.radiance(places.reshape(-1, 3), along.reshape(-1, 3))
    depth = (density * length).view(20, -1)
    passed = torch.exp(-(depth.cumsum(dim=-1) - depth))
    weights = passed * -torch.expm1(-depth)
    wanted = (weights[..., None] * colour.view(20, -1, 3)).sum(dim=1)
    seen = ngp.render(rays, torch.zeros(20, 3))
    torch.testing.assert_close(seen.opacity, weights.sum(dim=-1), atol=0.03, rtol=0)
    torch.testing.assert_close(seen.colour, wanted, atol=0.03, rtol=0)


def test_outside_the_box_and_in_empty_cells_there_is_no_density():
    ngp = even_matter(3.0)
    ngp.occupancy.hide((torch.arange(16) < 8)[:, None, None].expand(16, 16, 16))
    places = torch.tensor([[-0.5, 0.0, 0.0], [0.5, 0.0, 0.0], [-1.5, 0.0, 0.0], [0.0, 0.0, 9.0]])
    density, _ = ngp.radiance(places, F.normalize(torch.ones(4, 3), dim=-1))
    torch.testing.assert_close(density, torch.tensor([3.0, 0.0, 0.0, 0.0]))


def test_in_contracted_space_what_is_far_is_seen_too():
    """Matter beyond four half sides of the cube, and nothing nearer."""
    ngp = even_matter(10.0, EVERYWHERE, steps_across=256)
    size = (torch.arange(16) < 1) | (torch.arange(16) > 14)  # the outermost cells, from 2 - 1 / 4 on
    ngp.occupancy.hide(size[:, None, None] | size[None, :, None] | size[None, None])
    rays = drawn_rays(20)
    rays = rays.replaced(
        origins=rays.origins - torch.tensor([0.0, 0.0, 2.0]),
        near=torch.zeros(20),
        far=torch.full((20,), 200.0),
    )
    seen = ngp.render(rays, torch.zeros(20, 3))
    assert (seen.opacity > 0.99).all()
    ends = (rays.origins + seen.mean_depth[:, None] * rays.directions).abs().amax(dim=-1)
    assert ((ends > 3.9) & (ends < 5)).all()
    near_only = ngp.render(rays.replaced(far=torch.full((20,), 3.0)), torch.zeros(20, 3))
    assert not near_only.opacity.any()


def test_steps_grow_with_the_distance_only_where_space_is_contracted():
    assert tiny().cone == 0
    assert tiny(EVERYWHERE).cone == pytest.approx(1 / 64)


def test_the_field_starts_as_a_thin_even_fog():
    torch.manual_seed(0)
    ngp = NGP(NGPConfig(**TINY), Space((1.0, 2.0, 3.0), 2.5))
    places = torch.tensor([1.0, 2.0, 3.0]) + 5 * torch.rand(500, 3, generator=generator()) - 2.5
    density, colour = ngp.radiance(places, F.normalize(torch.ones(500, 3), dim=-1))
    torch.testing.assert_close(density, torch.full((500,), 0.5 / 5), rtol=1e-3, atol=0)
    assert colour.min() > 0.2
    assert colour.max() < 0.8


# Before a step.


def test_before_a_step_the_stride_shrinks_and_the_samples_of_a_ray_are_counted():
    ngp = tiny(fog=5.0, first_stride=4.0)
    strides = []
    for step in range(0, 97):
        ngp.before_step(step, generator(step), drawn_rays)
        strides.append(float(ngp.stride))
    assert strides[0] == strides[31] == 4
    assert strides[32] == strides[63] == 2
    assert strides[64] == strides[96] == 1
    rays = drawn_rays(1024)
    assert ngp.samples_per_ray == max(1, round(len(ngp._march(rays, None)) / 1024))


def test_cells_that_were_found_empty_are_not_visited():
    ngp = tiny(fog=0.5, alive=0.0)
    with torch.no_grad():
        ngp.field.thin = 100.0

    def matter(places):  # a ball in the middle
        return 100.0 * ((places - 0.5).norm(dim=-1) < 0.25)

    ngp._density_at = matter
    before = len(ngp._march(drawn_rays(200), None))
    for step in range(0, 161, 16):
        ngp.before_step(step, generator(step), drawn_rays)
    packed = ngp._march(drawn_rays(200), None)
    assert 0 < len(packed) < before / 4
    places = 2 * ngp._positions(drawn_rays(200), packed) - 1
    assert (places.norm(dim=-1) < 0.5 + 2 * math.sqrt(3) / 16 + 0.05).all()


def test_what_changes_before_a_step_is_kept_in_buffers():
    first, second = tiny(fog=5.0), tiny(fog=5.0)
    for step in (0, 16, 32):
        first.before_step(step, generator(step), drawn_rays)
    second.load_state_dict(first.state_dict())
    assert second.samples_per_ray == first.samples_per_ray
    rays = drawn_rays()
    assert torch.equal(first.render(rays, behind(rays)).colour, second.render(rays, behind(rays)).colour)
    for ngp in (first, second):
        ngp.before_step(48, generator(48), drawn_rays)
    assert all(map(torch.equal, first.state_dict().values(), second.state_dict().values()))


def test_under_autocast_the_results_are_float32_and_near():
    ngp, rays = tiny(fog=5.0), drawn_rays()
    exact = ngp.render(rays, behind(rays))
    with torch.autocast("cpu", torch.bfloat16):
        rounded = ngp.render(rays, behind(rays))
    assert rounded.colour.dtype == rounded.depth.dtype == torch.float32
    torch.testing.assert_close(rounded.colour, exact.colour, atol=0.03, rtol=0)


def test_ngp_is_a_scene_field_that_changes():
    assert isinstance(tiny(), SceneField)
    assert isinstance(tiny(), ChangingField)


def test_a_ball_before_white_is_learned_in_seconds():
    """A red ball of radius 0.5, seen from all sides."""
    source = generator()

    def seen_from_round(count):
        origins = 3 * F.normalize(torch.randn(count, 3, generator=source), dim=-1)
        targets = 0.7 * (2 * torch.rand(count, 3, generator=source) - 1)
        directions = F.normalize(targets - origins, dim=-1)
        nearest = (origins - (origins * directions).sum(dim=-1, keepdim=True) * directions).norm(dim=-1)
        hit = nearest < 0.5
        colours = torch.where(hit[:, None], torch.tensor([0.8, 0.1, 0.1]), torch.ones(3))
        return Rays(origins, directions, directions, torch.ones(count), torch.full((count,), 5.0)), colours

    ngp = tiny(alive=1e-4)
    optimiser = torch.optim.Adam(ngp.parameters(), lr=3e-2, eps=1e-15)
    for step in range(120):
        rays, colours = seen_from_round(256)
        ngp.before_step(step, generator(step), lambda count: seen_from_round(count)[0])
        optimiser.zero_grad()
        ngp.loss(rays, colours, torch.ones(256, 3), generator(step)).total.backward()
        optimiser.step()
    rays, colours = seen_from_round(2000)
    with torch.no_grad():
        error = (ngp.render(rays, torch.ones(2000, 3)).colour - colours).square().mean().item()
    assert -10 * math.log10(error) > 18
    assert ngp.samples_per_ray < 40


@pytest.mark.parametrize(
    ("name", "changes"),
    {
        "no_steps": {"steps_across": 0},
        "no_hidden_layer": {"colour_depth": 0},
        "cone_of_one": {"cone": 1.0},
        "all_is_faint": {"faint": 1.0},
        "no_fog": {"fog": 0.0},
        "no_bend": {"huber": 0.0},
        "fifth_degree": {"directions": 5},
    }.items(),
)
def test_what_cannot_work_is_refused_by_name(name, changes, snapshot):
    with pytest.raises(ConfigError) as refusal:
        NGPConfig(**changes)
    snapshot(f"field_{name}", str(refusal.value))


def test_open_steps_make_no_field(snapshot):
    with pytest.raises(ConfigError) as refusal:
        NGP(NGPConfig(grid=TINY["grid"]), BOX)
    snapshot("field_open_steps", str(refusal.value))


def test_rays_through_contracted_space_must_end_somewhere():
    rays = drawn_rays().replaced(far=torch.full((8,), math.inf))
    assert torch.isfinite(tiny().render(rays, behind(rays)).colour).all(), "a box has an end of its own"
    with pytest.raises(ShapeError, match="must be finite"):
        tiny(EVERYWHERE).render(rays, behind(rays))
