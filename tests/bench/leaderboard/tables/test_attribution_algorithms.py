"""Attribution scores by algorithm, with failed audits."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from legible.bench.leaderboard.tables.attribution_algorithms import algorithms_table
from legible.bench.scores.collect import BY_ALGORITHM
from legible.bench.suites.run_spec import Block
from legible.metrics.attribution import relevance_mass
from legible.metrics.base import METRICS

BLOCK = Block("kanji", "vgg")


def scored(audits=(1, 1, 1), masses=(0.2, 0.3, 0.4)):
    """Scores of saliency on plain; Grad-CAM of plain always passes its audit and scores 0.5."""
    rows = []
    for seed, (audit, mass) in enumerate(zip(audits, masses, strict=True)):
        for algorithm, values in (("saliency", (audit, mass)), ("layer_gradcam", (1, 0.5))):
            for name, value in zip(("attribution_audit", "relevance_mass"), values, strict=True):
                rows.append((*BLOCK, "plain", "{}", seed, algorithm, name, value))
    return pd.DataFrame(rows, columns=list(BY_ALGORITHM))


@pytest.fixture
def explained(board):
    def build(**scores):
        metrics = {**board.metrics, "relevance_mass": METRICS[relevance_mass.__name__]}
        return replace(board, algorithms=scored(**scores), metrics=metrics)

    return build


def cells(board):
    (row,) = algorithms_table(board, BLOCK).rows
    assert row.title == "plain"
    return row.cells


def test_the_mean_over_seeds_by_algorithm(explained):
    table = algorithms_table(explained(), BLOCK)
    assert table.title == "By algorithm: relevance mass ↑" and table.metric == "relevance_mass"
    assert [column.title for column in table.columns] == ["saliency", "layer gradcam"]
    assert [cell.text for cell in cells(explained())] == ["0.300 ± 0.248", "0.500 ± 0.000"]


def test_failed_audits_are_counted(explained):
    saliency, gradcam = cells(explained(audits=(1, 0, 1), masses=(0.2, np.nan, 0.4)))
    assert saliency.text.startswith("0.300 ± ") and str(saliency.failed_audits) == "1/3"
    assert gradcam.failed_audits is None
    saliency, _ = cells(explained(audits=(0, 0, 0), masses=(np.nan,) * 3))
    assert saliency.text == "—" and str(saliency.failed_audits) == "3/3"


def test_nothing_explained_gives_no_table(board, explained):
    assert algorithms_table(board, BLOCK) is None
    assert algorithms_table(explained(), Block("shapes", "vgg")) is None
