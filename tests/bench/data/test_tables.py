"""Text tables."""

import pytest

from legible.bench.data.tables import table_rows


def test_fields_and_the_rest_of_the_line(tmp_path):
    (tmp_path / "t.txt").write_text("1 back of head\n\n2 beak\n")
    assert list(table_rows(tmp_path / "t.txt", 2)) == [["1", "back of head"], ["2", "beak"]]


def test_a_line_with_too_few_fields_is_named(tmp_path):
    (tmp_path / "t.txt").write_text("1 2 3\n4 5\n")
    with pytest.raises(ValueError, match=r"t.txt, line 2: there are 2 fields, not 3"):
        list(table_rows(tmp_path / "t.txt", 3))
    with pytest.raises(ValueError, match=r"cannot read .*gone.txt"):
        list(table_rows(tmp_path / "gone.txt", 3))
