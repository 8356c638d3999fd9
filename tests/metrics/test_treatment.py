"""What methods treat, against the methods' own penalties and by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from planted_probes import make_probe, random_probe
from torch import nn

from legible.bench.backbones.lenet5 import lenet5
from legible.bench.backbones.mlp import mlp
from legible.bench.backbones.vgg import vgg
from legible.bench.check.dataset_laws import SPLITS
from legible.bench.data.base import make_splits
from legible.bench.plugins import registry
from legible.bench.training.fit import initialise
from legible.methods.base import METHODS, Step, treatment
from legible.methods.cgl import group_distance, receptive_field
from legible.methods.iccnn import directions, map_correlation, within_share
from legible.metrics.base import ASPECTS, METRICS, TREATMENT, Layer, Probe
from legible.metrics.modules import membership, spectral_partition

registry.load()


def probe_of(build=vgg, layers=None, **net) -> Probe:
    """A probe of an untrained network whose normalisations have statistics and factors of their
    own; of 40 images."""
    generator = torch.Generator().manual_seed(0)
    network = initialise(lambda: build((1, 16, 16), 3, **net), 0, "cpu")
    images = torch.randn(40, 1, 16, 16, generator=generator)
    network.train()(images)
    with torch.no_grad():
        for norm in (m for m in network.modules() if isinstance(m, nn.BatchNorm2d)):
            norm.weight.uniform_(0.5, 1.5, generator=generator)
            norm.bias.normal_(generator=generator).mul_(0.3)
    out = network.eval()(images)
    names = list(out.activations) if layers is None else layers
    read = {name: Layer(name, out.activations[name].detach()) for name in names}
    labels = torch.arange(40) % 3
    return Probe(network, images, labels, out.logits.detach(), read)


SMALL = {"width": 8, "depth": 1, "stages": 3}


@torch.no_grad()
def penalty_of(name: str, probe: Probe, **params) -> dict[str, float]:
    """The penalty terms of a method at strength 1 for the probe's network and images."""
    method = registry.make_method(name, {"strength": 1.0, **params})
    method.generator = torch.Generator().manual_seed(0)
    pixels = torch.zeros(len(probe.labels), *probe.images.shape[1:], dtype=torch.uint8)
    splits = make_splits(dict.fromkeys(SPLITS, (pixels, probe.labels, None)), 3)
    method.attach(probe.network, splits["train"])
    out = probe.network(probe.images)
    step = Step(
        probe.network, probe.images, probe.labels, torch.arange(40), *out, 0, 0.0, lambda: out
    )
    return {key: float(value) for key, value in method.penalty(step).items()}


def value(name: str, probe: Probe) -> float:
    return METRICS[name].function(probe.network, probe)


NETWORKS = {
    "vgg": lambda: probe_of(vgg, **SMALL),
    "lenet5": lambda: probe_of(lenet5),
    "mlp": lambda: probe_of(mlp, hidden=(16, 12)),
}


@pytest.mark.parametrize(
    ("metric", "method", "params", "of_penalty"),
    [
        ("activation_size", "activation_l1", {}, lambda p: p),
        ("covariance_energy", "decov", {}, lambda p: p),
        ("weight_power", "weight_decay", {}, lambda p: 2 * p),
        ("dense_weight_size", "weight_l1", {}, lambda p: p),
        ("assembly_disparity", "bean", {}, lambda p: p),
        ("assembly_disparity_cycles", "bean", {"order": 2}, lambda p: p),
        ("group_norms", "group_lasso", {}, lambda p: p),
        ("block_share", "clusterability", {}, lambda p: 1 - p),
        ("matrix_orthogonality", "srip", {}, lambda p: p),
        ("convolution_orthogonality", "ocnn", {}, lambda p: p),
        ("sheet_smoothness", "topoloss", {}, lambda p: 1 - p),
    ],
)
@pytest.mark.parametrize("net", NETWORKS)
def test_a_target_is_the_methods_own_penalty(metric, method, params, of_penalty, net):
    probe = NETWORKS[net]()
    expected = sum(penalty_of(method, probe, **params).values())
    assert value(metric, probe) == pytest.approx(of_penalty(expected), rel=1e-4)


@pytest.mark.parametrize("net", ["vgg", "lenet5"])
def test_targets_of_maps_are_the_methods_own_terms(net):
    probe = NETWORKS[net]()
    tdann = penalty_of("tdann", probe)["spatial"]
    assert value("sheet_alignment", probe) == pytest.approx(1 - 2 * tdann, rel=1e-4)
    pip = penalty_of("pip", probe, align=1.0, radius=0, mirror=False)["align"]
    assert value("channel_uncertainty", probe) == pytest.approx(pip, rel=1e-4)
    # cgl compares random pairs: here all of a group
    field = receptive_field(probe.layers[["conv3", "conv2"][net == "lenet5"]].activation)
    size = max(field.shape[1] // 5, 2)
    pairs = torch.combinations(torch.arange(size))
    count = min(5, field.shape[1] // size)
    groups = pairs + size * torch.arange(count)[:, None, None]
    expected = group_distance(field, groups) / count
    assert value("contiguous_group_distance", probe) == pytest.approx(float(expected), rel=1e-4)


def test_wires_cost_what_bimt_charges_without_lengths():
    probe = NETWORKS["vgg"]()
    expected = penalty_of("bimt", probe, length=0.0, wire=1.0)["wires"]
    assert value("wire_size", probe) == pytest.approx(expected, rel=1e-5)


def test_clusters_are_those_of_iccnns_loss():
    layer, probe = random_probe(units=24)
    maps = layer.activation
    partition = spectral_partition(map_correlation(maps.flatten(2)) + 1, 8)
    member = membership(partition).float()
    expected = -within_share(directions(maps, maps.flatten(2).mean(0)), member)
    assert value("cluster_share", probe) == pytest.approx(float(expected), rel=1e-4)
    layer.activation[:] = layer.activation[:, :1]
    copies = replace(probe, layers={"units": Layer("units", layer.activation)}, memo={})
    assert value("cluster_share", copies) == pytest.approx(1.0, rel=1e-3)


def test_layers_that_are_not_scored_are_run_again():
    everything, last = probe_of(lenet5), probe_of(lenet5, layers=["fc2"])
    assert value("assembly_disparity", last) == pytest.approx(
        value("assembly_disparity", everything), rel=1e-6
    )
    assert value("activation_size", last) == pytest.approx(value("activation_size", everything))


def test_synchrony_by_hand():
    """Three pairs of units that are copies of each other, and independent pairs."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.linalg.qr(torch.randn(400, 4, generator=generator)).Q
    drawn = drawn - drawn.mean(0)
    drawn = torch.linalg.qr(drawn).Q.T.reshape(4, 40, 10)[:3]  # orthogonal and centred
    maps = drawn.repeat_interleave(2, 0).movedim(0, 1)[..., None] + 1
    _, probe = make_probe(maps.reshape(40, 6, 5, 2), torch.arange(40) % 3)
    # the nearest three: one copy with correlation 1, two independent units with 0
    assert value("neighbour_synchrony", probe) == pytest.approx(1 / 3, abs=1e-4)
    assert value("global_synchrony", probe) == pytest.approx(3 / 15, abs=1e-4)


def test_half_of_the_units_are_enough_if_each_knows_the_class():
    labels = torch.arange(60) % 2
    activation = (labels[:, None] == torch.tensor([0] * 10 + [1] * 10)).float()
    _, probe = make_probe(activation, labels)
    head = probe.network.taps["units"].outgoing[0].weight
    with torch.no_grad():
        head.weight[0], head.weight[1] = activation[0], activation[1]
    assert value("accuracy_half_units", probe) > 0.99
    with torch.no_grad():  # only one unit of each class is read
        head.weight[:, 1:10] = head.weight[:, 11:] = 0
        head.bias.copy_(torch.tensor([0.0, 0.5]))
    assert 0.65 < value("accuracy_half_units", probe) < 0.85  # class 0 needs its unit


def test_without_maps_or_dense_layers_they_are_undefined():
    flat = probe_of(mlp, hidden=(16, 12))
    for name in ("channel_uncertainty", "contiguous_group_distance", "cluster_share"):
        assert math.isnan(value(name, flat))
    assert math.isnan(value("block_share", probe_of(mlp, hidden=(16,))))


VARIANTS = [
    ("bean", {"order": 2}),
    ("clusterability", {"form": "eigenvalue"}),
    ("decov", {"scale": "correlation"}),
    ("selectivity_reg", {"direction": "less"}),
    ("sync", {"synchronization": 0.0}),
    ("sync", {"neighbours": "random"}),
]


def test_each_metric_here_is_what_some_method_treats_in_its_better_direction():
    made = [registry.make_method(name, {}) for name in METHODS]
    made += [registry.make_method(name, params) for name, params in VARIANTS]
    targets = {t for t in map(treatment, made) if not isinstance(t, str)}
    own = {m.name for m in METRICS.values() if m.aspect == TREATMENT}
    assert own <= {t.metric for t in targets}
    assert all(METRICS[t.metric].better == t.better for t in targets if t.metric in own)


def test_the_aspect_has_no_headline_and_is_in_no_suite_by_itself():
    assert not any(m.headline for m in METRICS.values() if m.aspect == TREATMENT)
    assert TREATMENT not in ASPECTS
