"""A publication as Markdown: the README of a suite's results and a page for each block."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from urllib.parse import quote

from tabulate import DataRow, TableFormat, tabulate

from legible.bench.leaderboard.board import Board
from legible.bench.leaderboard.figures.network_pictures import CAPTIONS
from legible.bench.leaderboard.figures.table_figures import TableFigure
from legible.bench.leaderboard.publication import BlockPage, Publication, Section
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
from legible.bench.suites.run_spec import Block
from legible.bench.text import one_line, settings

LONG = 2000  # characters of a text that are shown

# ----------------------------------------------------------------- safe text

_ENTITIES = {character: f"&#{ord(character)};" for character in "|`*[]\\$~{}#"}
_ENTITIES |= {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"}


def escape(text: object, limit: int = LONG) -> str:
    """Text that Markdown (tables, links, HTML, mathematics, web addresses) shows as it is."""
    line = "".join(_ENTITIES.get(c, c) for c in one_line(text, limit))
    line = re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", "&#95;", line)
    line = re.sub(r"(?i)\bwww\.", lambda m: m[0][:-1] + "&#46;", line)
    return line.replace("://", "&#58;//")


def code_block(text: object) -> str:
    """A fenced block whose fence is longer than any row of backticks inside."""
    lines = [one_line(line, LONG) for line in str(text).splitlines()]
    longest = max((len(ticks) for line in lines for ticks in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return "\n".join([fence + "sh", *lines, fence])


# ----------------------------------------------------------------- pages


def render_readme(publication: Publication) -> str:
    """The README of a suite's results."""
    board = publication.board
    parts = [f"# {escape(board.title)}"]
    parts += [f"> **Partial:** {escape(publication.partial)}"] if publication.partial else []
    parts += [f"**{escape(publication.summary)}**"] if publication.summary else []
    parts += [escape(publication.basis)] if publication.basis else []
    parts += [part for table in publication.overview.tables for part in _overview(table)]
    parts += _section(publication.contrasts)
    parts += [part for figure in publication.figures for part in _figure(figure)]
    for section in (publication.conclusions, publication.aspects, publication.tuned,
                    publication.deliveries):  # fmt: skip
        parts += _section(section)
    parts += _links(publication.board, publication.pages) + _pictures(publication)
    for section in (publication.cost, publication.correlations, publication.missing):
        parts += _section(section)
    parts += [*_provenance(publication), _references(publication, publication.sections)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _overview(table: Table) -> list[str]:
    """The table of verdicts and its legend."""
    return [_table(table), "\n".join(f"- {text}" for text in _paragraphs(table.text))]


def render_page(publication: Publication, page: BlockPage) -> str:
    """The page of a block."""
    board, whole = publication.board, " · ".join(page.block)
    short = board.block_title(page.block)
    title = f"# {escape(board.title)}: {escape(short)}"
    parts = [title, "" if whole == short else escape(whole),
             "Every metric at every layer. [The leaderboard](../README.md).",
             escape(READING)]  # fmt: skip
    parts += [part for table in page.tables for part in _titled_table(table, "##")]
    section = Section("", tuple(page.tables))
    parts.append(_references(publication, [section], "../"))
    return "\n\n".join(part for part in parts if part) + "\n"


def _section(section: Section) -> list[str]:
    """A section with its tables. A table with the section's own title needs no heading, and the
    text about how to read it is folded below it."""
    if not section:
        return []
    parts = [f"## {escape(section.title)}", *(escape(text) for text in section.text)]
    parts += ["\n".join(f"- **{escape(about)}:** {escape(text)}."
                        for about, text in section.sentences)]  # fmt: skip
    if len(section.tables) == 1 and section.tables[0].title == section.title:
        (table,) = section.tables
        return [*parts, _table(table), *_folded("How to read this table", _paragraphs(table.text))]
    return parts + [part for table in section.tables for part in _titled_table(table, "###")]


def _titled_table(table: Table, level: str) -> list[str]:
    title = escape(table.title)
    parts = [*_paragraphs(table.text), _table(table)]
    if table.secondary:
        return _folded(title, parts)
    heading = f"[{title}][{quote(table.metric)}]" if table.metric else title
    return [f"{level} {heading}", *parts]


def _paragraphs(text: str) -> list[str]:
    return [escape(part) for part in text.split("\n\n") if part]


def _folded(summary: str, parts: list[str]) -> list[str]:
    """Parts that a click on the summary unfolds."""
    return [f"<details><summary>{summary}</summary>", *parts, "</details>"] if parts else []


def _links(board: Board, pages: Sequence[BlockPage]) -> list[str]:
    lines = [f"- [{escape(board.block_title(page.block))}]({quote(page.path)})" for page in pages]
    return ["## Every metric at every layer", "\n".join(lines)] if lines else []


def figure_path(figure: TableFigure) -> str:
    """Where a figure lies below the README."""
    return f"figures/{figure.stem}.svg"


def _figure(figure: TableFigure) -> list[str]:
    """A figure with its caption."""
    caption = escape(figure.caption)
    return [f"![{caption}]({quote(figure_path(figure))})", f"<sub>{caption}</sub>"]


def _pictures(publication: Publication) -> list[str]:
    """Links to the pictures of single methods."""
    links = [part for block in publication.board.blocks for part in _gallery(publication, block)]
    return ["## Pictures", *links] if links else []


def _gallery(publication: Publication, block: Block) -> list[str]:
    """Links to the pictures of one block: rows by kinds of picture."""
    paths = {(p.row, p.kind): path for path, p in publication.pictures.items() if p.block == block}
    if not paths:
        return []
    kinds = [kind for kind in CAPTIONS if any(kind == own for _, own in paths)]
    drawn = {row for row, _ in paths}
    body = [
        [
            escape(" ".join(filter(None, [row.label, settings(row.params)]))),
            *(_link(kind, paths.get((row.key, kind), "")) for kind in kinds),
        ]
        for row in publication.board.rows
        if row.key in drawn
    ]
    table = grid(["method", *kinds], body, [":---:"] * len(kinds))
    return _folded(f"Pictures by method: {escape(publication.board.block_title(block))}", [table])


def _link(text: str, path: str) -> str:
    return f"[{text}]({quote(path)})" if path else ""


def _provenance(publication: Publication) -> list[str]:
    """How the numbers were made, and the command that makes them again."""
    board = publication.board
    parts = ["Reproduce with", code_block(board.command)] if board.command else []
    parts += [escape(publication.concepts)]
    parts += [_table(table) for table in publication.provenance.tables]
    parts += [f"Images: {escape(credit)}." for credit in board.attributions]
    return [f"## {publication.provenance.title}", *parts]


def _references(publication: Publication, sections: Iterable[Section], up: str = "") -> str:
    """The definitions of all metrics that tables link to; ``up`` leads to the README's folder."""
    tables = [table for section in sections for table in section.tables]
    names = {table.metric for table in tables}
    names |= {column.metric for table in tables for column in table.columns}
    docs = up + publication.board.docs
    return "\n".join(f"[{quote(n)}]: {docs}#{quote(n.lower())}" for n in sorted(names - {""}))


# ----------------------------------------------------------------- tables


def _table(table: Table) -> str:
    """A table and its footnotes. A group of rows follows a line that names it."""
    several = len({column.aspect for column in table.columns if column.aspect}) > 1
    header = [escape(table.first), *(_head(column, several) for column in table.columns)]
    body: list[list[str]] = []
    group = ""
    for row in table.rows:
        if row.group != group and row.group in GROUP_LINES:
            body.append([f"*{GROUP_LINES[row.group]}*", *[""] * len(table.columns)])
        group = row.group
        body.append([_name(row), *map(_cell, row.cells)])
    notes = "<br>\n".join(f"<sup>{i}</sup> {escape(text)}" for i, text in enumerate(table.notes, 1))
    rules = [_rule(table, c) for c in range(len(table.columns))]
    return "\n\n".join(filter(None, [grid(header, body, rules), notes]))


def grid(header: Sequence[str], rows: Iterable[Sequence[str]], rules: Sequence[str]) -> str:
    """A Markdown table; ``rules`` align all columns but the first, which is on the left."""
    line = DataRow("|", "|", "|")
    layout = TableFormat(
        lineabove=None, linebetweenrows=None, linebelow=None, headerrow=line, datarow=line,
        linebelowheader=lambda widths, alignments: f"|{'|'.join([':---', *rules])}|",
        padding=1, with_header_hide=None,
    )  # fmt: skip
    return tabulate(list(rows), header, layout, disable_numparse=True, stralign=None, numalign=None)


def _rule(table: Table, column: int) -> str:
    """Columns of text are aligned left, others right."""
    contents = [row.cells[column].content for row in table.rows]
    return ":---" if all(isinstance(content, Words) for content in contents) else "---:"


def _head(column: TableColumn, aspect: bool) -> str:
    title = escape(column.title)
    title = f"[{title}][{quote(column.metric)}]" if column.metric else title
    parts = [title, escape(column.detail), column.arrow]
    lines = [escape(column.aspect)] if aspect and column.aspect and not column.below else []
    lines.append(" ".join(filter(None, parts)) + _numbers(column.notes))
    lines += [f"<sub>{escape(text)}</sub>" for text in (column.below, column.layer) if text]
    return "<br>".join(lines)


def _name(row: TableRow) -> str:
    extra = f"<br><sub>{escape(row.settings)}</sub>" if row.settings else ""
    return escape(row.title) + extra + _numbers(row.notes)


def _cell(cell: TableCell) -> str:
    text = escape(cell.text)
    decided = isinstance(cell.content, Estimate) and cell.content.sign in (*BETTER, *WORSE)
    text = f"**{text}**" if decided else text
    text += "<sup>t</sup>" if cell.trained_on else ""
    text += f" <sub>∅{cell.undefined}</sub>" if cell.undefined else ""
    lines = [text + _numbers(cell.notes)]
    if cell.difference:
        lines.append(f"<sub>{escape(cell.difference)}</sub>")
    if cell.below:
        lines.append(f"<sub>{escape(cell.below)}</sub>")
    if cell.failed_audits:
        failed = f"✗ {cell.failed_audits}"
        without_value = isinstance(cell.content, Estimate) and cell.content.sort_key is None
        lines = [failed] if without_value else [*lines, failed]
    return "<br>".join(lines)


def _numbers(notes: Sequence[int]) -> str:
    return f"<sup>{','.join(map(str, notes))}</sup>" if notes else ""
