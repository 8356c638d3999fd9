"""Runs -> the tidy score table: one row a cell, layer and metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
import torch

from bench import registry
from bench.execute import Bench, probe_key
from bench.oracle import common, oracle_layer
from bench.probe import resolve
from bench.score import from_json, score
from bench.stages import chosen_images
from bench.store import Corrupt
from bench.suite import Cell
from metrics.base import METRICS, Probe, Score, scope
from metrics.explainers import ALGORITHMS

COLUMNS = (
    "dataset", "backbone", "method", "label", "kind", "params", "seed", "layer", "metric",
    "aspect", "value", "live", "undefined", "count", "status", "reason", "run",
)  # fmt: skip

#: Why a trained cell has no numbers: its scores are not of the present code's probe.
UNSCORED = "trained, but not scored by this code: `legible run` does that without training"


def score_table(bench: Bench, cells: Sequence[Cell]) -> pd.DataFrame:
    """Every cell's scores; a cell that could not run is one row with its status and reason."""
    rows: list[dict[str, Any]] = []
    for cell in cells:
        rows += cell_rows(bench, cell)
    rows += oracle_rows(bench, cells)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def base_row(cell: Cell) -> dict[str, Any]:
    """A row of a cell before anything is known of its scores."""
    cls = registry.get("methods", cell.method)
    return {
        "dataset": cell.dataset_label, "backbone": cell.backbone_label, "method": cell.method,
        "label": cls.label, "kind": cls.kind, "params": cell.row[1], "seed": cell.seed,
        "layer": "", "metric": "", "aspect": "", "value": float("nan"), "live": float("nan"),
        "undefined": 0, "count": 0, "status": "ok", "reason": "", "run": "",
    }  # fmt: skip


def score_columns(item: Score) -> dict[str, Any]:
    """The columns that say what a metric gave."""
    return {
        "layer": item.layer, "metric": item.metric, "aspect": METRICS[item.metric].aspect,
        "value": item.value, "live": item.live, "undefined": item.undefined,
        "count": len(item.values), "reason": item.reason,
    }  # fmt: skip


def cell_rows(bench: Bench, cell: Cell) -> list[dict[str, Any]]:
    """A cell's rows of the table."""
    base = base_row(cell)
    status, reason = bench.why_not(cell)
    if status:
        return [{**base, "status": status, "reason": reason}]
    run = bench.run_of(cell)
    base["run"] = run.name
    try:
        manifest = run.manifest()
    except Corrupt as error:
        manifest = {"status": "missing", "reason": f"unreadable: {error}"}
    scores = run.scores(probe_key(cell))
    ended = manifest.get("status")
    if ended != "done" or not scores:
        status = "failed" if ended == "failed" else "missing"
        reason = manifest.get("reason") or (UNSCORED if ended == "done" else "not run yet")
        return [{**base, "status": status, "reason": reason}]
    return [
        {**base, **score_columns(from_json(name, line))}
        for name, entry in scores.items()
        if name in METRICS and METRICS[name].aspect in cell.aspects
        for line in entry["layers"]
    ]


#: Columns of attributions.csv.
BY_ALGORITHM = (
    "dataset", "backbone", "method", "params", "seed", "algorithm", "metric", "value",
)  # fmt: skip


def algorithm_table(bench: Bench, cells: Sequence[Cell]) -> pd.DataFrame:
    """What each attribution algorithm scored, by itself, on every cell; no value where it failed
    its audit there, which is the row ``attribution_audit`` with the value 0."""
    rows = []
    for cell in cells:
        if "attribution" not in cell.aspects or bench.why_not(cell)[0]:
            continue
        base = (cell.dataset_label, cell.backbone_label, *cell.row, cell.seed)
        for name, entry in bench.run_of(cell).scores(probe_key(cell)).items():
            if name in METRICS and METRICS[name].aspect == "attribution":
                values = [v for line in entry["layers"] for v in line["values"]]
                if len(values) == len(ALGORITHMS):
                    pairs = zip(ALGORITHMS, values, strict=True)
                    rows += [(*base, algorithm, name, value) for algorithm, value in pairs]
    return pd.DataFrame(rows, columns=list(BY_ALGORITHM))


def oracle_rows(bench: Bench, cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """A null row a block whose units are the concept masks themselves: the ceiling of semantics.

    Shown for every probed layer with a map, also where it fails the measurability gate. Concepts
    in fewer than ten images have no unit, for concept AUC cannot score one; where all are so
    rare there is no oracle.
    """
    rows = []
    for cell in {(c.dataset_label, c.backbone_label): c for c in reversed(cells)}.values():
        if bench.why_not(cell)[0]:
            continue
        network, _, data = bench.build(cell)
        held = chosen_images(data, "test", cell.stage, cell.probe)
        if held.concepts is None or not len(masks := common(held.concepts)):
            continue
        layers = {
            name: replace(oracle_layer(masks, network.taps[name].shape[1:]), name=name)
            for name in resolve(network, cell.layers)
            if network.taps[name].spatial
        }
        logits = torch.zeros(len(held), held.classes, device=held.labels.device)
        images = held.normalise(held.images)
        probe = Probe(
            network, images, held.labels, logits, layers, held.concepts, frozenset(layers)
        )
        base = {
            **base_row(cell), "method": "oracle", "label": "oracle (the masks themselves)",
            "kind": "null", "params": "{}", "run": "",
        }  # fmt: skip
        rows += [
            {**base, **score_columns(s)}
            for item in METRICS.values()
            if item.aspect in ("focus", "semantics") and scope(item.function) == "layer"
            for s in score(item, probe)
        ]
    return rows
