"""Attributions by algorithm: the table of a block's page, failed audits flagged."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from legible.bench.leaderboard.algorithms import render_algorithms
from legible.bench.leaderboard.blocks import render_block
from legible.bench.scores.collect import BY_ALGORITHM
from legible.bench.suites.run_spec import Block
from legible.metrics import attribution
from legible.metrics.base import METRICS

BLOCK = Block("kanji", "vgg")


def scored(audits=(1, 1, 1), masses=(0.2, 0.3, 0.4)):
    """Saliency as given on plain; Grad-CAM of plain always passes and scores 0.5."""
    rows = []
    for seed, (audit, mass) in enumerate(zip(audits, masses, strict=True)):
        for algorithm, values in (("saliency", (audit, mass)), ("layer_gradcam", (1, 0.5))):
            for name, value in zip(("attribution_audit", "relevance_mass"), values, strict=True):
                rows.append((*BLOCK, "plain", "{}", seed, algorithm, name, value))
    return pd.DataFrame(rows, columns=list(BY_ALGORITHM))


@pytest.fixture
def explained(board):
    def build(**given):
        metrics = {**board.metrics, "relevance_mass": METRICS[attribution.relevance_mass.__name__]}
        return replace(board, algorithms=scored(**given), metrics=metrics)

    return build


def test_the_mean_over_seeds_by_algorithm(explained):
    board = explained()
    text = render_algorithms(board, BLOCK, board.rows)
    assert "relevance mass" in text and "✗ 1/3 says" in text
    assert text.splitlines()[-1] == "| plain | 0.300 ± 0.248 | 0.500 ± 0.000 |"


def test_failed_audits_are_flagged(explained):
    board = explained(audits=(1, 0, 1), masses=(0.2, np.nan, 0.4))
    row = render_algorithms(board, BLOCK, board.rows).splitlines()[-1]
    assert row.startswith("| plain | 0.300 ± ") and "<br>✗ 1/3 |" in row
    board = explained(audits=(0, 0, 0), masses=(np.nan,) * 3)
    assert "| plain | ✗ 3/3 | 0.500 ± 0.000 |" in render_algorithms(board, BLOCK, board.rows)


def test_nothing_where_nothing_was_explained(board, explained):
    assert render_algorithms(board, BLOCK, board.rows) == ""
    assert render_algorithms(explained(), Block("shapes", "vgg"), board.rows) == ""
    assert "By algorithm" not in render_block(board, BLOCK)
