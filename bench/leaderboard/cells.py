"""One cell of a markdown table, and the footnotes a table gathers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from urllib.parse import quote

from legible.bench.leaderboard.board import Board, Column, Row, TableCell
from legible.bench.text import escape, number, settings

ARROWS = {"higher": "↑", "lower": "↓", "neither": ""}


class Notes:
    """Footnotes of one table: the same text gets the same number."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def mark(self, texts: Iterable[str]) -> str:
        """Superscript numbers for these texts, or nothing."""
        new = [text for text in texts if text not in self.texts]
        self.texts += new
        numbers = sorted(self.texts.index(text) + 1 for text in set(texts))
        return f"<sup>{','.join(map(str, numbers))}</sup>" if numbers else ""

    def __str__(self) -> str:
        lines = [f"<sup>{i}</sup> {escape(text)}" for i, text in enumerate(self.texts, 1)]
        return "<br>\n".join(lines)


def row_name(board: Board, row: Row, notes: Notes, more: Iterable[str] = ()) -> str:
    """A row's label, its parameters where they are not the defaults, and its marks."""
    extra = settings(row.params)
    name = escape(row.label) + (f"<br><sub>{escape(extra)}</sub>" if extra else "")
    marks = [board.marks[row.method]] if row.method in board.marks else []
    return name + notes.mark([*marks, *more])


def heading(board: Board, column: Column, notes: Notes, aspect: bool = True) -> str:
    """A column's aspect, its metric linked to the definition, its direction, remark and layer."""
    metric = column.metric
    parts = [escape(metric.aspect)] if aspect else []
    title = f"{link(board, metric.name, metric.title)} {ARROWS[metric.better]}".rstrip()
    remark = board.remarks.get(metric.name)
    parts.append(title + notes.mark([remark] if remark else []))
    parts += [f"<sub>{escape(column.layer)}</sub>"] if column.layer else []
    return "<br>".join(parts)


def link(board: Board, name: str, title: str) -> str:
    """A metric's title, linked by reference (see `references`) to its definition."""
    return f"[{escape(title)}][{quote(name)}]"


def references(board: Board, up: str = "", names: Iterable[str] | None = None) -> str:
    """Where each metric's heading in the definitions is, for the links by reference; ``up`` leads
    from the page to the README's folder. ``names``: those that the page links to, default all."""
    found = sorted(board.measured if names is None else names)
    return "\n".join(f"[{quote(n)}]: {up}{board.docs}#{quote(n.lower())}" for n in found)


def measured(board: Board, row: Row, column: Column, cell: TableCell, digits: int, best: bool,
             notes: Notes) -> str:  # fmt: skip
    """Mean and half-width, undefined counts, the trained-on mark, and why values are missing."""
    text = number(cell.mean, digits)
    if math.isfinite(cell.half):
        text += f" ± {number(cell.half, digits)}"
    text = f"**{text}**" if best else text
    text += trained(board, row, column.metric.name)
    if cell.undefined and math.isfinite(cell.mean):
        text += f" <sub>∅{cell.undefined}/{cell.count}</sub>"
    return text + notes.mark(cell.reasons)


def trained(board: Board, row: Row, metric: str) -> str:
    """The mark of a metric that the row's own loss nearly minimises."""
    return "<sup>t</sup>" if metric in board.trained_on.get(row.method, ()) else ""


def set_apart(rows: Sequence[Row], line: Callable[[Row], list[str]], width: int) -> list[list[str]]:
    """Lines of the ranked rows, then those of controls and nulls under headings."""
    body = [line(row) for row in rows if row.ranked]
    for kind, title in (("control", "controls"), ("null", "null rows")):
        if apart := [row for row in rows if row.kind == kind]:
            body += [[f"*{title}*", *[""] * width], *map(line, apart)]
    return body


def tabled(table: str, notes: Notes) -> str:
    """A table and its footnotes."""
    return "\n\n".join(filter(None, [table, str(notes)]))
