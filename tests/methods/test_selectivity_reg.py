"""The selectivity control against a slow formula and the metric it trains on."""

import pytest
import torch

from legible.methods.selectivity_reg import selectivity
from legible.metrics.selectivity import class_means
from legible.metrics.selectivity import selectivity_index as metric


def slow(maps, labels):
    """By unit, from lists of images, in float64; classes that are not there are left out."""
    maps = maps.double().clamp(min=0)
    values = []
    for u in range(maps.shape[1]):
        means = [maps[labels == c, u].mean() for c in labels.unique()]
        top = max(means)
        rest = (sum(means) - top) / (len(means) - 1)
        values.append((top - rest) / (top + rest + 1e-7))
    return torch.stack(values)


def test_value_and_gradient_follow_the_formula():
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(12, 5, 3, 3, generator=generator, requires_grad=True)
    labels = torch.tensor([0, 1, 3] * 4)  # class 2 is not in the batch
    ours, expected = selectivity(maps, labels, 4), slow(maps, labels)
    torch.testing.assert_close(ours.double(), expected, rtol=1e-5, atol=1e-6)
    grads = [torch.autograd.grad(v.sum(), maps)[0] for v in (ours, expected)]
    torch.testing.assert_close(*grads, rtol=1e-4, atol=1e-6)


def test_by_hand():
    activation = torch.tensor([[3.0, 1.0, 0.0], [1.0, 1.0, 0.0]])
    value = selectivity(activation, torch.tensor([0, 1]), 2)
    torch.testing.assert_close(value, torch.tensor([0.5, 0.0, 0.0]))


def test_it_is_the_metric_on_live_units():
    responses = torch.rand(30, 4, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(30) % 3
    expected = metric(class_means(responses, labels, 3))
    torch.testing.assert_close(selectivity(responses, labels, 3).double(), expected,
                               rtol=1e-5, atol=1e-6)  # fmt: skip


def test_dead_units_and_single_classes_give_finite_gradients():
    maps = torch.zeros(4, 2, 2, 2, requires_grad=True)
    selectivity(maps, torch.zeros(4, dtype=torch.long), 3).sum().backward()
    assert maps.grad.isfinite().all()


@pytest.mark.parametrize("direction", ["more", "less"])
def test_laws(check_laws, direction):
    check_laws("selectivity_reg", {"direction": direction})


def test_both_directions_move_the_index(fit, toy):
    images = toy.test.normalise(toy.test.images)
    index = {}
    for direction in ("less", "more"):
        network = fit(
            "selectivity_reg", {"direction": direction, "strength": 3.0}, epochs=6
        ).network
        maps = network(images).activations["conv6"]
        index[direction] = selectivity(maps, toy.test.labels, 3).mean().item()
    assert index["more"] > index["less"] + 0.1
