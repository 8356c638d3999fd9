"""The verdicts as records."""

from __future__ import annotations

import math

from legible.bench.leaderboard.tables.verdict_records import records_of
from legible.bench.leaderboard.verdicts import Standings


def test_a_record_for_each_row_and_aspect_over_blocks_and_on_each_block(board):
    standings = Standings(board)
    records = records_of(standings)
    rows = len(board.rows) - 1
    assert len(records) == 4 * rows * (1 + 3)
    sync = [r for r in records if (r.method, r.params, r.aspect) == ("sync", "{}", "focus")]
    whole, *blocks = sync
    assert (whole.dataset, whole.metric, whole.layer, whole.sign) == (
        "", "dispersion", "", "better",
    )  # fmt: skip
    assert [record.dataset for record in blocks] == [block.dataset for block in board.blocks]
    assert [record.layer for record in blocks] == ["stage2", "conv2", "stage2"]
    assert whole.low < whole.difference < whole.high and whole.p < 0.001 and whole.seeds == 9
    assert math.isnan(whole.seeds_needed) and whole.margin == 0.02 and whole.unit == ""


def test_undecided_and_untested_rows_say_why(three_seeds, board):
    few = [r for r in records_of(Standings(three_seeds)) if r.method == "sync"]
    assert {record.reason for record in few if record.aspect == "focus"} == {"few seeds"}
    assert few[0].sign == "undecided" and few[0].seeds_needed >= 8
    null = next(r for r in records_of(Standings(board)) if r.method == "untrained")
    assert (null.sign, null.reason, null.group) == ("untested", "not in the family", "null")
