"""Runs -> the tidy score table: one row for each run, layer and metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
import torch

from legible.bench.execution.store import Corrupt, Run
from legible.bench.execution.workspace import Workspace, probe_key
from legible.bench.plugins import registry
from legible.bench.scores.score_table import COLUMNS
from legible.bench.scoring.oracle import common, oracle_layer
from legible.bench.scoring.probe import resolve
from legible.bench.scoring.score import from_json, score_metric
from legible.bench.scoring.splits import judging_images
from legible.bench.suites.run_spec import RunSpec
from legible.metrics.base import METRICS, Probe, Score, scope
from legible.metrics.explainers import ALGORITHMS

#: Why a trained run has no numbers.
UNSCORED = (
    "trained; its scores are from older metric code: `legible run` rescores it without retraining"
)


def score_table(workspace: Workspace, specs: Sequence[RunSpec]) -> pd.DataFrame:
    """The scores of all runs; a run that could not run is one row with its status and reason."""
    rows: list[dict[str, Any]] = []
    for spec in specs:
        rows += run_rows(workspace, spec)
    rows += oracle_rows(workspace, specs)
    return pd.DataFrame(rows, columns=COLUMNS)


def base_row(spec: RunSpec) -> dict[str, Any]:
    """A row of a cell before anything is known of its scores."""
    cls = registry.get("methods", spec.method)
    return {
        "dataset": spec.dataset_label, "backbone": spec.backbone_label, "method": spec.method,
        "label": cls.label, "kind": cls.kind, "params": spec.row.params, "seed": spec.seed,
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


def run_rows(workspace: Workspace, spec: RunSpec) -> list[dict[str, Any]]:
    """A cell's rows of the table."""
    base = base_row(spec)
    status, reason = workspace.why_not(spec)
    if status:
        return [{**base, "status": status, "reason": reason}]
    run = workspace.run_of(spec)
    base["run"] = run.name
    scores = run.scores(probe_key(workspace, spec))
    status, reason = _lack(run, bool(scores))
    if status:
        return [{**base, "status": status, "reason": reason}]
    return [
        {**base, **score_columns(from_json(name, line))}
        for name, entry in scores.items()
        if name in METRICS and METRICS[name].aspect in spec.aspects
        for line in entry["layers"]
    ]


def _lack(run: Run, scored: bool) -> tuple[str, str]:
    """("failed" | "missing", reason) where a run has no scores, else ("", "")."""
    try:
        manifest = run.manifest()
    except Corrupt as error:
        return "missing", f"unreadable: {error}"
    if manifest is None:
        return "missing", "not run yet"
    if manifest.status == "failed":
        return "failed", manifest.reason or "no reason recorded"
    return ("", "") if scored else ("missing", UNSCORED)


#: Columns of attributions.csv.
BY_ALGORITHM = (
    "dataset", "backbone", "method", "params", "seed", "algorithm", "metric", "value",
)  # fmt: skip


def algorithm_table(workspace: Workspace, specs: Sequence[RunSpec]) -> pd.DataFrame:
    """What each attribution algorithm scored, by itself, on every cell; no value where it failed
    its audit there, which is the row ``attribution_audit`` with the value 0."""
    rows = []
    for spec in specs:
        if "attribution" not in spec.aspects or workspace.obstacle(spec):
            continue
        base = (*spec.block, *spec.row, spec.seed)
        for name, entry in workspace.run_of(spec).scores(probe_key(workspace, spec)).items():
            if name in METRICS and METRICS[name].aspect == "attribution":
                values = [v for line in entry["layers"] for v in line["values"]]
                if len(values) == len(ALGORITHMS):
                    pairs = zip(ALGORITHMS, values, strict=True)
                    rows += [(*base, algorithm, name, value) for algorithm, value in pairs]
    return pd.DataFrame(rows, columns=list(BY_ALGORITHM))


def oracle_rows(workspace: Workspace, specs: Sequence[RunSpec]) -> list[dict[str, Any]]:
    """A null row a block whose units are the concept masks themselves: the ceiling of semantics.

    Shown for every probed layer with a map, also where it fails the measurability gate. Concepts
    in fewer than ten images have no unit, for concept AUC cannot score one; where all are so
    rare there is no oracle.
    """
    rows = []
    for spec in {spec.block: spec for spec in reversed(specs)}.values():
        if workspace.obstacle(spec):
            continue
        network, _, data = workspace.build(spec)
        held = judging_images(data, "test", spec.stage, spec.probe)
        if held.concepts is None or not len(masks := common(held.concepts)):
            continue
        layers = {
            name: replace(oracle_layer(masks, network.taps[name].shape[1:]), name=name)
            for name in resolve(network, spec.layers)
            if network.taps[name].spatial
        }
        logits = torch.zeros(len(held), held.classes, device=held.labels.device)
        images = held.normalise(held.images)
        probe = Probe(
            network, images, held.labels, logits, layers, held.concepts, frozenset(layers)
        )
        base = {
            **base_row(spec), "method": "oracle", "label": "oracle (the masks themselves)",
            "kind": "null", "params": "{}", "run": "",
        }  # fmt: skip
        rows += [
            {**base, **score_columns(s)}
            for item in METRICS.values()
            if item.aspect in ("focus", "semantics") and scope(item.function) == "layer"
            for s in score_metric(item, probe)
        ]
    return rows
