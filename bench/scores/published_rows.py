"""Rows of published tables beside the rows of runs that are here: which may stand in a table.

A publication never loses rows that its folder holds already, and never shows old rows silently:
rows that other code made are listed, and the publication is refused.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from legible.bench.data.base import DataMissing
from legible.bench.execution.published import PublishedTable, Record, RunPlace, RunRecord, place_of
from legible.bench.execution.reuse import OTHER_SCORING, published_run
from legible.bench.execution.workspace import Workspace
from legible.bench.scores.score_table import ScoreRow
from legible.bench.suites.run_spec import Block, RowKey, RunSpec
from legible.metrics.base import METRICS


def rows_of_run(table: PublishedTable, run: str, spec: RunSpec | None = None) -> list[ScoreRow]:
    """The published rows of a run; those of a run spec's metrics, if one is given."""
    rows = [score_row_of(record) for record in table.rows[run]]
    if spec is None:
        return rows
    aspects = set(spec.aspects)
    return [
        row for row in rows
        if not row.metric
        or row.metric in spec.targets
        or (row.metric in METRICS and METRICS[row.metric].aspect in aspects)
    ]  # fmt: skip


def score_row_of(record: Record) -> ScoreRow:
    """A line of scores.csv as a row. Raises ValueError."""
    numbers = {
        "seed": int(record["seed"]), "undefined": int(record["undefined"]),
        "count": int(record["count"]),
        **{name: float(record[name]) if record[name] else None for name in ("value", "live")},
    }  # fmt: skip
    return ScoreRow.model_validate({**record, **numbers})


@dataclass
class KeptRows:
    """Published rows that stand beside the runs of a table.

    ``rows``: the rows themselves, with those of the oracle. ``records``: what is known about their
    runs. ``unchecked``: methods whose code is not here. ``stale``: why other rows are left out.
    """

    rows: list[ScoreRow] = field(default_factory=list)
    records: list[RunRecord] = field(default_factory=list)
    unchecked: set[str] = field(default_factory=set)
    stale: dict[RunPlace, str] = field(default_factory=dict)


def kept_rows(
    workspace: Workspace,
    suite_specs: Sequence[RunSpec],
    scored_places: Collection[RunPlace],
    blocks: Collection[Block],
) -> KeptRows:
    """The published rows that a table of other runs keeps.

    ``suite_specs``: all run specs of the suite. ``scored_places``: the places that have scores
    already, of runs here or reused. ``blocks``: those that have rows of the oracle already.
    """
    earlier_rows = KeptRows()
    table = workspace.published
    if table is None:
        return earlier_rows
    specs = {RunPlace(spec.block, spec.row, spec.seed): spec for spec in suite_specs}
    rows = {(spec.block, spec.row): spec for spec in suite_specs}
    for run, place in table.places.items():
        if place in scored_places:
            continue
        spec = specs.get(place) or _further_seed(rows, place, table.runs[run])
        problem = _problem(workspace, table, run, spec)
        if problem:
            earlier_rows.stale[place] = problem
            continue
        if spec is None:
            earlier_rows.unchecked.add(place.row.method)
        published = published_run(workspace, spec) if spec else None
        absent = set(published.absent) if published else set()
        earlier_rows.rows += [
            row for row in rows_of_run(table, run, spec) if row.metric not in absent
        ]
        earlier_rows.records.append(_without(table.runs[run], absent))
    earlier_rows.stale |= _unsealed(table, scored_places)
    with_rows = {Block(row.dataset, row.backbone) for row in earlier_rows.rows} - set(blocks)
    earlier_rows.rows += [
        score_row_of(record) for record in table.others
        if record["method"] == "oracle"
        and Block(record["dataset"], record["backbone"]) in with_rows
    ]  # fmt: skip
    return earlier_rows


def _problem(workspace: Workspace, table: PublishedTable, run: str, spec: RunSpec | None) -> str:
    """Why a published run may not be shown as it is; empty if it may."""
    if spec is None:
        return ""
    try:
        name = workspace.run_of(spec).name
    except DataMissing:
        return "its data is not here"
    if name != run:
        kind = table.runs[run].machine.kind
        device = f", on {kind}" if kind not in workspace.device else ""
        return f"its training was made by other code{device}"
    published = published_run(workspace, spec)
    if published is not None and published.stale:
        return f"{published.stale[0]} was {OTHER_SCORING}"
    return ""


def _without(record: RunRecord, metrics: Collection[str]) -> RunRecord:
    """What is known about a run, without some of its metrics."""
    if not metrics:
        return record
    keys = {name: key for name, key in record.scoring.metrics.items() if name not in metrics}
    return replace(record, scoring=record.scoring.model_copy(update={"metrics": keys}))


def _further_seed(
    rows: Mapping[tuple[Block, RowKey], RunSpec], place: RunPlace, record: RunRecord
) -> RunSpec | None:
    """The run spec of a seed that the suite does not list; None for a row that it does not have."""
    spec = rows.get((place.block, place.row))
    return spec and replace(spec, seed=place.seed, partner=record.partner)


def _unsealed(table: PublishedTable, scored_places: Collection[RunPlace]) -> dict[RunPlace, str]:
    """Rows with scores that belong to no known run: those of a table without provenance."""
    places = {
        place_of(record)
        for record in table.others
        if record["run"] and record["status"] == "ok" and "@" not in record["method"]
    }
    return dict.fromkeys(places - set(scored_places), "it says nothing about the code that made it")
