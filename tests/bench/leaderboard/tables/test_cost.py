"""Cost ratios: a table for each block and device."""

from dataclasses import replace

import pandas as pd
import pytest

from legible.bench.leaderboard.tables.cost import cost_tables


def test_mean_ratios_over_seeds(board, cost):
    (table,) = cost_tables(board)
    assert table.title == "Cost: kanji · vgg · cpu"
    assert [c.text for c in table.columns] == ["step time ↓", "memory of a step ↓", "parameters ↓"]
    assert [row.group for row in table.rows] == ["method"] * 4
    own = cost[(cost["method"] == "sync") & (cost["params"] == "{}")]
    sync = next(row for row in table.rows if row.key == ("sync", "{}"))
    assert sync.cells[0].content.mean == pytest.approx(own["step_ratio"].mean())
    assert sync.cells[1].text == "1.00 ± 0.00"


def test_each_device_has_its_table_and_no_costs_give_none(board, cost):
    both = replace(board, cost=pd.concat([cost, cost.assign(device="cuda")]))
    assert [table.title[-4:] for table in cost_tables(both)] == [" cpu", "cuda"]
    assert cost_tables(replace(board, cost=pd.DataFrame())) == []
