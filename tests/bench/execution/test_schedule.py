"""The schedule: the status of each run, what is shown of it, and what is done."""

from __future__ import annotations

import os

import pytest
import torch
from tiny_suites import TOY_PLUGIN, specs_of, toy_suite, work

from legible.bench.errors import UserError
from legible.bench.execution import pool, schedule, worker
from legible.bench.execution.marks import remove_marks, trusted_marks
from legible.bench.execution.schedule import attempt, plan_runs, run_all, show_plan
from legible.bench.execution.store import WEIGHTS, Run, Store, StoreError
from legible.bench.execution.workspace import Workspace, probe_key
from legible.bench.plugins import own_process, registry
from legible.bench.scores.collect import run_rows

FAILS = '{name = "activation_l1", strength = 1e39}'


def statuses(workspace, specs):
    return [item.status for item in plan_runs(workspace, specs)]


def test_every_status_is_told_apart(workspace, tmp_path):
    methods = f'"plain", "dropout", {FAILS}, "untrained", "bean"'
    done, to_score, failed, corrupt, _ = specs = specs_of(tmp_path, toy_suite(methods))
    work(workspace, [done, to_score, failed, corrupt])
    workspace.run_of(to_score).save_scores(probe_key(workspace, to_score), {})
    (workspace.run_of(corrupt).folder / "manifest.json").write_text("[")
    assert statuses(workspace, specs) == ["done", "to score", "failed", "to run", "to run"]
    reasons = [item.reason for item in plan_runs(workspace, specs)]
    assert "not finite" in reasons[2] and "unreadable" in reasons[3] and reasons[4] == ""
    gone = specs_of(tmp_path, toy_suite(block="data = {missing = true}"))
    few = specs_of(tmp_path, toy_suite(block="shots = 5000"))
    assert statuses(workspace, [*gone, *few]) == ["missing", "skipped"]


def test_the_plan_is_shown_with_a_count_of_each_status(workspace, tmp_path, capsys):
    specs = specs_of(tmp_path, toy_suite('"plain", "untrained"'))
    work(workspace, specs[:1])
    show_plan(workspace, specs)
    out = capsys.readouterr().out
    assert specs[0].name in out and specs[1].name in out
    assert "1 done  1 to run" in out


def test_what_is_not_done_is_done_and_edits_come_last(workspace, tmp_path, monkeypatch):
    order = []
    work_off = schedule.work_off

    def spy(workspace, specs, *rest):
        order.extend(spec.method for spec in specs)
        return work_off(workspace, specs, *rest)

    monkeypatch.setattr(schedule, "work_off", spy)
    specs = specs_of(tmp_path, toy_suite('"plain_rotated", "plain", "untrained"'))
    work(workspace, specs[2:])
    assert attempt(workspace, specs, 1, []) == []
    assert order == ["plain", "plain_rotated"]
    assert statuses(workspace, specs) == ["done"] * 3


def test_failures_are_returned_and_the_other_runs_done(workspace, tmp_path, capsys):
    failed, plain = specs = specs_of(tmp_path, toy_suite(f'{FAILS}, "plain"'))
    assert attempt(workspace, specs, 1, []) == [failed.name]
    assert workspace.run_of(plain).done()
    assert "failed: " + failed.name in capsys.readouterr().out
    with pytest.raises(UserError, match="1 runs failed, the first: toy-"):
        run_all(workspace, specs, 1, [])


def test_a_retry_shows_what_would_be_tried_again_and_tries_it(workspace, tmp_path, capsys):
    failed, plain = specs = specs_of(tmp_path, toy_suite(f'{FAILS}, "plain"'))
    work(workspace, specs)
    show_plan(workspace, specs)
    assert "1 done  1 failed" in capsys.readouterr().out
    show_plan(workspace, specs, retry=True)
    out = capsys.readouterr().out
    assert "1 done  1 to run" in out and "failed before: loss" in " ".join(out.split())
    assert statuses(workspace, specs) == ["failed", "done"]  # a plan changes nothing
    before = workspace.run_of(failed).require_manifest().finished
    weights = (workspace.run_of(plain).folder / WEIGHTS).stat().st_mtime_ns
    assert attempt(workspace, specs, 1, []) == [failed.name]
    assert "0 of 2 runs to do" in capsys.readouterr().out
    assert attempt(workspace, specs, 1, [], retry=True) == [failed.name]
    assert "1 of 2 runs to do" in capsys.readouterr().out
    assert workspace.run_of(failed).require_manifest().finished >= before
    assert (workspace.run_of(plain).folder / WEIGHTS).stat().st_mtime_ns == weights


def test_a_run_that_found_a_full_disk_is_done_by_the_next_call(workspace, tmp_path, monkeypatch):
    def full(self, tensors):
        raise StoreError("cannot write network.safetensors: No space left on device")

    (spec,) = specs_of(tmp_path, toy_suite())
    with monkeypatch.context() as patched:
        patched.setattr(Run, "save_weights", full)
        assert attempt(workspace, [spec], 1, []) == [spec.name]
    assert "No space left" in workspace.run_of(spec).require_manifest().reason
    assert attempt(workspace, [spec], 1, []) == [] and workspace.run_of(spec).done()


def test_a_reason_to_skip_is_printed_once(workspace, tmp_path, capsys):
    specs = specs_of(tmp_path, toy_suite('"plain", "bean"', [0, 1], block="shots = 5000"))
    run_all(workspace, specs, 1, [])
    assert capsys.readouterr().out.count("fewer than 5000 shots") == 1


def test_a_negative_number_of_jobs_is_refused(workspace):
    with pytest.raises(UserError, match="--jobs must be 0"):
        attempt(workspace, [], -1, [])


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs affinity")
def test_workers_follow_the_cores_that_the_process_may_use(workspace, tmp_path, monkeypatch):
    jobs = []
    monkeypatch.setattr(os, "cpu_count", lambda: 128)
    monkeypatch.setattr(schedule, "work_off", lambda w, specs, n, *rest: jobs.append(n) or [])
    specs = specs_of(tmp_path, toy_suite(seeds=[0, 1]))
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert len(attempt(workspace, specs, 0, [])) == 2  # nothing was done, and is said
    finally:
        os.sched_setaffinity(0, before)
    assert jobs == [1]


FAULTY = '''
from pathlib import Path
from legible import Method, register

@register
class Faulty(Method):
    """Fails in one hook."""

    def {hook}(self, *arguments):
        (Path(__file__).parent / "faulty.py").write_text("# edited")
        {line}
'''


def faulty(folder, hook, line="raise OSError('no file')"):
    """A plugin file with a method that edits its own file and fails in a hook."""
    file = folder / "faulty.py"
    text = FAULTY.format(hook=hook, line=line)
    file.write_text(text.replace("__init__(self, *arguments)", "__init__(self, p: float = 0.0)"))
    registry.load(plugins=[file])
    return file


def test_a_run_that_cannot_be_scored_fails_with_the_hook(
    workspace, tmp_path, kept_registry, capsys
):
    file = faulty(tmp_path, "partition")
    specs = specs_of(tmp_path, toy_suite('"faulty", "plain"'))
    reason = "in partition of method 'faulty': OSError: no file"
    for _ in range(2):  # the next call tries again
        assert attempt(workspace, specs, 1, [file]) == [specs[0].name]
        out = capsys.readouterr().out
        assert f"failed: {specs[0].name}: {reason} (see " in out
        assert f"note: {file} has changed since it was loaded; these runs belong to" in out
    manifest = workspace.run_of(specs[0]).require_manifest()
    assert (manifest.status, manifest.reason, manifest.final) == ("done", reason, False)
    assert run_rows(workspace, specs[0])[0].reason == reason


def test_a_run_that_dies_while_it_is_scored_is_tried_on_request_alone(
    workspace, tmp_path, kept_registry, capsys
):
    file = faulty(tmp_path, "used_concepts", "import os; os._exit(3)")
    specs = specs_of(tmp_path, toy_suite('"faulty", "plain"'))
    assert attempt(workspace, specs, 1, [file]) == [specs[0].name]
    assert [item.status for item in plan_runs(workspace, specs)] == ["failed", "done"]
    assert "left with exit code 3, twice" in plan_runs(workspace, specs)[0].reason
    capsys.readouterr()
    assert attempt(workspace, specs, 1, [file]) == [specs[0].name]
    assert "0 of 2 runs to do" in capsys.readouterr().out
    assert attempt(workspace, specs, 1, [file], retry=True) == [specs[0].name]
    assert "1 of 2 runs to do" in capsys.readouterr().out


def test_a_constructor_that_fails_is_a_failed_run(workspace, tmp_path, kept_registry, capsys):
    file = faulty(tmp_path, "__init__")
    specs = specs_of(tmp_path, toy_suite('"faulty", "plain"'))
    for retry in (False, True):
        assert attempt(workspace, specs, 1, [file], retry) == [specs[0].name]
        reason = "in the constructor of method 'faulty': OSError: no file"
        assert f"failed: {specs[0].name}: {reason}" in capsys.readouterr().out
    assert workspace.run_of(specs[1]).done()


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_without_forks_each_run_with_a_plugin_has_a_fresh_process(
    workspace, tmp_path, kept_registry, monkeypatch, jobs
):
    for module in (schedule, pool, worker, own_process):
        monkeypatch.setattr(module, "can_fork", lambda: False)
    file = faulty(tmp_path, "penalty", "import torch; torch.set_default_dtype(torch.float64)")
    specs = specs_of(tmp_path, toy_suite('"faulty", "plain", "dropout"'))
    attempt(workspace, specs, jobs, [TOY_PLUGIN, file])
    alone = Workspace(Store(tmp_path / "alone"))
    work(alone, specs[1:])
    for spec in specs[1:]:
        first, second = (place.run_of(spec).weights("cpu") for place in (workspace, alone))
        assert all(torch.equal(value, second[name]) for name, value in first.items())


# ------------------------------------------------------------- workers on a cluster


PAIRS = toy_suite('"plain", "plain_rotated", "untrained"', [0, 1], aspects='"task", "consistency"')


def test_a_worker_does_all_and_compares_seeds(workspace, tmp_path, capsys):
    specs = specs_of(tmp_path, PAIRS)
    assert attempt(workspace, specs, 1, [], worker=True) == []
    assert statuses(workspace, specs) == ["done"] * 6
    assert "nothing is left\n" in capsys.readouterr().out


def test_a_worker_leaves_to_others_what_they_do_and_the_last_compares(workspace, tmp_path, capsys):
    first, *_ = specs = specs_of(tmp_path, PAIRS)
    with workspace.store.lock(workspace.run_of(first)):
        assert attempt(workspace, specs[:1], 1, [], worker=True) == []
        assert "this worker leaves: others do the last 1\n" in capsys.readouterr().out
        others = [spec for spec in specs if spec.method == "untrained"]
        assert attempt(workspace, [first, *others], 1, [], worker=True) == []
    assert statuses(workspace, [first, *others]) == ["to run", "done", "done"]
    assert attempt(workspace, specs, 1, [], worker=True) == []
    assert statuses(workspace, specs) == ["done"] * 6


def test_a_worker_tries_a_failed_run_once_and_others_do_not(workspace, tmp_path, capsys):
    failed, _ = specs = specs_of(tmp_path, toy_suite(f'{FAILS}, "plain"'))
    assert attempt(workspace, specs, 1, [], worker=True) == [failed.name]
    before = workspace.run_of(failed).require_manifest()
    capsys.readouterr()
    assert attempt(workspace, specs, 1, [], worker=True) == []
    assert f"failed: {failed.name}: " in capsys.readouterr().out
    assert workspace.run_of(failed).require_manifest() == before
    assert attempt(workspace, specs, 1, [], retry=True, worker=True) == [failed.name]


def test_marks_are_corrected_by_what_the_files_tell(workspace, tmp_path):
    good, bad = specs = specs_of(tmp_path, toy_suite('"plain", "untrained"'))
    work(workspace, specs)
    remove_marks(workspace.store, workspace.run_of(good))
    (workspace.run_of(bad).folder / "manifest.json").write_text("[")
    marks = trusted_marks(workspace.store)
    assert [item.status for item in plan_runs(workspace, specs, marks)] == ["done", "done"]
    schedule.correct_marks(workspace, plan_runs(workspace, specs))
    marks = trusted_marks(workspace.store)
    assert set(marks) == {workspace.run_of(good).name}
    assert [item.status for item in plan_runs(workspace, specs, marks)] == ["done", "to run"]


@pytest.mark.parametrize(
    ("starts", "achieved", "code"),
    [("1", False, 75), ("2", False, 2), ("2", True, 75), ("", False, 75)],
)
def test_a_job_that_starts_in_vain_is_not_queued_again(monkeypatch, capsys, starts, achieved, code):
    monkeypatch.setenv("SLURM_RESTART_COUNT", starts)
    assert schedule._say_stopped(75, achieved) == code
    message = "give it more time" if code == 2 else "its next start continues"
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("device", "cores", "jobs"), [("cpu", "4", 4), ("cpu", "", 1), ("cuda", "8", 1)]
)
def test_a_worker_uses_the_cores_that_slurm_gave_it(monkeypatch, device, cores, jobs):
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", cores)
    assert schedule._jobs_of_worker(device) == jobs
