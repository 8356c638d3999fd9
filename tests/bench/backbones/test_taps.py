"""Taps: transforms, edges, and continuing from a Tap, on every backbone."""

import copy

import pytest
import torch
from torch import nn

from legible.bench.backbones.lenet5 import lenet5
from legible.bench.backbones.mlp import mlp
from legible.bench.backbones.resnet18 import resnet18
from legible.bench.backbones.vgg import vgg

IMAGE = (1, 32, 32)
BUILDS = {
    "mlp": lambda: mlp((1, 12, 12), 4, hidden=(20, 10)),
    "lenet5": lambda: lenet5((1, 28, 28), 10),
    "vgg": lambda: vgg(IMAGE, 5, width=4),
    "resnet18": lambda: resnet18(IMAGE, 5, width=4),
}


@pytest.fixture(params=BUILDS)
def network(request):
    torch.manual_seed(0)
    return BUILDS[request.param]().eval()


def images(network, count=3):
    return torch.rand(count, *network.image, generator=torch.Generator().manual_seed(1))


def test_every_tap_reports_what_passes(network):
    out = network(images(network))
    assert list(out.activations) == list(network.taps)
    for name, tap in network.taps.items():
        assert tuple(out.activations[name].shape[1:]) == tap.shape
        assert (out.activations[name] >= 0).all(), "Taps stand after ReLUs"


def test_continuing_from_a_tap_gives_the_same_logits(network):
    x = images(network)
    out = network(x)
    for name, tap in network.taps.items():
        if tap.on_trunk:
            assert torch.equal(network.continue_from(name, out.activations[name]), out.logits)
        else:
            with pytest.raises(ValueError, match="inside a block"):
                network.continue_from(name, out.activations[name])


def test_transforms_apply_after_and_before_the_raw_activation(network):
    x = images(network)
    last = list(network.taps)[-1]
    plain = network(x)
    network.taps[last].install(lambda a: a * 0)
    masked = network(x)
    assert torch.equal(masked.activations[last], plain.activations[last])
    assert masked.transformed[last].abs().max() == 0
    rerun = network.continue_from(last, plain.activations[last])
    assert torch.equal(rerun, masked.logits)
    network.taps[last].install(lambda a: a + 1, before=True)
    assert torch.equal(network(x).activations[last], plain.activations[last] + 1)


def test_nothing_is_left_behind_after_a_forward_pass(network):
    network(images(network))
    assert all(tap.record is None for tap in network.taps.values())
    assert not any("tap" in key for key in network.state_dict())


def test_a_copy_shares_no_weight_with_its_original(network):
    twin = copy.deepcopy(network)
    x = images(network)
    for module in twin.trunk:
        for parameter in module.parameters():
            nn.init.zeros_(parameter)
    edge = list(twin.taps.values())[-1].outgoing[0]
    assert edge.weight.weight.abs().max() == 0, "edges of the copy point into the copy"
    assert network(x).logits.abs().max() > 0


def test_no_relu_is_in_place_or_reused(network):
    called = []
    relus = [m for m in network.modules() if isinstance(m, nn.ReLU)]
    handles = [m.register_forward_hook(lambda m, *_: called.append(m)) for m in relus]
    network(images(network))
    for handle in handles:
        handle.remove()
    assert not any(m.inplace for m in relus)
    assert len(called) == len(set(called)) == len(relus)


def test_every_tap_but_a_residual_sum_knows_the_layer_that_makes_its_units(network):
    for name, tap in network.taps.items():
        if tap.incoming is None:
            assert name.startswith("layer") and tap.on_trunk
        else:
            assert tap.incoming.weight.shape[0] == tap.units


def test_replacing_a_module_rewires():
    network = vgg(IMAGE, 5, width=4)
    old = network.taps["conv6"].norm
    new = nn.BatchNorm2d(16)
    network.replace(old, new)
    assert network.taps["conv6"].norm is new
    assert network.taps["conv5"].outgoing[0].norm is new
    assert not any(m is old for m in network.modules())
