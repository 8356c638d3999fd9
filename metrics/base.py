"""The `metric` decorator, and Score, the result of a metric.

A metric is a pure function of a trained network and its activations on held-out images (a `Probe`).
The names of its arguments are its scope:

- ``(layer, probe)``   a value for each unit or module, or one number for a layer;
- ``(network, probe)`` one number for the whole network;
- ``(first, second)``  one number that compares a layer on two halves of the probe's images;
- ``(train, test)``    one number that compares a layer on training images and on the probe's;
- ``(mine, theirs)``   one number that compares the networks of two seeds on the same images;
                       ``(mine, theirs, probe)`` if it also needs their labels.

It returns NaN where it is undefined, changes nothing, and takes random numbers only from
``probe.generator(name)``, so the same probe always gives the same score.
"""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float

from legible.metrics.laws import LAWS
from legible.metrics.network import Concepts
from legible.metrics.probe import Layer, Probe, remember

__all__ = [
    "ASPECTS", "COMPARISONS", "METRICS", "NEEDS", "PARTS", "TREATMENT", "Concepts", "Layer",
    "Metric", "Probe", "Scope", "Score", "as_values", "metric", "remember", "scope", "unmet",
]  # fmt: skip

# ----------------------------------------------------------------- the metric


@dataclass(frozen=True)
class Metric:
    """A registered metric: its function and its properties (see `metric`).

    ``origin`` is the source file.
    """

    name: str
    function: Callable[..., Any]
    aspect: str
    better: Literal["higher", "lower", "neither"]
    per: Literal["unit", "module", "layer", "network", "pair"]
    null: float | Callable[[Layer, Probe], float] | None
    needs: frozenset[str]
    headline: bool
    title: str
    limits: tuple[float, float]
    origin: str
    breaks: Mapping[str, str] = field(default_factory=dict)
    part: str = ""
    compares: tuple[str, ...] = ()
    because: str = ""

    @property
    def heads(self) -> str:
        """What its column in a table is called if it is a headline: the part of its aspect that it
        stands for, else the aspect."""
        return self.part or self.aspect

    @property
    def summary(self) -> str:
        """The first line of the function's docstring."""
        return (inspect.getdoc(self.function) or "\n").splitlines()[0]


METRICS: dict[str, Metric] = {}

#: Requirements that a metric can declare in ``needs``, with the reason given when one is not met.
NEEDS = {
    "spatial": "needs a layer with a map",
    "concepts": "needs concept masks",
    "landmarks": "needs landmark concepts",
    "measurable": "the map is too coarse for these masks (the oracle fails the gate)",
    "claimed": "the method claims no modules",
    "trunk": "the layer is not on the trunk, so the network cannot be rerun from it",
    "weights": "the layer has no outgoing weights",
    "validations": "no validation was recorded while training",
}

ASPECTS = (
    "task",
    "focus",
    "semantics",
    "class specificity",
    "structure",
    "consistency",
    "module semantics",
    "attribution",
    "efficiency",
)
#: The aspect of what methods treat (metrics/treatment.py). A suite scores only those of its metrics
#: that its methods declare as their target; it has no headline.
TREATMENT = "treatment"
#: The aspects whose metrics run the network again, from its images.
RERUNS = ("attribution", "efficiency")

#: The parts of an aspect that have a headline each, in the order of their columns.
PARTS = {"semantics": ("localisation", "exclusivity", "coverage")}
#: The networks that plain training is compared with on a metric's card. A headline must score the
#: oracle at least as good as plain, and the others worse.
COMPARISONS = ("oracle", "untrained", "shuffled_labels", "plain_rotated")
_OF_ANSWERS = (
    "it is about the network as a whole: the oracle is a layer alone, and rotated units give the "
    "same answers"
)


def _check_part(name: str, aspect: str, part: str) -> None:
    if part and part not in PARTS.get(aspect, ()):
        choices = ", ".join(PARTS.get(aspect, ())) or "none"
        raise ValueError(f"metric '{name}': '{aspect}' has no part '{part}' (it has: {choices})")


def metric(
    *,
    aspect: str,
    better: Literal["higher", "lower", "neither"],
    per: Literal["unit", "module", "layer", "network", "pair"],
    null: float | Callable[[Layer, Probe], float] | None = None,
    needs: Sequence[str] | set[str] = (),
    headline: bool = False,
    title: str = "",
    limits: tuple[float, float] = (-float("inf"), float("inf")),
    breaks: Mapping[str, str] | None = None,
    part: str = "",
    compares: Sequence[str] | None = None,
    because: str = "",
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Registers a function as a metric under its own name.

    Args:
        aspect: one of ASPECTS, or TREATMENT.
        better: the direction: "higher", "lower", or "neither" for a descriptive metric.
        per: what a value stands for: a unit, module, layer, network, or pair of probes.
        null: the score of a unit without the property. Undefined units count as the null in
            means, so that dead units do not improve a score.
        needs: requirements (see NEEDS); without them the metric is undefined, with a reason.
        headline: whether it is the one metric of its aspect, or of its part, that verdicts use. A
            headline without a better direction is descriptive: it gets no verdicts.
        title: the name in tables; by default the function's name.
        limits: the smallest and the largest possible value.
        breaks: laws that it breaks (see metrics/laws.py), each with the reason.
        part: the part of the aspect that it stands for, where an aspect has several (PARTS).
        compares: the networks of COMPARISONS that plain must be compared with if it is a headline.
            By default all of them; for a metric of the network, the untrained ones and those
            trained on shuffled labels.
        because: the reason why the others do not apply; needed where ``compares`` leaves some out.

    Raises ValueError for an unknown aspect, need, law or comparison, for a comparison left out
    without a reason, and for a name that another file has registered.
    """

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        name = function.__name__
        origin = inspect.getsourcefile(inspect.unwrap(function)) or function.__module__
        if name in METRICS and METRICS[name].origin != origin:
            raise ValueError(
                f"metric '{name}' is defined in {METRICS[name].origin} and in {origin}: rename one"
            )
        _check_names(name, "aspect", [aspect], (*ASPECTS, TREATMENT))
        _check_names(name, "need", needs, NEEDS)
        _check_names(name, "law", breaks or {}, LAWS)
        _check_names(name, "comparison", compares or (), COMPARISONS)
        _check_part(name, aspect, part)
        applicable, reason = tuple(compares or COMPARISONS), because
        of_network = next(iter(inspect.signature(function).parameters), "") == "network"
        if compares is None and of_network:
            applicable, reason = ("untrained", "shuffled_labels"), _OF_ANSWERS
        if len(applicable) < len(COMPARISONS) and not reason:
            raise ValueError(
                f"metric '{name}': compares leaves out networks: give the reason, because=..."
            )
        METRICS[name] = Metric(
            name=name,
            function=function,
            aspect=aspect,
            better=better,
            per=per,
            null=null,
            needs=frozenset(needs),
            headline=headline,
            title=title or name.replace("_", " "),
            limits=limits,
            origin=origin,
            breaks=dict(breaks or {}),
            part=part,
            compares=applicable,
            because=reason,
        )
        return function

    return add


def _check_names(owner: str, kind: str, names: Iterable[str], choices: Collection[str]) -> None:
    for name in names:
        if name not in choices:
            near = difflib.get_close_matches(name, choices, 1)
            hint = f"did you mean '{near[0]}'?" if near else f"choose from {', '.join(choices)}"
            raise ValueError(f"metric '{owner}': unknown {kind} '{name}': {hint}")


@dataclass(frozen=True, eq=False)
class Score:
    """The values of one metric on one layer of one run.

    One value for each unit or module, or a single value. ``layer`` is "" for a metric of the whole
    network. ``reason`` says why all values are undefined; "" if they are not. ``seconds`` is the
    computing time.
    """

    metric: str
    layer: str
    values: Float[np.ndarray, "values"]
    null: float = float("nan")
    reason: str = ""
    seconds: float = 0.0

    @property
    def undefined(self) -> int:
        """Number of values that are NaN."""
        return int(np.isnan(self.values).sum())

    @property
    def value(self) -> float:
        """The mean, with undefined values counted as the null; NaN if there is a ``reason``."""
        if self.reason or not len(self.values):
            return float("nan")
        if not np.isfinite(self.null):
            return self.live
        return float(np.where(np.isnan(self.values), self.null, self.values).mean())

    @property
    def live(self) -> float:
        """The mean over the defined values only."""
        return float(np.nanmean(self.values)) if self.undefined < len(self.values) else float("nan")


def unmet(item: Metric, layer: Layer | None, probe: Probe) -> str:
    """The reason why a metric cannot be computed; "" if it can.

    That is: too few images, activations that are not finite, concept masks that do not fit the
    images, a network that cannot be rerun, or the first of its needs that is not met.
    """
    if len(probe.labels) < (2 if item.per == "pair" else 1):
        return f"too few images ({len(probe.labels)})"
    if layer is not None and not layer.finite:
        return "no unit of the layer has finite activations"
    if item.needs & {"concepts", "landmarks"} and (reason := _mask_mismatch(probe)):
        return reason
    if probe.fixed and item.aspect in RERUNS:
        return probe.fixed
    tap = probe.network.taps.get(layer.name) if layer is not None else None
    concepts = probe.concepts
    met = {
        "spatial": layer is not None and layer.spatial,
        "concepts": concepts is not None and len(concepts) > 0,
        "landmarks": concepts is not None and any(concepts.landmark),
        "measurable": layer is not None and layer.name in probe.measurable,
        "claimed": layer is not None and layer.claimed is not None,
        "trunk": tap is not None and tap.on_trunk,
        "weights": tap is not None and any(edge.weight is not None for edge in tap.outgoing),
        "validations": any("validation_accuracy" in line for line in probe.history),
    }
    return next((NEEDS[need] for need in NEEDS if need in item.needs and not met[need]), "")


def _mask_mismatch(probe: Probe) -> str:
    """The reason why the concept masks do not fit the probe's images; "" if they do."""
    if probe.concepts is None:
        return ""
    packed = probe.concepts.packed
    if packed.dtype != torch.uint8:
        return f"concept masks of {packed.dtype}: pack bool masks with Concepts.pack"
    count, _, height, _ = packed.shape
    masks = (count, height, probe.concepts.width)
    images = (len(probe.images), *probe.images.shape[2:])
    sizes = [" x ".join(map(str, size)) for size in (masks, images)]
    return "" if masks == images else f"concept masks of {sizes[0]} for images of {sizes[1]}"


def as_values(result: Any) -> Float[np.ndarray, "values"]:
    """The result of a metric, a tensor or a number, as a float64 array of one dimension."""
    tensor = torch.as_tensor(result, dtype=torch.float64)
    return tensor.detach().cpu().reshape(-1).numpy()


Scope = Literal["layer", "network", "halves", "splits", "seeds"]
_SCOPES: dict[str, Scope] = {
    "layer": "layer",
    "network": "network",
    "first": "halves",
    "train": "splits",
    "mine": "seeds",
}


@functools.cache
def scope(function: Callable[..., Any]) -> Scope:
    """The scope of a metric, from the name of its first argument."""
    first = next(iter(inspect.signature(function).parameters), "")
    if first not in _SCOPES:
        raise ValueError(
            f"metric '{function.__name__}': the first argument must be one of "
            f"{', '.join(_SCOPES)}, not '{first}'"
        )
    return _SCOPES[first]
