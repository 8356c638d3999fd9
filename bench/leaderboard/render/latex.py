r"""The table of verdicts, contrasts and aspects in LaTeX, with booktabs, ready for a paper."""

from __future__ import annotations

from collections.abc import Iterator

from legible.bench.leaderboard.publication import Publication
from legible.bench.leaderboard.tables.differences import READING
from legible.bench.leaderboard.tables.table import (
    GROUP_LINES,
    Estimate,
    Table,
    TableCell,
    TableColumn,
    TableRow,
    Words,
)
from legible.bench.leaderboard.verdicts import BETTER, WORSE
from legible.bench.text import one_line

HEAD = r"""% {title}
% Needs \usepackage{{booktabs}} and \usepackage{{amssymb}}.
% Names beyond Latin letters need LuaLaTeX or XeLaTeX with a font that has them."""

_SYMBOLS = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#",
    "_": r"\_", "%": r"\%", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': "''",
    "[": "{[}", "]": "{]}", "−": "$-$", "±": r"$\pm$", "×": r"$\times$", "·": r"$\cdot$",
    "↑": r"$\uparrow$", "↓": r"$\downarrow$", "▲": r"$\blacktriangle$",
    "▼": r"$\blacktriangledown$", "△": r"$\vartriangle$",
    "▽": r"$\triangledown$", "∅": r"$\varnothing$", "∞": r"$\infty$", "–": "--", "—": "---",
    "“": "``", "”": "''", "÷": r"$\div$",
    "…": r"\dots{}", "≈": r"$\approx$", "≤": r"$\leq$", "≥": r"$\geq$",
}  # fmt: skip


def escape(text: object, limit: int = 2000) -> str:
    """Text that LaTeX prints as it is."""
    return "".join(_SYMBOLS.get(c, c) for c in one_line(text, limit))


def render_latex(publication: Publication) -> str:
    """A document part with one ``table`` environment for each table."""
    parts = [HEAD.format(title=one_line(publication.board.title))]
    sentences = [publication.summary, publication.basis]
    parts += [f"% {one_line(text, 2000)}" for text in sentences if text]
    for section in (publication.overview, publication.contrasts, publication.aspects,
                    publication.tuned):  # fmt: skip
        for table in section.tables:
            caption = f"{section.title}: {table.title}" if table.block else table.title
            parts.append(_environment(table, caption))
    texts = [text for table in publication.overview.tables for text in table.text.splitlines()]
    parts.append("\n".join(f"% {line}" for line in [*texts, *READING.splitlines()] if line))
    return "\n\n".join(parts) + "\n"


def _environment(table: Table, caption: str) -> str:
    several = len({column.aspect for column in table.columns if column.aspect}) > 1
    alignment = "l" + "".join(_alignment(table, c) for c in range(len(table.columns)))
    lines = [
        r"\begin{table}", r"\centering", rf"\caption{{{escape(caption)}}}",
        rf"\begin{{tabular}}{{{alignment}}}", r"\toprule",
        *_header(table, several), r"\midrule", *_body(table), r"\bottomrule", r"\end{tabular}",
    ]  # fmt: skip
    if table.notes:
        notes = (f"{_raised(i)} {escape(text)}" for i, text in enumerate(table.notes, 1))
        lines.append(rf"\par\smallskip{{\footnotesize {'; '.join(notes)}.\par}}")
    return "\n".join([*lines, r"\end{table}"])


def _alignment(table: Table, column: int) -> str:
    contents = [row.cells[column].content for row in table.rows]
    return "l" if all(isinstance(content, Words) for content in contents) else "r"


def _header(table: Table, several: bool) -> Iterator[str]:
    """A line with aspects if there are several, one with titles, one with layers if any."""
    columns = table.columns
    if several and not any(column.below for column in columns):
        yield _line(["", *(escape(column.aspect) for column in columns)])
    yield _line([escape(table.first), *map(_title, columns)])
    for name in ("below", "layer"):
        if any(getattr(column, name) for column in columns):
            yield _line(["", *(_small(getattr(column, name)) for column in columns)])


def _title(column: TableColumn) -> str:
    return escape(column.text) + _numbers(column.notes)


def _body(table: Table) -> Iterator[str]:
    """A line for each row, and another below it for what stands below its values."""
    group = ""
    for row in table.rows:
        if row.group != group and row.group in GROUP_LINES:
            yield r"\midrule"
            yield _line([rf"\emph{{{GROUP_LINES[row.group]}}}", *[""] * len(table.columns)])
        group = row.group
        yield _line([_name(row), *map(_cell, row.cells)])
        if any(cell.difference or cell.below for cell in row.cells):
            yield _line(["", *(_small(cell.difference or cell.below) for cell in row.cells)])


def _name(row: TableRow) -> str:
    extra = f" ({escape(row.settings)})" if row.settings else ""
    return escape(row.title) + extra + _numbers(row.notes)


def _cell(cell: TableCell) -> str:
    text = escape(cell.text)
    decided = isinstance(cell.content, Estimate) and cell.content.sign in (*BETTER, *WORSE)
    text = rf"\textbf{{{text}}}" if decided else text
    text += _raised("t") if cell.trained_on else ""
    text += " " + _small(f"∅{cell.undefined}") if cell.undefined else ""
    text += f" (failed audits: {cell.failed_audits})" if cell.failed_audits else ""
    return text + _numbers(cell.notes)


def _line(parts: list[str]) -> str:
    """A line of the table. LaTeX would take a bracket after ``\\`` as an argument, so brackets in
    texts are in braces (see `escape`)."""
    return " & ".join(parts) + r" \\"


def _small(text: object) -> str:
    return rf"{{\footnotesize {escape(text)}}}" if str(text) else ""


def _raised(text: object) -> str:
    return rf"\textsuperscript{{{text}}}"


def _numbers(notes: tuple[int, ...]) -> str:
    return _raised(",".join(map(str, notes))) if notes else ""
