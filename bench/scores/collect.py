"""Collecting scores: from runs to the score table, one row for each run, layer and metric."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
import torch

from legible.bench.execution.published import PublishedTable, Record
from legible.bench.execution.reuse import current_scores, reused
from legible.bench.execution.store import Corrupt, Run
from legible.bench.execution.workspace import Workspace, probe_key
from legible.bench.plugins import registry
from legible.bench.plugins.faults import PluginFault
from legible.bench.scores.published_rows import rows_of_run
from legible.bench.scores.score_table import ScoreRow, to_table
from legible.bench.scoring.oracle import common, oracle_layer
from legible.bench.scoring.probe import resolve
from legible.bench.scoring.score import score_metric
from legible.bench.scoring.splits import scoring_images
from legible.bench.suites.run_spec import RunSpec
from legible.bench.text import one_line
from legible.metrics.base import METRICS, Probe, Score, scope
from legible.metrics.explainers import ALGORITHMS

#: Why a trained run has no numbers.
UNSCORED = (
    "trained, but no score was computed by the current code: `legible run` scores it again without "
    "retraining"
)

LONGEST_REASON = 4000  # characters that a score table takes

NO_SCORE = Score(metric="", layer="", values=np.empty(0))


class Gap(NamedTuple):
    """Why there are no scores of a run spec."""

    status: Literal["skipped", "failed", "missing"]
    reason: str


def score_table(workspace: Workspace, specs: Sequence[RunSpec]) -> pd.DataFrame:
    """The scores of all runs and of the oracle. A run without scores is one row that says why."""
    rows: list[ScoreRow] = []
    for spec in specs:
        rows += run_rows(workspace, spec)
    rows += oracle_rows(workspace, specs)
    return to_table(rows)


def score_row(spec: RunSpec, run: str, score: Score = NO_SCORE, gap: Gap | None = None) -> ScoreRow:
    """A row of the score table: a score of a run, or the reason why there is none."""
    cls = registry.get("methods", spec.method)
    return ScoreRow(
        dataset=spec.dataset_label, backbone=spec.backbone_label, method=spec.method,
        label=cls.label, kind=cls.kind, params=spec.row.params, seed=spec.seed, layer=score.layer,
        metric=score.metric, aspect=METRICS[score.metric].aspect if score.metric else "",
        value=_defined(score.value), live=_defined(score.live), undefined=score.undefined,
        count=len(score.values), status=gap.status if gap else "ok",
        reason=one_line(gap.reason if gap else score.reason, LONGEST_REASON), run=run,
    )  # fmt: skip


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else value


def run_rows(workspace: Workspace, spec: RunSpec) -> list[ScoreRow]:
    """The rows of one run: its scores, those that are published of it, or one row that says why
    there are none."""
    if workspace.published and (published := reused(workspace, spec)):
        return rows_of_run(workspace.published, published.record.run, spec)
    if obstacle := workspace.obstacle(spec):
        return [score_row(spec, "", gap=Gap(obstacle.status, obstacle.reason))]
    run = workspace.run_of(spec)
    scores = current_scores(workspace, spec)
    if gap := _gap(run, bool(scores)):
        return [score_row(spec, run.name, gap=gap)]
    return [
        score_row(spec, run.name, score)
        for name, entry in scores.items()
        if name in METRICS and (METRICS[name].aspect in spec.aspects or name in spec.targets)
        for score in entry.layers
    ]


def _gap(run: Run, scored: bool) -> Gap | None:
    try:
        manifest = run.manifest()
    except Corrupt as error:
        return Gap("missing", f"unreadable: {error}")
    if manifest is None:
        return Gap("missing", "not run yet")
    if manifest.status == "failed" or (manifest.reason and not scored):
        return Gap("failed", manifest.reason or "no reason recorded")
    return None if scored else Gap("missing", UNSCORED)


class AlgorithmScore(NamedTuple):
    """A row of attributions.csv: what one attribution algorithm scored in one metric."""

    dataset: str
    backbone: str
    method: str
    params: str
    seed: int
    algorithm: str
    metric: str
    value: float


#: Columns of attributions.csv.
BY_ALGORITHM = AlgorithmScore._fields


def algorithm_table(workspace: Workspace, specs: Sequence[RunSpec]) -> pd.DataFrame:
    """What each attribution algorithm scored, by itself, on every run.

    An algorithm that failed its audit on a run has no value there; the audit itself is the metric
    ``attribution_audit``, which is then 0.
    """
    rows = [
        row
        for spec in specs
        if "attribution" in spec.aspects and not workspace.obstacle(spec)
        for row in _algorithm_scores(workspace, spec)
    ]
    return pd.DataFrame(rows, columns=list(BY_ALGORITHM))


def _algorithm_scores(workspace: Workspace, spec: RunSpec) -> Iterator[AlgorithmScore]:
    if workspace.published and reused(workspace, spec):
        yield from _published_algorithms(workspace.published, spec)
        return
    for name, entry in workspace.run_of(spec).scores(probe_key(workspace, spec)).items():
        if name not in METRICS or METRICS[name].aspect != "attribution":
            continue
        values = [value for score in entry.layers for value in score.values.tolist()]
        if len(values) == len(ALGORITHMS):
            for algorithm, value in zip(ALGORITHMS, values, strict=True):
                yield AlgorithmScore(*spec.block, *spec.row, spec.seed, algorithm, name, value)


def _published_algorithms(table: PublishedTable, spec: RunSpec) -> Iterator[AlgorithmScore]:
    for record in table.companion_rows("attributions.csv", spec.block, spec.row):
        if int(record["seed"]) == spec.seed:
            yield algorithm_score_of(record)


def algorithm_score_of(record: Record) -> AlgorithmScore:
    """A line of attributions.csv."""
    return AlgorithmScore(
        record["dataset"], record["backbone"], record["method"], record["params"],
        int(record["seed"]), record["algorithm"], record["metric"], float(record["value"] or "nan"),
    )  # fmt: skip


def oracle_rows(workspace: Workspace, specs: Sequence[RunSpec]) -> list[ScoreRow]:
    """The rows of the oracle, a null network whose units are the concept masks themselves: the
    ceiling of semantics on each block.

    Every probed layer with a map has such rows, also if it fails the measurability gate. A concept
    in fewer than ten images has no unit, because concept AUC cannot score it; if all are so rare
    there is no oracle.
    """
    rows = []
    for spec in {spec.block: spec for spec in reversed(specs)}.values():
        if not workspace.obstacle(spec):
            with suppress(PluginFault, ValueError):
                rows += workspace.apart(spec, functools.partial(_oracle_rows, workspace, spec))
    return rows


def _oracle_rows(workspace: Workspace, spec: RunSpec) -> list[ScoreRow]:
    """The oracle's rows on the block of a run spec."""
    probe = _oracle_probe(workspace, spec)
    if probe is None:
        return []
    return [
        score_row(spec, "", score).model_copy(update=ORACLE)
        for item in METRICS.values()
        if item.aspect in ("focus", "semantics") and scope(item.function) == "layer"
        if registry.plugin_of("metrics", item.name) is None
        for score in score_metric(item, _judged(probe, spec.images.get(item.aspect)))
    ]


def _judged(probe: Probe, count: int | None) -> Probe:
    """The probe on the images that an aspect is judged on."""
    return probe if count is None else probe.subset(slice(count))


ORACLE = {
    "method": "oracle", "label": "oracle (the masks themselves)", "kind": "null", "params": "{}",
}  # fmt: skip


def _oracle_probe(workspace: Workspace, spec: RunSpec) -> Probe | None:
    """The probe of an oracle on the images that a run is judged on; None without concepts."""
    network, data = workspace.bare_network(spec), workspace.data_of(spec)
    probe_images = scoring_images(data, "test", spec.stage, spec.probe, workspace.reserved(spec))
    concepts = probe_images.concepts
    if concepts is None or not len(masks := common(concepts)):
        return None
    layers = {
        name: replace(oracle_layer(masks, network.taps[name].shape[1:]), name=name)
        for name in resolve(network, spec.layers)
        if network.taps[name].spatial
    }
    labels = probe_images.labels
    logits = torch.zeros(len(probe_images), probe_images.classes, device=labels.device)
    images = probe_images.normalise(probe_images.images)
    return Probe(network, images, labels, logits, layers, concepts, frozenset(layers))
