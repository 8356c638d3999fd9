"""Groups of one target: on weights and activations set by hand, with known answers."""

import math

import pytest
import torch
from planted_probes import make_probe
from torch import nn

from legible.bench.backbones.lenet5 import lenet5
from legible.bench.backbones.resnet18 import resnet18
from legible.bench.backbones.vgg import vgg
from legible.bench.scoring.score import score_metric as score
from legible.metrics.assemblies import (
    correlation_synchronization_agreement,
    largest_weights,
    main_target,
    outgoing_correlation_agreement,
    outgoing_synchronization_agreement,
    output_dead_units,
    own_class_accuracy_change,
    own_class_prediction_change,
    rand_index,
    single_target_units,
    targets_of_a_unit,
    weights_under_hundredth,
    weights_under_thousandth,
)
from legible.metrics.base import METRICS, Layer, Probe


def head_of(probe):
    return probe.network.taps["units"].outgoing[0].weight


def with_head(weight, activation=None, labels=None, bias=0.0):
    """A layer whose head is set by hand, and its probe with the logits that follow."""
    weight = torch.tensor(weight)
    classes, units = weight.shape
    activation = torch.rand(30, units) if activation is None else activation
    labels = torch.arange(len(activation)) % classes if labels is None else labels
    layer, probe = make_probe(activation, labels, classes=classes)
    with torch.no_grad():
        head_of(probe).weight.copy_(weight)
        head_of(probe).bias.copy_(torch.as_tensor(bias))
        probe.logits.copy_(probe.network(probe.images).logits)
    return layer, probe


def drawn(build, tap, **params):
    """A backbone's layer on random images."""
    network = build((1, 28, 28), 5, **params).eval()
    with torch.no_grad():
        out = network(torch.randn(6, 1, 28, 28))
    layers = {name: Layer(name, a) for name, a in out.activations.items()}
    labels = torch.arange(6) % 5
    return layers[tap], Probe(network, torch.randn(6, 1, 28, 28), labels, out.logits, layers)


# ----------------------------------------------------------------- sizes of weights

PLANTED = [  # four units to three classes: one target, two, none (just below 1e-2), all three
    [0.5, -0.02, 0.0099, 0.3],
    [0.0, 0.3, -0.005, -0.3],
    [0.0005, 0.0001, 0.0, 0.02],
]


def test_sizes_of_planted_weights():
    layer, probe = with_head(PLANTED)
    assert weights_under_thousandth(layer, probe) == pytest.approx(4 / 12)
    assert weights_under_hundredth(layer, probe) == pytest.approx(6 / 12)
    assert targets_of_a_unit(layer, probe).tolist() == [1, 2, 0, 3]
    assert output_dead_units(layer, probe).tolist() == [0, 0, 1, 0]
    assert single_target_units(layer, probe).tolist() == [1, 0, 0, 0]


def test_a_unit_links_to_a_target_by_any_cell_of_its_map():
    layer, probe = drawn(lenet5, "conv2")
    weight = probe.network.backbone.fc1.weight  # 120 x (16 channels x 25 places)
    expected = weight.detach().abs().view(120, 16, 25).amax(2)
    assert torch.equal(largest_weights(layer, probe), expected)
    with torch.no_grad():
        weight.zero_()
        weight[7, 3 * 25 + 11] = weight[9, 3 * 25 + 4] = weight[0, 0] = -0.5
    assert targets_of_a_unit(layer, probe).tolist() == [1, 0, 0, 2] + [0] * 12


def test_a_kernel_links_by_its_largest_cell():
    layer, probe = drawn(lenet5, "conv1")
    expected = probe.network.backbone.conv2.weight.detach().abs().amax((2, 3))
    assert torch.equal(largest_weights(layer, probe), expected)


def test_all_ways_out_of_a_residual_block_count():
    layer, probe = drawn(resnet18, "layer1.1", width=4, stages=2)
    block = probe.network.backbone.layer2[0]
    ways = torch.cat([block.conv1.weight, block.downsample[0].weight.expand(-1, -1, 3, 3)])
    assert torch.equal(largest_weights(layer, probe), ways.detach().abs().amax((2, 3)))


# ----------------------------------------------------------------- groups of one target


def grouped(noise, units=24, classes=3, images=240):
    """Units that respond to one class each and drive it alone; noise blurs both."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(images) % classes
    mine = torch.arange(units) % classes
    level = (labels[:, None] == mine).double() * (0.5 + torch.rand(images, 1, generator=generator))
    activation = (level + noise * torch.rand(images, units, generator=generator)).float()
    weight = (mine == torch.arange(classes)[:, None]).float()
    return with_head(weight.tolist(), activation, labels), mine


def test_groups_that_act_together_agree_in_every_reading():
    (layer, probe), mine = grouped(0.05)
    assert torch.equal(main_target(layer, probe), mine)
    assert outgoing_correlation_agreement(layer, probe) == 1
    assert outgoing_synchronization_agreement(layer, probe) == 1
    assert correlation_synchronization_agreement(layer, probe) == 1


def test_dealing_the_weights_anew_leaves_chance():
    (layer, probe), _ = grouped(0.05)
    order = torch.randperm(24, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        head_of(probe).weight.copy_(head_of(probe).weight[:, order])
    assert abs(outgoing_correlation_agreement(layer, probe)) < 0.2
    assert abs(outgoing_synchronization_agreement(layer, probe)) < 0.2
    assert correlation_synchronization_agreement(layer, probe) == 1


def test_a_unit_that_drives_nothing_is_in_no_group():
    activation = torch.rand(30, 4)
    activation[:, 3] = 0.7  # constant: its weight moves no answer from image to image
    layer, probe = with_head([[1.0, 0.2, 1e-5, 3.0], [0.1, 0.9, 1e-6, 0.0]], activation)
    assert main_target(layer, probe).tolist() == [0, 1, -1, -1]


def test_agreement_counts_units_that_both_assign():
    first, second = torch.tensor([0, 0, 1, 1, -1]), torch.tensor([5, 5, 2, 2, 2])
    assert rand_index(first, second) == 1
    assert math.isnan(rand_index(first, torch.tensor([-1, -1, -1, -1, 0])))


def test_one_group_has_nothing_to_agree_about():
    layer, probe = with_head([[1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
    assert math.isnan(outgoing_correlation_agreement(layer, probe))


# ----------------------------------------------------------------- lesions, signed


def answered(sign):
    """Ten images a class, a unit a class, that speaks for it (+1) or for the others (-1)."""
    labels = torch.arange(30) % 3
    responses = nn.functional.one_hot(labels, 3).float()
    activation = responses if sign > 0 else 1 - responses
    return with_head((sign * torch.eye(3)).tolist(), activation, labels)


def test_a_group_that_speaks_for_its_class_is_missed():
    layer, probe = answered(1)
    assert (probe.logits.argmax(1) == probe.labels).all()
    # without class 0's unit its images tie at 0 and still go to class 0: the first wins
    assert own_class_prediction_change(layer, probe)[1:].tolist() == pytest.approx([-1 / 3] * 2)
    assert own_class_accuracy_change(layer, probe)[1:].tolist() == [-1, -1]


def test_without_a_group_that_inhibits_it_a_class_is_predicted_too_often():
    layer, probe = answered(-1)
    assert (probe.logits.argmax(1) == probe.labels).all()
    more = own_class_prediction_change(layer, probe)
    assert (more[:1] > 0.6).all() and (more >= 0).all()
    assert own_class_accuracy_change(layer, probe).tolist() == [0, 0, 0]


def test_groups_by_hand_at_pooled_maps():
    layer, probe = drawn(vgg, "conv6", width=4)
    changes = own_class_prediction_change(layer, probe)
    target = main_target(layer, probe)
    for c in range(5):
        if not (target == c).any():
            assert changes[c].isnan()
            continue
        silenced = layer.activation * (target != c).view(1, -1, 1, 1)
        with torch.no_grad():
            logits = probe.network.continue_from("conv6", silenced)
        change = (logits.argmax(1) == c).double() - (probe.logits.argmax(1) == c).double()
        assert changes[c] == pytest.approx(change.mean().item())


def test_before_the_last_layer_targets_are_no_classes():
    layer, probe = drawn(lenet5, "fc1")
    (found,) = [s for s in score(METRICS["own_class_prediction_change"], probe)
                if s.layer == layer.name]  # fmt: skip
    assert found.reason and math.isnan(found.value)
