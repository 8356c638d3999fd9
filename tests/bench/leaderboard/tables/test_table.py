"""Table cells as text, footnotes, and tables side by side."""

from __future__ import annotations

from dataclasses import replace

import pytest

from legible.bench.leaderboard.tables.table import (
    Correlation,
    Count,
    Estimate,
    Notes,
    Share,
    Table,
    TableCell,
    TableColumn,
    TableRow,
    Words,
    side_by_side,
)

NAN = float("nan")


@pytest.mark.parametrize(
    ("content", "text", "key"),
    [
        (Estimate(0.1234, 0.0056, 3), "0.123 ± 0.006", 0.1234),
        (Estimate(0.1234, NAN, 2), "0.12", 0.1234),
        (Estimate(-0.5, 0.25, 2, True, "▼"), "▼ −0.50 ± 0.25", -0.5),
        (Estimate(NAN, NAN, 3), "—", None),
        (Correlation(0.5, -0.25, 0.75), "0.50 (−0.25 to 0.75)", 0.5),
        (Correlation(0.5, NAN, NAN), "0.50", 0.5),
        (Count(3), "3", 3),
        (Count(0), "—", None),
        (Words("a|b"), "a|b", "a|b"),
        (Share(2, 48), "2/48", ...),
    ],
)
def test_content_as_text_and_as_a_sort_key(content, text, key):
    assert str(content) == text
    if key is not ...:
        assert content.sort_key == key


def test_a_blank_table_cell_has_no_text():
    assert TableCell().text == ""


def test_equal_footnotes_have_one_number():
    notes = Notes()
    assert notes.numbers(["b", "a", "b"]) == (1, 2)
    assert notes.numbers(["c", "a"]) == (2, 3)
    assert notes.texts == ["b", "a", "c"]
    assert notes.numbers([]) == ()


def test_tables_side_by_side_share_their_footnotes():
    def table(title, note):
        row = TableRow("plain", (TableCell(Count(1), notes=(1, 2)),), notes=(1,))
        return Table(title, (TableColumn(title, notes=(2,)),), (row,), ("shared", note))

    wide = side_by_side("All", [table("a", "of a"), table("b", "of b")])
    assert [column.title for column in wide.columns] == ["a", "b"]
    (row,) = wide.rows
    texts = [{wide.notes[i - 1] for i in cell.notes} for cell in row.cells]
    assert texts == [{"shared", "of a"}, {"shared", "of b"}]
    assert sorted(wide.notes) == ["of a", "of b", "shared"]
    assert [wide.notes[i - 1] for i in row.notes] == ["shared"]


def test_tables_of_other_rows_cannot_stand_side_by_side():
    table = Table("a", (), (TableRow("plain", ()),))
    other = replace(table, title="b", rows=(TableRow("sync", ()),))
    with pytest.raises(ValueError, match="'b' has other rows than 'a'"):
        side_by_side("All", [table, other])
