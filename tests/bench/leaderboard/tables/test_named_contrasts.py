"""Contrasts between rows that a suite names."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from legible.bench.leaderboard.tables.named_contrasts import (
    contrast_records,
    contrasts_table,
    p_text,
)
from legible.bench.leaderboard.verdicts import Standings
from legible.bench.suites.run_spec import RowKey


def test_a_row_for_each_contrast_and_a_column_for_each_aspect(board):
    table = contrasts_table(Standings(board))
    assert [row.title for row in table.rows] == [
        "sync (reconstruction) [strength=2.0] − sync (reconstruction)"
    ]
    assert [c.title for c in table.columns] == ["task", "focus", "semantics", "structure"]
    focus, structure = table.rows[0].cells[1], table.rows[0].cells[3]
    assert focus.text.startswith("▲ +0.050") and focus.below == "p < 0.001"
    assert not structure.text.startswith(("▲", "?")) and structure.below.startswith("p = ")


def test_a_record_holds_the_mean_over_blocks_of_paired_differences(board):
    scores = board.scores
    records = {record.aspect: record for record in contrast_records(Standings(board))}
    iou = scores[(scores["metric"] == "iou") & scores["layer"].isin(["stage2", "conv2"])]
    iou = iou[iou["method"] == "sync"]
    by_params = iou.pivot_table(index=["dataset", "seed"], columns="params", values="value")
    differences = (by_params['{"strength": 2.0}'] - by_params["{}"]).groupby("dataset").mean()
    assert records["semantics"].difference == pytest.approx(differences.mean())
    assert records["semantics"].low < differences.mean() < records["semantics"].high
    assert records["semantics"].seeds == 8  # a seed failed on one block


def test_p_values_are_corrected_over_the_contrasts(board):
    alone = contrast_records(Standings(board))
    more = [*board.contrasts, (RowKey("bean", "{}"), RowKey("sync", "{}")),
            (RowKey("atoms", "{}"), RowKey("sync", "{}"))]  # fmt: skip
    several = contrast_records(Standings(replace(board, contrasts=more)))
    p = {(r.first, r.aspect): r.p for r in several}
    first = alone[-1]
    assert first.aspect == "structure"
    assert p[first.first, "structure"] == pytest.approx(min(2 * first.p, 1))  # bean has no test


def test_below_eight_seeds_there_are_p_values_and_no_signs(three_seeds):
    records = contrast_records(Standings(three_seeds))
    focus = next(record for record in records if record.aspect == "focus")
    assert focus.sign == "?" and np.isfinite(focus.p) and focus.seeds == 2


def test_rows_that_are_not_on_the_board_have_no_contrast(board):
    unknown = replace(board, contrasts=[(RowKey("sync", "{}"), RowKey("other", "{}"))])
    assert contrasts_table(Standings(unknown)) is None


@pytest.mark.parametrize(
    ("p", "text"), [(0.5, "p = 0.50"), (0.0123, "p = 0.012"), (1e-5, "p < 0.001"), (np.nan, "")]
)
def test_p_values_as_text(p, text):
    assert p_text(p) == text


def test_a_row_without_spread_gives_a_p_value_and_no_sign(board):
    """Its value may follow from the definition of the metric, so nothing was found out."""
    scores = board.scores.copy()
    constant = (scores["method"] == "sync") & (scores["params"] == "{}")
    scores.loc[constant & scores["value"].notna(), ["value", "live"]] = 0.25
    before = {r.aspect: r for r in contrast_records(Standings(board))}
    after = {r.aspect: r for r in contrast_records(Standings(replace(board, scores=scores)))}
    assert before["focus"].sign == "▲" and after["focus"].sign == ""
    assert np.isfinite(after["focus"].p)
