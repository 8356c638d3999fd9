"""A small synthetic score table: every kind of row, cell and reason, from a seeded generator."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from legible.bench.leaderboard.board import Board
from legible.bench.scores.score_table import COLUMNS
from legible.metrics.base import Metric

GOLDEN = Path(__file__).parents[2] / "golden"
EMPTY = dict.fromkeys(COLUMNS, "") | {
    "kind": "method", "params": "{}", "seed": 0, "value": np.nan, "live": np.nan,
    "undefined": 0, "count": 0, "status": "ok",
}  # fmt: skip


def describe(name, aspect, better, summary, headline=False):
    def function(layer, probe):
        raise AssertionError("publishing never computes a metric")

    function.__doc__ = summary
    return Metric(name, function, aspect, better, "unit", None, frozenset(), headline,
                  name.replace("_", " "), (0.0, 1.0), "")  # fmt: skip


METRICS = {
    metric.name: metric
    for metric in (
        describe("accuracy", "task", "higher", "Share of images classified right.", True),
        describe("dispersion", "focus", "lower", "Spread of a unit's activation.", True),
        describe("instability", "focus", "lower", "Wandering of a unit's peak."),
        describe("iou", "semantics", "higher", "Overlap with the best concept.", True),
        describe("rank", "structure", "neither", "How many directions units span.", True),
    )
}

ROWS = [
    ("plain", "plain", "method", "{}", 0.0),
    ("sync", "sync (reconstruction)", "method", "{}", 1.0),
    ("sync", "sync (reconstruction)", "method", '{"strength": 2.0}', 2.0),
    ("bean", "bean", "method", "{}", 0.1),
    ("greedy", "greedy", "control", "{}", 4.0),
    ("oracle", "oracle", "null", "{}", 5.0),
    ("untrained", "untrained", "null", "{}", -3.0),
]
BLOCKS = [("kanji", "vgg"), ("shapes", "vgg"), ("kanji(size=28)", "lenet5")]
LAYERS = {"vgg": ["stage1", "stage2"], "lenet5": ["conv2", "dense1"]}
WEIGHT = {"accuracy": -0.01, "dispersion": -0.05, "instability": -0.02, "iou": 0.03, "rank": 0.0}


def whole(dataset, backbone, row, seed, status, reason):
    method, label, kind, params, _ = row
    return EMPTY | {
        "dataset": dataset, "backbone": backbone, "method": method, "label": label, "kind": kind,
        "params": params, "seed": seed, "status": status, "reason": reason,
    }  # fmt: skip


def measured(rng, dataset, backbone, row, seed, name):
    """One row a layer of one metric, shared noise by seed so that pairing helps."""
    layers = [""] if name == "accuracy" else LAYERS[backbone]
    shared = np.random.default_rng(seed).normal(0, 0.01)
    for depth, layer in enumerate(layers):
        value = 0.5 + WEIGHT[name] * row[4] + shared + 0.05 * depth + rng.normal(0, 0.004)
        flat = name in ("dispersion", "instability", "iou") and layer == "dense1"
        undefined = 2 if name == "iou" and row[0] == "bean" and not flat else 0
        yield whole(dataset, backbone, row, seed, "ok", "needs a layer with a map" * flat) | {
            "layer": layer, "metric": name, "aspect": METRICS[name].aspect,
            "value": np.nan if flat else value, "live": np.nan if flat else value,
            "undefined": undefined, "count": 16, "run": f"{dataset}-{row[0]}-s{seed}",
        }  # fmt: skip


@pytest.fixture(scope="session")
def scores():
    rng = np.random.default_rng(11)
    out = []
    for dataset, backbone in BLOCKS:
        for row in ROWS:
            for seed in range(3):
                if (row[0], backbone) == ("bean", "lenet5"):
                    reason = "needs a dense | layer\nwith <b>weights</b>"
                    out.append(whole(dataset, backbone, row, seed, "skipped", reason))
                elif (row[0], dataset, seed) == ("sync", "shapes", 2) and row[3] != "{}":
                    reason = "step 7: penalty 'focus' is not finite"
                    out.append(whole(dataset, backbone, row, seed, "failed", reason))
                else:
                    for name in METRICS:
                        out += measured(rng, dataset, backbone, row, seed, name)
    return pd.DataFrame(out, columns=COLUMNS)


@pytest.fixture(scope="session")
def cost():
    rng = np.random.default_rng(12)
    return pd.DataFrame(
        {
            "dataset": "kanji", "backbone": "vgg", "method": row[0], "params": row[3],
            "seed": seed, "device": "cpu", "step_ms": 10.0,
            "step_ratio": 1 + 0.1 * abs(row[4]) + rng.normal(0, 0.01), "memory_mb": 100.0,
            "memory_ratio": 1.0, "parameters": 1000, "parameter_ratio": 1.0,
            "train_seconds": 9.0, "score_seconds": 1.0,
        }
        for row in ROWS if row[2] == "method" for seed in range(3)
    )  # fmt: skip


@pytest.fixture(scope="session")
def board(scores, cost):
    return Board(
        scores, cost, {},
        {"command": "legible run quick\nlegible publish quick", "commit": "0123abc",
         "versions": "torch 9.9 | numpy 9.9", "date": "2026-01-01"},
        "Synthetic <leaderboard>",
        layers={block: LAYERS[block[1]] for block in BLOCKS},
        trained_on={"sync": {"dispersion"}, "greedy": {"iou"}},
        marks={"bean": "replaces a norm"},
        remarks={"rank": "moves with the number of units"},
        attributions=["characters from KanjiVG, CC BY-SA 3.0"],
        metrics=METRICS,
    )  # fmt: skip


@pytest.fixture
def golden():
    """Compares text with a golden file; LEGIBLE_GOLDEN=write writes it instead."""

    def compare(name: str, text: str) -> None:
        path = GOLDEN / name
        if os.environ.get("LEGIBLE_GOLDEN") == "write":
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8"), f"{name} differs from its golden file"

    return compare
