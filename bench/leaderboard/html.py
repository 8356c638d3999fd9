"""The leaderboard as one self-contained HTML file (templates/report.html.j2, .css, .js).

It opens from disk without a network, runs one script that its Content-Security-Policy names by
hash, and every text in it is escaped by the template engine.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from legible.bench.leaderboard.board import Board, Row
from legible.bench.leaderboard.conclusions import conclusions
from legible.bench.leaderboard.contest import explanation
from legible.bench.leaderboard.contest_entries import contest_tables
from legible.bench.leaderboard.entries import cost_tables, failures, overall_table, row_id, section
from legible.bench.leaderboard.figures.drawing import as_webp
from legible.bench.leaderboard.figures.evidence import Picture
from legible.bench.leaderboard.markdown import basis_sentences
from legible.bench.leaderboard.standings import Standings
from legible.bench.suites.run_spec import RowKey
from legible.bench.text import one_line, settings

TEMPLATES = Path(__file__).parent / "templates"


def embedded(data: bytes, mime: str) -> str:
    """A picture as a data URL; a PNG as lossless WebP, which is smaller."""
    if mime == "image/png":
        data, mime = as_webp(data), "image/webp"
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


def render_html(
    board: Board,
    pictures: Sequence[Picture] = (),
    figures: Sequence[tuple[str, bytes, str]] = (),
) -> str:
    """The report. ``figures`` are (caption, bytes, MIME type) shown below the overall table."""
    standings = Standings(board)
    style, script = ((TEMPLATES / name).read_text("utf-8") for name in ("report.css", "report.js"))
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template("report.html.j2").render(
        board=board, style=Markup(style), script=Markup(script),  # our own files, not data
        policy=policy(style, script), basis=" ".join(basis_sentences(board)),
        concluded=conclusions(standings),
        overall=overall_table(standings),
        sections=[section(board, block, number) for number, block in enumerate(board.blocks)],
        contests=contest_tables(board), explanation=explanation(board.ledger),
        costs=cost_tables(board), failures=failures(board), rows=_identified(board),
        pictures=[(p, embedded(p.data, p.mime), row_id(board, RowKey(*p.row)), board.blocks.index(p.block))
                  for p in pictures],
        figures=[(caption, embedded(data, mime)) for caption, data, mime in figures],
        one_line=one_line,
    ) + "\n"  # fmt: skip


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


def _identified(board: Board) -> list[tuple[str, Row, str]]:
    return [(row_id(board, row.key), row, settings(row.params)) for row in board.rows]
