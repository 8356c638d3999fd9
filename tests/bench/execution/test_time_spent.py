"""Where the time of a command went, in one line."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_suites import specs_of, toy_suite, work

from legible.bench.execution.progress import Event
from legible.bench.execution.schedule import attempt
from legible.bench.execution.time_spent import Clock, time_line
from legible.bench.execution.workspace import Workspace, probe_key
from legible.bench.suites.run_spec import RunSpec


def test_the_rest_is_what_the_workers_did_besides() -> None:
    scoring = {"focus": 5.0, "structure": 20.0}
    assert time_line(60.0, 2, 80.0, scoring) == (
        "2 workers for 1:00: 1:20 training, 0:25 scoring (structure 0:20, focus 0:05), 0:15 other "
        "(start, data, waiting)"
    )
    assert time_line(1.0, 1, 2.0, {}) == (
        "1 worker for 0:01: 0:02 training, 0:00 scoring, 0:00 other (start, data, waiting)"
    )


def test_short_aspects_are_added_up() -> None:
    scoring = {name: float(second) for second, name in enumerate("abcdef")}
    assert "(f 0:05, e 0:04, d 0:03, c 0:02, 2 more 0:01)" in time_line(20.0, 1, 0.0, scoring)


def watched(workspace: Workspace, specs: list[RunSpec]) -> tuple[Clock, list[Event]]:
    """A clock that saw some runs done in this process, and the events that it passed on."""
    events: list[Event] = []
    clock = Clock(workspace, specs, 1, events.append)
    for event in work(workspace, specs):
        folders = {spec.name: workspace.run_of(spec).name for spec in specs}
        clock(replace(event, run=folders[event.run]))
    return clock, events


def test_the_clock_counts_what_was_done_since_it_was_made(
    workspace: Workspace, tmp_path: Path
) -> None:
    specs = specs_of(tmp_path, toy_suite(seeds=[0, 1], aspects='"task", "semantics"'))
    clock, events = watched(workspace, specs)
    assert {event.kind for event in events} == {"start", "epoch", "done"}
    manifests = [workspace.run_of(spec).require_manifest() for spec in specs]
    assert clock.training() == pytest.approx(sum(sum(m.seconds) for m in manifests))
    assert clock.training() > 0
    stored = [
        scores
        for spec in specs
        for scores in workspace.run_of(spec).scores(probe_key(workspace, spec)).values()
    ]
    spent = sum(score.seconds for scores in stored for score in scores.layers)
    assert set(clock.scoring()) == {"task", "semantics"}
    assert sum(clock.scoring().values()) == pytest.approx(spent)
    later, _ = watched(workspace, specs)
    assert (later.training(), later.scoring()) == (0, {})


def test_scoring_alone_is_no_training(workspace: Workspace, tmp_path: Path) -> None:
    specs = specs_of(tmp_path, toy_suite(aspects='"task"'))
    watched(workspace, specs)
    (again,) = [replace(spec, aspects=("task", "semantics")) for spec in specs]
    clock, events = watched(workspace, [again])
    assert [event.kind for event in events] == ["start", "done"]
    assert clock.training() == 0 and set(clock.scoring()) == {"semantics"}


def test_a_clock_that_saw_no_run_end_says_nothing(workspace: Workspace, tmp_path: Path) -> None:
    specs = specs_of(tmp_path, toy_suite())
    clock = Clock(workspace, specs, 1, lambda event: None)
    assert clock.line() == ""
    clock(Event("elsewhere", workspace.run_of(specs[0]).name))
    assert clock.line() == ""
    clock(Event("done", workspace.run_of(specs[0]).name))
    assert clock.line().startswith("1 worker for 0:00: 0:00 training")


def test_a_command_ends_with_the_line(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    specs = specs_of(tmp_path, toy_suite(seeds=[0, 1]))
    assert attempt(workspace, specs, 2, []) == []
    last = capsys.readouterr().out.splitlines()[-1]
    assert re.fullmatch(
        r"2 workers for \d+:\d\d: \d+:\d\d training, .* other \(start, data, waiting\)", last
    )
    attempt(workspace, specs, 2, [])
    assert "workers for" not in capsys.readouterr().out
