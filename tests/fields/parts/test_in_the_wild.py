"""Two kinds of matter in one composite, and an error that counts less where it is doubted."""

import math

import pytest
import torch

from rayformer.core.errors import ConfigError
from rayformer.fields.parts.in_the_wild import (
    CHANNELS,
    Encounter,
    TransientHead,
    WildConfig,
    doubted_error,
    encounter,
    meet,
)
from rayformer.fields.parts.volume import sample_weights

RAYS, SAMPLES = 40, 12


def drawn(*shape, seed=0, most=1.0):
    return most * torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def composited(depth, colour, passing_depth, passing_colour, doubt):
    """What rays meet, by the sums that both trunks take."""
    weights, opacity = sample_weights(depth + passing_depth, torch.ones_like(depth))
    channels = meet(depth, colour, passing_depth, passing_colour, doubt)
    assert channels.shape == (*depth.shape, CHANNELS)
    return encounter((weights[..., None] * channels).sum(dim=-2), opacity, passing_depth.mean(dim=-1))


def samples(most=1.0):
    return (
        drawn(RAYS, SAMPLES, seed=1, most=most),
        drawn(RAYS, SAMPLES, 3, seed=2),
        drawn(RAYS, SAMPLES, seed=3, most=most),
        drawn(RAYS, SAMPLES, 3, seed=4),
        drawn(RAYS, SAMPLES, seed=5),
    )


@pytest.mark.parametrize("most", [0.1, 1.0, 30.0])
def test_two_kinds_of_matter_of_one_colour_are_one_matter_of_both_densities(most):
    depth, colour, passing, _, doubt = samples(most)
    both = composited(depth, colour, passing, colour, doubt)
    weights, opacity = sample_weights(depth + passing, torch.ones_like(depth))
    one = (weights[..., None] * colour).sum(dim=-2)
    torch.testing.assert_close(both.colour(torch.zeros(RAYS, 3, dtype=torch.float64)), one)
    torch.testing.assert_close(both.opacity, opacity)


@pytest.mark.parametrize("most", [0.1, 1.0, 30.0])
def test_light_is_neither_made_nor_lost(most):
    """White matter of both kinds before white is white, however opaque."""
    depth, _, passing, _, doubt = samples(most)
    white = torch.ones(RAYS, SAMPLES, 3, dtype=torch.float64)
    seen = composited(depth, white, passing, white, doubt)
    torch.testing.assert_close(seen.colour(white[:, 0]), white[:, 0])
    assert (seen.hidden <= seen.opacity + 1e-12).all()


def test_thin_samples_are_composited_as_the_paper_has_it():
    """Equation 8, where each kind takes 1 - exp(-its own depth) of the light that comes through both."""
    depth, colour, passing, its_colour, doubt = samples(most=1e-3)
    ours = composited(depth, colour, passing, its_colour, doubt)
    behind = (depth + passing).cumsum(dim=-1)
    through = torch.exp(-torch.nn.functional.pad(behind, (1, 0))[:, :-1])
    shares = through * -torch.expm1(-depth), through * -torch.expm1(-passing)
    papers = sum(
        (share[..., None] * c).sum(-2) for share, c in zip(shares, (colour, its_colour), strict=True)
    )
    torch.testing.assert_close(ours.scene + ours.passing, papers, rtol=2e-3, atol=0)
    torch.testing.assert_close(ours.doubt, (shares[1] * doubt).sum(-1), rtol=2e-3, atol=0)


def test_what_passes_by_hides_what_is_behind_it():
    depth, colour, passing, its_colour, doubt = samples(most=5.0)
    wall = passing.clone()
    wall[:, 3] = 1e4
    seen = composited(depth, colour, wall, its_colour, doubt)
    other = colour.clone()
    other[:, 4:] = 0
    torch.testing.assert_close(composited(depth, other, wall, its_colour, doubt).scene, seen.scene)
    torch.testing.assert_close(seen.opacity, torch.ones_like(seen.opacity))


def test_without_matter_there_is_no_colour_no_doubt_and_a_finite_gradient():
    depth = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    passing = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    colour = drawn(2, 3, 3)
    seen = composited(depth, colour, passing, colour, drawn(2, 3))
    assert not any(value.any() for value in (seen.scene, seen.passing, seen.doubt, seen.hidden))
    (seen.scene.sum() + seen.passing.sum() + seen.doubt.sum()).backward()
    assert torch.isfinite(depth.grad).all()
    assert torch.isfinite(passing.grad).all()


# ---------------------------------------------------------------- the loss


def one_ray(doubt: float, density: float = 0.0) -> Encounter:
    value = lambda number: torch.tensor([number])  # noqa: E731
    return Encounter(
        torch.zeros(1, 3), torch.zeros(1, 3), value(doubt), value(0.0), value(1.0), value(density)
    )


def test_the_loss_is_that_of_equation_13_in_numbers_written_by_hand():
    """Error 0.2 in each channel, beta = 0.3 + 0.1, mean density 5 at weight 0.01."""
    terms = doubted_error(one_ray(0.3, 5.0), torch.tensor([0.2**2]), beta_min=0.1, weight=0.01)
    assert terms["colour"].item() == pytest.approx(0.04 / (2 * 0.16))
    assert terms["log_beta"].item() == pytest.approx(math.log(0.4))
    assert terms["passing"].item() == pytest.approx(0.05)


@pytest.mark.parametrize("error", [0.2, 0.35, 0.9])
def test_the_doubt_that_costs_least_is_the_error_itself(error):
    doubts = torch.linspace(0, 1, 1001)
    losses = [
        sum(doubted_error(one_ray(float(doubt)), torch.tensor([error**2]), 0.1, 0.01).values())
        for doubt in doubts
    ]
    best = doubts[int(torch.stack(losses).argmin())].item()
    assert best + 0.1 == pytest.approx(error, abs=2e-3)


def test_beta_min_bounds_what_a_ray_that_nothing_passes_can_cost():
    """Without it the doubt of such a ray is 0, and its error divided by 0."""
    terms = doubted_error(one_ray(0.0), torch.ones(1), beta_min=0.05, weight=0.01)
    assert terms["colour"].item() == pytest.approx(1 / (2 * 0.05**2))
    assert terms["log_beta"].item() == pytest.approx(math.log(0.05))


def test_the_head_is_positive_thin_at_first_and_different_for_every_photograph():
    torch.manual_seed(0)
    head = TransientHead(8, views=5, code=16, width=32, depth=2)
    place = torch.randn(50, 8)
    density, colour, doubt = head(place, head.codes.code[2].expand(50, -1))
    assert (density > 0).all()
    assert density.median() < 0.1
    assert (doubt > 0).all()
    assert ((colour > 0) & (colour < 1)).all()
    other, _, _ = head(place, head.codes.code[3].expand(50, -1))
    assert (other - density).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("name", "changes"),
    {
        "no_doubt": {"beta_min": 0.0},
        "no_code": {"appearance_size": 0},
        "no_layer": {"transient_depth": 0},
        "a_reward": {"transient_weight": -1.0},
    }.items(),
)
def test_what_cannot_work_is_refused_by_name(name, changes, snapshot):
    with pytest.raises(ConfigError) as refusal:
        WildConfig(**changes)
    snapshot(name, str(refusal.value))
