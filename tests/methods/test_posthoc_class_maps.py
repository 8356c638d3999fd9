"""Class activation maps of plain's head as units."""

import functools

import pytest
import torch

from legible.bench.backbones.lenet5 import lenet5
from legible.bench.backbones.mlp import mlp
from legible.bench.backbones.resnet18 import resnet18
from legible.bench.backbones.vgg import vgg
from legible.bench.plugins import registry
from legible.bench.scoring.probe import probe_network
from legible.bench.scoring.score import score_metric
from legible.bench.training.checkpoint import restore, snapshot
from legible.methods.base import unmet
from legible.methods.posthoc_class_maps import PosthocClassMaps
from legible.metrics.base import METRICS


@pytest.fixture(scope="module")
def cached_fit(fit):
    return functools.cache(lambda name, epochs=2: fit(name, epochs=epochs))


@pytest.fixture(scope="module")
def images(toy):
    return next(iter(toy.test.batches(24)))[1]


def test_a_unit_is_the_rectified_sum_of_channels_weighted_by_the_head(cached_fit, images):
    plain, fitted = cached_fit("plain"), cached_fit("posthoc_class_maps")
    activation = plain.network(images).activations["conv6"]
    weight = plain.network.backbone.head.weight
    expected = torch.zeros(24, 3, *activation.shape[2:])
    for c in range(3):
        for k in range(activation.shape[1]):
            expected[:, c] += weight[c, k] * activation[:, k]
    out = fitted.network(images)
    maps = out.activations["conv6"]
    torch.testing.assert_close(maps, expected.clamp(min=0), rtol=1e-4, atol=1e-6)
    assert fitted.network.taps["conv6"].units == 3
    # where nothing is negative, a map's mean and the head's bias are the logit
    whole = (expected >= 0).flatten(2).all(2)
    logits = maps.mean((2, 3)) + plain.network.backbone.head.bias
    torch.testing.assert_close(logits[whole], out.logits[whole], rtol=1e-4, atol=1e-5)


def test_the_network_and_its_answers_are_plains(cached_fit, images):
    plain, fitted = cached_fit("plain"), cached_fit("posthoc_class_maps")
    # training leaves another memory layout, and rounding depends on it
    torch.testing.assert_close(fitted.network(images).logits, plain.network(images).logits)
    weights = snapshot(fitted.network, fitted.method)
    kept = snapshot(plain.network, plain.method)
    assert all(torch.equal(weights[name], value) for name, value in kept.items())
    assert fitted.method.passing is None, "no activation stays in memory"


def test_loading_a_run_gives_the_same_maps(cached_fit, fit, images):
    fitted, fresh = cached_fit("posthoc_class_maps"), fit("posthoc_class_maps", epochs=1)
    restore(snapshot(fitted.network, fitted.method), fresh.network, fresh.method)
    first, second = (f.network(images) for f in (fitted, fresh))
    assert torch.equal(first.activations["conv6"], second.activations["conv6"])
    assert torch.equal(first.logits, second.logits)


def test_cells_that_rerun_the_network_are_empty_with_the_reason(cached_fit, toy):
    registry.load(["metrics"])
    fitted = cached_fit("posthoc_class_maps")
    probe = probe_network(fitted.network, fitted.method, toy.test, ["last_spatial"])

    def reason(metric: str) -> str:
        (score,) = score_metric(METRICS[metric], probe)
        return score.reason

    for metric in ("pruning_area", "attribution_audit", "sensitivity_max"):
        assert reason(metric) == "the network does not read its class maps"
    for metric in ("accuracy_own_units", "lesion_specificity"):
        assert "cannot be rerun from it" in reason(metric)
    assert reason("weight_ncut") == "the layer has no outgoing weights"
    for metric in ("accuracy", "focus_dispersion", "class_selectivity", "effective_rank"):
        assert reason(metric) == ""
    with pytest.raises(ValueError, match="Tap on the trunk"):
        fitted.network.continue_from("conv6", probe.layers["conv6"].activation)


def test_it_needs_a_map_before_a_linear_head(toy):
    networks = {
        vgg: "",
        resnet18: "",
        lenet5: "needs a last Tap with a map that is linear up to the logits",
        mlp: "needs a last Tap with a map that is linear up to the logits",
    }
    for build, reason in networks.items():
        assert unmet(PosthocClassMaps, build((1, 16, 16), 3), toy.train) == reason
