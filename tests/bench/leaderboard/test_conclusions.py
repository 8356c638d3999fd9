"""The sentences that are generated from the numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from legible.bench.leaderboard.conclusions import conclude
from legible.bench.leaderboard.standings import Standings

NULL_ROWS = "Aspects in which plain training does not significantly beat a null row"


def sentences(board):
    return {sentence.about: sentence.text for sentence in conclude(Standings(board))}


def test_planted_differences_are_concluded_and_no_others(board):
    """The fixture's sync is better than plain in dispersion and iou, worse in accuracy."""
    by_subject = sentences(board)
    focus = by_subject["Focus (dispersion ↓)"]
    assert focus.startswith("better than plain: sync (reconstruction) −0.050 ± 0.004")
    assert "[strength=2.0] −0.099" in focus and "its own loss trains on this" in focus
    assert by_subject["Semantics (iou ↑)"].startswith("better than plain: sync")
    assert by_subject["Task (accuracy ↑)"].startswith("worse than plain: sync")
    assert "bean" not in by_subject["Task (accuracy ↑)"]
    assert by_subject["No difference from plain was shown"] == "by bean, in any aspect"
    assert "kanji" in by_subject["The blocks are not independent"]
    assert "dispersion ±0.0049" in by_subject["Smallest effects this suite can detect"]


def test_what_the_correction_takes_away_is_called_suggestive(board):
    about = "Suggestive only: the interval excludes 0, but not after correction for 9 tests"
    assert sentences(board)[about].startswith("focus (dispersion ↓): better than plain: bean")


def test_without_differences_none_is_concluded(board):
    scores = board.scores.copy()
    rows = scores["metric"] != ""
    scores.loc[rows, "value"] = np.random.default_rng(5).normal(0.5, 0.1, rows.sum())
    by_subject = sentences(replace(board, scores=scores))
    assert by_subject["No difference from plain was shown"] == "in any aspect, by any method"
    assert by_subject["Overall"].startswith("no two methods")
    assert "untrained" in by_subject[NULL_ROWS]


def test_a_null_row_that_plain_beats_is_not_listed(board):
    """The fixture's untrained row is worse than plain by far; the oracle is better."""
    text = sentences(board)[
        "Aspects in which plain training does not significantly beat a null row"
    ]
    assert "oracle" in text and "untrained" not in text


def test_a_difference_on_one_block_alone_is_listed_as_such(board):
    """bean's accuracy falls on one block and rises by as much on another."""
    scores = board.scores.copy()
    bean = (scores["method"] == "bean") & (scores["metric"] == "accuracy")
    scores.loc[bean & (scores["dataset"] == "kanji"), "value"] -= 0.4
    scores.loc[bean & (scores["dataset"] == "shapes"), "value"] += 0.4
    by_subject = sentences(replace(board, scores=scores))
    assert "bean worse in task" in by_subject["On kanji · vgg alone"]
    assert "bean better in task" in by_subject["On shapes · vgg alone"]


def test_one_seed_or_no_plain_gives_no_conclusion(board, one_seed):
    assert list(sentences(one_seed)) == ["Nothing can be concluded yet"]
    rest = replace(board, scores=board.scores[board.scores["method"] != "plain"])
    assert sentences(rest) == {}


def test_one_block_says_nothing_about_others(board):
    kanji = board.scores[board.scores["dataset"] == "kanji"]
    by_subject = sentences(replace(board, scores=pd.DataFrame(kanji)))
    assert "One dataset on one backbone" in by_subject
