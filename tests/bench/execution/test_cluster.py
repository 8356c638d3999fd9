"""A suite on a cluster: what is submitted, and a real Slurm whose jobs and node are killed."""

from __future__ import annotations

import grp
import os
import pwd
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from one_node_slurm import OneNodeSlurm, obstacle, wait_for
from tiny_suites import TOY_PLUGIN, specs_of, toy_suite, work, write_suite
from torture.place import states

from legible.bench.cli import main as cli
from legible.bench.execution.cluster import device_of_jobs, seen_from, submit
from legible.bench.execution.pool import run_parallel
from legible.bench.execution.presence import living_workers, present
from legible.bench.execution.schedule import plan_runs
from legible.bench.execution.slurm import SlurmOptions, submitted_jobs
from legible.bench.execution.store import TRAINING, Store
from legible.bench.execution.workspace import Workspace
from legible.bench.scores.collect import score_table

FAILS = '{name = "activation_l1", strength = 1e39}'
#: Nine runs of some seconds, two kinds of which need another run.
SUITE = toy_suite(
    '"plain", "dropout", "plain_rotated"', [0, 1, 2], epochs=12, aspects='"task", "consistency"',
    top=f'plugins = ["{TOY_PLUGIN}"]', block="data = {images = 480}",
)  # fmt: skip


# ------------------------------------------------------------- without Slurm


@pytest.fixture
def sbatch(tmp_path, monkeypatch):
    """Stands for Slurm on a machine that has it: all jobs get the number 7."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in (("sbatch", "echo 7"), ("scontrol", "echo MaxArraySize = 100")):
        (folder / name).write_text(f'#!/bin/sh\necho "{name} $@" >> "{folder}/calls"\n{text}\n')
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder / "calls"


def command(device):
    return ["worker", "--device", device]


def test_no_more_workers_than_runs(sbatch, workspace, tmp_path, capsys):
    specs = specs_of(tmp_path, toy_suite('"plain", "untrained", "dropout"'))
    work(workspace, specs[:1])
    submit(workspace, "tiny", specs, SlurmOptions({}, workers=16), "cpu", command)
    assert "submitted 2 workers for 2 runs: Slurm job 7," in capsys.readouterr().out
    assert "--array=0-1 " in sbatch.read_text()
    work(workspace, specs)
    submit(workspace, "tiny", specs, SlurmOptions({}), "cpu", command)
    assert "nothing to run on cpu" in capsys.readouterr().out


def test_failed_runs_are_submitted_again_on_request(sbatch, workspace, tmp_path, capsys):
    specs = specs_of(tmp_path, toy_suite(f'"plain", {FAILS}'))
    work(workspace, specs)
    submit(workspace, "tiny", specs, SlurmOptions({}), "cpu", command)
    assert "nothing to run" in capsys.readouterr().out
    submit(workspace, "tiny", specs, SlurmOptions({}), "cpu", command, retry=True)
    assert "submitted 1 worker for 1 runs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("device", "options", "expected"),
    [("auto", {"gpus": "1"}, "cuda"), ("auto", {}, "auto"), ("cpu", {"gpus": "1"}, "cpu"),
     ("cuda", {}, "cuda")],
)  # fmt: skip
def test_a_login_node_without_a_gpu_sends_no_job_to_the_cpu(
    sbatch, workspace, tmp_path, device, options, expected
):
    specs = specs_of(tmp_path, toy_suite())
    work(workspace, specs)  # on the CPU; a GPU has other runs
    wish = SlurmOptions(options)
    assert device_of_jobs(device, wish) == expected
    submit(workspace, "tiny", specs, wish, device, command)
    (script,) = (workspace.store.root / ".slurm").glob("*.sh") if expected == "cuda" else [None]
    if script is not None:
        assert "worker --device cuda\n" in script.read_text()


def test_another_machine_s_runs_have_the_names_that_they_have_there(workspace, tmp_path):
    (spec,) = specs_of(tmp_path, toy_suite())
    there = seen_from(workspace, [spec], "cuda")
    assert there.identity(spec) == workspace.identity(spec) | {"device": "cuda"}
    assert plan_runs(there, [spec])[0].status == "to run"
    assert seen_from(workspace, [spec], "cpu").run_of(spec).name == workspace.run_of(spec).name


def test_a_worker_leaves_what_others_hold(workspace, tmp_path, capsys):
    """With `wait` the pool looks again until the run is free."""
    specs = specs_of(tmp_path, toy_suite('"plain", "untrained"'))
    held = workspace.run_of(specs[0])
    with workspace.store.lock(held):
        events = []
        run_parallel(workspace, specs, 1, [TOY_PLUGIN], events.append, wait=False)
        assert {event.run for event in events if event.kind == "done"} == {specs[1].name}
    assert not held.folder.exists()


def test_cancel_ends_a_worker_of_this_machine(workspace, tmp_path, monkeypatch, capsys, toy_plugin):
    path = write_suite(tmp_path, SUITE)
    (spec, *_) = specs = specs_of(tmp_path, SUITE)
    arrived = []
    before = signal.signal(signal.SIGTERM, lambda *_: arrived.append(1))
    monkeypatch.chdir(tmp_path)
    try:
        with present(workspace.store, "cpu") as here:
            here.note.runs[workspace.run_of(spec).name] = "2026"
            here.write()
            legible(monkeypatch, "cancel", path)
        wait_for(lambda: arrived, 5)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert f"({os.getpid()})" in capsys.readouterr().out
    legible(monkeypatch, "cancel", path)
    assert "no worker of tiny works or waits" in capsys.readouterr().out
    assert len(specs) == 9


def legible(monkeypatch, *words):
    """Runs a command in this process; it must succeed."""
    monkeypatch.setattr("sys.argv", ["legible", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert not end.value.code


# ------------------------------------------------------------- a real Slurm


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    if reason := obstacle():
        pytest.skip(reason)
    cluster = OneNodeSlurm(tmp_path_factory.mktemp("slurm"))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def place(cluster, tmp_path, monkeypatch, toy_plugin):
    """A folder with the suite, for commands that see the cluster; no job is left after it."""
    monkeypatch.chdir(tmp_path)
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    write_suite(tmp_path, SUITE)
    yield tmp_path
    for job in cluster.states():
        cluster.call("scancel", job)
    wait_for(lambda: not cluster.states())


class Watch:
    """Sees all states of finished runs, from the start to the end of the block."""

    def __init__(self, folder):
        self.folder, self.seen, self.over = folder, {}, threading.Event()
        self.thread = threading.Thread(target=self._look, daemon=True)

    def _look(self):
        while not self.over.wait(0.05):
            for name, state in states(self.folder).items():
                self.seen.setdefault(name, set()).add(state)

    def __enter__(self):
        self.thread.start()
        return self.seen

    def __exit__(self, *error):
        self.over.set()
        self.thread.join()


def checkpoints(folder):
    return list(folder.glob(f"runs/*/{TRAINING}"))


def works(folder, job):
    """The processes of the workers that do a run now; all jobs begin with ""."""
    notes = living_workers(Store(folder / "runs"))
    return [note.pid for note in notes if note.runs and note.job.startswith(job)]


def status(monkeypatch, capsys):
    """What `legible status` prints; between two runs a worker does none."""
    capsys.readouterr()
    legible(monkeypatch, "status", "tiny.toml")
    return capsys.readouterr().out


def output(folder):
    return "".join(path.read_text() for path in sorted(folder.glob("runs/.slurm/*.out")))


@pytest.mark.slow
def test_killed_jobs_and_nodes_lose_nothing(cluster, place, monkeypatch, capsys):
    """Five workers where an array may have four: one is warned of its time limit, one is killed,
    and then the node dies with all jobs on it."""
    with Watch(place) as seen:
        legible(monkeypatch, "run", "tiny.toml", "--slurm", "partition=main,time=9,workers=5")
        assert "submitted 5 workers for 9 runs: Slurm jobs " in capsys.readouterr().out
        first, _ = submitted_jobs(Store(place / "runs"), "tiny")
        wait_for(lambda: checkpoints(place), 120)
        cluster.call("scancel", "--signal=USR1", f"{first}_0")
        wait_for(lambda: "stopped near the job's time limit" in output(place), 60)
        wait_for(lambda: works(place, f"{first}_1"), 120)
        os.kill(works(place, f"{first}_1")[0], signal.SIGKILL)
        wait_for(lambda: f"{first}_1" not in cluster.states(), 60)
        running = re.compile(rf"running: toy\S+ on \S+ \(Slurm job {first}_\d\) since 20")
        wait_for(lambda: running.search(status(monkeypatch, capsys)), 120)
        cluster.kill_node()
        cluster.start_node()
        wait_for(lambda: not cluster.states(), 300)
    text = output(place)
    assert "Traceback" not in text and "set aside" not in text, text
    specs = specs_of(place, SUITE)
    workspace = Workspace(Store(place / "runs"))
    assert [item.status for item in plan_runs(workspace, specs)] == ["done"] * 9, text
    assert all(len(seen_states) == 1 for seen_states in seen.values()) and len(seen) == 9
    assert "tiny on cpu: 9 done, 0 running, 0 failed, 0 left\n" in status(monkeypatch, capsys)
    alone = Workspace(Store(place / "alone"))
    work(alone, specs)
    work(alone, specs)  # compares seeds
    assert score_table(workspace, specs).equals(score_table(alone, specs))


@pytest.mark.slow
def test_cancelled_workers_stop_at_a_checkpoint(cluster, place, monkeypatch, capsys):
    legible(monkeypatch, "run", "tiny.toml", "--slurm", "partition=main,workers=2,comment=a b,c",
            "--slurm", "exclusive=user", "--slurm-setup", "export LEGIBLE_GREETING=hello",
            "--slurm-setup", "echo $LEGIBLE_GREETING")  # fmt: skip
    (job,) = submitted_jobs(Store(place / "runs"), "tiny")
    shown = cluster.call("scontrol", "show", "job", f"{job}_0")
    assert "Requeue=1" in shown and "Comment=a b,c" in shown
    wait_for(lambda: checkpoints(place), 120)
    capsys.readouterr()
    legible(monkeypatch, "cancel", "tiny.toml")
    assert capsys.readouterr().out == f"cancelled: Slurm job {job}\n"
    wait_for(lambda: not cluster.states(), 60)
    time.sleep(1)
    assert checkpoints(place) and not cluster.states()
    text = output(place)
    assert "stopped by SIGTERM" in text and text.startswith("hello\n")
    assert "no worker works or waits" in status(monkeypatch, capsys)
    assert living_workers(Store(place / "runs")) == []


def legible_as(user, *words):
    """What a command prints for another user of this folder's group, whose umask hides all."""
    done = subprocess.run(
        [sys.executable, "-m", "legible", *words], capture_output=True, text=True, timeout=120,
        user=user, group=Path().stat().st_gid, extra_groups=[], umask=0o077,
        env={**os.environ, "MPLCONFIGDIR": str(Path.cwd() / user)},
    )  # fmt: skip
    assert not done.returncode, done.stderr
    return done.stdout


@pytest.mark.slow
def test_two_users_of_a_group_share_the_runs(cluster, place):
    """Each submits workers for the same runs; what one begins the other may go on with."""
    users, group = ("games", "mail"), grp.getgrnam("games").gr_gid
    if subprocess.run(["test", "-x", sys.executable], user=users[0], check=False).returncode:
        pytest.skip(f"other users may not run {sys.executable}")
    for folder in (place, *place.parents, cluster.folder):
        if folder.name.startswith(("pytest-", "popen-", place.name, cluster.folder.name)):
            folder.chmod(0o755)
    (place / "runs").mkdir()
    for folder in (place, place / "runs"):
        os.chown(folder, -1, group)
        folder.chmod(0o2775)
    write_suite(place, SUITE.replace("epochs = 12", "epochs = 40"))
    with Watch(place) as seen:
        for user in users:
            words = ("--slurm", "partition=main,time=9,workers=1", "--slurm", "hold")
            out = legible_as(user, "run", "tiny.toml", *words)
            assert "submitted 1 worker for 9 runs" in out
        for job in cluster.states():
            cluster.call("scontrol", "release", job)
        wait_for(lambda: len(works(place, "")) == 2, 120)
        dead = works(place, "")[0]
        owner = Path(f"/proc/{dead}").stat().st_uid
        os.kill(dead, signal.SIGKILL)
        wait_for(lambda: not cluster.states(), 300)
    text = output(place)
    assert "Traceback" not in text and "set aside" not in text and "denied" not in text, text
    assert all(len(seen_states) == 1 for seen_states in seen.values()) and len(seen) == 9, text
    for user in users:
        out = legible_as(user, "status", "tiny.toml")
        assert "9 done, 0 running, 0 failed, 0 left" in out
    files = [path for path in (place / "runs").rglob("*") if path.is_file()]
    assert {path.stat().st_gid for path in files} == {group}
    assert {pwd.getpwuid(path.stat().st_uid).pw_name for path in files} == set(users)
    assert owner in {pwd.getpwnam(user).pw_uid for user in users}
