"""DeCov against a slow sum, and its laws."""

import pytest
import torch

from legible.methods.decov import DeCov, covariance, off_diagonal_energy


def slow(h):
    """The paper's double sum over units, sample by sample, in float64."""
    h = h.double()
    n, units = h.shape
    total = 0.0
    for i in range(units):
        for j in range(units):
            c = sum((h[b, i] - h[:, i].mean()) * (h[b, j] - h[:, j].mean()) for b in range(n)) / n
            total = total + (0.5 * c**2 if i != j else 0.0)
    return total


def test_value_and_gradient_follow_the_formula():
    h = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    value = DeCov().redundancy(h)
    expected = slow(h)
    torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=1e-7)
    ours, theirs = (torch.autograd.grad(v, h)[0] for v in (value, expected))
    torch.testing.assert_close(ours, theirs.float(), rtol=1e-5, atol=1e-6)


def test_by_hand():
    h = torch.tensor([[1.0, 1.0], [-1.0, -1.0]])  # variances 1, covariance 1: half of 2 * 1^2
    assert off_diagonal_energy(covariance(h)) == 1
    assert off_diagonal_energy(covariance(h * torch.tensor([1.0, 0.0]))) == 0


def test_samples_are_images_or_positions():
    maps = torch.randn(5, 3, 2, 2, generator=torch.Generator().manual_seed(1))
    by_position = torch.stack([maps[b, :, y, x] for b in range(5) for y in (0, 1) for x in (0, 1)])
    for samples, responses in (("pooled", maps.mean((2, 3))), ("positions", by_position)):
        value = DeCov(samples=samples).redundancy(maps)
        torch.testing.assert_close(value.double(), slow(responses), rtol=1e-5, atol=1e-8)


def test_only_the_correlation_variant_ignores_the_scale_of_activations():
    h = torch.rand(8, 5, generator=torch.Generator().manual_seed(2))
    h[:, 0] = 0  # a dead unit
    for scale, factor in (("covariance", 1e-4), ("correlation", 1.0)):
        method = DeCov(scale=scale)
        torch.testing.assert_close(method.redundancy(h / 10), factor * method.redundancy(h))


@pytest.mark.parametrize("scale", ["covariance", "correlation"])
def test_laws(check_laws, scale):
    check_laws("decov", {"scale": scale, "samples": "positions"})


def test_it_lowers_the_covariance(fit, toy):
    images = toy.test.normalise(toy.test.images)
    energies = []
    for strength in (0.0, 3.0):
        fitted = fit("decov", {"strength": strength}, epochs=6)
        maps = fitted.network(images).activations["conv6"]
        energies.append(off_diagonal_energy(covariance(maps.mean((2, 3)))).item())
    assert energies[1] < 0.5 * energies[0]
