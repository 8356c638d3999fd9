"""The `metric` decorator and Score; with Layer and Probe, all that a metric is written with.

A metric is a pure function of a trained, probed network. Its argument names are its scope:

- ``(layer, probe)``   a value per unit, per module, or one number for a layer;
- ``(network, probe)`` one number for the whole network;
- ``(first, second)``  one number comparing a layer's responses to two halves of the probe;
- ``(train, test)``    the same for training images and the probe's;
- ``(mine, theirs)``   the same for two seeds' networks on the same images.

It returns NaN where it is undefined, changes nothing, and draws random numbers only from
``probe.generator(name)``, so the same probe always gives the same answer.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float

from legible.metrics.laws import LAWS
from legible.metrics.network import Concepts
from legible.metrics.probe import Layer, Probe, remember

__all__ = [
    "ASPECTS", "METRICS", "NEEDS", "Concepts", "Layer", "Metric", "Probe", "Scope", "Score",
    "as_values", "metric", "remember", "scope", "unmet",
]  # fmt: skip

# ----------------------------------------------------------------- the metric


@dataclass(frozen=True)
class Metric:
    """A registered metric: the function and what the leaderboard has to know of it."""

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

    @property
    def summary(self) -> str:
        """First line of the docstring."""
        return (inspect.getdoc(self.function) or "\n").splitlines()[0]


METRICS: dict[str, Metric] = {}

#: What a metric can declare under ``needs``, and the reason shown where it is not met.
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
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Registers a metric under its function's name.

    ``null`` is what a unit without the property scores: undefined units count as it in the
    headline mean, so that killing units earns nothing. ``needs`` names what must be there
    (see NEEDS). ``headline`` marks the one metric of its aspect that ranks are made from.
    ``breaks`` names laws that it breaks (see metrics/laws.py), each with the reason.
    """

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        name = function.__name__
        origin = inspect.getsourcefile(inspect.unwrap(function)) or function.__module__
        if name in METRICS and METRICS[name].origin != origin:
            raise ValueError(
                f"metric '{name}' is defined in {METRICS[name].origin} and in {origin}"
            )
        if aspect not in ASPECTS:
            raise ValueError(f"metric '{name}': unknown aspect '{aspect}', one of {ASPECTS}")
        if unknown := set(needs) - set(NEEDS):
            raise ValueError(
                f"metric '{name}': unknown needs {sorted(unknown)}, known {list(NEEDS)}"
            )
        if unknown := set(breaks or {}) - set(LAWS):
            raise ValueError(f"metric '{name}': unknown laws {sorted(unknown)}, known {list(LAWS)}")
        METRICS[name] = Metric(
            name,
            function,
            aspect,
            better,
            per,
            null,
            frozenset(needs),
            headline,
            title or name.replace("_", " "),
            limits,
            origin,
            dict(breaks or {}),
        )
        return function

    return add


@dataclass(frozen=True, eq=False)
class Score:
    """One metric on one layer of one run: a value per unit, per module, or a single one."""

    metric: str
    layer: str
    values: Float[np.ndarray, "values"]
    null: float = float("nan")
    reason: str = ""  # why nothing is defined, where nothing is
    seconds: float = 0.0

    @property
    def undefined(self) -> int:
        """How many values are NaN."""
        return int(np.isnan(self.values).sum())

    @property
    def value(self) -> float:
        """The mean, undefined values counted as the null; NaN where nothing could be measured."""
        if self.reason or not len(self.values):
            return float("nan")
        if not np.isfinite(self.null):
            return self.live
        return float(np.where(np.isnan(self.values), self.null, self.values).mean())

    @property
    def live(self) -> float:
        """The mean over the defined values alone."""
        return float(np.nanmean(self.values)) if self.undefined < len(self.values) else float("nan")


def unmet(item: Metric, layer: Layer | None, probe: Probe) -> str:
    """What keeps a metric from being measured, as a reason; empty when nothing does.

    No images, activations that are not finite, masks of other images, or the first declared need
    that is not met.
    """
    if len(probe.labels) < (2 if item.per == "pair" else 1):
        return f"too few images ({len(probe.labels)})"
    if layer is not None and not layer.finite:
        return "no unit of the layer has finite activations"
    if item.needs & {"concepts", "landmarks"} and (reason := _misfit(probe)):
        return reason
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


def _misfit(probe: Probe) -> str:
    """Why the concept masks cannot be those of the probed images, if so."""
    if probe.concepts is None:
        return ""
    packed = probe.concepts.packed
    if packed.dtype != torch.uint8:
        return f"concept masks of {packed.dtype} (bool ones, packed by Concepts.pack, are needed)"
    count, _, height, _ = packed.shape
    masks = (count, height, probe.concepts.width)
    images = (len(probe.images), *probe.images.shape[2:])
    sizes = [" x ".join(map(str, size)) for size in (masks, images)]
    return "" if masks == images else f"concept masks of {sizes[0]} for images of {sizes[1]}"


def as_values(result: Any) -> Float[np.ndarray, "values"]:
    """A metric's result, a tensor or a number, as a float64 array of one dimension."""
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
    """What a metric looks at, read from its first argument's name."""
    first = next(iter(inspect.signature(function).parameters))
    if first not in _SCOPES:
        raise ValueError(
            f"metric '{function.__name__}': the first argument must be one of "
            f"{', '.join(_SCOPES)}, not '{first}'"
        )
    return _SCOPES[first]
