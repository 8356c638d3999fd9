"""Collecting scores from runs: a row for each score, and a reason where there is none."""

from __future__ import annotations

import math

import pytest
from tiny_suites import specs_of, toy_suite, work

from legible.bench.execution.workspace import probe_key
from legible.bench.scores.collect import (
    BY_ALGORITHM,
    UNSCORED,
    algorithm_table,
    oracle_rows,
    run_rows,
    score_table,
)
from legible.bench.scores.score_table import COLUMNS, read_scores, scores_text, tidy

FAILS = '{name = "activation_l1", strength = 1e39}'


@pytest.fixture
def scored(workspace, tmp_path):
    """The run spec of a finished run of plain, scored in task and semantics."""
    (spec,) = specs_of(tmp_path, toy_suite(aspects='"task", "semantics"'))
    work(workspace, [spec])
    return spec


def test_a_run_has_a_row_for_each_metric_and_layer(workspace, scored):
    table = score_table(workspace, [scored])
    plain = table[table["method"] == "plain"]
    assert list(table.columns) == COLUMNS and len(tidy(table)) == len(table)
    assert set(plain["metric"]) == set(scored.metrics)
    assert set(plain["run"]) == {workspace.run_of(scored).name}
    by_metric = plain.set_index("metric")
    auc, accuracy = by_metric.loc["concept_auc"], by_metric.loc["accuracy"]
    assert (auc["layer"], auc["aspect"], auc["status"]) == ("conv4", "semantics", "ok")
    (score,) = workspace.run_of(scored).scores(probe_key(workspace, scored))["accuracy"].layers
    assert (accuracy["layer"], accuracy["status"], accuracy["count"]) == ("", "ok", 1)
    assert accuracy["value"] == accuracy["live"] == score.value


def test_only_the_aspects_that_are_asked_for_become_rows(workspace, scored, tmp_path):
    (task,) = specs_of(tmp_path, toy_suite())
    assert {row.aspect for row in run_rows(workspace, task)} == {"task"}


def test_what_the_suite_s_methods_treat_becomes_rows_too(workspace, tmp_path):
    plain = specs_of(tmp_path, toy_suite('"plain", "activation_l1", "icnn"'))[0]
    work(workspace, [plain])
    metrics = {row.metric: row.aspect for row in run_rows(workspace, plain)}
    assert metrics["activation_size"] == "treatment" and metrics["focus_spread"] == "focus"
    assert set(metrics) == {
        "accuracy", "expected_calibration_error", "activation_size", "focus_spread",
    }  # fmt: skip


class TestRunsWithoutScores:
    @pytest.mark.parametrize(
        ("text", "status", "reason"),
        [
            (toy_suite(block="data = {missing = true}"), "missing", "made, not fetched"),
            (toy_suite(block="shots = 5000"), "skipped", "fewer than 5000 shots"),
            (toy_suite(), "missing", "not run yet"),
        ],
    )
    def test_one_that_did_not_run_says_why(self, workspace, tmp_path, text, status, reason):
        (row,) = run_rows(workspace, specs_of(tmp_path, text)[0])
        assert (row.status, row.metric, row.value, row.count) == (status, "", None, 0)
        assert reason in row.reason

    def test_one_that_failed_says_why(self, workspace, tmp_path):
        (spec,) = specs_of(tmp_path, toy_suite(FAILS))
        work(workspace, [spec])
        (row,) = run_rows(workspace, spec)
        assert row.status == "failed" and "not finite" in row.reason

    def test_one_of_older_code_names_the_remedy(self, workspace, scored):
        folder = workspace.run_of(scored).folder
        next(folder.glob("scores-*.json")).rename(folder / "scores-older.json")
        (row,) = run_rows(workspace, scored)
        assert (row.status, row.reason) == ("missing", UNSCORED)

    def test_one_that_cannot_be_read_says_so(self, workspace, scored):
        (workspace.run_of(scored).folder / "manifest.json").write_text("junk")
        (row,) = run_rows(workspace, scored)
        assert row.status == "missing" and "unreadable" in row.reason


class TestOracle:
    def test_each_block_has_one_on_layers_with_a_map(self, workspace, tmp_path):
        specs = specs_of(tmp_path, toy_suite('"plain", "bean"', [0, 1], aspects='"semantics"'))
        rows = oracle_rows(workspace, specs)
        assert {(row.method, row.kind, row.seed, row.run) for row in rows} == {
            ("oracle", "null", 0, "")
        }
        assert {row.aspect for row in rows} == {"focus", "semantics"}
        auc = next(row for row in rows if row.metric == "concept_auc")
        assert auc.layer == "conv4" and auc.value > 0.9

    def test_there_is_none_without_masks_or_without_data(self, workspace, tmp_path):
        text = toy_suite().replace('"toy"', '"shapes"')
        missing = specs_of(tmp_path, toy_suite(block="data = {missing = true}"))
        assert oracle_rows(workspace, missing) == []
        few = specs_of(tmp_path, text.replace("probe = 40", "probe = 2"))
        assert oracle_rows(workspace, few) == []


def test_each_attribution_algorithm_has_a_row_of_its_own(workspace, tmp_path):
    (spec,) = specs_of(
        tmp_path, toy_suite(aspects='"attribution"').replace("probe = 40", "probe = 8")
    )
    work(workspace, [spec])
    table = algorithm_table(workspace, [spec])
    assert tuple(table.columns) == BY_ALGORITHM and table["algorithm"].nunique() > 1
    assert set(table["method"]) == {"plain"} and set(table["seed"]) == {0}
    for metric, group in table.groupby("metric"):
        entry = workspace.run_of(spec).scores(probe_key(workspace, spec))[metric]
        values = [v for score in entry.layers for v in score.values.tolist()]
        assert all(
            a == b or (math.isnan(a) and math.isnan(b))
            for a, b in zip(group["value"], values, strict=True)
        )
    assert len(algorithm_table(workspace, specs_of(tmp_path, toy_suite()))) == 0


@pytest.mark.parametrize("seed", [20240131123456, 2**63 - 1])
def test_a_large_seed_is_trained_and_scored_and_stays_exact(workspace, tmp_path, seed):
    text = toy_suite('"plain", "untrained"', [seed, 1], aspects='"task", "semantics", "structure"')
    specs = specs_of(tmp_path, text)
    events = work(workspace, specs)
    assert not [event for event in events if event.kind == "failed"]
    table = score_table(workspace, specs)
    ours = table[(table["method"] == "plain") & (table["seed"] == seed)]
    assert set(ours["status"]) == {"ok"} and set(ours["aspect"]) >= {"task", "semantics"}
    (tmp_path / "scores.csv").write_text(scores_text(table))
    data = (tmp_path / "scores.csv").read_bytes()
    (tmp_path / "scores.csv").write_bytes(b"\xef\xbb\xbf" + data.replace(b"\n", b"\r\n"))
    assert read_scores(tmp_path / "scores.csv").equals(tidy(table))
