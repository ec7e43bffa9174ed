"""NeRF in the wild on both trunks: what may depend on what, and what is left when it is switched off."""

import pytest
import torch
import torch.nn.functional as F

from rayformer.core.errors import ConfigError
from rayformer.encodings.hash_grid import HashGridConfig
from rayformer.fields.nerf import NeRF, NeRFConfig
from rayformer.fields.nerfw import NeRFW
from rayformer.fields.nerfw_packed import NeRFWPacked
from rayformer.fields.ngp import NGP, NGPConfig
from rayformer.fields.parts.in_the_wild import WildConfig, WildField
from rayformer.fields.parts.occupancy import OccupancyConfig
from rayformer.fields.parts.scene_field import AppearingField, ChangingField, RoundedField, SceneField
from rayformer.geometry.rays import Rays
from rayformer.kernels.marching import Space

BOX = Space((0.0, 0.0, 0.0), 1.0)
VIEWS = 4
DENSE = NeRFConfig(width=16, depth=2, skip_after=None, position_octaves=3, coarse_samples=8, fine_samples=8)
PACKED = NGPConfig(
    grid=HashGridConfig(levels=3, features=2, coarsest=4, finest=32, log2_rows=10),
    occupancy=OccupancyConfig(cells=16, asked=2**15),
    density_width=16,
    places=8,
    colour_width=16,
    steps_across=64,
    fog=4.0,
)
BOTH = pytest.mark.parametrize("trunk", ["nerf", "ngp"])


def field(trunk: str, **changes) -> WildField:
    """A field whose codes and head are not what they start from, so that photographs differ."""
    torch.manual_seed(0)
    config = WildConfig(transient_width=16, transient_depth=2, **changes)
    made = NeRFW(config, DENSE, VIEWS) if trunk == "nerf" else NeRFWPacked(config, PACKED, BOX, VIEWS)
    if isinstance(made, NeRFWPacked):
        torch.nn.init.uniform_(made.trunk.field.grid.table, -1, 1)
    if made.lights is not None:
        torch.nn.init.normal_(made.lights.code)
    if made.head is not None:
        torch.nn.init.constant_(made.head.read.bias, 1.0)
    return made


def plain(trunk: str):
    torch.manual_seed(0)
    if trunk == "nerf":
        return NeRF(DENSE)
    ngp = NGP(PACKED, BOX, VIEWS)
    torch.nn.init.uniform_(ngp.field.grid.table, -1, 1)
    return ngp


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def drawn_rays(count=8, seed=0) -> Rays:
    source = generator(seed)
    origins = torch.tensor([0.0, 0.0, 4.0]) + 0.2 * torch.randn(count, 3, generator=source)
    targets = 0.8 * (2 * torch.rand(count, 3, generator=source) - 1)
    directions = F.normalize(targets - origins, dim=-1)
    ends = torch.full((count,), 2.0), torch.full((count,), 8.0)
    return Rays(origins, directions, directions, *ends, view=torch.arange(count) % 3)


def colours(count=8, seed=5):
    return torch.rand(count, 3, generator=generator(seed))


@BOTH
def test_a_field_in_the_wild_is_a_scene_field_with_a_light(trunk):
    made = field(trunk)
    assert isinstance(made, SceneField)
    assert isinstance(made, AppearingField)
    assert made.code_size == 48
    assert isinstance(made, ChangingField) == isinstance(made, RoundedField) == (trunk == "ngp")
    lit = made.in_light(made.usual_code())
    assert isinstance(lit, SceneField)
    assert isinstance(lit, RoundedField) == (trunk == "ngp")


@BOTH
def test_with_both_halves_switched_off_it_is_its_trunk_in_loss_gradient_and_picture(trunk):
    off, same = field(trunk, appearance=False, transient=False), plain(trunk)
    rays, truth, behind = drawn_rays(), colours(), colours(seed=6)
    losses = [one.loss(rays, truth, behind, generator(1)) for one in (off, same)]
    assert torch.equal(losses[0].total, losses[1].total)
    assert losses[0].terms.keys() == losses[1].terms.keys()
    for one in losses:
        one.total.backward()
    gradients = [[value.grad for value in one.parameters() if value.grad is not None] for one in (off, same)]
    assert len(gradients[0]) == len(gradients[1]) > 0
    assert all(map(torch.equal, *gradients))
    with torch.no_grad():
        assert torch.equal(off.render(rays, behind).colour, same.render(rays, behind).colour)
    assert off.code_size == 0


@BOTH
def test_density_does_not_depend_on_the_light_and_colour_does(trunk):
    made = field(trunk)
    places, towards = (
        1.6 * torch.rand(200, 3, generator=generator()) - 0.8,
        F.normalize(torch.ones(200, 3), dim=-1),
    )
    one, other = (made.in_light(made.code_of(view)).radiance(places, towards) for view in (0, 1))
    assert torch.equal(one[0], other[0])
    assert one[0].max() > 0
    assert (one[1] - other[1]).abs().max() > 1e-3
    with torch.no_grad():
        seen = [made.in_light(made.code_of(view)).render(drawn_rays(), colours()) for view in (0, 1)]
    assert torch.equal(seen[0].opacity, seen[1].opacity)
    assert torch.equal(seen[0].depth, seen[1].depth)


@BOTH
def test_a_picture_is_that_of_the_usual_light_and_without_what_passes_by(trunk):
    made, rays, behind = field(trunk), drawn_rays(), colours()
    with torch.no_grad():
        picture = made.render(rays, behind).colour
        assert torch.equal(picture, made.in_light(made.lights.code.mean(dim=0)).render(rays, behind).colour)
        made.head.read.bias[0] = 50.0  # an opaque passer-by in every photograph
        assert torch.equal(made.render(rays, behind).colour, picture)
        assert made.meets(rays).hidden.min() > 0.9


@BOTH
def test_only_the_codes_of_photographs_that_were_seen_are_taught(trunk):
    made = field(trunk)
    made.loss(drawn_rays(), colours(), colours(seed=6), generator()).total.backward()
    for codes in (made.lights.code, made.head.codes.code):
        assert codes.grad[:3].abs().amax(dim=-1).min() > 0
        assert not codes.grad[3].any(), "no ray is of view 3"


@BOTH
def test_the_loss_is_equation_13_of_what_the_rays_meet(trunk):
    """And for two passes half the error of the first."""
    made, rays, truth, behind = (
        field(trunk, beta_min=0.2, transient_weight=0.5),
        drawn_rays(),
        colours(),
        colours(seed=6),
    )
    terms = made.loss(rays, truth, behind, generator(1)).terms
    assert set(terms) == {"colour", "log_beta", "passing", "coarse" if trunk == "nerf" else "distortion"}
    if trunk == "ngp":
        seen, *_ = made._meets(rays, generator(1))
    else:
        _, seen = made._passes(rays, behind, generator(1))
    beta = seen.doubt + 0.2
    error = (seen.colour(behind) - truth).square().mean(dim=-1)
    if trunk == "ngp":  # which has a straight line instead of the square beyond 0.1
        away = (seen.colour(behind) - truth).abs()
        error = torch.where(away < 0.1, away**2, 0.2 * away - 0.01).mean(dim=-1)
    torch.testing.assert_close(terms["colour"], (error / (2 * beta**2)).mean())
    torch.testing.assert_close(terms["log_beta"], beta.log().mean())
    torch.testing.assert_close(terms["passing"], 0.5 * seen.density.mean())


def test_the_first_pass_is_told_the_light_too():
    made = field("nerf")
    first, _ = made._passes(drawn_rays(), colours(), None)
    (slope,) = torch.autograd.grad(first.colour.sum(), made.lights.code)
    assert slope[:3].abs().max() > 0


def test_the_end_of_a_ray_is_a_wall_of_the_scenes_and_not_of_what_passes_by():
    """The last sample reaches to infinity, where the thinnest passer-by would be opaque."""
    made = field("nerf")
    with torch.no_grad():
        made.head.read.bias[0] = -12.0
        assert made.meets(drawn_rays()).hidden.max() < 1e-2


@BOTH
def test_a_ray_does_not_depend_on_the_rays_beside_it(trunk):
    made, rays = field(trunk), drawn_rays(9)
    with torch.no_grad():
        together = made.meets(rays)
        apart = [made.meets(rays[start : start + 2]) for start in range(0, 9, 2)]
    for name in ("scene", "passing", "doubt", "hidden", "opacity", "density"):
        parts = torch.cat([getattr(part, name) for part in apart])
        torch.testing.assert_close(parts, getattr(together, name))


def test_samples_in_which_there_is_only_what_passes_by_are_kept_and_taught():
    made = field("ngp")
    with torch.no_grad():
        torch.nn.init.zeros_(made.trunk.field.grid.table)
        made.trunk.field.thin = 1e-9  # the scene is empty
        made.head.read.bias[0] = 2.0
    rays = drawn_rays()
    seen, packed, _ = made._meets(rays, None)
    assert len(packed) > 50
    assert seen.hidden.min() > 0.5
    seen.passing.sum().backward()
    assert made.head.codes.code.grad[:3].abs().amax(dim=-1).min() > 0


def test_cells_in_which_there_is_only_what_passes_by_stay_open_and_others_close():
    made = field("ngp")
    with torch.no_grad():
        torch.nn.init.zeros_(made.trunk.field.grid.table)
        made.trunk.field.thin = 1e-9
    rays = drawn_rays
    every = PACKED.occupancy.every
    with torch.no_grad():
        made.head.read.bias[0] = 5.0
        made.before_step(every, generator(), rays)
        assert made.trunk.occupancy.occupied.all()
        made.head.read.bias[0] = -40.0
        for step in range(2, 60):
            made.before_step(step * every, generator(step), rays)
    assert made.trunk.occupancy.density.max() < 1e-3


def test_the_density_that_is_asked_first_is_the_one_that_is_composited():
    """Nothing that is seen is left out: with no sample too faint, both know the same light."""
    made = field("ngp")
    rays = drawn_rays(30)
    with torch.no_grad():
        kept = made.meets(rays)
        made.trunk.config = type(PACKED)(**{**vars(PACKED), "faint": 0.0, "stop": 0.0})
        every = made.meets(rays)
    torch.testing.assert_close(kept.opacity, every.opacity, atol=0.02, rtol=0)
    torch.testing.assert_close(kept.hidden, every.hidden, atol=0.02, rtol=0)


@BOTH
def test_rays_that_know_no_photograph_cannot_be_trained_on(trunk):
    made = field(trunk)
    with pytest.raises(AssertionError, match="rays must know their views"):
        made.loss(drawn_rays().replaced(view=None), colours(), colours(), generator())


def test_a_trunk_without_a_second_pass_or_without_directions_is_refused(snapshot):
    with pytest.raises(ConfigError) as refusal:
        NeRFW(WildConfig(), NeRFConfig(fine_samples=0), VIEWS)
    snapshot("one_pass", str(refusal.value))
    with pytest.raises(ConfigError) as refusal:
        NeRFW(WildConfig(), NeRFConfig(view_dependence=False), VIEWS)
    snapshot("no_directions", str(refusal.value))
