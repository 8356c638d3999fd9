"""The command `legible` in this process, and a folder in which a tiny suite has run."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_suites import TOY_PLUGIN, toy_suite, write_suite

from legible.bench.cli import main as cli
from legible.bench.cli.app import COMMANDS

TINY = toy_suite(
    '"plain", "sync", "untrained", "plain_rotated", "bean"', [0, 1], epochs=2,
    aspects='"task", "focus", "semantics"', top=f'plugins = ["{TOY_PLUGIN}"]',
)  # fmt: skip
ON_A_DEVICE = set(COMMANDS) - {"list", "new", "check", "cancel"}
#: ``legible(*arguments)`` -> exit code, stdout, stderr.
Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def legible(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command on the CPU in this process."""

    def run(*arguments: object) -> tuple[int, str, str]:
        words = ["legible", *map(str, arguments)]
        if words[1] in ON_A_DEVICE and not {"--device", "--help"} & set(words):
            words += ["--device", "cpu"]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as end:
            cli.main()
        printed = capsys.readouterr()
        return int(end.value.code or 0), printed.out, printed.err

    return run


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder in which `legible run` has done a tiny suite, and what it printed."""
    folder = tmp_path_factory.mktemp("work")
    write_suite(folder, TINY)
    result = subprocess.run(
        [sys.executable, "-m", "legible", "run", "tiny.toml", "--jobs", "2", "--device", "cpu"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    return folder, result.stdout


@pytest.fixture
def here(finished: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the folder with finished runs, as the working directory."""
    folder = tmp_path / "here"
    shutil.copytree(finished[0], folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def empty(tmp_path: Path, toy_plugin: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the tiny suite and no runs, as the working directory."""
    write_suite(tmp_path, TINY)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run_folder(here: Path) -> Callable[[str], Path]:
    """``run_folder("bean-s0")`` -> the folder of that finished run."""

    def find(name: str) -> Path:
        (folder,) = [p for p in Path("runs").iterdir() if re.search(rf"-{name}-\w+$", p.name)]
        return folder

    return find
