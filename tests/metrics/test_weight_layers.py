"""Which units each weight layer joins, and the part of a weight that the function depends on."""

from itertools import pairwise

import torch
from torch import nn

from legible.bench.backbones.lenet5 import lenet5
from legible.bench.backbones.model_names import model_builder
from legible.bench.backbones.resnet18 import resnet18
from legible.bench.backbones.vgg import vgg
from legible.metrics.weight_layers import by_unit, effective_weight, links, links_to, sheet


def joined(network):
    return [(link.source, link.target) for link in links(network)]


def test_links_of_a_chain():
    network = vgg((1, 16, 16), 3, width=4, depth=1)
    taps = [None, "conv1", "conv2", "conv3", None]
    assert joined(network) == list(pairwise(taps))
    assert [link.norm is not None for link in links(network)] == [True, True, True, False]


def test_links_of_a_residual_network():
    network = resnet18((1, 16, 16), 3, width=4, stages=2)
    assert joined(network) == [
        (None, "stem"),
        ("stem", "layer1.0.inner"),
        ("layer1.0.inner", "layer1.0"),
        ("layer1.0", "layer1.1.inner"),
        ("layer1.1.inner", "layer1.1"),
        ("layer1.1", "layer2.0.inner"),
        ("layer1.1", "layer2.0"),  # the downsampling
        ("layer2.0.inner", "layer2.0"),
        ("layer2.0", "layer2.1.inner"),
        ("layer2.1.inner", "layer2.1"),
        ("layer2.1", None),
    ]


def test_a_layer_whose_outputs_are_no_units_of_a_tap_has_no_target():
    network = model_builder("torchvision:squeezenet1_0")((3, 32, 32), 3)
    found = joined(network)
    assert ("features.1", None) in found  # 16 channels, from which the joined map is made
    assert all(
        len(link.weight) == network.taps[link.target].units
        for link in links(network)
        if link.target
    )


def test_links_to_some_taps_are_their_incoming_weights_and_to_all_taps_also_the_head():
    network = vgg((1, 16, 16), 3, width=4, depth=1)
    assert [link.target for link in links_to(network, ["conv2"])] == ["conv2"]
    assert len(links_to(network, list(network.taps))) == 4


def test_the_function_depends_on_the_effective_weight_alone():
    network = vgg((1, 16, 16), 3, width=4, depth=1)
    link = links(network)[1]
    link.norm.weight.data = torch.linspace(-1, 2, 8)
    before = effective_weight(link)
    torch.testing.assert_close(before.flatten(1).norm(dim=1), link.norm.weight.abs())
    link.layer.weight.data *= torch.linspace(0.1, 10, 8).view(-1, 1, 1, 1)
    torch.testing.assert_close(effective_weight(link), before)


def test_a_zero_filter_gets_no_gradient():
    link = links(vgg((1, 16, 16), 3, width=4, depth=1))[1]
    link.layer.weight.data[2] = 0
    effective_weight(link).square().sum().backward()
    assert link.layer.weight.grad.isfinite().all()
    assert (link.layer.weight.grad[2] == 0).all()


def test_inputs_behind_a_flattening_go_to_their_channel():
    network = lenet5((1, 28, 28), 10)
    edge = network.taps["conv2"].outgoing[0]
    maps = torch.arange(16.0).view(1, 16, 1, 1).expand(1, 16, 10, 10)
    channel = edge.bridge(maps.contiguous())
    weight = channel.expand(3, -1)  # each weight is its channel's number
    assert torch.equal(by_unit(weight, 16), torch.arange(16.0).view(1, 16, 1).expand(3, 16, 25))
    assert isinstance(edge.weight, nn.Linear)


def test_sheets_are_as_square_as_they_can_be():
    assert [sheet(n) for n in (1, 7, 8, 12, 16, 64, 72)] == [
        (1, 1), (1, 7), (2, 4), (3, 4), (4, 4), (8, 8), (8, 9),
    ]  # fmt: skip
