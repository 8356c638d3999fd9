"""Publishing the score table of a large suite: 700 runs, every metric at two layers."""

from __future__ import annotations

import resource
import sys
import time

import numpy as np
import pandas as pd
import pytest

from legible.bench.leaderboard.board import Board
from legible.bench.leaderboard.formats import publication_files
from legible.bench.plugins import registry
from legible.bench.scores.score_table import COLUMNS
from legible.metrics.base import METRICS, scope

ROWS, SEEDS, PLAIN_SEEDS = 33, 10, 30
SECONDS, GIBIBYTES = 60, 4


def large_table() -> pd.DataFrame:
    """Two blocks, 32 rows of 10 seeds and plain of 30, every metric at its layers: noise."""
    registry.load(["metrics"])
    layers = {name: [""] if scope(item.function) == "network" else ["conv6", "fc"]
              for name, item in METRICS.items()}  # fmt: skip
    places = [(name, layer) for name, of in layers.items() for layer in of]
    runs = [
        (dataset, row, seed)
        for dataset in ("kanji", "shapes")
        for row in range(ROWS)
        for seed in range(SEEDS if row else PLAIN_SEEDS)
    ]
    parts = []
    generator = np.random.default_rng(0)
    for dataset, row, seed in runs:
        value = generator.normal(0.5, 0.01, len(places)) + 0.005 * (row % 7)
        parts.append(pd.DataFrame({
            "dataset": dataset, "backbone": "vgg", "method": f"method{row}" if row else "plain",
            "label": "", "kind": "null" if row > ROWS - 4 else "method", "params": "{}",
            "seed": seed, "layer": [layer for _, layer in places],
            "metric": [name for name, _ in places],
            "aspect": [METRICS[name].aspect for name, _ in places], "value": value, "live": value,
            "undefined": 0, "count": 64, "status": "ok", "reason": "", "run": f"run-{seed}",
        }, columns=COLUMNS))  # fmt: skip
    return pd.concat(parts, ignore_index=True)


@pytest.mark.slow
def test_seven_hundred_runs_are_published_in_a_minute_and_four_gibibytes(benchmark):
    table = large_table()
    assert len(table[["dataset", "method", "seed"]].drop_duplicates()) == 700
    start = time.process_time()
    files = benchmark.pedantic(lambda: publication_files(Board(table)), rounds=1)
    seconds = time.process_time() - start
    unit = 2**30 if sys.platform == "darwin" else 2**20  # bytes there, kibibytes here
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    benchmark.extra_info |= {"rows of the table": len(table), "seconds of one core": seconds,
                             "GiB at most": memory}  # fmt: skip
    assert "report.html" in files
    assert seconds < SECONDS and memory < GIBIBYTES
