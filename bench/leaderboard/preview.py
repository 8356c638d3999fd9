"""The pages that a score table gives, without its runs.

`python -m legible.bench.leaderboard.preview SUITE FOLDER` reads results/SUITE/scores.csv (and
cost.csv and attributions.csv, if they are there) and writes the publication without pictures of
networks into a folder.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

from legible.bench.files import write_together
from legible.bench.leaderboard.board import Board
from legible.bench.leaderboard.common_algorithms import read_algorithms
from legible.bench.leaderboard.formats import FORMATS, publication_files
from legible.bench.leaderboard.suite_board import board_of_suite
from legible.bench.plugins import registry
from legible.bench.scores.score_table import read_scores
from legible.bench.suites.schema import find_suite, read_suite


def preview_board(suite: str, results: Path = Path("results")) -> Board:
    """The board of a published score table. Raises ValueError if there is none."""
    registry.load()
    schema = read_suite(find_suite(suite))
    folder = results / schema.name
    cost = folder / "cost.csv"
    return board_of_suite(
        schema,
        read_scores(folder / "scores.csv"),
        cost=pd.read_csv(cost) if cost.is_file() else pd.DataFrame(),
        algorithms=read_algorithms(folder),
    )


def write_preview(suite: str, folder: Path, results: Path = Path("results")) -> Path:
    """Writes the pages into a folder, in every format, and returns the README's path."""
    files = publication_files(preview_board(suite, results), formats=list(FORMATS))
    write_together(folder, lambda: dict(files))
    return folder / "README.md"


if __name__ == "__main__":
    print(write_preview(sys.argv[1], Path(sys.argv[2])))
