"""NeRF: what may depend on what, the fast field against its plain twin, and a picture learned in seconds."""

import math

import pytest
import torch
import torch.nn.functional as F

from rayformer.core.errors import ConfigError
from rayformer.fields.nerf import NeRF, NeRFConfig, RadianceMLP, render
from rayformer.fields.parts.scene_field import SceneField
from rayformer.geometry.rays import Rays

TINY = {"width": 32, "depth": 3, "skip_after": 1, "coarse_samples": 8, "fine_samples": 16}


def tiny(**changes) -> NeRF:
    torch.manual_seed(0)
    return NeRF(NeRFConfig(**{**TINY, **changes}))


def drawn_rays(count=6, seed=0, scale=1.0, dtype=torch.float32) -> Rays:
    """Rays from around (0, 0, 4) towards the origin."""
    source = torch.Generator().manual_seed(seed)
    origins = torch.tensor([0.0, 0.0, 4.0]) + 0.2 * torch.randn(count, 3, generator=source)
    view = F.normalize(0.5 * torch.randn(count, 3, generator=source) - origins, dim=-1)
    ends = torch.full((count,), 2 / scale), torch.full((count,), 6 / scale)
    return Rays(origins, scale * view, view, *ends).to(dtype)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def white(rays: Rays):
    return torch.ones_like(rays.origins)


# The field.


def plain_field(field: RadianceMLP, positions, directions):
    """The figure of the paper, layer by layer, everything side by side and out of place, the same weights."""
    config, trunk, head = field.config, field.trunk, field.to_colour
    place = field.encode(positions)
    hidden = torch.relu(trunk.first(place))
    for index, layer in enumerate(trunk.rest):
        if index == config.skip_after:
            hidden = torch.relu(layer.linear(torch.cat([place, hidden], dim=-1)))
        else:
            hidden = torch.relu(layer(hidden))
    density = torch.relu(field.to_density(hidden))[..., 0]
    view = head.encode(directions)[:, None].expand(*positions.shape[:2], -1)
    seen = torch.relu(head.meet.linear(torch.cat([head.to_feature(hidden), view], dim=-1)))
    return density, torch.sigmoid(head.to_colour(seen))


@pytest.mark.parametrize("samples", [1, 7])
def test_the_field_equals_its_plain_twin_in_value_and_gradient(samples):
    torch.manual_seed(0)
    field = RadianceMLP(NeRFConfig(width=24, depth=8)).double()
    positions = torch.randn(5, samples, 3, dtype=torch.float64, requires_grad=True)
    directions = F.normalize(torch.randn(5, 3, dtype=torch.float64), dim=-1)
    gradients = []
    for form in (field, lambda *inputs: plain_field(field, *inputs)):
        density, colour = form(positions, directions)
        loss = density.square().sum() + (colour * torch.arange(3)).sum()
        gradients.append([density, colour, *torch.autograd.grad(loss, [positions, *field.parameters()])])
    torch.testing.assert_close(*gradients)


def test_the_field_of_the_paper_has_its_layers():
    field = RadianceMLP(NeRFConfig())
    shapes = [tuple(p.shape) for name, p in field.named_parameters() if name.endswith("weight")]
    assert shapes == [
        (256, 63),
        *[(256, 256)] * 4,
        (256, 319),
        *[(256, 256)] * 2,
        (1, 256),
        (256, 256),
        (128, 283),
        (3, 128),
    ]
    assert NeRF(NeRFConfig()).samples_per_ray == 64 + 192


def test_density_does_not_depend_on_viewing_direction_and_colour_does():
    field, rays = tiny().fine, drawn_rays()
    positions = torch.randn(6, 4, 3)
    here, there = field(positions, rays.view_directions), field(positions, -rays.view_directions)
    assert torch.equal(here[0], there[0])
    assert (here[1] - there[1]).abs().max() > 1e-3


def test_without_view_dependence_colour_is_the_same_from_everywhere():
    field, rays = tiny(view_dependence=False).fine, drawn_rays()
    positions = torch.randn(6, 4, 3)
    here, there = field(positions, rays.view_directions), field(positions, -rays.view_directions)
    assert torch.equal(here[1], there[1])


def test_without_octaves_the_field_sees_raw_coordinates():
    assert tiny(position_octaves=0).fine.trunk.first.in_features == 3


def test_density_is_positive_and_colour_between_zero_and_one():
    for activation in ("relu", "softplus"):
        density, colour = tiny(density=activation).fine(10 * torch.randn(50, 4, 3), torch.randn(50, 3))
        assert (density >= 0).all()
        assert ((colour >= 0) & (colour <= 1)).all()


def test_bf16_products_stay_near_float32_and_the_results_are_float32():
    nerf, rays = tiny(width=64), drawn_rays(32)
    exact = nerf.render(rays, white(rays))
    with torch.autocast("cpu", torch.bfloat16):
        rounded = nerf.render(rays, white(rays))
    assert rounded.colour.dtype == rounded.depth.dtype == torch.float32
    torch.testing.assert_close(rounded.colour, exact.colour, atol=0.03, rtol=0)


@pytest.mark.parametrize("initial", ["glorot", "torch"])
@pytest.mark.parametrize("octaves", [0, 10])
def test_no_field_starts_dead(initial, octaves):
    """From any seed, about half of the space around the origin has density: there is a gradient to follow."""
    places = 3 * torch.rand(1, 500, 3, generator=generator()) - 1.5
    for seed in range(12):
        torch.manual_seed(seed)
        field = RadianceMLP(NeRFConfig(position_octaves=octaves, initial=initial))
        density, _ = field(places, torch.tensor([[0.0, 0.0, -1.0]]))
        assert (density > 0).float().mean() > 0.4


def test_softplus_has_a_gradient_where_relu_is_dead():
    alive = {}
    for activation in ("relu", "softplus"):
        nerf, rays = tiny(density=activation), drawn_rays()
        with torch.no_grad():
            for field in (nerf.coarse, nerf.fine):
                field.to_density.bias.fill_(-20)
        nerf.loss(rays, torch.zeros(6, 3), white(rays), generator()).total.backward()
        alive[activation] = any(p.grad is not None and p.grad.any() for p in nerf.parameters())
    assert alive == {"relu": False, "softplus": True}


# The two passes.


def test_opacity_never_exceeds_one():
    nerf, rays = tiny(), drawn_rays(200)
    for picture in nerf(rays, white(rays), generator()).values():
        assert (picture.opacity <= 1).all()
        assert picture.opacity.max() > 0


def test_the_fine_pass_reads_the_coarse_samples_and_the_new_ones():
    nerf, rays = tiny(), drawn_rays()
    pictures = nerf(rays, white(rays))
    assert list(pictures) == ["coarse", "fine"]
    assert pictures["coarse"].weights.shape == (6, 8)
    assert pictures["fine"].weights.shape == (6, 24)
    assert nerf.samples_per_ray == 8 + 24


def test_no_gradient_reaches_the_coarse_field_from_the_fine_picture():
    nerf, rays = tiny(), drawn_rays()
    nerf(rays, white(rays), generator())["fine"].colour.sum().backward()
    assert all(p.grad is None for p in nerf.coarse.parameters())
    assert any(p.grad.any() for p in nerf.fine.parameters())


def test_without_a_generator_the_picture_is_the_same_every_time():
    nerf, rays = tiny(density_noise=1.0), drawn_rays()
    assert torch.equal(nerf.render(rays, white(rays)).colour, nerf.render(rays, white(rays)).colour)


def test_training_is_a_function_of_its_generator():
    nerf, rays = tiny(density_noise=1.0), drawn_rays()
    losses = [
        nerf.loss(rays, torch.zeros(6, 3), white(rays), generator(seed)).total.item() for seed in (1, 1, 2)
    ]
    assert losses[0] == losses[1] != losses[2]


def test_density_noise_is_for_training_only():
    rays = drawn_rays()
    quiet, noisy = tiny(), tiny(density_noise=5.0)
    assert torch.equal(quiet.render(rays, white(rays)).colour, noisy.render(rays, white(rays)).colour)
    field, positions = noisy.fine, torch.randn(6, 4, 3)
    still, moved = field(positions, rays.view_directions), field(positions, rays.view_directions, generator())
    assert not torch.equal(still[0], moved[0])
    assert torch.equal(still[1], moved[1])


def test_a_ray_does_not_depend_on_the_rays_beside_it():
    nerf, rays = tiny().double(), drawn_rays(9, dtype=torch.float64)
    together = nerf.render(rays, white(rays))
    alone = nerf.render(rays[2:3], white(rays)[2:3])
    torch.testing.assert_close(alone.colour, together.colour[2:3])
    torch.testing.assert_close(alone.depth, together.depth[2:3])


def test_stretching_the_directions_changes_the_numbers_along_the_ray_and_not_the_picture():
    nerf = tiny().double()
    near, stretched = drawn_rays(dtype=torch.float64), drawn_rays(scale=2.0, dtype=torch.float64)
    once, twice = nerf.render(near, white(near)), nerf.render(stretched, white(near))
    torch.testing.assert_close(once.colour, twice.colour)
    torch.testing.assert_close(once.depth, 2 * twice.depth)


def test_an_empty_field_shows_the_background():
    nerf, rays = tiny(), drawn_rays()
    with torch.no_grad():
        for field in (nerf.coarse, nerf.fine):
            field.to_density.bias.fill_(-1e3)
    background = torch.rand(6, 3, generator=generator())
    seen = nerf.render(rays, background)
    assert torch.equal(seen.colour, background)
    assert torch.equal(seen.depth, torch.zeros(6))


def test_one_pass_has_one_field_and_one_loss():
    nerf, rays = tiny(fine_samples=0, coarse_samples=32), drawn_rays()
    assert nerf.fine is None
    assert nerf.samples_per_ray == 32 == tiny().samples_per_ray
    losses = nerf.loss(rays, torch.zeros(6, 3), white(rays), generator())
    assert list(losses.terms) == ["coarse"]
    assert losses.total == losses.terms["coarse"]


def test_the_loss_is_the_sum_of_the_squared_errors_of_both_pictures():
    nerf, rays, truth = tiny(), drawn_rays(), torch.rand(6, 3, generator=generator())
    losses = nerf.loss(rays, truth, white(rays), generator(3))
    pictures = nerf(rays, white(rays), generator(3))
    for name, picture in pictures.items():
        torch.testing.assert_close(losses.terms[name], (picture.colour - truth).square().mean())
    torch.testing.assert_close(losses.total, losses.terms["coarse"] + losses.terms["fine"])


def test_the_gradient_of_a_batch_is_the_mean_of_its_pieces_gradients():
    nerf, rays, truth = (
        tiny().double(),
        drawn_rays(8, dtype=torch.float64),
        torch.zeros(8, 3, dtype=torch.float64),
    )
    whole, pieces = [], []
    for cuts, into in (([slice(0, 8)], whole), ([slice(0, 3), slice(3, 8)], pieces)):
        nerf.zero_grad()
        for cut in cuts:
            pictures = nerf(rays[cut], white(rays)[cut])
            share = (cut.stop - cut.start) / 8
            (share * sum((p.colour - truth[cut]).square().mean() for p in pictures.values())).backward()
        into += [p.grad.clone() for p in nerf.parameters()]
    torch.testing.assert_close(whole, pieces)


def test_radiance_is_what_the_fine_field_says_of_each_place():
    nerf, rays = tiny(), drawn_rays()
    density, colour = nerf.radiance(rays.origins, rays.view_directions)
    wanted = nerf.fine(rays.origins[:, None], rays.view_directions)
    assert torch.equal(density, wanted[0][:, 0])
    assert torch.equal(colour, wanted[1][:, 0])


def test_gradients_agree_with_finite_differences():
    """Through encoding, field and compositing, in float64."""
    nerf = tiny(width=8, position_octaves=2, density="softplus", last_interval=1.0).double()
    rays = drawn_rays(2, dtype=torch.float64)
    distances = torch.linspace(2, 6, 5, dtype=torch.float64).expand(2, 5)
    weight = nerf.fine.trunk.first.weight

    def colour(values):
        with torch.no_grad():
            weight.copy_(values)
        return render(nerf.fine, rays, distances, 1.0).colour.sum()

    start = weight.detach().clone()
    (found,) = torch.autograd.grad(colour(start), weight)
    step = torch.randn(start.shape, dtype=torch.float64, generator=generator())
    slope = (colour(start + 1e-6 * step) - colour(start - 1e-6 * step)) / 2e-6
    assert (found * step).sum().item() == pytest.approx(slope.item(), rel=1e-6)


def test_a_tiny_nerf_learns_a_drawn_picture():
    """An 8 x 8 picture of a coloured gradient with a dark square, to 28 dB in 100 steps."""
    y, x = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    picture = torch.stack([x / 7, y / 7, torch.full_like(x, 0.5)], dim=-1)
    picture[2:5, 3:6] = torch.tensor([0.1, 0.0, 0.2])
    colours = picture.reshape(-1, 3)
    plane = torch.stack([(x - 3.5) / 8, (3.5 - y) / 8, -torch.ones_like(x)], dim=-1).reshape(-1, 3)
    view = F.normalize(plane, dim=-1)
    ends = torch.full((64,), 2.0), torch.full((64,), 6.0)
    rays = Rays(torch.tensor([0.0, 0.0, 4.0]).expand(64, 3), view, view, *ends)
    nerf = tiny(position_octaves=4)
    optimiser = torch.optim.Adam(nerf.parameters(), lr=5e-3)
    for step in range(100):
        optimiser.zero_grad()
        nerf.loss(rays, colours, white(rays), generator(step)).total.backward()
        optimiser.step()
    with torch.no_grad():
        error = (nerf.render(rays, white(rays)).colour - colours).square().mean().item()
    assert -10 * math.log10(error) > 28


def test_nerf_is_a_scene_field():
    field: SceneField = tiny()
    rays = drawn_rays()
    assert field.render(rays, white(rays)).colour.shape == (6, 3)


# What is refused.


@pytest.mark.parametrize(
    ("name", "changes"),
    {
        "skip_outside_the_trunk": {"depth": 4},
        "negative_octaves": {"position_octaves": -1},
        "too_many_octaves": {"direction_octaves": 30},
        "nothing_to_encode": {"include_input": False, "direction_octaves": 0},
        "no_inner_sample": {"coarse_samples": 2},
        "no_samples": {"coarse_samples": 0, "fine_samples": 0},
        "no_width": {"width": 0},
        "noise": {"density_noise": float("nan")},
        "endless_interval": {"last_interval": float("inf")},
    }.items(),
)
def test_what_cannot_work_is_refused_by_name(name, changes, snapshot):
    with pytest.raises(ConfigError) as refusal:
        NeRFConfig(**changes)
    snapshot(name, str(refusal.value))
