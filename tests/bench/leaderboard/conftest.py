"""A small synthetic score table with every kind of row and reason, from a seeded generator."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from legible.bench.leaderboard.board import Board
from legible.bench.leaderboard.figures.network_pictures import Picture, draw_curves
from legible.bench.leaderboard.figures.style import save
from legible.bench.leaderboard.publication import make_publication
from legible.bench.scores.score_table import COLUMNS
from legible.bench.suites.run_spec import Block, RowKey
from legible.bench.tuning.ledger import Ledger, Trial
from legible.methods.base import Target
from legible.metrics.base import COMPARISONS, Metric

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
                  name.replace("_", " "), (0.0, 1.0), "", compares=COMPARISONS)  # fmt: skip


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

#: Seeds of all rows, and of plain.
SEEDS, PLAIN_SEEDS = 9, 18
ROWS = [
    ("plain", "plain", "method", "{}", 0.0),
    ("sync", "sync (reconstruction)", "method", "{}", 1.0),
    ("sync", "sync (reconstruction)", "method", '{"strength": 2.0}', 2.0),
    ("bean", "bean", "method", "{}", 0.1),
    ("greedy", "greedy", "control", "{}", 4.0),
    ("atoms", "atoms", "null", "{}", 0.5),
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


def scores_of_metric(rng, dataset, backbone, row, seed, name):
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
            for seed in range(PLAIN_SEEDS if row[0] == "plain" else SEEDS):
                if (row[0], backbone) == ("bean", "lenet5"):
                    reason = "needs a dense | layer\nwith <b>weights</b>"
                    out.append(whole(dataset, backbone, row, seed, "skipped", reason))
                elif (row[0], dataset, seed) == ("sync", "shapes", 2) and row[3] != "{}":
                    reason = "step 7: penalty 'focus' is not finite"
                    out.append(whole(dataset, backbone, row, seed, "failed", reason))
                else:
                    for name in METRICS:
                        out += scores_of_metric(rng, dataset, backbone, row, seed, name)
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
        {"commit": "0123abc", "versions": "torch 9.9 | numpy 9.9", "date": "2026-01-01"},
        "legible run quick && legible publish quick",
        "Synthetic <leaderboard>",
        layers={block: LAYERS[block[1]] for block in BLOCKS},
        margins={Block(*block): {"accuracy": 0.01, "dispersion": 0.02} for block in BLOCKS},
        contrasts=[(RowKey("sync", '{"strength": 2.0}'), RowKey("sync", "{}"))],
        derived=["atoms"],
        targets={
            RowKey("sync", "{}"): Target("dispersion", "lower"),
            RowKey("sync", '{"strength": 2.0}'): "acts elsewhere",
            RowKey("bean", "{}"): Target("instability", "higher"),
        },
        trained_on={"sync": {"dispersion"}, "greedy": {"iou"}},
        marks={"bean": "replaces a norm"},
        remarks={"rank": "moves with the number of units"},
        attributions=["characters from KanjiVG, CC BY-SA 3.0"],
        metrics=METRICS,
    )  # fmt: skip


@pytest.fixture(scope="session")
def publication(board):
    return make_publication(board)


@pytest.fixture(scope="session")
def pictures(board):
    """Curves of three rows on every block."""
    data = save(lambda: draw_curves({"cross entropy": [2.0, 1.0]}), "png")
    return [
        Picture(block, row.key, "curves", f"Curves of {row.label}", data)
        for block in board.blocks
        for row in board.rows[:3]
    ]


TUNED_BLOCK = Block("kanji", "vgg")


def trials(method, pairs, declared="{}", dose="strength"):
    for number, (accuracy, value) in enumerate(pairs):
        for seed in (100, 101):
            setting = json.dumps(json.loads(declared) | {dose: float(number)})
            yield Trial(
                dataset=TUNED_BLOCK.dataset, backbone=TUNED_BLOCK.backbone, method=method,
                declared=declared, number=number, setting="{}" if method == "plain" else setting,
                seed=seed, metric="iou", layer="stage2", value=value, accuracy=accuracy,
                problem="", chosen=False, reason="", setup="0" * 12,
            )  # fmt: skip


@pytest.fixture(scope="session")
def ledger():
    """Trials of sync at its defaults and at strength 2 (another row), and of greedy, which costs
    too much accuracy."""
    lines = [
        *trials("plain", [(0.9, 0.4)]),
        *trials("sync", [(0.90, 0.50), (0.895, 0.60), (0.5, 0.9)]),
        *trials("sync", [(0.9, 0.41), (0.9, 0.42)], '{"strength": 2.0}', "gamma"),
        *trials("greedy", [(0.7, 0.8), (0.8, 0.7)]),
    ]
    return Ledger(lines, "iou", "higher", 0.01, {(*TUNED_BLOCK, "plain", "{}")})


@pytest.fixture(scope="session")
def tuned(board, ledger):
    return replace(board, ledger=ledger)


@pytest.fixture(scope="session")
def one_seed(board):
    return replace(board, scores=board.scores[board.scores["seed"] == 0])


@pytest.fixture(scope="session")
def three_seeds(board):
    """Three seeds of every row: too few for signs."""
    return replace(board, scores=board.scores[board.scores["seed"] < 3])


@pytest.fixture(scope="session")
def with_many_methods(board):
    """Builds the board with more methods, each a copy of sync."""

    def build(count):
        sync = board.scores[(board.scores["method"] == "sync") & (board.scores["params"] == "{}")]
        more = [sync.assign(method=f"sync{i}", label=f"method number {i}") for i in range(count)]
        return replace(board, scores=pd.concat([board.scores, *more]))

    return build


@pytest.fixture(scope="session")
def hostile(board):
    """The board with markup in every text."""
    evil = '"><img src=x onerror="window.hit=1"><script>window.hit=1</script>{{ 7*7 }} | `[l](x:y)'
    scores = board.scores.assign(
        label=evil, reason=board.scores["reason"].map(lambda reason: reason and evil)
    )
    return replace(
        board, scores=scores, title=evil, marks={"bean": evil}, remarks={"iou": evil},
        provenance={evil: evil}, command=evil, attributions=[evil],
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
