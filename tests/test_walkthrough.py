"""docs/your-method-in-ten-minutes.md, carried out block by block."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from legible.bench.cli import main as cli

PAGE = Path(__file__).parents[1] / "docs" / "your-method-in-ten-minutes.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: ``legible(*arguments)`` -> exit code and what it printed.
Command = Callable[..., tuple[int, str]]


class Reader:
    """Does what the page says, block by block, in a folder of its own."""

    def __init__(self, folder: Path, legible: Command) -> None:
        self.folder, self.legible = folder, legible
        self.file = folder
        self.printed = ""
        self.blocks: Counter[str] = Counter()

    def follow(self, language: str, text: str) -> None:
        """Carries out one block."""
        getattr(self, language)(text)
        self.blocks[language] += 1

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
        self.printed = ""
        for line in text.splitlines():
            command, _, remark = line.partition("  # ")
            name, *arguments = shlex.split(command)
            assert name == "legible"
            code, printed = self.legible(*arguments)
            assert code == (1 if remark == "fails" else 0), printed
            self.printed += printed

    def text(self, text: str) -> None:
        """What the last commands print, among other things and however it is wrapped."""
        printed = " ".join(self.printed.split())
        for line in text.splitlines():
            assert line in printed, self.printed


def python(*arguments: str, folder: Path) -> tuple[int, str]:
    """Exit code and output of Python in another process, which is quick without type checks."""
    result = subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    return result.returncode, result.stdout + result.stderr


@pytest.fixture
def legible(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    kept_registry: None,
) -> Command:
    """Runs a command in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LEGIBLE_DATA", str(tmp_path / "data"))

    def run(*arguments: str) -> tuple[int, str]:
        if arguments[0] in ("run", "publish"):
            return python("-m", "legible", *arguments, folder=tmp_path)
        monkeypatch.setattr(sys, "argv", ["legible", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        printed = capsys.readouterr()
        return int(end.value.code or 0), printed.out + printed.err

    return run


@pytest.mark.slow
def test_the_page_does_what_it_says(tmp_path: Path, legible: Command) -> None:
    reader = Reader(tmp_path, legible)
    for language, text in BLOCK.findall(PAGE.read_text()):
        reader.follow(language, text)
    assert dict(reader.blocks) == {"sh": 7, "python": 3, "text": 6, "diff": 3, "toml": 2}
    board = (tmp_path / "results" / "mine" / "README.md").read_text()
    assert "one_unit" in board
    assert {"one_unit.py", "unit_gate.py", "my_first.py"} <= {p.name for p in tmp_path.glob("*.py")}
    code, printed = python("-m", "pytest", "-p", "no:cacheprovider", "-q", "test_one_unit.py",
                           folder=tmp_path)  # fmt: skip
    assert code == 0, printed


def test_the_page_stays_short() -> None:
    """Ten minutes, at 200 words a minute with time left to type."""
    assert len(BLOCK.sub("", PAGE.read_text()).split()) < 1200
