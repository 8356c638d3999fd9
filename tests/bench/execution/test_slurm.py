"""Slurm: the options, the script, and what is said to Slurm's commands. test_cluster.py starts a
real Slurm."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from legible.bench.errors import UserError
from legible.bench.execution import slurm
from legible.bench.execution.slurm import (
    QueuedJob,
    SlurmOptions,
    read_options,
    script,
    time_in_seconds,
    worker_command,
)
from legible.bench.execution.store import Store


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """Stands for Slurm's commands: each notes its call and prints what a file of its name holds."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sbatch", "scontrol", "squeue", "scancel"):
        path = folder / name
        path.write_text(
            f'#!/bin/sh\necho "{name} $@" >> "{folder}/calls"\ncat "{folder}/{name}.says"\n'
        )
        path.chmod(0o755)
        (folder / f"{name}.says").write_text("")
    (folder / "sbatch.says").write_text("17;cluster\n")
    (folder / "scontrol.says").write_text("MaxArraySize            = 4\n")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def calls(folder):
    file = folder / "calls"
    return file.read_text().splitlines() if file.exists() else []


# ------------------------------------------------------------- options


def test_options_keep_commas_and_fractions():
    wish = read_options(
        ["partition=gpu,gpus=1,time=2:00:00,workers=16,nodelist=n[1-3],n7,mem=1.5G"]
    )
    assert wish.workers == 16
    assert wish.options == {
        "partition": "gpu", "gpus": "1", "time": "2:00:00", "nodelist": "n[1-3],n7", "mem": "1.5G",
    }  # fmt: skip


def test_an_option_without_value_stands_alone():
    wish = read_options(["exclusive", "partition=a,b"])
    assert wish.options == {"exclusive": None, "partition": "a,b"} and wish.workers == 1


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["Partition=gpu"], "--slurm 'Partition=gpu': write long options of sbatch"),
        ([""], "--slurm '': write long options"),
        (["--partition=gpu"], "write long options"),
        (["partition=a", "partition=b"], "--slurm partition: it is given twice"),
        (["array=0-15"], "give the number of workers instead, like workers=4"),
        (["workers=many"], "--slurm workers=many: write a number from 1 to 100000"),
        (["workers=0"], "write a number from 1"),
        (["comment=a\nb"], "control characters"),
    ],
)
def test_wrong_options_are_one_line(texts, message):
    with pytest.raises(UserError, match=message):
        read_options(texts)
    with pytest.raises(UserError, match="control characters"):
        read_options([], ["module load x\nrm y"])


@pytest.mark.parametrize(
    ("options", "gpu"),
    [({"gpus": "1"}, True), ({"gpus-per-node": "a100:2"}, True), ({"gres": "gpu:1"}, True),
     ({"gres": "license:1"}, False), ({"partition": "gpu"}, False)],
)  # fmt: skip
def test_jobs_that_ask_for_a_gpu(options, gpu):
    assert SlurmOptions(options).wants_gpu is gpu


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 5400), ("2:30", 150), ("2:00:00", 7200), ("1-12", 129600), ("1-12:30", 131400),
     ("1-0:0:5", 86405), ("", None), ("soon", None), ("1:2:3:4", None)],
)  # fmt: skip
def test_times_of_slurm(text, seconds):
    assert time_in_seconds(text) == seconds


# ------------------------------------------------------------- the script


def test_the_script():
    wish = read_options(["partition=gpu,comment=two words,time=10", "exclusive"], ["module load x"])
    text = script("quick", ["py thon", "-m", "legible"], wish, Path("/r/quick.out"), Path("/a b"))
    assert text.splitlines() == [
        "#!/bin/bash",
        "#SBATCH --job-name=legible-quick",
        "#SBATCH --output=/r/quick.out",
        "#SBATCH --open-mode=append",
        "#SBATCH --requeue",
        "#SBATCH --signal=USR1@120",
        "#SBATCH --partition=gpu",
        "#SBATCH --comment='two words'",
        "#SBATCH --time=10",
        "#SBATCH --exclusive",
        "module load x",
        "",
        "cd '/a b' || exit 1",
        "srun --kill-on-bad-exit=0 'py thon' -m legible",
        "code=$?",
        "# 75: stopped near the time limit. The next start goes on from the checkpoints.",
        'if [ "$code" -eq 75 ]; then scontrol requeue "$SLURM_JOB_ID"; fi',
        'exit "$code"',
    ]


def test_own_options_take_the_place_of_ours():
    wish = read_options(["signal=USR1@30,output=x.out,job-name=mine", "no-requeue"])
    lines = script("quick", ["python"], wish, Path("o"), Path("/")).splitlines()
    ours = {line for line in lines if line.startswith("#SBATCH")}
    assert ours == {"#SBATCH --signal=USR1@30", "#SBATCH --output=x.out", "#SBATCH --no-requeue",
                    "#SBATCH --job-name=mine", "#SBATCH --open-mode=append"}  # fmt: skip


@pytest.mark.parametrize(("limit", "notice"), [("1", 12), ("5", 60), ("1-0", 120), ("", 120)])
def test_short_jobs_have_a_short_notice(limit, notice):
    wish = SlurmOptions({"time": limit})
    assert f"--signal=USR1@{notice}\n" in script("x", ["a"], wish, Path("o"), Path("/"))


@pytest.mark.parametrize(("code", "requeues"), [(0, False), (2, False), (75, True), (143, False)])
def test_the_script_queues_again_only_what_stopped_near_its_limit(
    tmp_path, commands, code, requeues
):
    for name, text in (("srun", 'shift; exec "$@"'), ("worker", f"exit {code}")):
        path = commands / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
    text = script("x", ["worker"], SlurmOptions({}), Path("o"), tmp_path)
    result = subprocess.run(["bash", "-c", text], env={**os.environ, "SLURM_JOB_ID": "5"},
                            check=False)  # fmt: skip
    assert result.returncode == code
    assert calls(commands) == (["scontrol requeue 5"] if requeues else [])


def test_the_command_of_a_worker():
    options = {"--seeds": "0,1", "--methods": None, "--plugin": [Path("a.py"), Path("b.py")]}
    words = worker_command("python", "quick", options, {"--only-local": True, "--no": False})
    assert words == ["python", "-m", "legible", "run", "quick", "--worker", "--seeds", "0,1",
                     "--plugin", "a.py", "--plugin", "b.py", "--only-local"]  # fmt: skip


# ------------------------------------------------------------- Slurm's commands


def test_workers_are_submitted_in_arrays_that_are_short_enough(tmp_path, commands):
    store = Store(tmp_path / "runs")
    path, jobs = slurm.submit_workers(store, "quick", ["python"], SlurmOptions({}), 9)
    assert path == tmp_path / "runs" / ".slurm" / "quick-1.sh" and jobs == ["17"] * 3
    assert calls(commands) == [
        "scontrol show config",
        f"sbatch --parsable --array=0-3 {path}",
        f"sbatch --parsable --array=0-3 {path}",
        f"sbatch --parsable --array=0-0 {path}",
    ]
    assert "quick-1.%A_%a.out" in path.read_text()
    assert slurm.submitted_jobs(store, "quick") == ["17"] * 3
    assert slurm.submit_workers(store, "quick", ["a"], SlurmOptions({}), 1)[0].name == "quick-2.sh"
    assert slurm.submitted_jobs(store, "qu") == []


def test_jobs_of_other_suites_are_neither_shown_nor_cancelled(tmp_path, commands):
    store = Store(tmp_path / "runs")
    slurm.submit_workers(store, "quick", ["python"], SlurmOptions({}), 2)
    (commands / "squeue.says").write_text(
        "17|17_0|RUNNING|None\n17|17_1|PENDING|Priority\n16|16|PENDING|Priority\n"
    )
    assert slurm.queued_jobs(store, "quick") == [
        QueuedJob("17_0", "RUNNING", "None"), QueuedJob("17_1", "PENDING", "Priority"),
    ]  # fmt: skip
    assert slurm.queued_jobs(store, "other") == []
    assert slurm.cancel_jobs(store, "quick") == ["17"]
    assert calls(commands)[-1] == "scancel 17"


def test_what_slurm_refuses_is_one_line(tmp_path, commands):
    (commands / "sbatch").write_text(
        "#!/bin/sh\necho 'sbatch: error: invalid partition' >&2\nexit 1"
    )
    with pytest.raises(UserError, match=r"^sbatch: error: invalid partition$"):
        slurm.submit_workers(Store(tmp_path), "quick", ["a"], SlurmOptions({}), 1)


def test_a_machine_without_slurm_is_one_line(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(UserError, match=r"no Slurm on this machine .*; use --jobs N instead"):
        slurm.refuse_missing()
