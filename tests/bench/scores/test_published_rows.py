"""Published rows beside others: which are kept, which are marked, and which are stale."""

from __future__ import annotations

from dataclasses import replace

from published_suites import aged

from legible.bench.execution.published import PublishedTable, RunPlace
from legible.bench.scores.collect import run_rows
from legible.bench.scores.published_rows import kept_rows, rows_of_run, score_row_of
from legible.bench.suites.run_spec import RowKey


def place(spec):
    return RunPlace(spec.block, spec.row, spec.seed)


def test_a_line_becomes_the_row_that_it_was(published):
    spec = published.specs[1]
    rows = run_rows(published.made, spec)
    name = published.made.run_of(spec).name
    again = rows_of_run(published.workspace.published, name, spec)
    key = lambda row: (row.metric, row.layer)  # noqa: E731
    for row, published_row in zip(sorted(rows, key=key), sorted(again, key=key), strict=True):
        for field in ("value", "live"):
            value = getattr(row, field)
            rounded = None if value is None else float(f"{value:.9g}")
            assert getattr(published_row, field) == rounded
        without = {"value": None, "live": None}
        assert published_row.model_copy(update=without) == row.model_copy(update=without)
    accuracy = published.workspace.published.rows[name][0]
    assert score_row_of({**accuracy, "value": ""}).value is None


def test_rows_of_aspects_that_are_not_asked_for_are_left_out(published):
    spec = replace(published.specs[0], aspects=("task",))
    name = published.made.run_of(spec).name
    for targets, aspects in ((spec.targets, {"task", "treatment"}), ((), {"task"})):
        asked = replace(spec, targets=targets)
        rows = rows_of_run(published.workspace.published, name, asked)
        assert {row.aspect for row in rows} == aspects


def test_all_other_published_rows_are_kept(published):
    kept = kept_rows(published.workspace, published.specs, {place(published.specs[0])}, set())
    assert {record.run for record in kept.records} == {
        published.made.run_of(spec).name for spec in published.specs[1:]
    }
    assert {row.method for row in kept.rows} == {"plain", "bean", "untrained", "oracle"}
    assert not kept.stale and not kept.unchecked
    with_oracle = kept_rows(published.workspace, published.specs, [], {published.specs[0].block})
    assert "oracle" not in {row.method for row in with_oracle.rows}


def test_a_row_that_other_code_made_is_stale(published):
    workspace = published.workspace
    workspace.published = aged(workspace.published, "bean")
    kept = kept_rows(workspace, published.specs, [], [])
    bean = {place(spec) for spec in published.specs if spec.method == "bean"}
    assert kept.stale == dict.fromkeys(bean, "its training was made by other code")
    assert "bean" not in {row.method for row in kept.rows}
    assert not kept_rows(workspace, published.specs, bean, []).stale  # replaced by runs here


def test_a_row_of_another_kind_of_device_says_so(published):
    published.workspace.dataset(published.specs[0])
    published.workspace.device = "cuda"
    kept = kept_rows(published.workspace, published.specs, [], [])
    assert set(kept.stale.values()) == {"its training was made by other code, on cpu"}
    assert not kept.rows


def test_a_row_whose_code_is_not_here_is_kept_and_named(published):
    others = [spec for spec in published.specs if spec.method != "bean"]
    kept = kept_rows(published.workspace, others, [], [])
    assert kept.unchecked == {"bean"} and not kept.stale
    assert "bean" in {row.method for row in kept.rows}


def test_seeds_that_the_suite_does_not_list_are_checked_too(published):
    first = [replace(spec, partner=None) for spec in published.specs if spec.seed == 0]
    kept = kept_rows(published.workspace, first, [], [])
    assert len(kept.records) == 6 and not kept.unchecked and not kept.stale


def test_rows_without_provenance_are_stale(published):
    table = published.workspace.published
    rows = [row for of_run in table.rows.values() for row in of_run]
    published.workspace.published = PublishedTable(
        table.folder, {}, {}, [*rows, *table.others, {**rows[0], "method": "x@lab"}], {}, {}
    )
    kept = kept_rows(published.workspace, published.specs, [], [])
    assert len(kept.stale) == 6 and not kept.rows
    assert set(kept.stale.values()) == {"it says nothing about the code that made it"}


def test_nothing_published_keeps_nothing(published):
    published.workspace.published = None
    kept = kept_rows(published.workspace, published.specs, [], [])
    assert not kept.rows and RowKey("plain", "{}") not in kept.stale
