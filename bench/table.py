"""Runs -> the tidy score table: one row a cell, layer and metric."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from bench import registry
from bench.execute import Bench, probe_key
from bench.score import from_json
from bench.store import Corrupt
from bench.suite import Cell, canonical
from metrics.base import METRICS

COLUMNS = (
    "dataset", "backbone", "method", "label", "kind", "params", "seed", "layer", "metric",
    "aspect", "value", "live", "undefined", "count", "status", "reason", "run",
)  # fmt: skip


def score_table(bench: Bench, cells: Sequence[Cell]) -> pd.DataFrame:
    """Every cell's scores; a cell that could not run is one row with its status and reason."""
    rows: list[dict[str, Any]] = []
    for cell in cells:
        rows += cell_rows(bench, cell)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def cell_rows(bench: Bench, cell: Cell) -> list[dict[str, Any]]:
    """A cell's rows of the table."""
    cls = registry.get("methods", cell.method)
    base = {
        "dataset": cell.dataset_label, "backbone": cell.backbone_label, "method": cell.method,
        "label": cls.label, "kind": cls.kind, "params": canonical(cell.given), "seed": cell.seed,
        "layer": "", "metric": "", "aspect": "", "value": float("nan"), "live": float("nan"),
        "undefined": 0, "count": 0, "status": "ok", "reason": "", "run": "",
    }  # fmt: skip
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
    if manifest.get("status") != "done" or not scores:
        failed = manifest.get("status") == "failed"
        return [
            {
                **base,
                "status": "failed" if failed else "missing",
                "reason": manifest.get("reason") or "not run yet",
            }
        ]
    return [
        {
            **base, "layer": score.layer, "metric": name, "aspect": METRICS[name].aspect,
            "value": score.value, "live": score.live, "undefined": score.undefined,
            "count": len(score.values), "reason": score.reason,
        }
        for name, entry in scores.items() if name in METRICS
        for score in (from_json(name, line) for line in entry["layers"])
    ]  # fmt: skip
