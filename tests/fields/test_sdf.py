"""The distance field: what it starts as, what its slopes are, what its loss is a mean of."""

from dataclasses import replace

import pytest
import torch

from rayformer.core.errors import ConfigError
from rayformer.core.seeds import seeded
from rayformer.encodings.hash_grid import HashGridConfig
from rayformer.fields.sdf import SDF, LossConfig, SDFConfig

GRID = HashGridConfig(levels=3, features=2, coarsest=8, finest=32, log2_rows=12)
SMALL = SDFConfig(grid=GRID, octaves=3, width=16, depth=2)
kinds = pytest.mark.parametrize("kind", ["hash", "fourier", "siren"])


def field(**changes) -> SDF:
    with seeded(0, "model"):
        return SDF(replace(SMALL, **changes))


def places(count=200, seed=0):
    return torch.rand(count, 3, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@kinds
def test_it_starts_as_a_sphere_of_the_radius_that_was_asked(kind):
    at = places()
    off = field(kind=kind, start=0.3)(at) - (at.norm(dim=1) - 0.3)
    assert off.abs().max() < 0.05


@kinds
def test_its_slope_is_that_of_differences(kind):
    """In float64, where differences mean something; sines are float32 always, and take longer steps."""
    model, at, step, near = field(kind=kind, start=None), places(50), 1e-6, 1e-5
    if kind == "siren":
        step, near = 1e-3, 2e-2
    else:
        model, at = model.double(), at.double()
    with torch.no_grad():
        for weight in model.parameters():  # a field that is not flat
            weight.add_(0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    distance, slope = model.with_slope(at)
    assert slope.requires_grad, "where gradients are on, slopes can be descended"

    def raw(at):  # not rounded to float32, as distances are
        return model.to_distance(model.encode((at + 1) / 2 if kind == "hash" else at))[:, 0]

    for axis in range(3):
        aside = step * torch.eye(3, dtype=at.dtype)[axis]
        found = (raw(at + aside) - raw(at - aside)) / (2 * step)
        off = (found - slope[:, axis]).abs() / slope.norm(dim=1)
        assert off.median() < near
    with torch.no_grad():
        assert not model.with_slope(at)[1].requires_grad
    torch.testing.assert_close(distance, model(at))


def test_a_true_sphere_costs_nothing_on_its_surface_but_what_was_added_to_it():
    """The field with its network silenced is the sphere: every term that a truth can settle is zero."""
    loss = LossConfig(eikonal=1.0, normals=1.0, sloped=1)
    model = field(kind="fourier", loss=loss)
    with torch.no_grad():
        model.to_distance[1].weight.zero_()
    at = torch.cat([torch.nn.functional.normalize(places(64), dim=1) * 0.5, places(64, 1)])
    surface = torch.arange(128) < 64
    normals = torch.where(surface[:, None], at / at.norm(dim=1, keepdim=True), 0)
    losses = model.loss(at, at.norm(dim=1) - 0.5, normals, surface, torch.ones(128, dtype=torch.bool), 0.5)
    assert set(losses.terms) == {"distance", "eikonal", "normals"}
    for name, term in losses.terms.items():
        assert float(term.detach()) < 1e-4, name


def drawn_batch(count=256):
    at = places(count)
    surface = torch.rand(count, generator=torch.Generator().manual_seed(2)) < 0.5
    normals = torch.where(surface[:, None], torch.nn.functional.normalize(at, dim=1), 0)
    return at, at.norm(dim=1) - 0.7, normals, surface, torch.arange(count) % 4 == 0


@kinds
@pytest.mark.parametrize("distance", ["relative", "l1", "none"])
def test_however_a_batch_is_cut_the_loss_is_the_mean_of_its_pieces(kind, distance):
    loss = LossConfig(distance=distance, eikonal=0.5, normals=0.3, off_surface=0.2, sloped=4)
    model, batch = field(kind=kind, loss=loss), drawn_batch()
    share = float(batch[3].float().mean())
    whole = model.loss(*batch, share)
    cuts = [slice(0, 64), slice(64, 96), slice(96, 256)]
    pieces = [model.loss(*(part[cut] for part in batch), share) for cut in cuts]
    weights = [(cut.stop - cut.start) / 256 for cut in cuts]
    total = sum(weight * piece.total for weight, piece in zip(weights, pieces, strict=True))
    torch.testing.assert_close(total, whole.total)
    torch.testing.assert_close(torch.stack(list(whole.terms.values())).sum(), whole.total)


@kinds
def test_every_weight_learns_from_slopes_too(kind):
    model = field(kind=kind, loss=LossConfig(eikonal=1.0, sloped=1))
    at, truth, normals, surface, _ = drawn_batch()
    model.loss(at, truth, normals, surface, torch.ones(256, dtype=torch.bool), 0.5).total.backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.isfinite().all(), name
        assert weight.grad.any(), name


def test_where_nobody_asks_for_slopes_none_are_made():
    model = field(loss=LossConfig(eikonal=0.0))
    assert set(model.loss(*drawn_batch(), 0.5).terms) == {"distance"}


def test_beyond_the_cube_the_distance_goes_on_growing():
    far = torch.tensor([[3.0, 0, 0], [6.0, 0, 0]])
    one, other = field()(far).detach()
    assert float(other - one) == pytest.approx(3.0, abs=1e-3)


def test_sizes_left_open_follow_the_kind():
    assert SDFConfig().size == (64, 2)
    assert SDFConfig(kind="siren").size == (256, 4)
    assert SDFConfig(kind="fourier", width=8).size == (8, 4)


@pytest.mark.parametrize(
    ("name", "made", "changes"),
    [
        ("start", SDFConfig, {"start": 2.0}),
        ("width", SDFConfig, {"width": 0}),
        ("octaves", SDFConfig, {"octaves": -1}),
        ("omega", SDFConfig, {"omega": 0.0}),
        ("floor", LossConfig, {"floor": 0.0}),
        ("eikonal", LossConfig, {"eikonal": -1.0}),
        ("sloped", LossConfig, {"sloped": 0}),
        ("no_distance", LossConfig, {"distance_weight": 0.0}),
    ],
)
def test_what_cannot_work_is_refused_by_name(name, made, changes, snapshot):
    with pytest.raises(ConfigError) as refusal:
        made(**changes)
    snapshot(f"field_{name}", str(refusal.value))
