"""TDANN's spatial loss against a loop over pairs."""

import numpy as np
import pytest
import torch

from legible.methods.tdann import Tdann, alignment, distances


def slow(responses, height, width, spacing=1.0):
    """(1 - r) / 2 over all pairs of live units; responses: (samples, units), float64."""
    live = [j for j in range(responses.shape[1]) if responses[:, j].std() > 0]
    similar, near = [], []
    for a, i in enumerate(live):
        for j in live[:a]:
            x, y = (responses[:, k] - responses[:, k].mean() for k in (i, j))
            similar.append((x @ y) / (x.norm() * y.norm()))
            step = np.hypot(i // width - j // width, i % width - j % width)
            near.append(1 / (spacing * step + 1))
    x, y = torch.stack(similar), torch.tensor(near, dtype=torch.float64)
    x, y = x - x.mean(), y - y.mean()
    return (1 - (x @ y) / (x.norm() * y.norm())) / 2


@pytest.fixture
def activation():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(5, 12, 3, 3, generator=generator).clamp(min=0).requires_grad_()


@pytest.mark.parametrize("dead", [[], [4, 7]])
@pytest.mark.parametrize("responses", ["positions", "pooled"])
def test_value_and_gradient(activation, responses, dead):
    with torch.no_grad():
        activation[:, dead] = 0
    got = Tdann(responses=responses, spacing=2.0).misalignment(activation)
    double = activation.double()
    vectors = (
        double.movedim(1, -1).flatten(0, -2) if responses == "positions" else double.mean((2, 3))
    )
    expected = slow(vectors, 3, 4, 2.0)
    torch.testing.assert_close(got.double(), expected, atol=1e-6, rtol=1e-6)
    gradients = [torch.autograd.grad(value, activation)[0] for value in (got, expected)]
    torch.testing.assert_close(*gradients, atol=1e-6, rtol=1e-4)


def test_a_sheet_whose_correlations_fall_with_distance_is_aligned():
    nearness = 1 / (distances(16) + 1)
    everyone = torch.ones(16, dtype=torch.bool)
    torch.testing.assert_close(alignment(0.5 * nearness, nearness, everyone), torch.tensor(1.0))
    torch.testing.assert_close(alignment(-nearness, nearness, everyone), torch.tensor(-1.0))


def test_silent_layers_and_equal_units_give_one_half_and_no_gradient():
    for activation in (torch.zeros(4, 6, 2, 2), torch.rand(4, 1, 2, 2).expand(4, 6, 2, 2)):
        activation = activation.clone().requires_grad_()
        value = Tdann().misalignment(activation)
        value.backward()
        assert abs(value - 0.5) < 1e-6
        assert activation.grad.isfinite().all()
        assert activation.grad.abs().max() < 1e-3


def test_neighbourhoods_are_the_units_around_a_random_one():
    method = Tdann(neighbourhood=4)
    method.generator = torch.Generator().manual_seed(0)
    distance = distances(16)
    neighbourhoods = [tuple(method.around(distance, 4).tolist()) for _ in range(20)]
    assert len(set(neighbourhoods)) > 3
    for units in neighbourhoods:
        near = distance[units[0]]  # the centre comes first
        assert len(set(units)) == 4
        others = [j for j in range(16) if j not in units]
        assert max(near[list(units)]) <= min(near[others])


def test_a_neighbourhood_of_all_is_the_whole_sheet(activation):
    method = Tdann(neighbourhood=12)
    torch.testing.assert_close(method.misalignment(activation), Tdann().misalignment(activation))


def test_training_aligns_the_sheet(fit, toy):
    images = next(iter(toy.train.batches(48)))[1]

    def misaligned(fitted):
        return Tdann().misalignment(fitted.network(images).activations["conv6"])

    assert misaligned(fit("tdann", {"strength": 3.0})) < misaligned(fit("plain")) - 0.05


@pytest.mark.parametrize("params", [{}, {"neighbourhood": 3}])
def test_laws(check_laws, params):
    check_laws("tdann", params)


def test_parameters_are_checked():
    with pytest.raises(ValueError, match="neighbourhood"):
        Tdann(neighbourhood=2)
    with pytest.raises(ValueError, match="spacing"):
        Tdann(spacing=0.0)
