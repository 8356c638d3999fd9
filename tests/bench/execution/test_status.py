"""The status of a suite: counts, where runs are done, and the time left."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
from tiny_suites import specs_of, toy_suite, work

from legible.bench.errors import UserError
from legible.bench.execution import status as module
from legible.bench.execution.presence import present
from legible.bench.execution.progress import Event
from legible.bench.execution.slurm import QueuedJob
from legible.bench.execution.status import (
    SuiteStatus,
    device_in_use,
    lines_of,
    print_status,
    suite_status,
)

FAILS = '{name = "activation_l1", strength = 1e39}'
COUNTS = {"done": 0, "published": 0, "running": 0, "failed": 0, "left": 0}


@pytest.fixture
def specs(tmp_path, toy_plugin):
    return specs_of(tmp_path, toy_suite(f'"plain", {FAILS}, "dropout", "untrained"'))


def timed(workspace, spec, seconds):
    """Says that a run took some seconds."""
    run = workspace.run_of(spec)
    manifest = run.require_manifest()
    run.finish(manifest.model_copy(update={"seconds": [seconds], "score_seconds": 0.0}))


def test_done_running_failed_and_left_are_told_apart(workspace, specs):
    plain, fails, dropout, _ = specs
    work(workspace, [plain, fails])
    timed(workspace, plain, 120.0)
    with present(workspace.store, "cpu") as here:
        here(Event("start", workspace.run_of(dropout).name))
        here.write()
        status = suite_status(workspace, "tiny", specs)
        lines = list(lines_of("tiny", status))
        host = here.note.place
    assert (status.device, status.left) == ("cpu", 1)
    assert {name: status.counts[name] for name in ("done", "running", "failed", "left")} == {
        "done": 1, "running": 1, "failed": 1, "left": 1,
    }  # fmt: skip
    assert status.work_left == 180.0  # a whole run and half of one, of two minutes each
    assert lines[0] == (
        "tiny on cpu: 1 done, 1 running, 1 failed, 1 left; about 0:03 h left with 1 at once"
    )
    assert lines[1].startswith(f"running: {dropout.name} on {host} since 20")
    assert lines[2].startswith(f"failed: {fails.name}: loss") and len(lines) == 3
    assert not status.is_over


def test_the_estimate_of_a_run_is_its_row_s_time(workspace, tmp_path):
    specs = specs_of(tmp_path, toy_suite('"plain", "dropout"', [0, 1]))
    first = [spec for spec in specs if spec.seed == 0]
    work(workspace, first)
    for spec, seconds in zip(first, (100.0, 300.0), strict=True):
        timed(workspace, spec, seconds)
    assert suite_status(workspace, "tiny", specs).work_left == 400.0


def test_another_suite_s_run_of_the_same_name_is_not_running(workspace, specs):
    other = replace(specs[0], recipe=specs[0].recipe.model_copy(update={"epochs": 7}))
    with present(workspace.store, "cpu") as here:
        here(Event("start", workspace.run_of(other).name))
        assert suite_status(workspace, "tiny", specs).counts["running"] == 0


def test_without_workers_it_says_how_to_go_on(workspace, specs):
    lines = list(lines_of("tiny", suite_status(workspace, "tiny", specs)))
    assert lines == [
        "tiny on cpu: 0 done, 0 running, 0 failed, 4 left",
        "no worker works or waits: `legible run tiny` does the rest",
    ]


def test_workers_that_wait_in_slurm_are_counted_with_the_reasons():
    jobs = [QueuedJob("7_0", "PENDING", "Priority"), QueuedJob("7_1", "PENDING", "Resources"),
            QueuedJob("7_2", "RUNNING", "None")]  # fmt: skip
    status = SuiteStatus("cuda", COUNTS | {"left": 3}, jobs=jobs)
    assert list(lines_of("quick", status))[-1] == (
        "waiting in Slurm: 2 workers (Priority, Resources)"
    )
    assert not status.is_over and SuiteStatus("cuda", COUNTS, jobs=jobs).is_over


def test_the_device_is_that_of_the_runs_that_are_here(workspace, specs):
    assert device_in_use(workspace, specs, "cuda") == "cuda"
    there = module.seen_from(workspace, specs, "cuda")
    there.run_of(specs[0]).folder.mkdir()
    assert device_in_use(workspace, specs, "auto") == "cuda"
    work(workspace, [specs[0], specs[3]])
    assert device_in_use(workspace, specs, "auto") == "cpu"
    with pytest.raises(UserError, match="no device 'gpu': use auto, cpu or cuda"):
        device_in_use(workspace, specs, "gpu")


def test_following_ends_with_the_last_run(workspace, specs, monkeypatch, capsys):
    """It prints again what has changed, and ends when nothing is left."""
    with present(workspace.store, "cpu"):
        looks = []

        def pause(seconds):
            looks.append(seconds)
            if len(looks) == 2:
                work(workspace, specs)

        monkeypatch.setattr(module, "time", SimpleNamespace(sleep=pause))
        print_status(workspace, "tiny", specs, follow=True)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("tiny on")]
    assert lines == ["tiny on cpu: 0 done, 0 running, 0 failed, 4 left",
                     "tiny on cpu: 3 done, 0 running, 1 failed, 0 left"]  # fmt: skip
    assert looks == [module.PAUSE] * 2
