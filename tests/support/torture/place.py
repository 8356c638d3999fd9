"""The suite of ten tiny runs, a folder in which it is finished, and the comparison of tables."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tiny_suites import TOY_PLUGIN, toy_suite

from torture.commands import Command, check_text, legible
from torture.outcomes import Outcome

#: Ten runs: two that edit another run's network, one that is not trained, comparisons of seeds.
SUITE = toy_suite(
    '"plain", "bean", "mine", "untrained", "plain_rotated"', [0, 1], epochs=6,
    aspects='"task", "semantics", "consistency"', top='plugins = ["toy.py", "mine.py"]',
    block='data = {images = 192}',
)  # fmt: skip
MINE = '''
from helper import half
from legible import Method, register


@register
class Mine(Method):
    """Keeps activations small.

    Equation: L = CE + s * mean a / 2. Paper: none. Repository: none. Differences: none.
    """

    target_reason = "is made for tests"

    def penalty(self, step):
        return {"size": half(self.strength) * step.activations[self.taps[0]].mean()}
'''
HELPER = "def half(value):\n    return value / 2\n"
RUN = ("run", "tiny.toml", "--device", "cpu")
PUBLISH = ("publish", "tiny.toml", "--device", "cpu", "--no-cost", "--no-pictures")
#: The files of a publication that show costs.
PAGES = ("README.md", "report.html", "leaderboard.json")
#: What is left of temporary files: of one file, of several together, and their lock and journal.
TEMPORARY = re.compile(r"\.[0-9a-f]{16}\.(part|new)|\.journal|\.lock")
#: Lines that differ between two undisturbed publications: they hold times and dates.
TIMED = re.compile(r"seconds|finished|\d+\.\d+ s\b|\d\d:\d\d:\d\d|^\|[^|]*\|.*\bs\b", re.IGNORECASE)


def make_place(folder: Path, suite: str = SUITE) -> Path:
    """A new folder with the suite and its plugins, and nothing run."""
    folder.mkdir(parents=True)
    (folder / "tiny.toml").write_text(suite)
    shutil.copyfile(TOY_PLUGIN, folder / "toy.py")
    (folder / "mine.py").write_text(MINE)
    (folder / "helper.py").write_text(HELPER)
    return folder


@dataclass(frozen=True, eq=False)
class Reference:
    """An undisturbed place: its folder, its published tables, and how long a run took."""

    folder: Path
    tables: dict[str, str]
    seconds: float


@cache
def reference(root: Path) -> Reference:
    """The suite, run and published without any disturbance."""
    folder = make_place(root / "reference")
    run = legible(folder, *RUN, "--jobs", "1")
    assert run.code == 0, run.text
    publish = legible(folder, *PUBLISH)
    assert publish.code == 0, publish.text
    return Reference(folder, tables(folder), run.seconds)


def copy_of(reference: Reference, folder: Path) -> Path:
    """A copy of the undisturbed folder."""
    shutil.copytree(reference.folder, folder, symlinks=True)
    return folder


def tables(folder: Path) -> dict[str, str]:
    """The published files as text, without the times at which runs were made and the seconds that
    they took, and without the checksums of these; figures as they are."""
    results = folder / "results" / "tiny"
    out = {}
    for path in sorted(results.rglob("*")):
        name = str(path.relative_to(results))
        if not path.is_file() or name in ("cost.csv", "publication.json"):
            continue
        if TEMPORARY.fullmatch(path.name):
            continue
        text = path.read_text(errors="surrogateescape")
        if name in PAGES:
            text = without_times(text)
        elif name in WITHOUT_TIMES:
            text = WITHOUT_TIMES[name](text)
        out[name] = text
    return out


def without_times(text: str) -> str:
    """A page without its cost and the facts about how it was made."""
    return "\n".join(line for line in text.splitlines() if not TIMED.search(line))


def runs_without_times(text: str) -> str:
    """runs.csv without the columns of times; a text that is no such table stays."""
    try:
        head, *lines = csv.reader(io.StringIO(text), strict=True)
        rows = [dict(zip(head, line, strict=True)) for line in lines]
    except (ValueError, csv.Error):
        return text
    return json.dumps([{k: v for k, v in row.items() if k not in TIMES} for row in rows])


def provenance_without_times(text: str) -> str:
    """provenance.json without the checksums that cover times; a text that is not JSON stays."""
    try:
        value = json.loads(text)
        value["checksum"] = value["files"]["runs.csv"] = value["files"]["cost.csv"] = ""
    except (ValueError, KeyError, TypeError):
        return text
    return json.dumps(value, sort_keys=True)


#: The columns of runs.csv that hold times.
TIMES = ("finished", "train_seconds", "score_seconds")
WITHOUT_TIMES = {"runs.csv": runs_without_times, "provenance.json": provenance_without_times}


def different(first: dict[str, str], second: dict[str, str]) -> list[str]:
    """The names of files that two publications do not have in common."""
    return sorted(n for n in {*first, *second} if first.get(n) != second.get(n))


def publish_and_compare(outcome: Outcome, folder: Path, reference: Reference) -> None:
    """Publishes, and notes where the tables differ from the undisturbed ones."""
    published = legible(folder, *PUBLISH)
    outcome.require(published.code == 0, "other", f"publish ended with {published.code}: "
                    f"{published.text[-300:]}")  # fmt: skip
    check_text(outcome, published)
    if published.code == 0:
        names = different(tables(folder), reference.tables)
        outcome.require(not names, "silently wrong", f"tables differ: {', '.join(names)}")


def left_behind(folder: Path) -> list[str]:
    """Temporary files below a folder."""
    return sorted(str(p.relative_to(folder)) for p in folder.rglob(".*")
                  if TEMPORARY.fullmatch(p.name) and ".locks" not in p.parts)  # fmt: skip


def run_folders(folder: Path) -> Iterator[Path]:
    """The folders of runs, without those that were set aside."""
    for path in sorted((folder / "runs").glob("toy*")):
        if ".corrupt-" not in path.name:
            yield path


def run_of(folder: Path, method: str) -> Path:
    """The folder of the first seed's run of a method."""
    return next((folder / "runs").glob(f"toy*-{method}-s0-*"))


def states(folder: Path) -> dict[str, tuple[int, int]]:
    """The weights of each finished run as they lie on disk: a run that is redone changes them."""
    out = {}
    for run in run_folders(folder):
        weights = run / "network.safetensors"
        if (run / "manifest.json").is_file() and weights.is_file():
            stat = weights.stat()
            out[run.name] = (stat.st_ino, stat.st_mtime_ns)
    return out


def unfinished(folder: Path, reference: Reference) -> Path:
    """A place whose first run was killed after its first checkpoint, which lies there."""
    make_place(folder)
    command = Command(folder, *RUN, "--jobs", "1")
    while not list(folder.glob("runs/*/training.safetensors")) and command.running():
        time.sleep(0.002)
    command.kill()
    command.wait()
    command.workers_that_outlive()
    return folder


def scratch(root: Path) -> Path:
    """A folder of this process for places that several of its cases copy."""
    folder = root / f"shared-{os.getpid()}"
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)
    return folder
