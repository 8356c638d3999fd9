"""SRIP in its three forms against direct formulas."""

import pytest
import torch

from legible.methods.srip import Srip, deviation, one_step, spectral

SHAPES = [(16, 27), (20, 8), (8, 8, 1, 1), (4, 3, 3, 3)]


def random_weight(shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)


def exact(weight):
    w = weight.flatten(1)
    if w.shape[0] > w.shape[1]:
        w = w.T
    return torch.linalg.matrix_norm(w @ w.T - torch.eye(len(w), dtype=w.dtype), ord=2).square()


@pytest.mark.parametrize("shape", SHAPES)
def test_spectral_form_is_the_exact_norm_in_value_and_gradient(shape):
    weight = random_weight(shape)
    got, expected = spectral(deviation(weight)), exact(weight)
    torch.testing.assert_close(got, expected)
    gradients = [torch.autograd.grad(value, weight)[0] for value in (got, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-5)


def test_spectral_form_is_exact_in_float32_where_two_eigenvalues_are_close():
    directions = torch.linalg.qr(random_weight((12, 12)).detach())[0]
    eigenvalues = torch.linspace(0.1, 0.9, 12, dtype=torch.float64)
    eigenvalues[0] = -0.8999
    matrix = (directions * eigenvalues) @ directions.T
    assert abs(spectral(matrix.float()) - 0.81) < 1e-3


@pytest.mark.parametrize("shape", SHAPES)
def test_one_step_form_by_hand(shape):
    weight = random_weight(shape)
    matrix = deviation(weight)
    start = torch.rand(len(matrix), 1, dtype=torch.float64)
    u = matrix @ start
    v = u / u.square().sum().sqrt()
    expected = (matrix @ v).square().sum()
    got = one_step(matrix, start)
    torch.testing.assert_close(got, expected)
    gradients = [torch.autograd.grad(x, weight, retain_graph=True)[0] for x in (got, expected)]
    torch.testing.assert_close(*gradients)


def test_one_step_is_biased_low():
    """The reference measured a mean of 28.6 against 50.6 on a random 16 x 27 weight."""
    matrix = deviation(random_weight((16, 27)).detach() / 3)
    starts = torch.rand(200, 16, 1, generator=torch.Generator().manual_seed(1)).double()
    estimates = torch.stack([one_step(matrix, start) for start in starts])
    assert (estimates <= spectral(matrix) + 1e-9).all()
    assert estimates.mean() < 0.8 * spectral(matrix)


def test_soft_form_and_the_smaller_side():
    weight = random_weight((20, 8)).detach()
    method = Srip(form="soft")
    expected = (weight.T @ weight - torch.eye(8)).square().sum()
    torch.testing.assert_close(method.measure(deviation(weight)), expected)
    assert deviation(weight).shape == (8, 8)
    assert deviation(weight.T).shape == (8, 8)


def test_an_orthogonal_weight_costs_nothing_and_gets_a_finite_gradient():
    weight = torch.eye(4, 6).requires_grad_()
    start = torch.ones(4, 1)
    for value in (spectral(deviation(weight)), one_step(deviation(weight), start)):
        assert value == 0
        gradient = torch.autograd.grad(value, weight)[0]
        assert (gradient == 0).all()


def test_official_schedule():
    method = Srip(schedule="official")
    factors = [method.decay(p) for p in (0.0, 0.1, 0.11, 0.3, 0.5, 0.7)]
    assert factors == [1.0, 1.0, 1e-3, 1e-4, 1e-6, 0.0]
    assert Srip().decay(0.9) == 1.0


def test_training_makes_weights_more_orthogonal(fit):
    def worst(fitted):
        return spectral(deviation(fitted.network.backbone.conv6.weight.detach()))

    assert worst(fit("srip", {"strength": 0.1})) < 0.9 * worst(fit("plain"))


@pytest.mark.parametrize("form", ["spectral", "soft", "one_step"])
def test_laws(check_laws, form):
    check_laws("srip", {"form": form})
