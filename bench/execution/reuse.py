"""Reuse of published scores: which runs of a suite are finished because a table holds their scores.

A published run has values and no weights. It is finished if its name and the keys of all that its
scores depend on are those of the current code.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from legible.bench.data.base import DataMissing
from legible.bench.errors import UserError
from legible.bench.execution.pairs import between_seeds, partner_of
from legible.bench.execution.published import Machine, PublishedTable, RunRecord, Scoring
from legible.bench.execution.store import Corrupt
from legible.bench.execution.workspace import Workspace, probe_key
from legible.bench.scoring.score import MetricScores, metric_keys
from legible.bench.suites.run_spec import RunSpec, canonical


#: Why published values of a run are stale.
OTHER_SCORING = "made by other code or on other images"


@dataclass(frozen=True)
class PublishedRun:
    """A published run of a run spec. ``stale``: metrics whose values were made by other code or on
    other images.
    ``absent``: metrics that it has no values of, or whose values compare with another seed."""

    record: RunRecord
    failure: str = ""
    stale: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether it has a valid value of each metric."""
        return not self.stale and not self.absent


def published_run(workspace: Workspace, spec: RunSpec) -> PublishedRun | None:
    """The published run of a run spec; None if no table holds it under its present name."""
    table = workspace.published
    if table is None or not table.runs:
        return None
    try:
        name = workspace.run_of(spec).name
    except DataMissing:
        return None
    return None if name not in table.runs else _compare(workspace, spec, table, name)


def _compare(workspace: Workspace, spec: RunSpec, table: PublishedTable, name: str) -> PublishedRun:
    record = table.runs[name]
    if table.rows[name][0]["status"] == "failed":
        return PublishedRun(record, failure=table.rows[name][0]["reason"])
    current = scoring_of(workspace, spec)
    stale, absent = [], []
    for metric, key in current.metrics.items():
        if metric not in record.scoring.metrics:
            absent.append(metric)
        elif (record.scoring.probe, record.scoring.metrics[metric]) != (current.probe, key):
            stale.append(metric)
        elif between_seeds(metric) and record.partner != spec.partner:
            absent.append(metric)
    return PublishedRun(record, "", tuple(stale), tuple(absent))


def scoring_of(workspace: Workspace, spec: RunSpec) -> Scoring:
    """What the scores of a run spec depend on besides its run, under the current code."""
    names = (*spec.metrics, canonical(spec.images))
    if names not in workspace.metric_keys:
        workspace.metric_keys[names] = metric_keys(spec.metrics, images=spec.images)
    probe = probe_key(workspace, replace(spec, partner=None))
    return Scoring(probe=probe, metrics=workspace.metric_keys[names])


# ----------------------------------------------------------------- runs that are here


def current_scores(workspace: Workspace, spec: RunSpec) -> dict[str, MetricScores]:
    """The scores of a run that is here, without those that other code made or that compare with
    another seed. A metric that raised an error has its error."""
    run = workspace.run_of(spec)
    partner = partner_of(spec)
    name = "" if partner is None else workspace.run_of(partner).name
    keys = metric_keys(spec.metrics, name, spec.images)
    return {
        metric: entry
        for metric, entry in run.scores(probe_key(workspace, spec)).items()
        if metric in keys and entry.key in (keys[metric], "")
    }


def is_complete(workspace: Workspace, spec: RunSpec) -> bool:
    """Whether a run is here, is done, and has a current score of each of its metrics."""
    try:
        done = not workspace.obstacle(spec) and workspace.run_of(spec).done()
        return done and set(spec.metrics) <= set(current_scores(workspace, spec))
    except Corrupt:
        return False


def reused(workspace: Workspace, spec: RunSpec) -> PublishedRun | None:
    """The published run whose values stand for a run spec; None if its own run here is complete, or
    no published run is."""
    published = published_run(workspace, spec)
    if published is None or not published.complete or is_complete(workspace, spec):
        return None
    return published


def record_of(workspace: Workspace, spec: RunSpec) -> RunRecord | None:
    """What a publication says about a run that is here and has ended; None if it has not, or if
    none of its scores is current."""
    run = workspace.run_of(spec)
    manifest = run.readable_manifest()
    scores = current_scores(workspace, spec)
    if manifest is None or not manifest.ended or (manifest.status == "done" and not scores):
        return None
    scoring = scoring_of(workspace, spec)
    keys = {metric: scoring.metrics[metric] for metric in scores}
    return RunRecord(
        run=run.name,
        machine=Machine(kind=manifest.identity["device"], environment=manifest.environment),
        scoring=Scoring(probe=scoring.probe, metrics=keys), partner=spec.partner,
        finished=manifest.finished, train_seconds=sum(manifest.seconds, 0.0),
        score_seconds=manifest.score_seconds,
    )  # fmt: skip


def refuse_namesakes(
    workspace: Workspace, methods: Collection[str], specs: Sequence[RunSpec]
) -> None:
    """Raises UserError if the published table has a row of a plugin's method that was neither made
    by the present code nor here: the two would be taken for one method.

    ``methods``: the methods of plugins; ``specs``: all their run specs.
    """
    table = workspace.published
    if table is None or not methods:
        return
    own = {workspace.run_of(spec).name for spec in specs if not workspace.obstacle(spec)}
    for run, place in table.places.items():
        elsewhere = run not in own and not (workspace.store.root / run).is_dir()
        if place.row.method in methods and elsewhere:
            raise UserError(
                f"{table.folder} holds a row '{place.row.method}' that other code made: give your "
                "method another name, or leave the published rows out with --only-local"
            )
