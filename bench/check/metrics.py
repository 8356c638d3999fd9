"""Laws on metrics: pure functions of a probed network, undefined rather than wrong."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from legible.bench.check.law import Broken, Outcome, law, moved_generator, random_state
from legible.bench.check.subject import furthest, logits, plain
from legible.bench.check.toy import RECIPE
from legible.bench.plugins import registry
from legible.bench.scoring.score import score_metric
from legible.metrics.base import Layer, Metric, Probe, Score, scope


class MetricSubject:
    """A registered metric, held to the laws of metrics."""

    def __init__(self, name: str, params: Mapping[str, Any] | None = None) -> None:
        self.item: Metric = registry.get("metrics", name)
        self.label, self.origin = f"metric {name}", self.item.origin
        self.outcomes: dict[str, Outcome] = {}

    def scores(self, probe: Probe) -> list[Score]:
        return score_metric(self.item, probe)

    def values(self, probe: Probe) -> dict[str, torch.Tensor]:
        """Values by layer, NaN turned into a number so that they can be compared."""
        return {s.layer: torch.from_numpy(s.values).nan_to_num(nan=-1e9)
                for s in self.scores(probe)}  # fmt: skip


@functools.cache
def _trained_probe(net: str) -> Probe:
    trained = plain(RECIPE, net)
    split = trained.data.test
    images = split.normalise(split.images)
    with torch.no_grad():
        out = trained.network(images)
    layers = {}
    for name, activation in out.activations.items():
        claimed = torch.arange(activation.shape[1]) % 2
        layers[name] = Layer(name, activation.contiguous(), claimed)
    measurable = frozenset(n for n, layer in layers.items() if layer.spatial)
    answers = logits(trained.network, trained.method, split)
    return Probe(
        trained.network, images, split.labels, answers, layers, split.concepts, measurable
    )  # fmt: skip


def probed(net: str = "vgg", concepts: bool = True, dead: bool = False) -> Probe:
    """A probe of plain's toy network, nothing remembered yet; perhaps a unit a layer dead."""
    probe = _trained_probe(net)
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
def describes_itself(subject: MetricSubject) -> None:
    """A docstring, a scope, and a null where units are averaged."""
    item = subject.item
    if not (item.function.__doc__ or "").strip():
        raise Broken("the function has no docstring: say what the number means, its range, source")
    try:
        scope(item.function)
    except ValueError as error:
        raise Broken(str(error)) from error
    if item.per == "unit" and item.null is None:
        raise Broken("a metric per unit needs `null`: what a unit without the property scores, so "
                     "that killing units earns nothing")  # fmt: skip
    if not item.limits[0] <= item.limits[1]:
        raise Broken(f"limits are {item.limits}: lowest first")


@law("metrics", "describes_itself")
def gives_values_of_its_shape(subject: MetricSubject) -> str:
    """A value a unit or module, or one; finite or NaN; inside its limits; on every toy network."""
    shown = ""
    for net in ("vgg", "mlp"):
        probe = probed(net)
        for found in subject.scores(probe):
            if found.reason:
                continue
            units = probe.layers[found.layer].units if found.layer else 0
            expected = {"unit": units, "module": None}.get(subject.item.per, 1)
            if expected is not None and len(found.values) != expected:
                raise Broken(f"gives {len(found.values)} values on {net} layer '{found.layer}', "
                             f"not {expected} (it says per='{subject.item.per}')")  # fmt: skip
            if torch.from_numpy(found.values).isinf().any():
                raise Broken("gives an infinite value: return NaN where it is undefined")
            shown = shown or f"{found.value:.3g} on {net} {found.layer}".strip()
    return shown


@law("metrics", "gives_values_of_its_shape")
def works_without_concepts_and_with_dead_units(subject: MetricSubject) -> None:
    """What is missing is declared in needs; a dead unit gives NaN or a number, no error."""
    for what, probe in (
        ("without concept masks", probed(concepts=False)),
        ("with a dead unit", probed(dead=True)),
        ("with dead units in dense layers", probed("mlp", dead=True)),
    ):
        try:
            found = subject.scores(probe)
        except Exception as error:
            text = " ".join(str(error).split())[:200]
            raise Broken(f"fails {what} ({type(error).__name__}: {text}): declare it in `needs`, "
                         "or return NaN") from error  # fmt: skip
        if any(torch.from_numpy(s.values).isinf().any() for s in found):
            raise Broken(f"gives an infinite value {what}: return NaN where it is undefined")


@law("metrics", "gives_values_of_its_shape")
def same_probe_same_value(subject: MetricSubject) -> None:
    """Asked twice, it answers the same, and draws no global random number."""
    before = random_state()
    first = subject.values(probed())
    if moved := moved_generator(before, random_state()):
        raise Broken(f"draws from {moved}'s global generator: use probe.generator('name')")
    name, distance = furthest(first, subject.values(probed()))
    if distance > 0:
        raise Broken(f"gives another value the second time (layer '{name}', {distance:.2g} "
                     "apart): draw from probe.generator('name')")  # fmt: skip


@law("metrics", "gives_values_of_its_shape")
def changes_nothing(subject: MetricSubject) -> None:
    """Network, activations, images and labels are as before."""
    probe = probed()

    def held() -> dict[str, torch.Tensor]:
        named = {"images": probe.images, "labels": probe.labels, "logits": probe.logits}
        named |= {f"layer '{k}'": layer.activation for k, layer in probe.layers.items()}
        network: Any = probe.network
        named |= {f"weight '{k}'": v for k, v in network.state_dict().items()}
        return {k: v.detach().clone() for k, v in named.items()}

    before = held()
    subject.scores(probe)
    name, distance = furthest(before, held())
    if distance > 0:
        raise Broken(f"changes the probe's {name}: work on a copy")
