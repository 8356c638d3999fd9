"""Everything a published suite consists of, as file names and bytes: the same input, the same."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from legible.bench.leaderboard.blocks import page_path, render_block
from legible.bench.leaderboard.board import Board
from legible.bench.leaderboard.figures.charts import available
from legible.bench.leaderboard.figures.drawing import save
from legible.bench.leaderboard.figures.evidence import Picture
from legible.bench.leaderboard.formats import as_csv, as_json
from legible.bench.leaderboard.html import render_html
from legible.bench.leaderboard.markdown import render
from legible.bench.text import settings

#: What `legible publish --format` can write besides the README.
FORMATS = {"csv": "scores.csv", "json": "leaderboard.json", "html": "report.html"}


def documents(
    board: Board, pictures: Sequence[Picture] = (), formats: Sequence[str] = tuple(FORMATS)
) -> dict[str, bytes]:
    """README.md with its figures, and the chosen formats, by path below results/<suite>/.

    Raises ValueError for an unknown format.
    """
    if unknown := set(formats) - set(FORMATS):
        raise ValueError(f"no format '{min(unknown)}', only {', '.join(FORMATS)}")
    found = available(board)
    figures = [(f"figures/{stem}.svg", caption) for stem, caption, _ in found]
    files = {f"figures/{stem}.svg": save(draw) for stem, _, draw in found}
    paths = picture_paths(board, pictures)
    files |= {path: picture.data for path, picture in zip(paths, pictures, strict=True)}
    gallery = [(p.block, p.row, p.kind, path) for path, p in zip(paths, pictures, strict=True)]
    files |= {page_path(board, b): render_block(board, b).encode() for b in board.blocks}
    files["README.md"] = render(replace(board, figures=figures, gallery=gallery)).encode()
    makers = {
        "csv": lambda: as_csv(board),
        "json": lambda: as_json(board),
        "html": lambda: render_html(
            board,
            pictures,
            [(said, save(draw, "png", 110), "image/png") for _, said, draw in found],
        ),
    }
    return files | {FORMATS[name]: makers[name]().encode() for name in formats}


def picture_paths(board: Board, pictures: Sequence[Picture]) -> list[str]:
    """File names of plain letters, cut where parameters are many; those that come out alike (and
    differ only in what was left out) get a number. Raises ValueError for a row not in the table."""
    rows = {row.key: row for row in board.rows}
    found: list[str] = []
    for picture in pictures:
        if picture.row not in rows:
            raise ValueError(f"a picture of {picture.row}, which has no row in the table")
        row = rows[picture.row]
        who = plain_letters("-".join([*picture.block, row.method, settings(row.params)]))[:90]
        ending = {"image/png": "png", "image/svg+xml": "svg"}[picture.mime]
        names = (f"figures/{who}{again}-{picture.kind}.{ending}" for again in ["", *range(2, 1000)])
        found.append(next(name for name in names if name not in found))
    return found


def plain_letters(text: str) -> str:
    """``kanji(size=28)`` -> ``kanji-size-28``."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
