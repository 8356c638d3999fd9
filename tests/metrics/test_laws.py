"""What every metric must survive, for every metric there is (see metrics.md, eight laws).

Known answers stand in tests/metrics/test_planted.py, dose-response in each metric's own tests.
"""

from __future__ import annotations

import copy
import functools
from dataclasses import dataclass, replace
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from metric_values import on_device, only, same
from planted_probes import make_concepts, make_probe, random_probe, scenes
from torch import Tensor

from legible import metrics
from legible.bench.plugins import registry
from legible.metrics import maps
from legible.metrics.base import (
    ASPECTS,
    COMPARISONS,
    METRICS,
    PARTS,
    Layer,
    Probe,
    as_values,
)

registry.load(["metrics"])
HERE = str(Path(metrics.__file__).parent)
ALL = sorted(name for name, item in METRICS.items() if item.origin.startswith(HERE))
every_metric = pytest.mark.parametrize("name", ALL)

#: Metrics that read weights alone: no activation of a layer says whether they are defined.
WEIGHTS = {"weight_ncut", "weight_ncut_z"} | {
    name for name in ALL if METRICS[name].aspect == "efficiency"
}
#: Metrics that explain images, whose channels are the units of the probes here: moving units
#: moves the images. tests/metrics/test_attribution.py moves units alone.
EXPLAINS = {name for name in ALL if METRICS[name].aspect == "attribution"}
#: Metrics that compare with random draws of units: these change with the units' order, so that
#: permuting units moves them by the noise of the draws; by how much at most.
DRAWN: dict[str, float] = {}
#: Metrics that compare a unit with the layer's other units.
RELATIVE = {"concept_localisation"}
#: Metrics for which 0 is the true answer about a layer without live units.
COUNTS = {name for name in ALL if "coverage" in name or name.endswith("module_count")}
#: Metrics of the network's answers, which it gives without live units too.
ANSWERS = {item for item in ALL if METRICS[item].per == "network" or item.startswith("accuracy_")}


# ----------------------------------------------------------------- help


class Chunked(Layer):
    """A layer that streams in chunks of a size of its own."""

    size = 256

    def chunks(self, size: int = 256):
        return super().chunks(type(self).size)


@dataclass(frozen=True)
class Change:
    """What must make no difference: the units' order and scale, the chunks of images."""

    order: int = 0
    scale: int = 0
    chunk: int = 0


def base() -> Probe:
    return random_probe(images=72, units=12, classes=4)[1]


@functools.cache
def changed(change: Change) -> tuple[Probe, Tensor]:
    """The same network with its units in another order and scale; and that order."""
    probe = base()
    layer = probe.layers["units"]
    generator = torch.Generator().manual_seed(change.order)
    order = torch.randperm(12, generator=generator) if change.order else torch.arange(12)
    generator.manual_seed(change.scale)
    scale = (
        torch.exp(4 * torch.rand(12, generator=generator) - 2) if change.scale else torch.ones(12)
    )
    by_unit = scale[:, None, None]
    activation = layer.activation[:, order] * by_unit
    moved, new = make_probe(
        activation, probe.labels, probe.concepts, 4, layer.claimed[order], probe.seed
    )
    head, old = (p.network.taps["units"].outgoing[0].weight for p in (new, probe))
    with torch.no_grad():
        head.weight.copy_(old.weight[:, order] / scale)
        head.bias.copy_(old.bias)
        new.logits.copy_(new.network(new.images).logits)
    if change.chunk:
        kind = type("Chunked", (Chunked,), {"size": change.chunk})
        new.layers = {"units": kind("units", activation, moved.claimed)}
    return new, order


def check(name: str, change: Change, tolerance: float = 1e-4) -> None:
    item = METRICS[name]
    probe, order = changed(change)
    expected = only(item, changed(Change())[0]).values
    expected = expected[order.numpy()] if item.per == "unit" else expected
    same(item, only(item, probe).values, expected, tolerance)


seeds = st.integers(1, 2**31)
few = settings(max_examples=3, derandomize=True, deadline=None)


# ----------------------------------------------------------------- laws 2, 3, 8


@pytest.mark.parametrize(
    "name", [n for n in ALL if n not in EXPLAINS and "order" not in METRICS[n].breaks]
)
@few
@given(order=seeds)
def test_permuting_units_permutes_values_and_leaves_aggregates(name, order):
    check(name, Change(order=order), DRAWN.get(name, 1e-4))


@pytest.mark.parametrize(
    "name", [n for n in ALL if n not in EXPLAINS and "scale" not in METRICS[n].breaks]
)
@few
@given(scale=seeds)
def test_rescaling_units_changes_nothing(name, scale):
    check(name, Change(scale=scale))


@every_metric
@few
@given(chunk=st.integers(1, 80))
def test_chunks_make_no_difference(name, chunk):
    check(name, Change(chunk=chunk))


@every_metric
def test_the_memory_budget_makes_no_difference(name, monkeypatch):
    monkeypatch.setattr(maps, "BUDGET", 1)
    result = only(METRICS[name], base())
    monkeypatch.undo()
    same(METRICS[name], result.values, only(METRICS[name], changed(Change())[0]).values, 1e-4)


@pytest.mark.gpu
@every_metric
def test_the_device_makes_no_difference(name, gpu):
    result = only(METRICS[name], on_device(base(), gpu))
    same(METRICS[name], result.values, only(METRICS[name], base()).values, 1e-4)


# ----------------------------------------------------------------- changes nothing, draws nothing


def everything(probe: Probe) -> list[Tensor]:
    layers = [layer.activation for layer in probe.layers.values()]
    state = list(probe.network.state_dict().values())
    originals = [probe.images, probe.labels, probe.logits, probe.concepts.packed, *layers, *state]
    return [tensor.clone() for tensor in originals]


@every_metric
def test_a_metric_changes_nothing_and_repeats_itself(name):
    probe = base()
    before = everything(probe)
    # Python's own generator cannot be watched: the runtime type checks draw from it
    drawn = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    training = [module.training for module in probe.network.modules()]
    first = only(METRICS[name], probe)
    assert all(torch.equal(a, b) for a, b in zip(before, everything(probe), strict=True))
    assert torch.equal(torch.get_rng_state(), drawn[0])
    assert np.array_equal(np.random.get_state()[1], drawn[1])  # noqa: NPY002
    assert training == [module.training for module in probe.network.modules()]
    assert all(tap.record is None and not tap.transforms for tap in probe.network.taps.values())
    np.testing.assert_array_equal(only(METRICS[name], base()).values, first.values)


# ----------------------------------------------------------------- law 5: rotation


def rotated(probe: Probe) -> Probe:
    """The same function with the units of the layer rotated, and rotated back behind it."""
    layer = probe.layers["units"]
    square = torch.randn(layer.units, layer.units, generator=torch.Generator().manual_seed(0))
    rotation = torch.linalg.qr(square).Q
    turned = torch.einsum("nuhw,uv->nvhw", layer.activation, rotation)
    network = copy.deepcopy(probe.network)
    head = network.taps["units"].outgoing[0].weight
    with torch.no_grad():
        head.weight.copy_(head.weight @ rotation)
    assert torch.allclose(network.continue_from("units", turned), probe.logits, atol=1e-5)
    return replace(probe, network=network, layers={"units": Layer("units", turned)}, memo={})


@pytest.mark.parametrize(
    "name",
    [
        "class_selectivity",
        "class_information",
        "class_information_share",
        "netdissect_iou",
        "netdissect_iou_lite",
        "part_interpretability",
        "concept_auc",
        "concept_localisation",
        "concept_precision",
        "concept_purity",
        "focus_compactness",
        "focus_dispersion",
        "focus_spread",
        "location_instability",
    ],
)
def test_rotating_a_layer_spoils_its_units(name):
    _, probe = scenes()
    item = METRICS[name]
    before, after = only(item, probe), only(item, rotated(probe))
    far = abs(before.value - before.null)
    assert far > 0.05
    assert abs(after.value - after.null) < 0.9 * far


# ----------------------------------------------------------------- law 7: nothing to measure


@functools.cache
def degenerate(kind: str) -> Probe:
    """A probe in which something is missing."""
    probe = base()
    layer = probe.layers["units"]
    if kind == "dead":
        layer.activation.zero_()
    elif kind == "negative":
        layer.activation.sub_(100)
    elif kind == "constant":
        layer.activation.fill_(0.7)
    elif kind == "nan":
        layer.activation.fill_(float("nan"))
    elif kind == "infinite":
        layer.activation[0] = float("inf")
    elif kind in ("nan, finite answers", "a nan unit, finite answers"):
        layer.activation[:, slice(None) if kind.startswith("nan") else 3] = float("nan")
    elif kind == "an infinite image, finite answers":
        layer.activation[5] = float("inf")
    elif kind in ("nan weights", "no weights"):
        weight = probe.network.taps["units"].outgoing[0].weight.weight
        with torch.no_grad():
            weight.fill_(0 if kind == "no weights" else float("nan"))
    elif kind == "one unit":
        activation = layer.activation[:, :1]
        layer, probe = make_probe(
            activation, probe.labels, probe.concepts, 4, torch.zeros(1).long()
        )
    elif kind == "one position":
        activation = layer.activation[:, :, :1, :1]
        layer, probe = make_probe(activation, probe.labels, probe.concepts, 4, layer.claimed)
    elif kind == "copies":
        layer.activation[:] = layer.activation[:, :1].clone()
    elif kind == "one class of four":
        probe.labels.fill_(2)
    elif kind == "one class":
        layer, probe = make_probe(
            layer.activation, 0 * probe.labels, probe.concepts, 1, layer.claimed
        )
    elif kind in ("no images", "one image", "two images", "three images"):
        count = ["no images", "one image", "two images", "three images"].index(kind)
        probe = probe.subset(torch.arange(count))
    elif kind == "no masks":
        probe.concepts = None
    elif kind == "empty masks":
        probe.concepts = make_concepts(torch.zeros(72, 3, 24, 24, dtype=torch.bool))
    elif kind == "no concepts":
        probe.concepts = make_concepts(torch.zeros(72, 0, 24, 24, dtype=torch.bool))
    elif kind == "no claim":
        layer.claimed = None
    elif kind == "empty claim":
        layer.claimed.fill_(-1)
    if kind in ("nan", "infinite"):
        with torch.no_grad():
            probe.logits.copy_(probe.network.continue_from("units", layer.activation))
    return probe


KINDS = [
    "dead", "negative", "constant", "nan", "infinite", "one unit", "one position", "copies",
    "one class of four", "one class", "no images", "one image", "two images", "three images",
    "no masks", "empty masks", "no concepts", "no claim", "empty claim", "nan, finite answers",
    "a nan unit, finite answers", "an infinite image, finite answers", "nan weights", "no weights",
]  # fmt: skip


@every_metric
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_to_measure_is_undefined_and_no_crash(name, kind):
    item = METRICS[name]
    result = only(item, degenerate(kind))  # also checks the declared limits
    assert not np.isinf(result.values).any()
    if (
        kind in ("dead", "negative", "nan", "nan, finite answers")
        and name not in COUNTS | ANSWERS | WEIGHTS | EXPLAINS
    ):
        assert result.reason or np.isnan(result.values).all(), "a silent number for a dead layer"


@pytest.mark.parametrize("name", [n for n in ALL if METRICS[n].needs & {"concepts", "landmarks"}])
@pytest.mark.parametrize("size", [(50, 24, 24), (72, 20, 24), (72, 24, 25)])
def test_masks_that_do_not_fit_the_images_are_the_reason(name, size):
    probe = base()
    images, height, width = size
    probe.concepts = make_concepts(torch.ones(images, 3, height, width, dtype=torch.bool))
    assert "concept masks of" in only(METRICS[name], probe).reason


@pytest.mark.parametrize("name", [n for n in ALL if METRICS[n].needs & {"concepts", "landmarks"}])
def test_masks_of_numbers_are_the_reason(name):
    probe = base()
    object.__setattr__(probe.concepts, "packed", probe.concepts.packed.long())
    assert "concept masks of torch.int64" in only(METRICS[name], probe).reason


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("kind", ["nan", "infinite"])
def test_answers_that_are_not_finite_are_the_reason(name, kind):
    assert only(METRICS[name], degenerate(kind)).reason


@pytest.mark.parametrize("name", [n for n in ALL if METRICS[n].per == "unit" and n not in WEIGHTS])
@pytest.mark.parametrize("broken", [float("nan"), float("inf"), 0.0])
def test_one_broken_unit_is_undefined_and_leaves_the_others_alone(name, broken):
    item = METRICS[name]
    probe = base()
    layer = probe.layers["units"]
    layer.activation[:, 3] = broken
    result = as_values(item.function(layer, probe))
    expected = only(item, changed(Change())[0]).values
    others = np.arange(12) != 3
    assert np.isnan(result[3])
    if item.aspect != "structure" and name not in RELATIVE:  # which are about other units too
        np.testing.assert_allclose(result[others], expected[others], rtol=1e-6)


# ----------------------------------------------------------------- declarations


def test_each_aspect_or_part_has_one_headline_at_most():
    heads = [METRICS[name].heads for name in ALL if METRICS[name].headline]
    possible = [head for aspect in ASPECTS for head in PARTS.get(aspect, (aspect,))]
    assert len(heads) == len(set(heads)) and set(heads) <= set(possible)
    without = set(possible) - set(heads)
    assert without == {"exclusivity"}  # nothing qualifies (results/cards)


@pytest.mark.parametrize("name", [n for n in ALL if METRICS[n].headline])
def test_what_a_headline_is_not_compared_with_has_a_reason(name):
    item = METRICS[name]
    assert bool(item.because) == (set(item.compares) < set(COMPARISONS))


@every_metric
def test_each_metric_is_documented_and_has_a_null_of_its_own(name):
    item = METRICS[name]
    assert item.summary.endswith((".", ":", ",")) or len(item.summary) > 20
    layer, probe = base().layers["units"], base()
    null = item.null(layer, probe) if callable(item.null) else item.null
    if item.per == "unit":
        assert null is not None and np.isfinite(null)
    if null is not None:
        assert item.limits[0] <= null <= item.limits[1]
