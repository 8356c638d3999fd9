"""Submissions on the leaderboard: marked, and whatever stands in them is text and never markup."""

from __future__ import annotations

import json

from hypothesis import example, given, settings
from hypothesis import strategies as st
from submitted import ANYTHING, FUZZ, METRICS, WHOLE, edited, merged, packed, scores

from legible.bench.leaderboard.board import Board
from legible.bench.leaderboard.formats import DEFAULT_FORMATS, publication_files
from legible.bench.leaderboard.publication import make_publication
from legible.bench.leaderboard.render.html import render_html
from legible.bench.leaderboard.render.markdown import render_readme
from legible.bench.scores.submission import merge


def test_a_submitted_row_says_by_whom():
    table, marks = merge(scores(), [packed()])
    text = render_readme(make_publication(Board(table, marks=marks, metrics=METRICS)))
    assert "submitted by Lab X; not rerun here" in text


def test_markup_in_names_is_shown_and_never_live(tmp_path):
    evil = "<img src=x onerror=alert(1)>|`[a](javascript:b)"
    content = edited(scores=[row | {"label": evil, "method": evil} for row in WHOLE["scores"]])
    table, marks = merged(tmp_path / "s.json", json.dumps(content).encode())
    publication = make_publication(Board(table, marks=marks, metrics=METRICS))
    for text in (render_readme(publication), render_html(publication)):
        assert "<img src=x" not in text
    assert "](javascript" not in render_readme(publication)


NAME = st.text(st.characters(exclude_categories=["C", "Z"]), max_size=40).map(
    "<b>|`[x](javascript:1) $\\alpha$ {{{}}}".format
)


@example("a", "a", {"a": "\ud800"}, "a", "a")
@settings(FUZZ, max_examples=15)
@given(NAME, NAME, st.dictionaries(NAME, ANYTHING, max_size=2), NAME, NAME)
def test_whatever_is_merged_can_be_published(tmp_path, method, label, params, layer, reason):
    row = {"method": method, "label": label, "params": json.dumps(params), "layer": layer,
           "reason": reason}  # fmt: skip
    content = edited(scores=[line | row for line in WHOLE["scores"]])
    result = merged(tmp_path / "s.json", json.dumps(content).encode())
    if result is not None:
        files = publication_files(
            Board(result[0], marks=result[1], metrics=METRICS), formats=[*DEFAULT_FORMATS, "latex"]
        )
        for name in ("README.md", "details/kanji-vgg.md", "report.html"):
            assert b"<b>|" not in files[name]
        assert rb"\alpha" not in files["leaderboard.tex"].replace(rb"\textbackslash{}alpha", b"")
