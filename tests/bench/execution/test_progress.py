"""Progress: what is printed of runs, and the time left."""

from __future__ import annotations

import pytest
from tiny_suites import specs_of, toy_suite

from legible.bench.execution.progress import Event, Monitor, minutes, time_left, work


@pytest.fixture
def specs(tmp_path, toy_plugin):
    return specs_of(tmp_path, toy_suite('"plain", "plain_rotated"', epochs=3))


def test_a_run_counts_its_epochs_and_one_for_scoring(specs):
    assert [work(spec) for spec in specs] == [4, 1]


@pytest.mark.parametrize(
    ("elapsed", "share", "text"),
    [(30.0, 0.5, "0:30"), (60.0, 0.1, "9:00"), (5.0, 0.0, "?"), (5.0, 1.0, "0:00")],
)
def test_the_time_left_follows_from_the_share_done(elapsed, share, text):
    assert time_left(elapsed, share) == text


def test_without_a_terminal_each_ended_run_is_a_line(specs, capsys):
    plain, rotated = (spec.name for spec in specs)
    monitor = Monitor(specs)
    with monitor.bar:
        for event in (
            Event("start", plain), Event("epoch", plain, "epoch 1/3", 1),
            Event("note", plain, "metric x: odd"), Event("done", plain, "accuracy 0.9"),
            Event("failed", rotated, "no [weights]"), Event("failed", rotated, "no [weights]"),
        ):  # fmt: skip
            monitor(event)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"note: {plain}: metric x: odd"
    assert lines[1].startswith(f"[1/2] {plain}  accuracy 0.9  (left 0:")
    assert lines[2:] == [f"failed: {rotated}: no [weights]"]
    assert monitor.failures == [rotated]


def test_runs_that_end_elsewhere_count_and_only_failures_are_printed(specs, capsys):
    plain, rotated = (spec.name for spec in specs)
    monitor = Monitor(specs)
    monitor(Event("elsewhere", plain))
    assert capsys.readouterr().out == "" and monitor.failures == []
    monitor(Event("elsewhere", rotated, "it diverged"))
    assert capsys.readouterr().out == f"failed in another worker: {rotated}: it diverged\n"
    assert monitor.failures == [rotated] and monitor.own == set()
    assert monitor.ended == {plain, rotated}


def test_epochs_may_be_reported_out_of_order(specs):
    name = specs[0].name
    monitor = Monitor(specs)
    for epochs in (2, 1):
        monitor(Event("epoch", name, epochs=epochs))
    assert monitor.done[name] == 2


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0:00"), (59.6, "1:00"), (3725.0, "62:05")])
def test_minutes(seconds: float, text: str) -> None:
    assert minutes(seconds) == text
