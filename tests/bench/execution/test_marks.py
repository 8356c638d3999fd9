"""Marks: which runs are left, from one listing."""

from __future__ import annotations

import builtins
import os
import time
from dataclasses import replace

import pytest
from tiny_suites import specs_of, toy_suite, work

from legible.bench.execution import marks as mark_files
from legible.bench.execution.marks import (
    FAILED,
    TRIED,
    Turn,
    read_marks,
    remove_marks,
    set_mark,
    trusted_marks,
    turn_of,
)
from legible.bench.execution.store import Store
from legible.bench.execution.worker import in_turn

FAILS = '{name = "activation_l1", strength = 1e39}'


def test_a_run_has_one_mark(tmp_path):
    store = Store(tmp_path / "runs")
    first, second = store.run("a.b", {}), store.run("c", {})
    set_mark(store, first, "1")
    set_mark(store, second, "2")
    set_mark(store, first, "3")
    assert read_marks(store) == {first.name: {"3"}, second.name: {"2"}}
    assert trusted_marks(store) == {}
    first.folder.mkdir()
    assert trusted_marks(store) == {first.name: {"3"}}
    remove_marks(store, first)
    assert set(read_marks(store)) == {second.name}


def test_without_a_folder_of_marks_there_are_none(tmp_path):
    assert read_marks(Store(tmp_path)) == {}


def test_what_is_left_of_a_run(tmp_path, toy_plugin):
    (spec,) = specs_of(tmp_path, toy_suite())
    turn = Turn(spec, "run", alone="a", whole="w", partner="other")

    def marks(own, other):
        return {name: frozenset({mark}) for name, mark in (("run", own), ("other", other)) if mark}

    left = {own: [turn.left(marks(own, other)) for other in ("", TRIED, FAILED, "x")]
            for own in ("", "a", "w", FAILED, TRIED, "of other code")}  # fmt: skip
    assert left == {
        "": [True] * 4, "a": [False, False, True, True], "w": [False] * 4,
        FAILED: [False] * 4, TRIED: [False] * 4, "of other code": [True] * 4,
    }  # fmt: skip


def test_runs_are_marked_as_they_end(workspace, tmp_path):
    specs = specs_of(tmp_path, toy_suite(f'"plain", {FAILS}'))
    work(workspace, specs)
    plain, fails = (turn_of(workspace, spec) for spec in specs)
    marks = trusted_marks(workspace.store)
    assert not plain.left(marks) and not plain.failed(marks)
    assert fails.failed(marks) and not fails.left(marks)


def test_other_code_of_a_metric_is_another_mark(workspace, tmp_path, monkeypatch):
    (spec,) = specs_of(tmp_path, toy_suite())
    before = turn_of(workspace, spec).whole
    workspace.metric_keys.clear()
    monkeypatch.setattr(
        mark_files, "metric_keys", lambda names, images: dict.fromkeys(names, "other")
    )
    assert turn_of(workspace, spec).whole != before


def test_another_seed_to_compare_with_is_another_mark(workspace, tmp_path):
    text = toy_suite(seeds=[0, 1, 2], aspects='"consistency"')
    spec = specs_of(tmp_path, text)[0]
    first, second = (turn_of(workspace, replace(spec, partner=seed)) for seed in (1, 2))
    assert first.whole != second.whole and first.partner != second.partner
    assert first.alone != first.whole


@pytest.fixture
def many(workspace, tmp_path):
    """5,000 runs, of which 4,990 have ended and ten have not."""
    methods = '"plain", "dropout", "untrained", "activation_l1", "weight_l1"'
    rows = specs_of(tmp_path, toy_suite(methods))
    specs = [replace(spec, seed=seed) for seed in range(1000) for spec in rows]
    folder = mark_files.marks_folder(workspace.store)
    folder.mkdir()
    for spec in specs[:4990]:
        turn = turn_of(workspace, spec)
        (folder / f"{turn.name}.{turn.whole}").touch()
    return specs


@pytest.mark.slow
def test_the_next_run_of_thousands_takes_one_listing(workspace, many, monkeypatch):
    calls: list[str] = []

    def counted(name, function):
        def call(*arguments, **options):
            calls.append(name)
            return function(*arguments, **options)

        return call

    turn = in_turn(workspace, many, lambda event: None)
    assert next(turn) is many[4990]  # it opens nothing of the runs that have ended
    for owner, names in (
        (os, ("listdir", "scandir", "stat", "lstat", "open")),
        (builtins, ("open",)),
    ):
        for name in names:
            monkeypatch.setattr(owner, name, counted(name, getattr(owner, name)))
    start = time.perf_counter()
    assert next(turn) is many[4991]
    seconds = time.perf_counter() - start
    monkeypatch.undo()
    assert calls in (["listdir"], ["scandir"])
    print(f"next of 5,000 runs: {1000 * seconds:.0f} ms")
