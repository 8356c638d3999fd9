"""Laws about metrics: pure functions of a probe, NaN where they are undefined."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from legible.bench.check.global_state import generator_states, used_generator
from legible.bench.check.laws import LawOutcome, Violation, law
from legible.bench.check.method_subject import plain_result
from legible.bench.check.observations import largest_difference, logits
from legible.bench.check.toy import RECIPE
from legible.bench.errors import one_line
from legible.bench.plugins import registry
from legible.bench.scoring.score import score_metric
from legible.metrics.base import Layer, Metric, Probe, Score, scope


class MetricSubject:
    """A registered metric under check."""

    def __init__(self, name: str, params: Mapping[str, Any] | None = None) -> None:
        self.item: Metric = registry.get("metrics", name)
        self.label, self.origin = f"metric {name}", self.item.origin
        self.outcomes: dict[str, LawOutcome] = {}

    def scores(self, probe: Probe) -> list[Score]:
        """The metric's scores, one per layer, or one for the network."""
        return score_metric(self.item, probe)

    def values(self, probe: Probe) -> dict[str, Tensor]:
        """Values by layer, with -1e9 for NaN, so that they can be compared."""
        return {s.layer: torch.from_numpy(s.values).nan_to_num(nan=-1e9)
                for s in self.scores(probe)}  # fmt: skip


@functools.cache
def _plain_probe(net: str) -> Probe:
    """A probe of plain training on the toy test images; units belong to modules 0, 1, 0, 1, ..."""
    plain = plain_result(RECIPE, net)
    split = plain.data.test
    images = split.normalise(split.images)
    with torch.no_grad():
        out = plain.network(images)
    layers = {
        name: Layer(name, activation.contiguous(), torch.arange(activation.shape[1]) % 2)
        for name, activation in out.activations.items()
    }
    return Probe(
        network=plain.network,
        images=images,
        labels=split.labels,
        logits=logits(plain.network, plain.method, split),
        layers=layers,
        concepts=split.concepts,
        measurable=frozenset(name for name, layer in layers.items() if layer.spatial),
    )


def toy_probe(net: str = "vgg", concepts: bool = True, dead: bool = False) -> Probe:
    """A new probe of plain's toy network.

    concepts: whether it has concept masks.
    dead: whether the first unit of each layer is dead.
    """
    probe = _plain_probe(net)
    layers = {}
    for name, layer in probe.layers.items():
        activation = layer.activation.clone()
        if dead:
            activation[:, 0] = 0
        layers[name] = Layer(name, activation, layer.claimed)
    return replace(
        probe, layers=layers, memo={}, concepts=probe.concepts if concepts else None,
        measurable=probe.measurable if concepts else frozenset(),
    )  # fmt: skip


@law("metrics")
def declarations_are_valid(subject: MetricSubject) -> None:
    """The metric has a docstring, valid arguments and limits, and `null` if it is per unit."""
    item = subject.item
    if not (item.function.__doc__ or "").strip():
        raise Violation("the function has no docstring: say what the number means, its range and "
                        "its source")  # fmt: skip
    try:
        scope(item.function)
    except ValueError as error:
        raise Violation(str(error)) from error
    if item.per == "unit" and item.null is None:
        raise Violation("a metric per unit needs `null`, the score of a unit without the property, "
                        "so that dead units do not raise the mean")  # fmt: skip
    if not item.limits[0] <= item.limits[1]:
        raise Violation(f"limits are {item.limits}: the lower limit comes first")


@law("metrics", "declarations_are_valid")
def values_have_the_declared_shape(subject: MetricSubject) -> str:
    """One value per unit, per module or in all, as declared; each within the limits or NaN."""
    remark = ""
    for net in ("vgg", "mlp"):
        probe = toy_probe(net)
        for score in subject.scores(probe):
            if score.reason:
                continue
            units = probe.layers[score.layer].units if score.layer else 0
            expected = {"unit": units, "module": None}.get(subject.item.per, 1)
            if expected is not None and len(score.values) != expected:
                raise Violation(f"returns {len(score.values)} values for layer '{score.layer}' of "
                                f"{net}, not {expected} (per='{subject.item.per}')")  # fmt: skip
            _check_finite(score)
            remark = remark or f"{score.value:.3g} on {net} {score.layer}".strip()
    return remark


def _check_finite(score: Score, where: str = "") -> None:
    if torch.from_numpy(score.values).isinf().any():
        raise Violation(f"returns an infinite value{where}: return NaN where it is undefined")


@law("metrics", "values_have_the_declared_shape")
def works_without_concepts_and_with_dead_units(subject: MetricSubject) -> None:
    """Missing concepts are declared in `needs`; dead units give a number or NaN, not an error."""
    for where, probe in (
        ("without concept masks", toy_probe(concepts=False)),
        ("with a dead unit", toy_probe(dead=True)),
        ("with dead units in dense layers", toy_probe("mlp", dead=True)),
    ):
        try:
            scores = subject.scores(probe)
        except Exception as error:
            raise Violation(f"fails {where} ({one_line(error)[:200]}): declare it in `needs`, or "
                            "return NaN") from error  # fmt: skip
        for score in scores:
            _check_finite(score, f" {where}")


@law("metrics", "values_have_the_declared_shape")
def same_probe_same_value(subject: MetricSubject) -> None:
    """Two calls give the same values, and none draws from a global generator."""
    before = generator_states()
    first = subject.values(toy_probe())
    if generator := used_generator(before, generator_states()):
        raise Violation(f"draws from {generator}'s global generator: use probe.generator('name')")
    name, distance = largest_difference(first, subject.values(toy_probe()))
    if distance > 0:
        raise Violation(f"a second call returns other values (layer '{name}', by {distance:.2g}): "
                        "draw from probe.generator('name')")  # fmt: skip


@law("metrics", "values_have_the_declared_shape")
def changes_nothing(subject: MetricSubject) -> None:
    """Network, activations, images and labels stay the same."""
    probe = toy_probe()
    before = _tensors(probe)
    subject.scores(probe)
    name, distance = largest_difference(before, _tensors(probe))
    if distance > 0:
        raise Violation(f"changes the probe's {name}: work on a copy")


def _tensors(probe: Probe) -> dict[str, Tensor]:
    """Copies of a probe's tensors by name."""
    network: Any = probe.network
    tensors = {
        "images": probe.images, "labels": probe.labels, "logits": probe.logits,
        **{f"layer '{k}'": layer.activation for k, layer in probe.layers.items()},
        **{f"weight '{k}'": v for k, v in network.state_dict().items()},
    }  # fmt: skip
    return {k: v.detach().clone() for k, v in tensors.items()}
