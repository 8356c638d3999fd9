"""Worker processes: the results of one process, and a run that ends its process is named."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tiny_suites import TOY_PLUGIN, specs_of, toy_suite, work, write_suite

from legible.bench.errors import UserError
from legible.bench.execution import pool
from legible.bench.execution.pool import Start, open_in_process, run_parallel
from legible.bench.execution.schedule import attempt, plan_runs
from legible.bench.execution.store import Run, Store
from legible.bench.execution.workspace import Workspace
from legible.bench.plugins import registry

CRASH = "import os\nimport multiprocessing\nif multiprocessing.parent_process():\n    os._exit(7)\n"

ENDS = '''
import os, signal, sys, time
from pathlib import Path
from legible import Method, register

@register
class Ends(Method):
    """Ends its process."""

    def penalty(self, step):
        with (Path(__file__).parent / "calls").open("a") as calls:
            calls.write("x")
        {end}
        return {{}}
'''


def ending(folder: Path, end: str) -> Path:
    """A plugin file with a method `ends` whose penalty does something."""
    file = folder / "ends.py"
    file.write_text(ENDS.format(end=end))
    registry.load(plugins=[file])
    return file


def calls(folder: Path) -> int:
    """How often the penalty of `ends` was called."""
    return len((folder / "calls").read_text())


def test_a_new_process_opens_the_same_workspace(workspace, tmp_path):
    start = Start(workspace.store.root, "cpu", workspace.root, [TOY_PLUGIN], {})
    (spec,) = specs_of(tmp_path, toy_suite())
    assert open_in_process(start).run_of(spec).name == workspace.run_of(spec).name


@pytest.mark.slow
def test_without_forks_one_process_imports_all_and_makes_the_workers(workspace):
    start = Start(workspace.store.root, "cpu", workspace.root, [], {})
    workers = [pool._spawn(start) for _ in range(2)]
    try:
        assert [worker.pipe.recv().kind for worker in workers] == ["ready", "ready"]
        status = [Path(f"/proc/{worker.process.pid}/status").read_text() for worker in workers]
        parents = {re.search(r"PPid:\s+(\d+)", text)[1] for text in status}
        assert len(parents) == 1 and parents != {str(os.getpid())}
    finally:
        for worker in workers:
            worker.end()


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_other_processes_give_the_weights_of_this_one(workspace, tmp_path, jobs):
    specs = specs_of(tmp_path, toy_suite('"plain", "dropout", "plain_rotated"', [0, 1]))
    assert attempt(workspace, specs, jobs, [TOY_PLUGIN]) == []
    alone = Workspace(Store(tmp_path / "alone"))
    work(alone, specs)
    for spec in specs:
        first, second = (place.run_of(spec).weights("cpu") for place in (workspace, alone))
        assert all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.slow
def test_processes_that_cannot_start_are_an_error_of_one_line(workspace, tmp_path, monkeypatch):
    monkeypatch.setattr(pool, "can_fork", lambda: False)  # fresh processes import the plugin
    (tmp_path / "crash.py").write_text(CRASH)
    specs = specs_of(tmp_path, toy_suite('"plain"', [0, 1]))
    with pytest.raises(UserError, match="a worker process left with exit code 7 before its first"):
        run_parallel(workspace, specs, 2, [tmp_path / "crash.py"], lambda event: None)


@pytest.mark.parametrize(
    ("end", "cause"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", r"was killed by SIGKILL \(signal 9; out of mem"),
        ("os.abort()", r"was killed by SIGABRT \(signal 6\)"),
        ("os._exit(0)", "left with exit code 0"),
        ("(os.closerange(3, 999), time.sleep(60))", "was killed by SIGKILL"),
    ],
)
def test_a_run_that_ends_its_process_is_recorded_and_the_others_finish(
    workspace, tmp_path, kept_registry, capfd, end, cause
):
    file = ending(tmp_path, end)
    first, second, last = specs = specs_of(tmp_path, toy_suite('"ends", "plain", "dropout"'))
    assert attempt(workspace, specs, 1, [file]) == [first.name]
    out = capfd.readouterr().out
    assert f"note: {first.name}: its worker" in out and "tried once more at the end" in out
    manifest = workspace.run_of(first).require_manifest()
    assert (manifest.status, manifest.final) == ("failed", True)
    assert re.search(cause, manifest.reason) and "--retry" in manifest.reason
    assert workspace.run_of(second).done() and workspace.run_of(last).done()
    assert calls(tmp_path) == 2
    assert attempt(workspace, specs, 1, [file]) == [first.name]  # the next call leaves it alone
    assert calls(tmp_path) == 2 and manifest.reason in capfd.readouterr().out
    assert attempt(workspace, specs, 1, [file], retry=True) == [first.name]
    assert calls(tmp_path) == 4


@pytest.mark.slow
def test_a_worker_of_several_that_dies_is_replaced(workspace, tmp_path, kept_registry):
    file = ending(tmp_path, "os.kill(os.getpid(), signal.SIGKILL)")
    specs = specs_of(tmp_path, toy_suite('"ends", "plain"', [0, 1, 2]))
    ends = [spec for spec in specs if spec.method == "ends"]
    assert sorted(attempt(workspace, specs, 2, [file, TOY_PLUGIN])) == sorted(s.name for s in ends)
    statuses = {(item.spec.method, item.status) for item in plan_runs(workspace, specs)}
    assert statuses == {("ends", "failed"), ("plain", "done")}


def test_a_worker_that_is_killed_once_costs_nothing(workspace, tmp_path, kept_registry):
    once = "(Path(__file__).parent / 'calls').read_text() == 'x' and os.kill(os.getpid(), 9)"
    file = ending(tmp_path, once)
    (spec,) = specs_of(tmp_path, toy_suite('"ends"'))
    assert attempt(workspace, [spec], 1, [file]) == []
    alone = Workspace(Store(tmp_path / "alone"))
    work(alone, [spec])
    first, second = (place.run_of(spec).weights("cpu") for place in (workspace, alone))
    assert all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.parametrize("end", ["sys.exit(0)", "raise KeyboardInterrupt", "raise GeneratorExit"])
def test_leaving_with_an_exception_is_a_failure_of_the_run(
    workspace, tmp_path, kept_registry, capfd, end
):
    file = ending(tmp_path, end)
    first, second = specs = specs_of(tmp_path, toy_suite('"ends", "plain"'))
    assert attempt(workspace, specs, 1, [file]) == [first.name]
    assert workspace.run_of(second).done() and "Traceback" not in capfd.readouterr().err
    manifest = workspace.run_of(first).require_manifest()
    assert manifest.status == "failed" and not manifest.final


def test_a_process_that_a_plugin_forks_is_no_worker(workspace, tmp_path, kept_registry):
    file = ending(tmp_path, "os.fork()")
    specs = specs_of(tmp_path, toy_suite('"ends", "plain"'))
    assert attempt(workspace, specs, 1, [file]) == []
    assert all(workspace.run_of(spec).done() for spec in specs)


# ----------------------------------------------------------------- a whole command


COUNTS = '''
from pathlib import Path
from legible import Method, register

@register
class Counts(Method):
    """Writes a letter where an epoch begins."""

    def start_epoch(self, network, split, epoch):
        with (Path(__file__).parent / "epochs").open("a") as epochs:
            epochs.write("x")
'''


def command(folder: Path, jobs: int) -> subprocess.Popen[str]:
    """`legible run` of a suite whose runs take minutes, some epochs after a checkpoint."""
    (folder / "counts.py").write_text(COUNTS)
    text = toy_suite('"counts", "dropout"', epochs=100_000).replace(
        "title =", f'plugins = ["{TOY_PLUGIN}", "counts.py"]\ntitle ='
    )
    suite = write_suite(folder, text)
    process = subprocess.Popen(
        [sys.executable, "-m", "legible.bench.cli.main", "run", str(suite), "--jobs", str(jobs),
         "--device", "cpu"],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_for(lambda: len(checkpoints(folder)) >= jobs)
    first = begun(folder)
    wait_for(lambda: begun(folder) > first + 5)
    return process


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of the runs of a folder."""
    return list(folder.glob("runs/*/training.safetensors"))


def begun(folder: Path) -> int:
    """How many epochs of `counts` began."""
    return len((folder / "epochs").read_text())


def wait_for(condition, seconds: float = 120.0) -> None:
    """Waits until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def children(process: subprocess.Popen[str]) -> list[int]:
    """The processes that a process started and that are still there."""
    path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    own = [int(number) for number in path.read_text().split()]
    threads = Path(f"/proc/{process.pid}/task").glob("*/children")
    return sorted({*own, *(int(number) for file in threads for number in file.read_text().split())})


def alive(number: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs Linux")
@pytest.mark.parametrize("jobs", [1, 2])
class TestSignals:
    def test_sigterm_ends_at_a_checkpoint_and_says_so(self, tmp_path, jobs):
        process = command(tmp_path, jobs)
        workers = children(process)
        finished = begun(tmp_path) - 1
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 143
        assert err.count("\n") == 1 and "stopped by SIGTERM" in err
        wait_for(lambda: not any(map(alive, workers)), seconds=10)
        (file,) = [file for file in checkpoints(tmp_path) if "counts" in file.parent.name]
        state = Run(file.parent).state("cpu")
        assert finished <= state.epoch <= begun(tmp_path)
        assert not list(tmp_path.glob("runs/*/.*"))

    def test_no_worker_outlives_its_parent(self, tmp_path, jobs):
        process = command(tmp_path, jobs)
        workers = children(process)
        assert len(workers) >= jobs
        os.kill(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)
        wait_for(lambda: not any(map(alive, workers)), seconds=10)
