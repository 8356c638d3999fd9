"""Pruning: on a network whose weights are known, without touching the network."""

import math
from dataclasses import replace

import pytest
import torch
from planted_probes import make_probe
from torch import nn

from legible.bench.backbones.lenet5 import lenet5
from legible.bench.backbones.vgg import vgg
from legible.metrics.base import METRICS, Layer, Probe, as_values
from legible.metrics.sparsity import (
    SPARSITIES,
    effective_units,
    effective_weights,
    free_sparsity,
    free_sparsity_dense,
    pruned_accuracy_dense,
    pruning_area,
    pruning_area_dense,
    pruning_curve,
)

NAMES = [n for n, item in METRICS.items() if item.function.__module__ == "legible.metrics.sparsity"]


def drawn(build):
    """A network with weights from a generator of its own, probed on random images."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build((1, 28, 28), 5).eval()
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(60, 1, 28, 28, generator=generator)
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.Linear):
                layer.weight.normal_(generator=generator)
        logits = network(images).logits
        # about as many answers of each class, so that every change of the logits shows
        *_, head = (layer for layer in network.modules() if isinstance(layer, nn.Linear))
        head.bias -= logits.median(0).values
        out = network(images)
    layers = {name: Layer(name, a) for name, a in out.activations.items()}
    return Probe(network, images, out.logits.argmax(1), out.logits, layers)


def ranked():
    """100 units, one each for 100 classes; a class's weight is its number + 1."""
    layer, probe = make_probe(torch.eye(100), torch.arange(100))
    with torch.no_grad():
        head = probe.network.taps["units"].outgoing[0].weight
        head.weight.copy_(torch.diag(torch.arange(100.0) + 1))
        head.bias[0] = -1.0  # so that an image without evidence is not taken for class 0
        probe.logits.copy_(probe.network(probe.images).logits)
    return layer, probe


def test_pruning_takes_the_smallest_weights_first():
    _, probe = ranked()
    # 9,900 of the 10,000 weights are zero: 98 % prunes none of the 100 that matter
    assert pruned_accuracy_dense(probe.network, probe).tolist() == [1.0] * 6
    assert free_sparsity_dense(probe.network, probe) == 0.98
    assert pruning_area_dense(probe.network, probe) == pytest.approx(1)


def test_accuracy_falls_with_the_weights_that_matter():
    layer, probe = make_probe(torch.eye(2).repeat(5, 1), torch.arange(10) % 2)
    head = probe.network.taps["units"].outgoing[0].weight
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[4.0, -1.0], [-2.0, 3.0]]))
    # two of the four weights go at 50 %, three at 70 and 80 %, all of them from 90 % on:
    # what is left is 4 and 3; then 4 alone, or nothing, and the first class wins
    curve = pruning_curve(probe.network, probe, "dense")
    assert curve.tolist() == [1, 1, 0.5, 0.5, 0.5, 0.5, 0.5]
    assert free_sparsity_dense(probe.network, probe) == 0.5
    assert layer.units == 2


@pytest.mark.parametrize("build", [lenet5, vgg])
def test_dense_weights_apart_from_all_and_the_network_is_left_alone(build):
    probe = drawn(build)
    before = {k: v.clone() for k, v in probe.network.state_dict().items()}
    dense, everything = (pruning_curve(probe.network, probe, which) for which in ("dense", "all"))
    assert dense[0] == everything[0] == 1
    assert dense[-1] < 1 and everything[-1] < 1
    assert not torch.equal(dense, everything)
    assert all(torch.equal(v, before[k]) for k, v in probe.network.state_dict().items())
    probe.memo.clear()
    torch.testing.assert_close(pruning_curve(probe.network, probe, "all", chunk=7), everything)


@pytest.mark.parametrize("build", [lenet5, vgg])
def test_dense_weights_are_pruned_behind_a_probed_activation(build):
    probe = drawn(build)
    values = pruning_curve(probe.network, probe, "dense")
    assert len(values.unique()) > 2
    dense = {k: v for k, v in probe.layers.items() if k.startswith("fc")}
    for layers in ({}, dense):  # none probed; only some that stand behind dense weights
        other = replace(probe, layers=layers, memo={})
        torch.testing.assert_close(pruning_curve(probe.network, other, "dense"), values)


def test_pruning_equals_zeroing_the_weights_by_hand():
    probe = drawn(lenet5)
    curve = pruning_curve(probe.network, probe, "dense")
    layers = [m for m in probe.network.modules() if isinstance(m, nn.Linear)]
    sizes = torch.cat([m.weight.detach().abs().flatten() for m in layers])
    with torch.no_grad():
        for sparsity, accuracy in zip(SPARSITIES, curve[1:], strict=True):
            bound = sizes.sort().values[round(sparsity * len(sizes)) - 1]
            for m in layers:
                m.weight[m.weight.abs() <= bound] = 0
            right = probe.network(probe.images).logits.argmax(1) == probe.labels
            assert float(accuracy) == pytest.approx(float(right.float().mean()))


def test_the_area_is_the_mean_height_of_the_curve():
    _, probe = ranked()
    probe.memo["pruning", "all"] = torch.tensor([1.0, 1.0, 0.9, 0.8, 0.7, 0.6, 0.5])
    expected = (0.95 * 0.2 + 0.85 * 0.1 + 0.75 * 0.1 + 0.65 * 0.05 + 0.55 * 0.03) / 0.48
    assert pruning_area(probe.network, probe) == pytest.approx(expected)
    assert free_sparsity(probe.network, probe) == 0.5


def test_a_network_no_better_than_the_commonest_class_has_no_free_sparsity():
    _, probe = ranked()
    probe.memo["pruning", "all"] = torch.full((7,), 0.01)
    assert math.isnan(free_sparsity(probe.network, probe))


def test_effective_units_and_weights():
    layer, probe = make_probe(torch.rand(6, 4), torch.arange(6) % 3)
    weight = torch.tensor([[10.0, 0.05, 0, 0], [0.0, 0.2, 0, 0], [-3.0, 0.0, 0.1, -0.11]])
    with torch.no_grad():
        probe.network.taps["units"].outgoing[0].weight.weight.copy_(weight)
    assert effective_units(layer, probe).tolist() == [1, 1, 0, 1]
    assert effective_weights(layer, probe) == pytest.approx(4 / 12)


def test_a_flattened_channel_is_effective_by_any_of_its_cells():
    network = lenet5((1, 28, 28), 5).eval()
    weight = network.taps["conv2"].outgoing[0].weight.weight
    images = torch.rand(2, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        weight.zero_()
        weight[3, 25 * 7 + 4] = 1.0  # a position of channel 7
        out = network(images)
    layer = Layer("conv2", out.activations["conv2"])
    probe = Probe(network, images, torch.arange(2), out.logits, {"conv2": layer})
    assert effective_units(layer, probe).nonzero().tolist() == [[7]]


@pytest.mark.parametrize("name", NAMES)
def test_degenerate_networks_never_crash(name):
    item = METRICS[name]
    for fill in (0.0, float("nan"), 1e38):
        layer, probe = make_probe(torch.rand(6, 4), torch.arange(6) % 3)
        with torch.no_grad():
            probe.network.taps["units"].outgoing[0].weight.weight.fill_(fill)
        subject = layer if item.per in ("unit", "layer") else probe.network
        assert len(as_values(item.function(subject, probe))) in (1, 4, 6)


def test_without_images_nothing_is_defined():
    _, probe = make_probe(torch.rand(6, 4), torch.arange(6) % 3)
    nothing = probe.subset(slice(0, 0))
    for name in NAMES:
        if METRICS[name].per == "network":
            assert torch.as_tensor(METRICS[name].function(probe.network, nothing)).isnan().all()


def test_the_headline():
    assert [name for name in NAMES if METRICS[name].headline] == ["pruning_area"]
