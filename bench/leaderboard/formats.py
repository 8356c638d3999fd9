"""The files of a published suite, as names and bytes. The same input gives the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from legible.bench.errors import UserError, nearest
from legible.bench.leaderboard.board import Board
from legible.bench.leaderboard.figures.network_pictures import Picture
from legible.bench.leaderboard.figures.style import save
from legible.bench.leaderboard.publication import Publication, make_publication
from legible.bench.leaderboard.render.as_csv import scores_csv, verdicts_csv
from legible.bench.leaderboard.render.as_json import render_json
from legible.bench.leaderboard.render.html import render_html
from legible.bench.leaderboard.render.latex import render_latex
from legible.bench.leaderboard.render.markdown import figure_path, render_page, render_readme

#: What `legible publish --format` can write besides the README: file name and renderer.
FORMATS: dict[str, tuple[str, Callable[[Publication], str]]] = {
    "csv": ("scores.csv", lambda publication: scores_csv(publication.board)),
    "json": ("leaderboard.json", render_json),
    "html": ("report.html", render_html),
    "latex": ("leaderboard.tex", render_latex),
}
DEFAULT_FORMATS = ("csv", "json", "html")


def publication_files(
    board: Board, pictures: Sequence[Picture] = (), formats: Sequence[str] = DEFAULT_FORMATS
) -> dict[str, bytes]:
    """The README with its pages and figures, and further formats, by path below results/SUITE/.

    Raises UserError for an unknown format.
    """
    for name in formats:
        if name not in FORMATS:
            raise UserError(f"no format '{name}'{nearest(name, FORMATS) or f' ({format_names()})'}")
    publication = make_publication(board, pictures)
    files = {figure_path(figure): save(figure.draw) for figure in publication.figures}
    files |= {path: picture.data for path, picture in publication.pictures.items()}
    files |= {page.path: render_page(publication, page).encode() for page in publication.pages}
    files["README.md"] = render_readme(publication).encode()
    files["verdicts.csv"] = verdicts_csv(publication.standings).encode()
    return files | {FORMATS[name][0]: FORMATS[name][1](publication).encode() for name in formats}


def format_names() -> str:
    """The names of all formats."""
    return f"formats: {', '.join(FORMATS)}"
