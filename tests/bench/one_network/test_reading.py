"""Reading a network: the probe holds what the network gives, in memory or on disk."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_networks import Branching, small_network
from speed.large_probe import metrics_of_layers

from legible.bench.one_network import reading
from legible.bench.one_network.image_data import load_images
from legible.bench.one_network.reading import UnjoinedProbe, read_network
from legible.bench.one_network.subject import with_taps
from legible.bench.plugins import registry
from legible.bench.scoring.impostors import impostor_probe
from legible.bench.scoring.score import score_metric
from legible.metrics.base import METRICS

registry.load(["metrics"])


def test_the_probe_holds_activations_logits_and_labels(toy):
    data, model = load_images(toy), small_network()
    network, names = with_taps(model, data)
    probe = read_network(network, names, data)
    images = data.batch(slice(None))
    assert len(data) == 60 > reading.CHUNK  # more than one forward pass
    assert torch.equal(probe.images, images) and torch.equal(probe.labels, data.labels)
    with torch.no_grad():
        torch.testing.assert_close(probe.logits, model(images))
        torch.testing.assert_close(probe.layers["1"].activation, model[:2](images))
    assert probe.classes == 3 and probe.fixed == "" and probe.concepts is data.concepts


def test_layers_too_coarse_for_the_masks_are_not_measurable(toy):
    data = load_images(toy)
    network, names = with_taps(small_network(), data)
    assert read_network(network, names, data).measurable == {"1"}  # 16 positions a side, not 8


def test_large_activations_lie_in_a_file_and_are_equal(toy, monkeypatch):
    data = load_images(toy)
    network, names = with_taps(small_network(), data)
    resident = read_network(network, names, data)
    monkeypatch.setattr(reading, "memory_limit", lambda: 0)
    mapped = read_network(network, names, data)
    for name in names:
        assert torch.equal(resident.layers[name].activation, mapped.layers[name].activation)
    assert torch.equal(resident.images, mapped.images)
    names = metrics_of_layers()
    assert len(names) > 30
    for name in names:
        pairs = zip(*(score_metric(METRICS[name], p) for p in (resident, mapped)), strict=True)
        for first, second in pairs:
            assert first.reason == second.reason, name
            np.testing.assert_array_equal(first.values, second.values, err_msg=name)


def test_a_probe_that_is_not_joined_has_the_data_s_classes(toy):
    data = load_images(toy)
    network, names = with_taps(small_network(classes=7), data)
    probe = read_network(network, names, data, is_joined=False)
    assert isinstance(probe, UnjoinedProbe) and probe.classes == 3 and probe.logits.shape == (60, 7)
    assert probe.subset(slice(5)).classes == 3 and impostor_probe("label", probe).classes == 3


@pytest.mark.parametrize("layers", [[], ["body.4"]])
def test_a_hooked_network_says_why_it_cannot_be_rerun(toy, layers):
    data = load_images(toy)
    network, names = with_taps(Branching(), data, layers)
    probe = read_network(network, names, data)
    assert probe.fixed.startswith("the network cannot be traced after 'lt'")
    assert list(probe.layers) == names
