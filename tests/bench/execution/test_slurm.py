"""Slurm: what is submitted, and what is refused. No cluster is needed."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest
from tiny_suites import TOY_PLUGIN, specs_of, toy_suite, work

from legible.bench.errors import UserError
from legible.bench.execution.slurm import submit


class Executor:
    """Does each task at once, as a job of its own."""

    refuses = ""
    made: list["Executor"] = []

    def __init__(self, folder, cluster=None):
        self.cluster, self.parameters = cluster, {}
        Executor.made.append(self)

    def update_parameters(self, **parameters):
        if self.refuses in parameters:
            raise TypeError(f"unknown parameter {self.refuses}")
        self.parameters = parameters

    def map_array(self, function, *columns):
        tasks = list(zip(*columns, strict=True))
        for task in tasks:
            function(*task)
        return [SimpleNamespace(job_id=f"7_{i}") for i in range(len(tasks))]


@pytest.fixture
def executor(monkeypatch):
    """Stands for submitit on a machine that has Slurm."""
    module = ModuleType("submitit")
    module.AutoExecutor = Executor
    monkeypatch.setitem(sys.modules, "submitit", module)
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/srun")
    monkeypatch.setattr(Executor, "made", [])
    return Executor


def test_runs_that_are_not_done_become_tasks(executor, workspace, tmp_path, capsys):
    specs = specs_of(tmp_path, toy_suite('"plain", "untrained", "dropout"'))
    work(workspace, specs[:1])
    submit(workspace, specs, [TOY_PLUGIN], "partition=gpu,timeout_min=60")
    assert "submitted 2 runs: 7_0 ... 7_1" in capsys.readouterr().out
    parameters = executor.made[0].parameters
    assert parameters == {"partition": "gpu", "timeout_min": 60, "cpus_per_task": 2}
    assert all(workspace.run_of(spec).done() for spec in specs)
    submit(workspace, specs, [TOY_PLUGIN], "partition=gpu")
    assert "nothing to run" in capsys.readouterr().out and len(executor.made) == 1


def test_failed_runs_are_submitted_again_on_request(executor, workspace, tmp_path, capsys):
    text = toy_suite('"plain", {name = "activation_l1", strength = 1e39}')
    specs = specs_of(tmp_path, text)
    work(workspace, specs)
    submit(workspace, specs, [TOY_PLUGIN], "partition=gpu")
    assert "nothing to run" in capsys.readouterr().out
    submit(workspace, specs, [TOY_PLUGIN], "partition=gpu", retry=True)
    assert "submitted 1 runs" in capsys.readouterr().out


def test_cluster_is_the_executor_s(executor, workspace, tmp_path):
    submit(workspace, specs_of(tmp_path, toy_suite()), [TOY_PLUGIN], "cluster=local")
    assert executor.made[0].cluster == "local"
    assert "cluster" not in executor.made[0].parameters


def test_options_are_pairs(workspace):
    with pytest.raises(UserError, match="takes KEY=VALUE pairs, like partition=gpu, not 'gpu'"):
        submit(workspace, [], [], "gpu")


def test_an_option_that_slurm_does_not_know_is_one_line(executor, workspace, tmp_path, monkeypatch):
    monkeypatch.setattr(executor, "refuses", "colour")
    with pytest.raises(UserError, match="--slurm: unknown parameter colour"):
        submit(workspace, specs_of(tmp_path, toy_suite()), [TOY_PLUGIN], "colour=red")


def test_a_machine_without_slurm_is_one_line(executor, workspace, tmp_path, monkeypatch):
    """submitit alone would start a process for each run on this machine."""
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(UserError, match=r"no Slurm on this machine .*; use --jobs N instead"):
        submit(workspace, specs_of(tmp_path, toy_suite()), [TOY_PLUGIN], "partition=gpu")


def test_submitit_that_is_not_installed_is_one_line(workspace, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(UserError, match=r"pip install 'legible-bench\[slurm\]'"):
        submit(workspace, specs_of(tmp_path, toy_suite()), [TOY_PLUGIN], "partition=gpu")
