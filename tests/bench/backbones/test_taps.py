"""Taps: transforms, edges, continuing from a Tap, and torchvision's ResNet unchanged."""

import copy

import pytest
import torch
import torchvision
from torch import nn

from legible.bench.backbones.lenet5 import lenet5
from legible.bench.backbones.mlp import mlp
from legible.bench.backbones.resnet18 import resnet18
from legible.bench.backbones.taps import channel_of
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


def test_outgoing_weights_take_the_bridged_units():
    taps = lenet5((1, 28, 28), 10).taps
    (edge,) = taps["conv2"].outgoing
    assert edge.weight.in_features == 400
    assert edge.bridge(torch.zeros(2, 16, 10, 10)).shape == (2, 400)
    owner = channel_of(taps["conv2"], edge)
    assert torch.equal(owner, torch.arange(16).repeat_interleave(25))


def test_a_skip_connection_is_an_edge_without_a_weight():
    taps = resnet18(IMAGE, 5, width=4).taps
    assert [edge.weight is None for edge in taps["stem"].outgoing] == [False, True]
    downsampled = taps["layer1.1"].outgoing
    assert [edge.weight.kernel_size for edge in downsampled] == [(3, 3), (1, 1)]


def test_resnet_has_torchvisions_keys_and_outputs():
    theirs = torchvision.models.resnet18(num_classes=7).eval()
    ours = resnet18((3, 64, 64), 7, stem="standard").eval()
    ours.backbone.load_state_dict(theirs.state_dict())
    x = torch.rand(2, 3, 64, 64)
    assert torch.equal(ours(x).logits, theirs(x))


def test_local_weights_are_loaded_and_checked(tmp_path):
    theirs = torchvision.models.resnet18(num_classes=7)
    torch.save(theirs.state_dict(), tmp_path / "weights.pt")
    ours = resnet18((3, 64, 64), 3, stem="standard", weights=tmp_path / "weights.pt")
    assert torch.equal(ours.backbone.layer1[0].conv1.weight, theirs.layer1[0].conv1.weight)
    with pytest.raises(ValueError, match="does not fit"):
        resnet18((3, 64, 64), 3, width=8, weights=tmp_path / "weights.pt")


def test_replacing_a_module_rewires():
    network = vgg(IMAGE, 5, width=4)
    old = network.taps["conv6"].norm
    new = nn.BatchNorm2d(16)
    network.replace(old, new)
    assert network.taps["conv6"].norm is new
    assert network.taps["conv5"].outgoing[0].norm is new
    assert not any(m is old for m in network.modules())


def test_vgg_at_32_pixels_ends_in_an_8_by_8_map():
    assert vgg((3, 32, 32), 5).taps["conv6"].shape == (64, 8, 8)
