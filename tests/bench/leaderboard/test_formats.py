"""A whole publication: complete, linked, and the same bytes twice."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from legible.bench.errors import UserError
from legible.bench.leaderboard.formats import publication_files


@pytest.fixture(scope="module")
def files(board, pictures):
    return publication_files(board, pictures)


def test_publishing_twice_gives_the_same_bytes(board, pictures, files):
    again = replace(board, scores=board.scores.sample(frac=1, random_state=1))
    assert publication_files(again, pictures) == files


def test_every_figure_is_linked_and_every_link_has_its_file(files):
    links = set(re.findall(r"\]\((figures/[^)]+)\)", files["README.md"].decode()))
    assert links == {name for name in files if name.startswith("figures/")}
    pages = set(re.findall(r"\]\((details/[^)]+)\)", files["README.md"].decode()))
    assert pages == {name for name in files if name.startswith("details/")}


def test_a_tuned_suite_has_figures_of_its_trials(tuned):
    files = publication_files(tuned, formats=[])
    assert {"figures/doses-0.svg", "figures/fronts-0.svg"} <= set(files)


def test_formats_can_be_selected_and_a_misspelt_one_is_refused(board):
    files = publication_files(board, formats=["json", "latex"])
    assert {"leaderboard.json", "leaderboard.tex", "README.md"} <= set(files)
    assert {"scores.csv", "report.html"}.isdisjoint(files)
    assert "verdicts.csv" in files
    with pytest.raises(UserError, match="no format 'latx'; did you mean 'latex'"):
        publication_files(board, formats=["latx"])
    with pytest.raises(UserError, match=r"no format 'pdf' \(formats: csv, json, html, latex\)"):
        publication_files(board, formats=["pdf"])
