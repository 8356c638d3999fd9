"""The same leaderboard as CSV and JSON."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

from legible.bench.leaderboard.board import Board
from legible.bench.leaderboard.contest import records as records_of_trials
from legible.bench.leaderboard.standings import Standings
from legible.bench.scores.score_table import SCHEMA_VERSION, compact, records
from legible.bench.statistics.ranks import Ranking

#: Raised whenever leaderboard.json changes its form; 1 held every row of the table as an object.
LEADERBOARD_VERSION = 2


def as_csv(board: Board) -> str:
    """The tidy score table, as in scores.csv."""
    return board.table.to_csv(index=False, float_format="%.9g", lineterminator="\n")


def as_json(board: Board) -> str:
    """Scores, costs, ranks and descriptions of the metrics; undefined numbers are null.

    ``scores`` is the score table without repetitions: `bench.publish.compact.expand` gives the rows
    of bench/schema/scores.json, whose version is ``schema_version``.
    """
    standings = Standings(board)
    names = list(board.headlines.values())
    value = {
        "schema_version": SCHEMA_VERSION,
        "leaderboard_version": LEADERBOARD_VERSION,
        "title": board.title,
        "provenance": dict(board.provenance),
        "headline": board.headlines,
        "metrics": {name: _metric(board, name) for name in sorted(board.measured)},
        "layers": [
            {"dataset": b.dataset, "backbone": b.backbone, "metrics": board.places[b]}
            for b in board.blocks
        ],
        "ranks": _ranks(standings),
        "agreement": _agreement(standings, names),
        "scores": compact(board.table),
        "cost": records(board.cost),
    }
    if board.ledger:
        value["trials"] = records_of_trials(board)
    return _text(_plain(value), 3) + "\n"


def _text(value: Any, deep: int) -> str:
    """JSON with sorted keys: a line a key, and a line an item of a list, down to a depth."""
    if deep and isinstance(value, dict) and value:
        lines = [f"{_text(key, 0)}: {_text(value[key], deep - 1)}" for key in sorted(value)]
        return "{\n" + ",\n".join(lines) + "\n}"
    if deep and isinstance(value, list) and value:
        return "[\n" + ",\n".join(_text(item, 0) for item in value) + "\n]"
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _metric(board: Board, name: str) -> dict[str, Any]:
    metric = board.metric(name)
    return {
        "title": metric.title, "aspect": metric.aspect, "better": metric.better,
        "summary": metric.summary, "limits": list(metric.limits), "per": metric.per,
        "remark": board.remarks.get(name, ""),
    }  # fmt: skip


def _ranks(standings: Standings) -> list[dict[str, Any]]:
    """Overall and by aspect, a record a row; rank 0 and tier 0 mean unranked."""
    columns = {"overall": standings.overall, **standings.aspects}
    return [
        {"method": row.method, "params": row.params, "of": of} | _rank(ranking, i)
        for of, ranking in columns.items()
        if ranking is not None
        for i, row in enumerate(standings.rows)
    ]


def _rank(ranking: Ranking, i: int) -> dict[str, Any]:
    return {name: array[i].item() for name, array in ranking._asdict().items()}


def _agreement(standings: Standings, names: list[str]) -> dict[str, Any]:
    found = standings.agreement(names)
    if found is None:
        return {}
    return {"metrics": names, "spearman": found.mean, "low": found.low, "high": found.high}


def _plain(value: Any) -> Any:
    """JSON's own types: arrays as lists, undefined and infinite numbers as null."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float):
        return float(f"{value:.9g}") if math.isfinite(value) else None
    return value
