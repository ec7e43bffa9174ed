"""Fitting a similarity."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from rayformer.geometry.similarity import Similarity


def drawn(seed: int) -> Similarity:
    draw = torch.Generator().manual_seed(seed)
    turn = torch.from_numpy(Rotation.random(rng=seed).as_matrix())
    scale = float(10 ** torch.empty(1).uniform_(-2, 2, generator=draw))
    return Similarity(scale, turn, torch.randn(3, generator=draw, dtype=torch.float64))


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6), flat=st.booleans())
def test_the_fit_finds_the_similarity_that_was_applied(seed, flat):
    draw = torch.Generator().manual_seed(seed + 1)
    points = torch.randn(6, 3, generator=draw, dtype=torch.float64)
    if flat:  # cameras on one plane are the usual case, and leave a mirror as a temptation
        points[:, 2] = 0
    move = drawn(seed)
    found = Similarity.fit(points, move.points(points))
    assert found.scale == pytest.approx(move.scale, rel=1e-9)
    torch.testing.assert_close(found.rotation, move.rotation, rtol=0, atol=1e-8)
    torch.testing.assert_close(found.translation, move.translation, rtol=1e-8, atol=1e-8)


def test_a_mirror_image_is_fitted_by_a_turn():
    points = torch.randn(8, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = Similarity.fit(points, points * torch.tensor([1.0, 1.0, -1.0]))
    assert torch.linalg.det(found.rotation).item() == pytest.approx(1)


def test_no_other_similarity_comes_nearer_to_noisy_targets():
    draw = torch.Generator().manual_seed(3)
    points = torch.randn(10, 3, generator=draw, dtype=torch.float64)
    move = drawn(3)
    targets = move.points(points) + 0.1 * torch.randn(10, 3, generator=draw, dtype=torch.float64)
    fit = Similarity.fit(points, targets)

    def error(candidate: Similarity) -> float:
        return (candidate.points(points) - targets).square().sum().item()

    best = error(fit)
    assert best < error(move)
    for seed in range(50):
        turn = torch.from_numpy(
            Rotation.from_rotvec(1e-3 * torch.randn(3, generator=draw).numpy()).as_matrix()
        )
        shift = 1e-3 * torch.randn(3, generator=draw, dtype=torch.float64)
        scale = fit.scale * (1 + 1e-3 * (-1) ** seed)
        assert best <= error(Similarity(scale, turn @ fit.rotation, fit.translation + shift))
