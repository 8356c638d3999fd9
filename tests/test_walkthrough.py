"""docs/your-method-in-ten-minutes.md, carried out block by block."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from legible.bench.cli import main as cli

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "your-method-in-ten-minutes.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Reader:
    """Does what the page says, in a folder of its own."""

    def __init__(self, folder: Path, legible: Callable[..., tuple[int, str]]) -> None:
        self.folder, self.legible = folder, legible
        self.file = folder
        self.told = ""
        self.done: list[str] = []

    def follow(self, language: str, text: str) -> None:
        getattr(self, language)(text)
        self.done.append(language)

    def python(self, text: str) -> None:
        """A whole file, named in its first line."""
        name = re.match(r"# (\w+\.(?:py|toml))\n", text)
        if name:
            self.file = self.folder / name[1]
            self.file.write_text(text)

    toml = python

    def diff(self, text: str) -> None:
        """A change of the last file."""
        old = "".join(line[1:] for line in text.splitlines(True) if line.startswith("-"))
        new = "".join(line[1:] for line in text.splitlines(True) if line.startswith("+"))
        before = self.file.read_text()
        assert before.count(old) == 1
        self.file.write_text(before.replace(old, new))

    def sh(self, text: str) -> None:
        """Commands; one marked "# fails" must fail."""
        self.told = ""
        for line in text.splitlines():
            command, _, remark = line.partition("  # ")
            name, *arguments = shlex.split(command)
            assert name == "legible"
            code, told = self.legible(*arguments)
            assert code == (1 if remark == "fails" else 0), told
            self.told += told

    def text(self, text: str) -> None:
        """What the last commands print, among other things and however it is wrapped."""
        told = " ".join(self.told.split())
        for line in text.splitlines():
            assert line in told, self.told


@pytest.fixture
def legible(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    kept_registry: None,
) -> Callable[..., tuple[int, str]]:
    """``legible(*arguments)`` -> exit code and what it printed, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LEGIBLE_DATA", str(tmp_path / "data"))

    def run(*arguments: str) -> tuple[int, str]:
        if arguments[0] in ("run", "publish"):  # long: in a process without type checks
            told = subprocess.run(
                [sys.executable, "-m", "legible", *arguments], cwd=tmp_path,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            return told.returncode, told.stdout + told.stderr
        monkeypatch.setattr(sys, "argv", ["legible", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        printed = capsys.readouterr()
        return int(end.value.code or 0), printed.out + printed.err

    return run


@pytest.mark.slow
def test_the_page_does_what_it_says(
    tmp_path: Path, legible: Callable[..., tuple[int, str]]
) -> None:
    reader = Reader(tmp_path, legible)
    for language, text in BLOCK.findall(PAGE.read_text()):
        reader.follow(language, text)
    assert {language: reader.done.count(language) for language in sorted(set(reader.done))} == {
        "diff": 3, "python": 3, "sh": 7, "text": 6, "toml": 2,
    }  # fmt: skip
    board = (tmp_path / "results" / "mine" / "README.md").read_text()
    assert "one_unit" in board
    assert {"one_unit.py", "unit_gate.py", "my_first.py"} <= {p.name for p in tmp_path.glob("*.py")}

    told = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "test_one_unit.py"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert told.returncode == 0, told.stdout + told.stderr


def test_the_page_stays_short() -> None:
    """Ten minutes, at 200 words a minute with time left to type."""
    assert len(BLOCK.sub("", PAGE.read_text()).split()) < 1200
