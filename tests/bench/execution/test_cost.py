"""Costs: measured beside plain, stored, and not measured again."""

from __future__ import annotations

import math

import pytest
import torch
from tiny_suites import specs_of, toy_suite, work

from legible.bench.execution import cost as costs
from legible.bench.execution.cost import COST_COLUMNS, Cost, cost_table, peak_memory

COST = Cost(step_ms=2.0, step_ratio=1.5, memory_mb=3.0, memory_ratio=1.25, parameters=9,
            parameter_ratio=1.0)  # fmt: skip


@pytest.fixture
def measured(monkeypatch, tmp_path):
    """The methods whose cost was measured, a line each in a file: rows of plugins are measured in
    a process of their own."""
    names = tmp_path / "measured.txt"
    names.touch()

    def measure(workspace, spec, plain):
        with names.open("a") as file:
            print(spec.method, file=file)
        return COST

    monkeypatch.setattr(costs, "measure", measure)
    return names


def table(workspace, specs, **options):
    return cost_table(workspace, specs, say=lambda text: None, **options)


def test_plain_costs_what_plain_costs(workspace, tmp_path):
    plain, _ = specs_of(tmp_path, toy_suite('"plain", "bean"'))
    cost = costs.measure(workspace, plain, plain, repeats=3)
    assert cost.parameter_ratio == cost.memory_ratio == 1.0
    assert cost.step_ms > 0 and cost.parameters > 0 and cost.memory_mb > 0


def test_a_method_that_keeps_more_for_the_backward_pass_costs_memory(workspace, tmp_path):
    plain, other = specs_of(tmp_path, toy_suite('"plain", "dropout"'))
    assert costs.measure(workspace, other, plain, repeats=1).memory_ratio > 1


def test_memory_on_a_cpu_is_what_the_backward_pass_needs():
    x = torch.ones(1000, requires_grad=True)
    assert peak_memory(lambda: (x * x).sum(), "cpu") == 4000


def test_each_row_of_a_block_is_measured_once(workspace, tmp_path, measured):
    specs = specs_of(tmp_path, toy_suite('"plain", "bean", "untrained"', [0, 1]))
    work(workspace, specs)
    first = table(workspace, specs)
    assert list(first.columns) == COST_COLUMNS and list(first["method"]) == [
        "bean", "plain", "untrained",
    ]  # fmt: skip
    assert sorted(measured.read_text().split()) == ["bean", "plain"]
    bean = first.iloc[0]
    assert (bean["step_ratio"], bean["parameters"], bean["seed"]) == (1.5, 9, 0)
    assert bean["train_seconds"] > 0 and math.isnan(first["step_ms"][2])
    assert table(workspace, specs).equals(first) and len(measured.read_text().split()) == 2


def test_nothing_is_measured_where_it_is_not_wanted(workspace, tmp_path, measured):
    specs = specs_of(tmp_path, toy_suite('"plain"'))
    assert table(workspace, specs, measure_missing=False)["step_ms"].isna().all()
    assert measured.read_text() == ""


def test_a_damaged_measurement_is_made_again(workspace, tmp_path, measured):
    specs = specs_of(tmp_path, toy_suite('"plain"'))
    table(workspace, specs)
    (file,) = (workspace.store.root / "costs").iterdir()
    for text in ("{", "[]", '{"colour": 1}'):
        file.write_text(text)
        assert table(workspace, specs)["step_ms"][0] == 2.0
    assert len(measured.read_text().split()) == 4


def test_runs_that_cannot_be_made_have_no_cost(workspace, tmp_path, measured):
    specs = specs_of(tmp_path, toy_suite(block="data = {missing = true}"))
    empty = table(workspace, specs)
    assert len(empty) == 0 and list(empty.columns) == COST_COLUMNS
