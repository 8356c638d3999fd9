"""A publication as one self-contained HTML file (templates/report.html.j2, .css, .js).

It opens from disk without a network. A Content-Security-Policy names its one script by hash, and
the template engine escapes every text.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from legible.bench.leaderboard.board import Board
from legible.bench.leaderboard.figures.style import as_webp, save
from legible.bench.leaderboard.publication import Publication
from legible.bench.leaderboard.tables.differences import READING
from legible.bench.leaderboard.tables.table import (
    GROUP_LINES,
    Estimate,
    Table,
    TableCell,
    Words,
    side_by_side,
)
from legible.bench.suites.run_spec import RowKey
from legible.bench.text import one_line, settings

TEMPLATES = Path(__file__).parent / "templates"


def render_html(publication: Publication) -> str:
    """The report."""
    board = publication.board
    style, script = ((TEMPLATES / name).read_text("utf-8") for name in ("report.css", "report.js"))
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    ids = {row.key: f"row{i}" for i, row in enumerate(board.rows)}
    return environment.get_template("report.html.j2").render(
        publication=publication, board=board,
        style=Markup(style), script=Markup(script),  # our own files, not data
        policy=policy(style, script),
        blocks=[(i, board.block_title(page.block),
                 side_by_side("All metrics", list(page.aspects.values())))
                for i, page in enumerate(publication.pages) if page.aspects],
        details_reading=READING,
        rows=[(ids[row.key], row, settings(row.params)) for row in board.rows],
        pictures=[(picture, embedded(picture.data, picture.mime), ids[picture.row],
                   board.blocks.index(picture.block))
                  for picture in publication.pictures.values()],
        figures=[(figure.caption, embedded(save(figure.draw, "png", 110), "image/png"))
                 for figure in publication.figures],
        row_id=lambda key: ids[RowKey(*key)], card=lambda name: metric_card(board, name),
        sort_key=sort_key, cell_text=cell_text, is_text=is_text, one_line=one_line,
        verdict_class=verdict_class, group_lines=GROUP_LINES,
    ) + "\n"  # fmt: skip


#: The class of a table cell with a sign, which gives it a colour.
CLASSES = {"▲": "better", "△": "better small", "▼": "worse", "▽": "worse small", "≈": "equal",
           "?": "undecided"}  # fmt: skip


def verdict_class(cell: TableCell) -> str:
    """The class of a table cell: its verdict, or that of the difference below; "" without one."""
    contents = (cell.content, cell.difference)
    signs = [item.sign for item in contents if isinstance(item, Estimate) and item.sign]
    return CLASSES[signs[0]] if signs else ""


def embedded(data: bytes, mime: str) -> str:
    """A picture as a data URL; a PNG becomes lossless WebP, which is smaller."""
    if mime == "image/png":
        data, mime = as_webp(data), "image/webp"
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


def policy(style: str, script: str) -> str:
    """A Content-Security-Policy: this style, this script, embedded images, and no network."""
    style_hash, script_hash = (
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for text in (style, script)
    )
    return (
        f"default-src 'none'; img-src data:; style-src 'sha256-{style_hash}'; "
        f"script-src 'sha256-{script_hash}'; base-uri 'none'; form-action 'none'"
    )


def metric_card(board: Board, name: str) -> list[tuple[str, str]]:
    """What a metric's tooltip says: summary, range, direction, null value, remark."""
    metric = board.metric(name)
    low, high = (f"{limit:g}" for limit in metric.limits)
    facts = [
        ("", metric.summary),
        ("metric", metric.name),
        ("aspect", metric.aspect),
        ("better", metric.better),
        ("range", f"{low} to {high}"),
        ("value per", metric.per),
    ]
    if isinstance(metric.null, float | int):
        facts.append(("null value", f"{metric.null:g}"))
    facts.append(("note", board.remarks.get(name, "")))
    return [(title, text) for title, text in facts if text]


def sort_key(cell: TableCell) -> str:
    """What a table cell is sorted by; "" comes last."""
    key = cell.content.sort_key if cell.content is not None else None
    if key is None:
        return ""
    return key if isinstance(key, str) else f"{key:.9g}"


def cell_text(cell: TableCell) -> str:
    """The text of a table cell; failed audits alone if there is no value."""
    without_value = isinstance(cell.content, Estimate) and cell.content.sort_key is None
    return "" if cell.failed_audits and without_value else cell.text


def is_text(table: Table, column: int) -> bool:
    """Whether all table cells of a column hold words."""
    return all(isinstance(row.cells[column].content, Words) for row in table.rows)
