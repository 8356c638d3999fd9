"""Every registered metric on one probe -> scores, each with the key of what it was made of."""

from __future__ import annotations

import math
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from legible.bench.content_key import content_key
from legible.bench.seeds import stream
from legible.metrics.base import METRICS, Layer, Metric, Probe, Score, as_values, scope, unmet


def metric_keys(names: Iterable[str], partner: str = "") -> dict[str, str]:
    """By metric: a hash of the code that it depends on, and of the other run's name where it
    compares seeds."""
    items = [METRICS[name] for name in names]
    code = {origin: content_key(origin) for origin in {item.origin for item in items}}

    def key(item: Metric) -> str:
        other = partner if scope(item.function) == "seeds" else ""
        return stream_hash((code[item.origin], item.name, other))

    return {item.name: key(item) for item in items}


def stream_hash(value: Any) -> str:
    """A short stable name for a JSON-like value."""
    return f"{stream(0, repr(value)):014x}"


#: By scope of a comparison: the other probe that it needs, or why there is none.
Others = Mapping[str, Callable[[], "Probe | str"]]
MISSING = {
    "splits": "needs a probe of training images",
    "seeds": "needs the same cell with another seed",
}


@torch.no_grad()
def score_metric(item: Metric, probe: Probe, others: Others | None = None) -> list[Score]:
    """One metric wherever it applies: a Score a layer, with the reason where it cannot."""
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
    return [
        _measure(
            item, layer, probe,
            lambda name=name: item.function(first.layers[name], second.layers[name]),
        )
        for name, layer in probe.layers.items()
    ]  # fmt: skip


def _pair(kind: str, probe: Probe, others: Others) -> tuple[Probe, Probe] | str:
    """The two probes that a comparison is about, or why there are not two."""
    if kind == "halves":
        return halves(probe)
    other = others[kind]() if kind in others else MISSING[kind]
    if isinstance(other, str):
        return other
    if not bool(other.logits.isfinite().all()):
        return "the other probe's outputs are not finite"
    return (other, probe) if kind == "splits" else (probe, other)


def halves(probe: Probe) -> tuple[Probe, Probe]:
    """The probe's halves, split once, so that metrics share what they remember on them."""
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
    low, high = item.limits
    defined = values[~np.isnan(values)]
    if len(defined) and not (defined.min() >= low - 1e-6 and defined.max() <= high + 1e-6):
        raise ValueError(
            f"metric '{item.name}' gave {defined.min()} to {defined.max()}, outside {item.limits}"
        )
    reason = "" if len(defined) or item.per == "unit" else "undefined on this network"
    null = math.nan if null is None else float(null)
    return Score(item.name, name, values, null, reason, seconds)


def score_all(
    probe: Probe,
    names: Iterable[str] = (),
    earlier: Mapping[str, Any] | None = None,
    others: Others | None = None,
    partner: str = "",
) -> dict[str, Any]:
    """JSON-ready scores by metric, those of ``earlier`` whose key still holds taken over.

    ``others`` are the other probes that comparisons need, ``partner`` names the run behind that
    of another seed. A metric that raises is kept without a key, with its error as the reason: the
    table shows it, the other metrics stand, and the next run tries it again.
    """
    earlier = earlier or {}
    out: dict[str, Any] = {}
    for name, key in metric_keys(sorted(names or METRICS), partner).items():
        if earlier.get(name, {}).get("key") == key:
            out[name] = earlier[name]
            continue
        try:
            item = METRICS[name]
            out[name] = {
                "key": key,
                "layers": [to_json(s) for s in score_metric(item, probe, others)],
            }
        except Exception as error:
            reason = f"error: {type(error).__name__}: {' '.join(str(error).split())}"
            failed = Score(name, "", np.array([np.nan]), reason=reason)
            out[name] = {"key": "", "layers": [to_json(failed)], "trace": traceback.format_exc()}
    return out


def errors(scores: Mapping[str, Any]) -> dict[str, str]:
    """Metrics that raised, with the reason."""
    return {
        name: entry["layers"][0]["reason"] for name, entry in scores.items() if not entry["key"]
    }


def to_json(item: Score) -> dict[str, Any]:
    """NaN and infinities become null: JSON has neither."""
    return {
        "layer": item.layer,
        "values": [v if math.isfinite(v) else None for v in item.values.tolist()],
        "null": item.null if math.isfinite(item.null) else None,
        "reason": item.reason,
        "seconds": round(item.seconds, 4),
    }


def from_json(metric: str, line: Mapping[str, Any]) -> Score:
    """The Score that `to_json` wrote."""
    values = np.array([math.nan if v is None else v for v in line["values"]], dtype=np.float64)
    null = math.nan if line["null"] is None else line["null"]
    return Score(metric, line["layer"], values, null, line["reason"], line["seconds"])


def stale_metrics(scores: Mapping[str, Any], names: Sequence[str], partner: str = "") -> list[str]:
    """Metrics that have no score, or one made with other code or another partner."""
    keys = metric_keys(names, partner)
    return [name for name, key in keys.items() if scores.get(name, {}).get("key") != key]
