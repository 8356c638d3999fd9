"""Watched metrics by epoch: gathered from histories, and drawn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from legible.bench.leaderboard.figures.training_curves import (
    draw_training_curves,
    gather_histories,
)
from legible.bench.suites.run_spec import RowKey

PLAIN, SYNC = RowKey("plain", "{}"), RowKey("sync", "{}")


def watched(value, **more):
    return {"epoch": 0, "loss": 1.0, "watch.iou@stage2": value, **more}


def test_watched_metrics_are_gathered_by_block_row_seed_and_epoch(board):
    block = board.blocks[0]
    runs = [
        (block, PLAIN, [watched(0.1), watched(0.2)]),
        (block, PLAIN, [watched(0.3)]),
        (block, SYNC, [watched(None), watched(0.5, **{"watch.rank": 4.0})]),
        (board.blocks[1], PLAIN, [{"epoch": 0, "loss": 1.0}]),
    ]
    histories = gather_histories(runs)
    assert list(histories) == [block]
    np.testing.assert_array_equal(
        histories[block][PLAIN]["watch.iou@stage2"], [[0.1, 0.2], [0.3, np.nan]]
    )
    np.testing.assert_array_equal(histories[block][SYNC]["watch.rank"], [[np.nan, 4.0]])
    assert gather_histories([]) == {}


def test_a_panel_for_each_metric_with_a_line_and_band_for_each_method(board):
    block = board.blocks[0]
    lines = [[watched(v, **{"watch.rank": v}) for v in (0.1, 0.2, 0.4)] for _ in range(2)]
    runs = [(block, row.key, line) for row in board.rows[:3] for line in lines]
    figure = draw_training_curves(replace(board, dynamics=gather_histories(runs)), block)
    assert [axis.get_title() for axis in figure.axes] == ["iou, stage2", "rank"]
    for axis in figure.axes:
        assert len(axis.lines) == len(axis.collections) == 3
        assert list(axis.lines[0].get_ydata()) == pytest.approx([0.1, 0.2, 0.4])
        assert axis.lines[0].get_xdata().tolist() == [1, 2, 3]
