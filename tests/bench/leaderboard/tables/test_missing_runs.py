"""Runs without scores, with their reasons."""

from dataclasses import replace

from legible.bench.leaderboard.tables.missing_runs import missing_runs_table


def test_each_block_method_and_reason_has_a_row(board):
    table = missing_runs_table(board)
    rows = [(row.title, row.settings, *(cell.text for cell in row.cells)) for row in table.rows]
    assert rows == [
        ("bean", "", "kanji(size=28)", "lenet5",
         "skipped: needs a dense | layer\nwith <b>weights</b> (seeds 0–8)"),
        ("sync (reconstruction)", "strength=2.0", "shapes", "vgg",
         "failed: step 7: penalty 'focus' is not finite (seed 2)"),
    ]  # fmt: skip


def test_a_board_with_all_scores_has_no_table(board):
    complete = replace(board, scores=board.scores[board.scores["status"] == "ok"])
    assert missing_runs_table(complete) is None
