"""Signatures, their correlation, neighbourhoods and effective rank."""

import numpy as np
import pytest
import torch

from legible.metrics.base import Layer
from legible.metrics.similarity import (
    correlation,
    distances,
    effective_rank,
    layer_correlation,
    live_units,
    neighbours,
    signatures,
)


def maps(seed=0, images=60, units=7, size=3):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(images, units, size, size, generator=generator).relu()


def with_faults():
    activation = maps()
    activation[:, 1] = 0
    activation[:, 2] = 0.3
    activation[5, 3, 0, 0] = float("nan")
    activation[:, 5] = 3 * activation[:, 4] + 1
    return activation


def test_correlation_is_numpys():
    activation = maps()
    expected = np.corrcoef(activation.movedim(1, 0).flatten(1).double().numpy())
    np.testing.assert_allclose(correlation(activation).numpy(), expected, atol=1e-5)
    np.testing.assert_allclose(
        layer_correlation(Layer("x", activation)).numpy(), expected, atol=1e-12
    )


def test_units_without_direction_have_the_zero_signature_and_no_gradient():
    activation = with_faults().requires_grad_()
    signature = signatures(activation)
    assert signature.dtype == torch.float32
    norms = signature.norm(dim=1)
    torch.testing.assert_close(norms, torch.tensor([1.0, 0, 0, 0, 1, 1, 1]))
    rho = correlation(activation)
    assert live_units(rho).tolist() == [True, False, False, False, True, True, True]
    assert float(rho[4, 5].detach()) == pytest.approx(1, abs=1e-5)
    (rho.sum() + effective_rank(rho)).backward()
    gradient = activation.grad
    assert gradient.isfinite().all()
    assert not gradient[:, 1:4].any()
    assert gradient[:, 0].any()


def test_signatures_ignore_scale_and_offset_even_where_squares_underflow():
    activation = maps()
    factor = torch.tensor([1e-9, 1e-3, 1, 3, 1e3, 1e6, 1e15]).view(1, -1, 1, 1)
    torch.testing.assert_close(
        signatures(activation * factor), signatures(activation), atol=1e-6, rtol=0
    )
    torch.testing.assert_close(
        signatures(activation + 5), signatures(activation), atol=1e-5, rtol=0
    )


def test_gradient_is_that_of_the_formula():
    activation = maps(images=6, units=3, size=2) + 0.1
    weights = torch.randn(3, 3, generator=torch.Generator().manual_seed(1))

    def gradient(compute):
        leaf = activation.clone().requires_grad_()
        (compute(leaf) * weights).sum().backward()
        return leaf.grad

    ours = gradient(correlation)
    plain = gradient(lambda a: torch.corrcoef(a.movedim(1, 0).flatten(1)))
    torch.testing.assert_close(ours, plain, atol=1e-5, rtol=1e-4)


def test_streaming_gives_the_same_for_any_chunk_and_clips_at_zero():
    activation = with_faults()
    whole = layer_correlation(Layer("x", activation), chunk=1000)
    for chunk in (1, 7, 59):
        torch.testing.assert_close(layer_correlation(Layer("x", activation), chunk=chunk), whole)
    assert torch.equal(live_units(whole), live_units(correlation(activation)))
    negative = maps() - 0.5
    torch.testing.assert_close(
        layer_correlation(Layer("x", negative)), layer_correlation(Layer("x", negative.relu()))
    )


def test_dense_layers_have_signatures_too():
    dense = maps(size=1)[:, :, 0, 0]
    assert signatures(dense).shape == (7, 60)
    assert layer_correlation(Layer("x", dense)).shape == (7, 7)


@pytest.mark.parametrize("copies", [1, 2, 3])
def test_effective_rank_counts_different_responses(copies):
    independent = torch.eye(4, dtype=torch.float64)
    rho = independent.repeat(copies, copies)
    dead = torch.nn.functional.pad(rho, (0, 2, 0, 2))
    assert float(effective_rank(rho)) == pytest.approx(4)
    assert float(effective_rank(dead)) == pytest.approx(4)


def test_effective_rank_is_undefined_without_a_live_unit():
    assert effective_rank(torch.zeros(3, 3)).isnan()


def test_neighbours_are_the_units_of_ones_own_group():
    rho = torch.block_diag(*[torch.full((4, 4), 0.9)] * 3)
    rho.fill_diagonal_(1)
    near = neighbours(rho, k=3)
    assert torch.equal(near, (rho > 0.5) & ~torch.eye(12, dtype=torch.bool))


def test_neighbours_radius_is_the_mean_distance_to_the_k_nearest():
    rho = correlation(maps())
    away = distances(rho) + 9 * torch.eye(7)
    radius = away.sort(1).values[:, :2].mean()
    assert torch.equal(neighbours(rho, k=2), away <= radius + 2e-3)  # its slack for copies
    assert int((away <= radius).sum()) > 0


@pytest.mark.parametrize("units", [1, 2])
def test_few_or_dead_units_have_few_neighbours(units):
    assert not neighbours(torch.zeros(units, units)).any()
    assert int(neighbours(torch.eye(units)).sum()) == (2 if units == 2 else 0)
