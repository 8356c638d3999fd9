"""Published leaderboards: pure functions from score tables to markdown, figures and HTML."""

from __future__ import annotations

from typing import Any

import pandas as pd

from bench.publish.board import Board
from bench.publish.documents import FORMATS, documents
from bench.publish.html import Picture, render_html
from bench.publish.markdown import render
from bench.publish.scores import COLUMNS, SCHEMA_VERSION, read_scores, schema, tidy, write_scores

__all__ = [
    "COLUMNS",
    "FORMATS",
    "SCHEMA_VERSION",
    "Board",
    "Picture",
    "documents",
    "leaderboard",
    "read_scores",
    "render_html",
    "schema",
    "tidy",
    "write_scores",
]


def leaderboard(
    scores: pd.DataFrame,
    cost: pd.DataFrame,
    headline: dict[str, str],
    provenance: dict[str, str],
    title: str,
    **options: Any,
) -> str:
    """The README of a suite; ``options`` are the further fields of `Board`."""
    return render(Board(scores, cost, headline, provenance, title, **options))
