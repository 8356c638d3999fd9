"""Each metric on the device against the same metric on the CPU."""

from __future__ import annotations

import time
from collections.abc import Iterable

from metric_values import difference, on_device, only
from planted_probes import random_probe

from gpu_check.record import Check, Verdict
from gpu_check.setting import Case, Setting
from legible.bench.execution.cost import synchronise
from legible.bench.plugins import registry
from legible.metrics.base import METRICS, Metric, Probe, Score

PART = "metrics"
#: The largest difference of a metric that declares nothing else.
LIMIT = 1e-4


def probe(setting: Setting) -> Probe:
    """Random maps of some units on images with concepts; always the same."""
    size = {"images": 48, "units": 8} if setting.rehearse else {"images": 400, "units": 48}
    return random_probe(**size, classes=4, size=6, concepts=6)[1]


def cases(setting: Setting) -> dict[str, Case]:
    """A case for each built-in metric."""
    registry.load(["metrics"])
    pair = (probe(setting), on_device(probe(setting), setting.device))
    names = sorted(METRICS)[: 6 if setting.rehearse else None]
    return {name: lambda name=name: compare(METRICS[name], *pair, setting.device)
            for name in names}  # fmt: skip


def compare(item: Metric, here: Probe, there: Probe, device: str) -> Iterable[Check]:
    """The difference of the values, and the seconds on both."""
    expected, seconds_here = timed(item, here, "cpu")
    result, seconds = timed(item, there, device)
    verdict, text = judge(item, result, expected)
    apart = difference(item, result.values, expected.values)
    yield Check(PART, item.name, "largest difference", verdict, apart, LIMIT, text)
    yield Check(PART, item.name, "seconds", "note", seconds, seconds_here)


def judge(item: Metric, result: Score, expected: Score) -> tuple[Verdict, str]:
    """Whether two scores are equal enough: by the limit, unless the metric declares that its value
    depends on the device; with the reason."""
    if result.reason != expected.reason:
        return "bad", f"undefined there: '{result.reason}', on the CPU: '{expected.reason}'"
    if expected.reason:
        return "skipped", expected.reason
    if difference(item, result.values, expected.values) <= LIMIT:
        return "ok", ""
    declared = item.breaks.get("repeats", "")
    return ("note" if declared else "bad"), declared


def timed(item: Metric, probe: Probe, device: str) -> tuple[Score, float]:
    """A metric's score and the seconds it took, until the device has finished."""
    start = time.perf_counter()
    score = only(item, probe)
    synchronise(device)
    return score, time.perf_counter() - start
