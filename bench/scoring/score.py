"""Scores of registered metrics on one probe, each with the key of the code that made it."""

from __future__ import annotations

import functools
import inspect
import math
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from legible.bench.errors import one_line, shortened
from legible.bench.seeds import stream
from legible.bench.source_keys import content_key, is_ours
from legible.metrics.base import METRICS, Layer, Metric, Probe, Score, as_values, scope, unmet

LONGEST_TRACE = 10_000  # characters of a metric's traceback
MOST_VALUES = 100_000  # of one metric at one layer
LARGEST = 1e100  # a larger value cannot be averaged and compared

# ----------------------------------------------------------------- what is kept of a metric


@dataclass(frozen=True, eq=False)
class MetricScores:
    """One metric on one run: a `Score` for each layer, and the key of what they depend on.

    Where the metric raised an error, ``key`` is empty, the reason of the one score holds the
    error, and ``trace`` its traceback.
    """

    key: str
    layers: tuple[Score, ...]
    trace: str = ""

    def to_json(self) -> dict[str, Any]:
        """JSON-ready values; `from_json` makes the same scores again."""
        value = {"key": self.key, "layers": [_score_to_json(score) for score in self.layers]}
        return {**value, "trace": self.trace} if self.trace else value

    @classmethod
    def from_json(cls, metric: str, value: Any) -> MetricScores:
        """The scores of a metric that `to_json` wrote. Raises ValueError for other values."""
        try:
            layers = tuple(_score_from_json(metric, line) for line in value["layers"])
            return cls(value["key"], layers, value.get("trace", ""))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not the scores of a metric: {error}") from error


def _score_to_json(score: Score) -> dict[str, Any]:
    """NaN and infinities become null: JSON has neither."""
    return {
        "layer": score.layer,
        "values": [v if math.isfinite(v) else None for v in score.values.tolist()],
        "null": score.null if math.isfinite(score.null) else None,
        "reason": score.reason,
        "seconds": round(score.seconds, 4),
    }


def _score_from_json(metric: str, line: Mapping[str, Any]) -> Score:
    values = np.array([math.nan if v is None else v for v in line["values"]], dtype=np.float64)
    null = math.nan if line["null"] is None else line["null"]
    return Score(metric, line["layer"], values, null, line["reason"], line["seconds"])


# ----------------------------------------------------------------- keys


def metric_keys(
    names: Iterable[str], partner: str = "", images: Mapping[str, int] | None = None
) -> dict[str, str]:
    """The key of each metric: a hash of all code that it depends on.

    For a metric that compares two seeds, the key also covers ``partner``, the name of the other
    seed's run. For a metric of an aspect in ``images`` it also covers the number of images.
    """
    items = [METRICS[name] for name in names]
    code = {origin: code_key(origin) for origin in {item.origin for item in items}}

    def key(item: Metric) -> str:
        other = partner if scope(item.function) == "seeds" else ""
        few = [images[item.aspect]] if images and item.aspect in images else []
        return short_hash((code[item.origin], item.name, other, *few))

    return {item.name: key(item) for item in items}


def code_key(origin: str) -> str:
    """The content key of a metric's file. Built-in files are read once in a process."""
    return _built_in_key(origin) if is_ours(Path(origin).resolve()) else content_key(origin)


@functools.cache
def _built_in_key(origin: str) -> str:
    return content_key(origin)


def short_hash(value: Any) -> str:
    """A hash of a JSON-like value: 14 hexadecimal digits, the same on every machine."""
    return f"{stream(0, repr(value)):014x}"


def stale_metrics(
    scores: Mapping[str, MetricScores],
    names: Sequence[str],
    partner: str = "",
    images: Mapping[str, int] | None = None,
) -> list[str]:
    """Metrics without a score, or with one made by other code, with another partner or on another
    number of images."""
    keys = metric_keys(names, partner, images)
    return [name for name, key in keys.items() if name not in scores or scores[name].key != key]


# ----------------------------------------------------------------- scoring

#: The other probe of a comparison, by the metric's scope: a function that gives the probe, or the
#: reason why there is none.
Others = Mapping[str, Callable[[], "Probe | str"]]
#: The reason where `Others` holds no function for a scope.
MISSING = {
    "splits": "needs a probe of training images",
    "seeds": "needs the same run with another seed",
}


@torch.no_grad()
def score_metric(item: Metric, probe: Probe, others: Others | None = None) -> list[Score]:
    """One metric on a probe: a Score for each layer, or one Score for a metric of the network.

    Where the metric cannot be computed, the Score holds NaN and the reason. Raises what the metric
    raises, and ValueError for values outside the metric's limits.
    """
    kind = scope(item.function)
    if kind == "network":
        return [_measure(item, None, probe, lambda: item.function(probe.network, probe))]
    if kind == "layer":
        return [
            _measure(item, layer, probe, lambda layer=layer: item.function(layer, probe))
            for layer in probe.layers.values()
        ]
    pair = _pair(kind, probe, others or {})
    if isinstance(pair, str):
        return [_undefined(item, name, pair) for name in probe.layers]
    first, second = pair
    extra = (probe,) if "probe" in inspect.signature(item.function).parameters else ()
    return [
        _measure(
            item, layer, probe,
            lambda name=name: item.function(first.layers[name], second.layers[name], *extra),
        )
        for name, layer in probe.layers.items()
    ]  # fmt: skip


def _pair(kind: str, probe: Probe, others: Others) -> tuple[Probe, Probe] | str:
    """The two probes that a metric compares, or the reason why one is missing."""
    if kind == "halves":
        return halves(probe)
    other = others[kind]() if kind in others else MISSING[kind]
    if isinstance(other, str):
        return other
    if not bool(other.logits.isfinite().all()):
        return "the other probe's outputs are not finite"
    return (other, probe) if kind == "splits" else (probe, other)


def halves(probe: Probe) -> tuple[Probe, Probe]:
    """`Probe.halves`, computed once, so that metrics share the values remembered on each half."""
    if "halves" not in probe.memo:
        probe.memo["halves"] = probe.halves()
    return probe.memo["halves"]


def _undefined(item: Metric, layer: str, reason: str) -> Score:
    return Score(item.name, layer, np.array([np.nan]), reason=reason)


def _measure(item: Metric, layer: Layer | None, probe: Probe, compute: Any) -> Score:
    name = layer.name if layer is not None else ""
    reason = unmet(item, layer, probe)
    if not reason and not bool(probe.logits.isfinite().all()):
        reason = "the network's outputs are not finite"
    if reason:
        return _undefined(item, name, reason)
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        values = as_values(compute())
    null = item.null(layer, probe) if callable(item.null) else item.null  # type: ignore[arg-type]
    seconds = time.perf_counter() - start
    _refuse_values(item, layer, values)
    low, high = item.limits
    defined = values[~np.isnan(values)]
    if len(defined) and not (defined.min() >= low - 1e-6 and defined.max() <= high + 1e-6):
        raise ValueError(
            f"metric '{item.name}' gave {defined.min()} to {defined.max()}, outside {item.limits}"
        )
    reason = "" if len(defined) or item.per == "unit" else "undefined on this network"
    null = math.nan if null is None else float(null)
    return Score(item.name, name, values, null, reason, seconds)


def _refuse_values(item: Metric, layer: Layer | None, values: Float[np.ndarray, "values"]) -> None:
    """Raises ValueError for a wrong number of values, and for values that have no mean."""
    if len(values) > MOST_VALUES:
        raise ValueError(
            f"metric '{item.name}' gave {len(values)} values: return at most {MOST_VALUES}"
        )
    if item.per == "unit" and layer is not None and len(values) != layer.units:
        raise ValueError(
            f"metric '{item.name}' gave {len(values)} values for {layer.units} units: return one "
            "for each"
        )
    finite = values[np.isfinite(values)]
    if len(finite) and np.abs(finite).max() > LARGEST:
        raise ValueError(
            f"metric '{item.name}' gave {finite[np.abs(finite).argmax()]}: return values from "
            f"-{LARGEST:g} to {LARGEST:g}"
        )


def score_all(
    probe: Probe,
    names: Iterable[str] = (),
    earlier: Mapping[str, MetricScores] | None = None,
    others: Others | None = None,
    partner: str = "",
    images: Mapping[str, int] | None = None,
) -> dict[str, MetricScores]:
    """Scores of metrics (default: all registered ones), by name.

    A metric whose key is the same in ``earlier`` is not computed again. ``others`` gives the other
    probes that comparisons need; ``partner`` is the name of the other seed's run. ``images`` holds
    the aspects that are scored on the first so many images of each probe alone. A metric that
    raises an error gets an empty key and the error as its reason: tables show it, the other
    metrics are not affected, and the next run tries it again.
    """
    earlier = earlier or {}
    scores: dict[str, MetricScores] = {}
    shorter = functools.cache(lambda count: _first_images(probe, others, count))
    for name, key in metric_keys(sorted(names or METRICS), partner, images).items():
        if name in earlier and earlier[name].key == key:
            scores[name] = earlier[name]
            continue
        count = (images or {}).get(METRICS[name].aspect, len(probe.labels))
        probes = (probe, others) if count >= len(probe.labels) else shorter(count)
        try:
            scores[name] = MetricScores(key, tuple(score_metric(METRICS[name], *probes)))
        except Exception as error:
            trace = shortened(traceback.format_exc(), LONGEST_TRACE)
            scores[name] = failed_scores(name, one_line(error), trace)
    return scores


def _first_images(probe: Probe, others: Others | None, count: int) -> tuple[Probe, Others]:
    """A probe and those it is compared with, on the first ``count`` images of each."""

    def first(of: Probe | str) -> Probe | str:
        return of if isinstance(of, str) else of.subset(slice(count))

    def shorter(make: Callable[[], Probe | str]) -> Callable[[], Probe | str]:
        return functools.cache(lambda: first(make()))

    return probe.subset(slice(count)), {kind: shorter(m) for kind, m in (others or {}).items()}


def failed_scores(name: str, reason: str, trace: str = "") -> MetricScores:
    """The scores of a metric that raised an error, or did worse."""
    return MetricScores("", (_undefined(METRICS[name], "", f"error: {reason}"),), trace)


def errors(scores: Mapping[str, MetricScores]) -> dict[str, str]:
    """Metrics that raised an error, with the reason."""
    return {name: entry.layers[0].reason for name, entry in scores.items() if not entry.key}
