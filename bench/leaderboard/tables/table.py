"""What a table is made of: columns, rows, table cells with typed content, and footnotes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from legible.bench.leaderboard.board import Board, Column, Row, SeedValues
from legible.bench.suites.run_spec import Block, RowKey
from legible.bench.text import mean_and_half, number, settings
from legible.metrics.base import Metric

ARROWS = {"higher": "↑", "lower": "↓", "neither": ""}
#: The lines that set groups of rows apart.
GROUP_LINES = {
    "training-free": "training-free rows", "control": "controls", "null": "null rows",
}  # fmt: skip

# ----------------------------------------------------------------- content of a table cell


class Estimate(NamedTuple):
    """A mean with half the width of its 95 % interval (NaN: no interval), and the digits to show.

    ``sign`` is the verdict of a difference to plain (one of `verdicts.SYMBOLS`), "" without one.
    """

    mean: float
    half: float
    digits: int
    signed: bool = False
    sign: str = ""

    @property
    def sort_key(self) -> float | str | None:
        return self.mean if math.isfinite(self.mean) else None

    def __str__(self) -> str:
        text = mean_and_half(self.mean, self.half, self.digits, self.signed)
        return f"{self.sign} {text}" if self.sign else text


class Correlation(NamedTuple):
    """A correlation with its 95 % interval (NaN: no interval)."""

    value: float
    low: float
    high: float

    @property
    def sort_key(self) -> float | str | None:
        return self.value if math.isfinite(self.value) else None

    def __str__(self) -> str:
        text = number(self.value, 2)
        if not math.isfinite(self.low):
            return text
        return f"{text} ({number(self.low, 2)} to {number(self.high, 2)})"


class Count(NamedTuple):
    """A whole number, such as a number of trials; 0 is shown as a dash."""

    number: int

    @property
    def sort_key(self) -> float | str | None:
        return float(self.number) or None

    def __str__(self) -> str:
        return str(self.number) if self.number else "—"


class Words(NamedTuple):
    """Text of a table cell."""

    text: str

    @property
    def sort_key(self) -> float | str | None:
        return self.text

    def __str__(self) -> str:
        return self.text


class Baseline(NamedTuple):
    """Plain's own table cell among differences to plain: a text that is sorted as 0."""

    text: str

    @property
    def sort_key(self) -> float | str | None:
        return 0.0

    def __str__(self) -> str:
        return self.text


Content = Estimate | Baseline | Correlation | Count | Words


class Share(NamedTuple):
    """How many of how many."""

    part: int
    whole: int

    def __str__(self) -> str:
        return f"{self.part}/{self.whole}"


# ----------------------------------------------------------------- tables


@dataclass(frozen=True)
class TableCell:
    """A place in a table. Without content it is blank.

    ``trained_on``: the method's own loss nearly minimises the metric. ``undefined``: units without
    a defined value, of all units. ``failed_audits``: seeds in which an attribution algorithm failed
    its audit, of all seeds. ``difference``: the difference to plain, shown as a second line.
    ``below``: a remark, shown as a small line. ``notes``: numbers of footnotes, from 1.
    """

    content: Content | None = None
    trained_on: bool = False
    undefined: Share | None = None
    failed_audits: Share | None = None
    difference: Estimate | None = None
    below: str = ""
    notes: tuple[int, ...] = ()

    @property
    def text(self) -> str:
        """The content as plain text, "" for a blank."""
        return "" if self.content is None else str(self.content)


@dataclass(frozen=True)
class TableColumn:
    """The head of a column. ``detail`` continues the title (``− plain``), ``arrow`` says which
    direction is better, ``below`` is a small line, ``metric`` is the name of the metric that the
    title refers to."""

    title: str
    detail: str = ""
    aspect: str = ""
    arrow: str = ""
    layer: str = ""
    metric: str = ""
    headline: bool = False
    notes: tuple[int, ...] = ()
    below: str = ""

    @property
    def text(self) -> str:
        """Title, detail and arrow as plain text."""
        return " ".join(part for part in (self.title, self.detail, self.arrow) if part)


@dataclass(frozen=True)
class TableRow:
    """A row: usually a method with its non-default parameters (``settings``), whose ``group`` is
    one of `board.GROUPS`; other rows have no key. A row of another group than the row above follows
    a line that names its group."""

    title: str
    cells: tuple[TableCell, ...]
    key: RowKey | None = None
    settings: str = ""
    group: str = ""
    notes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Table:
    """A table with its title and footnotes, ready to be laid out.

    ``first`` heads the column of the rows' titles. ``text`` says how to read the table. ``metric``
    names the metric that the whole table is about, ``block`` the block. ``secondary`` tables may be
    folded away.
    """

    title: str
    columns: tuple[TableColumn, ...]
    rows: tuple[TableRow, ...]
    notes: tuple[str, ...] = ()
    first: str = "method"
    text: str = ""
    metric: str = ""
    block: Block | None = None
    secondary: bool = False


# ----------------------------------------------------------------- building tables


class Notes:
    """Collects the footnotes of one table: equal texts have one number."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self.texts = list(texts)

    def numbers(self, texts: Iterable[str]) -> tuple[int, ...]:
        """The numbers of these footnotes, in order."""
        added = list(texts)
        self.texts += [text for text in dict.fromkeys(added) if text not in self.texts]
        return tuple(sorted({self.texts.index(text) + 1 for text in added}))


def table_row(
    board: Board, row: Row, cells: Iterable[TableCell], notes: Notes, remarks: Iterable[str] = ()
) -> TableRow:
    """A row of the leaderboard, with footnotes for the method's own mark and further remarks."""
    marks = [board.marks[row.method]] if row.method in board.marks else []
    numbers = notes.numbers([*marks, *remarks])
    return TableRow(row.label, tuple(cells), row.key, settings(row.params), row.group, numbers)


def metric_column(board: Board, column: Column, notes: Notes, detail: str = "") -> TableColumn:
    """The head of a metric's column, with a footnote for what is remarked about the metric."""
    metric = column.metric
    remark = board.remarks.get(metric.name)
    return TableColumn(
        metric.title, detail, metric.aspect, ARROWS[metric.better], column.layer, metric.name,
        metric.name in board.headlines.values(), notes.numbers([remark] if remark else []),
    )  # fmt: skip


def plain_column(board: Board, metric: Metric, detail: str = "", arrow: bool = True) -> TableColumn:
    """The head of a metric's column without layer and footnotes."""
    return TableColumn(
        metric.title, detail, metric.aspect, ARROWS[metric.better] if arrow else "",
        metric=metric.name, headline=metric.name in board.headlines.values(),
    )  # fmt: skip


def score_cell(
    board: Board,
    row: Row,
    metric: str,
    values: SeedValues,
    digits: int,
    notes: Notes,
    difference: Estimate | None = None,
) -> TableCell:
    """The mean over seeds, with the reasons for missing values as footnotes."""
    finite = math.isfinite(values.mean)
    return TableCell(
        Estimate(values.mean, values.half, digits),
        trains_on(board, row, metric),
        Share(values.undefined, values.count) if values.undefined and finite else None,
        difference=difference,
        notes=notes.numbers(values.reasons),
    )


def trains_on(board: Board, row: Row, metric: str) -> bool:
    """Whether the row's own loss nearly minimises a metric."""
    return metric in board.trained_on.get(row.method, ())


def side_by_side(title: str, tables: Sequence[Table]) -> Table:
    """Tables of the same rows as one wide table. Raises ValueError if the rows differ."""
    notes = Notes()
    first = tables[0]
    columns: list[TableColumn] = []
    cells: list[list[TableCell]] = [[] for _ in first.rows]
    numbers: list[tuple[int, ...]] = [()] * len(first.rows)
    for table in tables:
        if [(row.key, row.title) for row in table.rows] != [(r.key, r.title) for r in first.rows]:
            raise ValueError(f"'{table.title}' has other rows than '{first.title}'")
        columns += [replace(c, notes=_moved(c.notes, table, notes)) for c in table.columns]
        for i, row in enumerate(table.rows):
            numbers[i] = _moved(row.notes, table, notes)
            cells[i] += [replace(c, notes=_moved(c.notes, table, notes)) for c in row.cells]
    rows = (
        replace(row, cells=tuple(cells[i]), notes=numbers[i]) for i, row in enumerate(first.rows)
    )
    return replace(
        first, title=title, columns=tuple(columns), rows=tuple(rows), notes=tuple(notes.texts)
    )


def in_reading_order(table: Table) -> Table:
    """A table with its footnotes numbered as a reader meets them: heads, then row by row."""
    return side_by_side(table.title, [table])


def _moved(numbers: Sequence[int], table: Table, notes: Notes) -> tuple[int, ...]:
    """The numbers that footnotes of a table have in another table."""
    return notes.numbers(table.notes[number - 1] for number in numbers)
