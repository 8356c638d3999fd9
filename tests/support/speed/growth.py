"""How the cost of metrics grows with units, images, classes and concepts, as fitted exponents."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from planted_probes import random_probe

from legible.bench.plugins import registry
from legible.bench.scoring.score import score_metric
from legible.metrics.base import METRICS, RERUNS, TREATMENT, scope

#: The smallest probe; each of its sizes is multiplied by STEPS, the others stay.
BASE = {"images": 500, "units": 128, "classes": 10, "concepts": 16}
STEPS = (1, 2, 4)
#: Seconds below which a time is mostly the overhead of calls.
LEAST = 0.01

EXPLANATION = """
## How the cost of metrics grows

For each aspect: the seconds of all its metrics on a layer of 6 x 6 positions with {base}.
Then one of these numbers is multiplied by {steps}, and p is fitted in cost ~ number^p (least
squares of logarithms). Where p is near 0, the number does not matter at this size. Aspects whose
metrics run the whole network again, and those that take less than 10 ms, are left out.
"""


def growth_section(base: Mapping[str, int] = BASE, steps: Sequence[int] = STEPS) -> str:
    """The section of the page, measured now on one thread."""
    registry.load()
    *most, last = [f"{count:,} {name}" for name, count in base.items()]
    sizes = f"{', '.join(most)} and {last}"
    start = seconds_by_aspect(**base)
    exponents: dict[str, dict[str, float]] = defaultdict(dict)
    for name, count in base.items():
        times = [start, *(seconds_by_aspect(**base | {name: count * k}) for k in steps[1:])]
        for aspect in start:
            logs = np.log([t[aspect] for t in times])
            exponents[aspect][name] = float(np.polyfit(np.log(steps), logs, 1)[0])
    lines = [["aspect", "seconds", *base], ["---", *["---:"] * (1 + len(base))]]
    for aspect, seconds in sorted(start.items(), key=lambda item: -item[1]):
        if seconds >= LEAST:
            fitted = [f"{round(p, 1) + 0.0:.1f}" for p in exponents[aspect].values()]  # no -0.0
            lines.append([aspect, f"{seconds:.2f}", *fitted])
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    factors = " and ".join(str(k) for k in steps[1:])
    return EXPLANATION.format(base=sizes, steps=factors) + "\n" + table + "\n"


def seconds_by_aspect(images: int, units: int, classes: int, concepts: int) -> dict[str, float]:
    """Seconds of the metrics of each aspect on a random probe: the smaller of two measurements."""
    runs = []
    for _ in range(2):
        _, probe = random_probe(images, units, classes, concepts=concepts)
        seconds: dict[str, float] = defaultdict(float)
        for _, item in sorted(METRICS.items()):
            if scope(item.function) == "layer" and item.aspect not in (*RERUNS, TREATMENT):
                start = time.perf_counter()
                score_metric(item, probe)
                seconds[item.aspect] += time.perf_counter() - start
        runs.append(seconds)
    return {aspect: min(run[aspect] for run in runs) for aspect in runs[0]}
