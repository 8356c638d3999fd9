"""Facts about how the numbers were made."""

from dataclasses import replace

from legible.bench.leaderboard.tables.provenance import provenance_table


def test_a_row_for_each_fact(board):
    table = provenance_table(board)
    facts = {row.title: row.cells[0].text for row in table.rows}
    assert facts == {"commit": "0123abc", "versions": "torch 9.9 | numpy 9.9", "date": "2026-01-01"}


def test_no_facts_give_no_table(board):
    assert provenance_table(replace(board, provenance={})) is None
