"""A score table without its repetitions, as leaderboard.json holds it."""

from __future__ import annotations

from typing import Any

import pandas as pd

from bench.publish.scores import COLUMNS, records

#: What a row of the table shares with the others of its run.
OF_RUN = ["dataset", "backbone", "method", "label", "kind", "params", "seed", "status", "run"]
#: What is left, beside the number of its run.
OF_ROW = [name for name in COLUMNS if name not in OF_RUN]


def compact(table: pd.DataFrame) -> dict[str, Any]:
    """``runs``: what rows share, each once, named by ``run_columns``. ``rows``: the number of the
    run in ``runs``, then the columns that ``row_columns`` names."""
    runs = table[OF_RUN].drop_duplicates().reset_index(drop=True)
    number = {tuple(run): i for i, run in enumerate(runs.itertuples(index=False))}
    rows = [
        [number[tuple(row[name] for name in OF_RUN)], *(row[name] for name in OF_ROW)]
        for row in records(table)
    ]
    return {
        "run_columns": OF_RUN, "row_columns": OF_ROW,
        "runs": [list(run) for run in runs.itertuples(index=False)], "rows": rows,
    }  # fmt: skip


def expand(value: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of the score table, as bench/schema/scores.json describes them."""
    out = []
    for number, *rest in value["rows"]:
        run = dict(zip(value["run_columns"], value["runs"][number], strict=True))
        row = run | dict(zip(value["row_columns"], rest, strict=True))
        out.append({name: row[name] for name in COLUMNS})
    return out
