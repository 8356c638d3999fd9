"""The graph of outgoing weights: strengths by hand, n-cut against networkx, planted wiring."""

import warnings

import networkx
import pytest
import torch
from planted_probes import make_probe
from torch import nn

from legible.bench.backbones.lenet5 import lenet5
from legible.bench.backbones.vgg import vgg
from legible.metrics.base import METRICS, Layer, Probe, as_values
from legible.metrics.wiring import n_cut, outgoing_strength, weight_ncut, weight_ncut_z

NAMES = ("weight_ncut", "weight_ncut_z")


def test_strength_is_the_kernels_l1_norm_with_batch_norm_folded_in():
    def probe_of(network, size, name):
        images = torch.rand(2, 1, size, size, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            out = network.eval()(images)
        layer = Layer(name, out.activations[name])
        return layer, Probe(network, images, torch.arange(2), out.logits, {name: layer})

    network = vgg((1, 16, 16), 3, width=4, stages=2)
    norm = network.taps["conv1"].outgoing[0].norm
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, -2, 3, 4]))
        norm.running_var.copy_(torch.tensor([1.0, 4, 9, 1]))
    layer, probe = probe_of(network, 16, "conv1")
    kernel = network.taps["conv1"].outgoing[0].weight.weight
    expected = kernel.abs().sum((2, 3)) * torch.tensor([1.0, 1, 1, 4])[:, None]
    torch.testing.assert_close(
        outgoing_strength(layer, probe), expected.double().detach(), rtol=1e-4, atol=1e-6
    )

    network = lenet5((1, 28, 28), 10)
    layer, probe = probe_of(network, 28, "conv2")
    by_cell = network.taps["conv2"].outgoing[0].weight.weight.abs().view(120, 16, 25)
    torch.testing.assert_close(
        outgoing_strength(layer, probe), by_cell.sum(2).double().detach(), rtol=1e-5, atol=1e-6
    )


def test_n_cut_is_that_of_networkx():
    generator = torch.Generator().manual_seed(0)
    weights = torch.rand(9, 9, generator=generator, dtype=torch.float64)
    weights = (weights + weights.T).fill_diagonal_(0)
    partition = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 2])
    nodes = networkx.from_numpy_array(weights.numpy())
    expected = 0.0
    for k in range(3):
        inside = set((partition == k).nonzero()[:, 0].tolist())
        cut = networkx.cut_size(nodes, inside, weight="weight")
        expected += cut / networkx.volume(nodes, inside, weight="weight")
    assert float(n_cut(weights, partition)) == pytest.approx(expected)


def block_head(noise):
    """A probe whose head wires 4 blocks of 5 units to 4 blocks of 2 classes."""
    x = torch.rand(30, 20, generator=torch.Generator().manual_seed(1))
    layer, probe = make_probe(x, torch.arange(30) % 3)
    generator = torch.Generator().manual_seed(0)
    head = nn.Linear(20, 8)
    wiring = torch.eye(4).repeat_interleave(2, 0).repeat_interleave(5, 1)
    with torch.no_grad():
        head.weight.copy_(wiring + noise * torch.rand(8, 20, generator=generator))
    tap = probe.network.taps["units"]
    tap.outgoing = (tap.outgoing[0]._replace(weight=head),)
    return layer, probe


def test_block_wiring_has_no_cut_and_noise_gives_it_one():
    assert weight_ncut(*block_head(0.0)) == pytest.approx(0, abs=1e-9)
    values = [weight_ncut(*block_head(noise)) for noise in (0.0, 0.1, 0.4, 2.0)]
    assert values == sorted(values)
    z = [weight_ncut_z(*block_head(noise)) for noise in (0.1, 1.0, 100.0)]
    assert z[0] < z[1] < -1
    assert abs(z[2]) < 3


def test_n_cut_does_not_depend_on_the_order_of_units():
    layer, probe = block_head(0.3)
    plain = weight_ncut(layer, probe), weight_ncut_z(layer, probe)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(2))
    head = probe.network.taps["units"].outgoing[0].weight
    with torch.no_grad():
        head.weight.copy_(head.weight[:, order])
    again = Layer("units", layer.activation[:, order])
    assert (weight_ncut(again, probe), weight_ncut_z(again, probe)) == pytest.approx(plain)


def test_only_relative_weights_matter():
    layer, probe = block_head(0.3)
    plain = weight_ncut(layer, probe)
    head = probe.network.taps["units"].outgoing[0].weight
    with torch.no_grad():
        head.weight.mul_(7.0)
    assert weight_ncut(Layer("units", layer.activation), probe) == pytest.approx(plain)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("fill", [0.0, 1.0, float("nan")])
@pytest.mark.parametrize("units", [1, 2, 6])
def test_degenerate_wiring_never_crashes(name, fill, units):
    layer, probe = make_probe(torch.rand(6, units), torch.arange(6) % 2)
    with torch.no_grad():
        probe.network.taps["units"].outgoing[0].weight.weight.fill_(fill)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(as_values(METRICS[name].function(layer, probe))) == 1
