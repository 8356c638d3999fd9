"""BEAN's Laplacian form against the pairwise sum, in value, gradient and precision."""

import pytest
import torch

from legible.bench.backbones.lenet5 import lenet5
from legible.bench.backbones.resnet18 import resnet18
from legible.bench.backbones.vgg import vgg
from legible.methods.base import Step
from legible.methods.bean import Bean, bean_penalty


def pairs(h, w, gamma=1.0, order=1, distance="squared"):
    """The sum as written, over every pair and sample, in float64."""
    a = (gamma * w.double().T).tanh().abs()
    m = a @ a.T
    m = m if order == 1 else m * m
    d = h.double()[:, :, None] - h.double()[:, None, :]
    d = d.square() if distance == "squared" else d.abs()
    return (m * d.mean(0)).mean()


def random_layer(batch=7, units=12, targets=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    h = torch.randn(batch, units, generator=generator).relu()
    return h, torch.randn(targets, units, generator=generator)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("gamma", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("distance", ["squared", "absolute"])
@pytest.mark.parametrize("batch", [1, 7])
def test_value_and_gradients_equal_the_pairwise_sum(order, gamma, distance, batch):
    ours, theirs = ([t.requires_grad_() for t in random_layer(batch)] for _ in range(2))
    value = bean_penalty(*ours, gamma, order, distance)
    expected = pairs(*theirs, gamma, order, distance)
    assert torch.isclose(value.double(), expected, rtol=1e-5)
    value.backward()
    expected.backward()
    for mine, other in zip(ours, theirs, strict=True):
        assert torch.allclose(mine.grad, other.grad, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("spread", [1e-2, 1e-3, 1e-4])
@pytest.mark.parametrize("distance", ["squared", "absolute"])
def test_nearly_equal_units_do_not_cancel_to_noise(order, spread, distance):
    h, w = random_layer()
    h = 1 + spread * h
    value = bean_penalty(h, w, 1.0, order, distance).double()
    assert torch.isclose(value, pairs(h, w, 1.0, order, distance), rtol=1e-3)


@pytest.mark.parametrize("distance", ["squared", "absolute"])
def test_equal_units_cost_nothing_and_different_ones_do(distance):
    _, w = random_layer()
    assert bean_penalty(torch.ones(4, 12), w, distance=distance) == 0
    assert bean_penalty(torch.eye(12), w, distance=distance) > 0


def test_a_single_unit_has_nobody_to_differ_from():
    h, w = random_layer(units=1)
    assert bean_penalty(h, w, distance="absolute") == 0 == bean_penalty(h, w)


def step_of(network):
    """A step on four random_layer images."""
    x = torch.rand(4, *network.image)
    out = network(x)
    labels = torch.zeros(4, dtype=torch.long)
    return Step(network, x, labels, labels, out.logits, out.activations, out.transformed, 0, 0.0,
                lambda: out)  # fmt: skip


def dense_layers(network, activations):
    """Units and weight of each dense layer of LeNet-5, by hand."""
    pooled = torch.nn.functional.max_pool2d(activations["conv2"], 2).flatten(1)
    layers = [(pooled, "fc1"), (activations["fc1"], "fc2"), (activations["fc2"], "head")]
    return [(h, network.backbone.get_submodule(name).weight) for h, name in layers]


@pytest.mark.parametrize("distance", ["squared", "absolute"])
def test_units_are_those_the_dense_layers_see(toy, distance):
    network = lenet5((1, 28, 28), 10)
    method = Bean(strength=2.0, distance=distance)
    method.attach(network, toy.train)
    assert method.taps == ["conv2", "fc1", "fc2"]
    step = step_of(network)
    layers = dense_layers(network, step.activations)
    expected = sum(pairs(h, w, distance=distance) for h, w in layers)
    assert torch.isclose(method.penalty(step)["bean"].double(), 2 * expected, rtol=1e-4)


def test_channels_are_units_where_a_convolution_follows(toy):
    network = lenet5((1, 28, 28), 10)
    method = Bean(convolutions=True)
    method.attach(network, toy.train)
    step = step_of(network)
    maps = torch.nn.functional.max_pool2d(step.activations["conv1"], 2)
    norms = network.backbone.conv2.weight.abs().sum((2, 3))  # 16 channels behind 6
    layers = [(maps.mean((2, 3)), norms), *dense_layers(network, step.activations)]
    expected = sum(pairs(h, w) for h, w in layers)
    assert torch.isclose(method.penalty(step)["bean"].double(), 3 * expected, rtol=1e-4)
    groups = method.partition(network)
    assert set(groups) == {"conv1", "fc1", "fc2"}
    assert torch.equal(groups["conv1"], norms.argmax(0))


def test_with_convolutions_it_needs_no_dense_layer(toy):
    """Every Tap of a residual network but the last feeds a convolution, some a skip beside it."""
    network = resnet18((1, 32, 32), 10, width=4, stages=2)
    method = Bean(convolutions=True)
    assert "dense" in Bean.needs and not method.needs
    method.attach(network, toy.train)
    value = method.penalty(step_of(network))["bean"]
    value.backward()
    convolutions = [m for m in network.modules() if isinstance(m, torch.nn.Conv2d)]
    fed = [m.weight.grad is not None for m in convolutions if m.in_channels > 1]
    assert value > 0 and all(fed)


def test_claimed_modules_follow_the_strongest_outgoing_weight(toy):
    network = lenet5((1, 28, 28), 10)
    method = Bean()
    method.attach(network, toy.train)
    groups = method.partition(network)
    assert set(groups) == {"fc1", "fc2"}
    head = network.backbone.head.weight
    assert all(int(groups["fc2"][u]) == int(head[:, u].abs().argmax()) for u in range(84))


def test_channels_are_claimed_where_the_head_reads_their_means(toy):
    network = vgg(toy.image, 3, width=4, stages=2)
    method = Bean()
    method.attach(network, toy.train)
    (groups,) = method.partition(network).values()
    assert torch.equal(groups, network.backbone.head.weight.abs().argmax(0))


def test_the_extension_and_the_distance_keep_the_laws(check_laws):
    check_laws("bean", {"convolutions": True, "distance": "absolute"})


@pytest.mark.parametrize("wrong", [{"gamma": 0.0}, {"strength": -1.0}])
def test_parameters_are_checked(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Bean(**wrong)
