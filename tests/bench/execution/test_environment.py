"""The environment that is recorded with a result."""

from __future__ import annotations

import os
import shutil
import subprocess
from importlib.metadata import version

import pytest
import torch

from legible.bench.execution import environment
from legible.bench.execution.environment import read_environment


def test_versions_and_hardware_are_those_of_this_process():
    read = read_environment("cpu")
    assert read.packages["torch"] == version("torch")
    assert read.device.startswith("CPU, ")
    facts = read.facts()
    assert facts["torch"] == version("torch") and facts["device"] == read.device
    assert {"python", "commit"} <= set(facts)


def test_a_gpu_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Big GPU")
    assert read_environment.__wrapped__("cuda").device == "Big GPU"


def test_what_is_not_installed_is_unknown(monkeypatch):
    monkeypatch.setattr(environment, "PACKAGES", ("no-such-distribution",))
    assert read_environment.__wrapped__("cpu").packages == {"no-such-distribution": "unknown"}


def test_the_commit_is_unknown_without_git_or_a_repository(monkeypatch, tmp_path):
    def no_git(*args, **options):
        raise FileNotFoundError("git")

    monkeypatch.setattr(environment.subprocess, "run", no_git)
    assert read_environment.__wrapped__("cpu").commit == "unknown"
    monkeypatch.setattr(environment, "__file__", str(tmp_path / "a" / "b" / "c.py"))
    assert read_environment.__wrapped__("cpu").commit == "unknown"


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("git"), reason="needs root and git")
def test_the_commit_of_a_folder_of_another_user_is_known(monkeypatch, tmp_path):
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run([*git, *words], cwd=tmp_path, check=True)
    for path in (tmp_path, *tmp_path.rglob("*")):
        os.chown(path, 65534, 65534)
    status = subprocess.run(
        ["git", "status"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "dubious" in status.stderr
    monkeypatch.setattr(environment, "__file__", str(tmp_path / "a" / "b" / "c.py"))
    assert len(read_environment.__wrapped__("cpu").commit) == 12
