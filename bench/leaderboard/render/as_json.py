"""A publication as JSON: leaderboard.json holds the tables as data (see docs/scores.md)."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from legible.bench.leaderboard.board import Board
from legible.bench.leaderboard.publication import Publication
from legible.bench.leaderboard.tables.named_contrasts import contrast_records
from legible.bench.leaderboard.tables.table import (
    Baseline,
    Content,
    Correlation,
    Count,
    Estimate,
    Share,
    Table,
    TableCell,
    TableColumn,
    TableRow,
    Words,
)
from legible.bench.leaderboard.tables.verdict_records import records_of
from legible.bench.leaderboard.verdicts import Standings
from legible.bench.scores.score_table import SCHEMA_VERSION, records

#: Raised whenever leaderboard.json changes its form. Versions 1 and 2 held the raw scores.
LEADERBOARD_VERSION = 5


def render_json(publication: Publication) -> str:
    """Verdicts, tables, costs and descriptions of the metrics; undefined numbers are null."""
    board, standings = publication.board, publication.standings
    value = {
        "schema_version": SCHEMA_VERSION,
        "leaderboard_version": LEADERBOARD_VERSION,
        "scores": "scores.csv",
        "title": board.title,
        "provenance": dict(board.provenance),
        "command": board.command,
        "summary": publication.summary,
        "basis": publication.basis,
        "partial": publication.partial,
        "headline": board.headlines,
        "verdicts": [record._asdict() for record in records_of(standings)],
        "contrasts": [record._asdict() for record in contrast_records(standings)],
        "metrics": {name: _metric(board, name) for name in sorted(board.metric_names)},
        "layers": [
            {"dataset": b.dataset, "backbone": b.backbone, "metrics": board.shown_layers[b]}
            for b in board.blocks
        ],
        "conclusions": [s._asdict() for s in publication.conclusions.sentences],
        "tables": [
            {"section": section.title, **_table(table)}
            for section in publication.sections
            if section is not publication.provenance
            for table in section.tables
        ],
        "details": [_table(table) for page in publication.pages for table in page.tables],
        "agreement": _agreement(standings),
        "cost": records(board.cost),
    }
    if board.ledger:
        value["trials"] = [trial.model_dump() for trial in board.ledger.trials]
    return _text(_plain(value), 3) + "\n"


# ----------------------------------------------------------------- tables


def _table(table: Table) -> dict[str, Any]:
    return {
        "title": table.title,
        "metric": table.metric,
        "block": list(table.block) if table.block else None,
        "first": table.first,
        "columns": [_column(column) for column in table.columns],
        "rows": [_row(row) for row in table.rows],
        "notes": list(table.notes),
    }


def _column(column: TableColumn) -> dict[str, Any]:
    return _filled({
        "title": " ".join(filter(None, [column.title, column.detail])), "aspect": column.aspect,
        "metric": column.metric,
        "layer": column.layer, "below": column.below, "notes": list(column.notes),
    })  # fmt: skip


def _row(row: TableRow) -> dict[str, Any]:
    method, params = row.key or ("", "")
    return _filled({
        "title": row.title, "settings": row.settings, "method": method, "params": params,
        "group": row.group, "notes": list(row.notes),
    }) | {"cells": [_cell(cell) for cell in row.cells]}  # fmt: skip


def _cell(cell: TableCell) -> dict[str, Any]:
    flags = _filled({
        "trained_on": cell.trained_on, "undefined": _share(cell.undefined), "below": cell.below,
        "failed_audits": _share(cell.failed_audits), "notes": list(cell.notes),
    })  # fmt: skip
    if cell.difference:
        flags["difference"] = _content(cell.difference)
    return _content(cell.content) | flags


def _content(content: Content | None) -> dict[str, Any]:
    match content:
        case Estimate(mean, half, _, _, sign):
            return {"mean": mean, "half": half} | _filled({"sign": sign})
        case Correlation(value, low, high):
            return {"correlation": value, "low": low, "high": high}
        case Count(number):
            return {"count": number}
        case Words(text) | Baseline(text):
            return {"text": text}
    return {}


def _share(share: Share | None) -> list[int]:
    return list(share) if share else []


def _filled(value: dict[str, Any]) -> dict[str, Any]:
    """Without what is empty."""
    return {name: item for name, item in value.items() if item}


# ----------------------------------------------------------------- further parts


def _metric(board: Board, name: str) -> dict[str, Any]:
    metric = board.metric(name)
    return {
        "title": metric.title, "aspect": metric.aspect, "better": metric.better,
        "summary": metric.summary, "limits": list(metric.limits), "per": metric.per,
        "remark": board.remarks.get(name, ""),
    }  # fmt: skip


def _agreement(standings: Standings) -> dict[str, Any]:
    agreement = standings.agreement
    if agreement is None:
        return {}
    names = [column.metric.name for column in standings.columns.values()]
    return {"metrics": names, "spearman": agreement.mean, "low": agreement.low,
            "high": agreement.high}  # fmt: skip


# ----------------------------------------------------------------- text


def _text(value: Any, deep: int) -> str:
    """JSON with sorted keys: a line for each key and each item of a list, down to a depth."""
    if deep and isinstance(value, dict) and value:
        lines = [f"{_text(key, 0)}: {_text(value[key], deep - 1)}" for key in sorted(value)]
        return "{\n" + ",\n".join(lines) + "\n}"
    if deep and isinstance(value, list) and value:
        return "[\n" + ",\n".join(_text(item, 0) for item in value) + "\n]"
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _plain(value: Any) -> Any:
    """JSON's own types: arrays as lists, undefined and infinite numbers as null."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float):
        return float(f"{value:.9g}") if math.isfinite(value) else None
    return value
