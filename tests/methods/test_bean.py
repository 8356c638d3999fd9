"""BEAN's Laplacian form against the pairwise sum, in value, gradient and precision."""

import pytest
import torch

from bench.backbones.lenet5 import lenet5
from methods.base import Step
from methods.bean import Bean, bean_penalty


def pairs(h, w, gamma=1.0, order=1):
    """The sum as written, over every pair and sample, in float64."""
    a = (gamma * w.double().T).tanh().abs()
    m = a @ a.T
    m = m if order == 1 else m * m
    d = (h.double()[:, :, None] - h.double()[:, None, :]).square().mean(0)
    return (m * d).mean()


def random(batch=7, units=12, targets=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    h = torch.randn(batch, units, generator=generator).relu()
    return h, torch.randn(targets, units, generator=generator)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("gamma", [0.5, 1.0, 3.0])
def test_value_and_gradients_equal_the_pairwise_sum(order, gamma):
    ours, theirs = ([t.requires_grad_() for t in random()] for _ in range(2))
    value = bean_penalty(*ours, gamma, order)
    expected = pairs(*theirs, gamma, order)
    assert torch.isclose(value.double(), expected, rtol=1e-5)
    value.backward()
    expected.backward()
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.allclose(mine.grad, other.grad, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("spread", [1e-2, 1e-3, 1e-4])
def test_nearly_equal_units_do_not_cancel_to_noise(order, spread):
    h, w = random()
    h = 1 + spread * h
    assert torch.isclose(
        bean_penalty(h, w, 1.0, order).double(), pairs(h, w, 1.0, order), rtol=1e-3
    )


def test_equal_units_cost_nothing_and_different_ones_do():
    _, w = random()
    assert bean_penalty(torch.ones(4, 12), w) == 0
    assert bean_penalty(torch.eye(12), w) > 0


def test_units_are_those_the_dense_layers_see(toy):
    network = lenet5((1, 28, 28), 10)
    method = Bean(strength=2.0)
    x = torch.rand(4, 1, 28, 28)
    method.attach(network, toy.train)
    assert method.taps == ["conv2", "fc1", "fc2"]
    out = network(x)
    labels = torch.zeros(4, dtype=torch.long)
    step = Step(network, x, labels, labels, out.logits, out.activations, out.transformed, 0, 0.0,
                lambda: out)  # fmt: skip
    pooled = torch.nn.functional.max_pool2d(out.activations["conv2"], 2).flatten(1)
    layers = [(pooled, "fc1"), (out.activations["fc1"], "fc2"), (out.activations["fc2"], "head")]
    expected = sum(pairs(h, network.backbone.get_submodule(w).weight) for h, w in layers)
    assert torch.isclose(method.penalty(step)["bean"].double(), 2 * expected, rtol=1e-4)


def test_claimed_modules_follow_the_strongest_outgoing_weight(toy):
    network = lenet5((1, 28, 28), 10)
    method = Bean()
    method.attach(network, toy.train)
    claimed = method.partition(network)
    assert set(claimed) == {"fc1", "fc2"}
    head = network.backbone.head.weight
    assert all(int(claimed["fc2"][u]) == int(head[:, u].abs().argmax()) for u in range(84))


@pytest.mark.parametrize("wrong", [{"gamma": 0.0}, {"strength": -1.0}])
def test_parameters_are_checked(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Bean(**wrong)
