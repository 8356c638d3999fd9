"""Everything a published suite consists of, as file names and bytes: the same input, the same."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from bench.publish.blocks import page_path, render_block
from bench.publish.board import Board
from bench.publish.drawing import save
from bench.publish.figures import available
from bench.publish.formats import as_csv, as_json
from bench.publish.html import Picture, render_html
from bench.publish.markdown import render
from bench.publish.text import settings

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
    drawn = [(stem, caption, save(draw)) for stem, caption, draw in available(board)]
    figures = [(f"figures/{stem}.svg", caption) for stem, caption, _ in drawn]
    files = {f"figures/{stem}.svg": data for stem, _, data in drawn}
    named = {picture_path(board, picture): picture for picture in pictures}
    files |= {path: picture.data for path, picture in named.items()}
    gallery = [(p.block, p.row, p.kind, path) for path, p in named.items()]
    files |= {page_path(board, b): render_block(board, b).encode() for b in board.blocks}
    files["README.md"] = render(replace(board, figures=figures, gallery=gallery)).encode()
    makers = {
        "csv": lambda: as_csv(board),
        "json": lambda: as_json(board),
        "html": lambda: render_html(
            board, pictures, [(caption, data, "image/svg+xml") for _, caption, data in drawn]
        ),
    }
    return files | {FORMATS[name]: makers[name]().encode() for name in formats}


def picture_path(board: Board, picture: Picture) -> str:
    """A file name of plain letters; rows whose names differ only in others get a number."""
    row = next((row for row in board.rows if row.key == picture.row), None)
    if row is None:
        raise ValueError(f"a picture of {picture.row}, which has no row in the table")
    index = board.rows.index(row)
    parts = [*picture.block, row.method, settings(row.params), picture.kind]
    stem = "-".join(re.sub(r"[^a-z0-9]+", "-", part.lower()).strip("-") for part in parts if part)
    ending = {"image/png": "png", "image/svg+xml": "svg"}[picture.mime]
    return f"figures/{stem[:100]}-{index}.{ending}"
