"""A full disk: every command that writes says path and reason in one line, and loses nothing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tiny_suites import TUNED_SUITE

from torture.commands import Ended, check_text, legible
from torture.flips import SHAPES
from torture.outcomes import Outcome
from torture.place import (
    PUBLISH,
    RUN,
    Reference,
    copy_of,
    different,
    left_behind,
    make_place,
    run_of,
    tables,
)

Case = Callable[[Reference, Path], Outcome]
MIB = 2**20
#: Bytes that are free when a command starts: from nothing to nearly enough.
FREE = (0, 16_384, 131_072, 786_432)
CPU = ("--device", "cpu")


class Situation(NamedTuple):
    """A command on a full disk: what was done before, and whether it may end well because what it
    could not write is not needed."""

    command: Sequence[str]
    before: Sequence[Sequence[str]] = ()
    finished: bool = True  # it starts in a place where the suite is finished
    optional: bool = False
    suite: str = ""


EXPORT = ("export", "tiny.toml", "--origin", "Lab X", "--out", "x.json", *CPU, "--methods",
          "plain,bean")  # fmt: skip
TUNE = ("tune", "tiny.toml", *CPU, "--jobs", "1")
#: What ("rm", ...) removes.
REMOVALS = {"results": "results", "costs": "runs/costs", "scores": "runs/*/scores-*.json"}
CACHED = (*RUN, "--jobs", "1", "--data-root", "data")
SITUATIONS = {
    "run": Situation((*RUN, "--jobs", "1"), finished=False),
    "run, 2 jobs": Situation((*RUN, "--jobs", "2"), finished=False),
    "run, scores alone": Situation((*RUN, "--jobs", "1", "--only-local"), [("rm", "scores")]),
    "publish": Situation(PUBLISH, [("rm", "results")]),
    "publish again": Situation((*PUBLISH, "--methods", "plain,bean,untrained", "--only-local")),
    "publish with costs": Situation([w for w in PUBLISH if w != "--no-cost"], [("rm", "costs")]),
    "export": Situation(EXPORT),
    "merge": Situation(("merge", "tiny.toml", "x.json", *CPU), [EXPORT]),
    "verify": Situation(("verify", "tiny.toml", "x.json", *CPU), [EXPORT]),
    "adopt": Situation(("adopt", "tiny.toml", *CPU), [("age",)], optional=True),
    "show": Situation(("show", "RUNNAME", *CPU, "--plugin", "toy.py", "--plugin", "mine.py")),
    "why": Situation(("why", "RUNNAME", *CPU, "--plugin", "toy.py"), optional=True),
    "new": Situation(("new", "method", "another")),
    "check": Situation(("check", "mine.py"), optional=True),
    "tune": Situation(TUNE, finished=False, suite=TUNED_SUITE),
    "tune, the ledger alone": Situation(TUNE, [TUNE, ("rm", "results")], False, suite=TUNED_SUITE),
    "run, cache of data": Situation(CACHED, finished=False, suite=SHAPES),
}


def cases(short: bool) -> Iterator[Case]:
    """Each situation at each size."""
    for name in ("publish again", "export", "run, cache of data") if short else SITUATIONS:
        for free in FREE[::2] if short else FREE:
            yield partial(full, name, free)


def full(name: str, free: int, reference: Reference, folder: Path) -> Outcome:
    """One command with so many bytes free."""
    outcome = Outcome(f"full disk: {name}", f"{free} bytes free")
    with small_disk(folder, outcome) as mounted:
        if mounted:
            _try(outcome, SITUATIONS[name], free, reference, folder)
    return outcome


@contextmanager
def small_disk(folder: Path, outcome: Outcome) -> Iterator[bool]:
    """A tmpfs of 64 MiB at a folder, if this process may mount one."""
    folder.mkdir(parents=True)
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={64 * MIB}", "tmpfs", folder],
                           capture_output=True, text=True, check=False)  # fmt: skip
    if mount.returncode:
        outcome.skipped = f"no tmpfs can be mounted: {mount.stderr.strip()}"
        yield False
        return
    try:
        yield True
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def _try(
    outcome: Outcome, situation: Situation, free: int, reference: Reference, folder: Path
) -> None:
    here, log = folder / "here", folder.parent / "output"
    if situation.finished:
        copy_of(reference, here)
    else:
        make_place(here, *([situation.suite] if situation.suite else []))
    for words in situation.before:
        _prepare(outcome, here, words, log)
    before = _content(here)
    fill(folder, free)
    name = run_of(here, "untrained").name if situation.finished else ""
    command = [str(word).replace("RUNNAME", name) for word in situation.command]
    ended = legible(here, *command, log=log)
    check_text(outcome, ended)
    _check_refusal(outcome, situation, ended, here)
    _check_old_state(outcome, before, here)
    (folder / "filler").unlink()
    again = legible(here, *command, log=log)
    check_text(outcome, again)
    wanted = (0, 2) if command[0] == "new" and ended.code == 0 else (0,)
    outcome.require(again.code in wanted, "lost work", f"with space again: {again.text[-300:]}")
    left = left_behind(here)
    outcome.require(not left, "other", f"left behind after it worked: {left}")
    if not situation.suite:
        _check_tables(outcome, here, reference, log)


def _check_refusal(outcome: Outcome, situation: Situation, ended: Ended, here: Path) -> None:
    """One line with path and reason and a code that is not 0, unless it fitted."""
    left = left_behind(here)
    outcome.require(not left, "other", f"left behind: {left}")
    if ended.code == 0:
        return
    text = " ".join(ended.errors)
    run_failed = "No space left on device" in ended.text
    outcome.require(len(ended.errors) == 1, "other", f"not one line: {ended.text[-400:]}")
    outcome.require("No space left on device" in text or run_failed, "other",
                    f"no reason: {ended.text[-300:]}")  # fmt: skip
    has_path = any(mark in text for mark in ("/", "x.json", "another.py"))
    outcome.require(has_path, "other", f"no path: {text}")


def _check_old_state(outcome: Outcome, before: dict[str, bytes], here: Path) -> None:
    """Files that were there are there, and published ones are as they were or all new."""
    after = _content(here)
    gone = [name for name in before if name not in after]
    outcome.require(not gone, "lost work", f"files are gone: {gone[:5]}")
    changed = [name for name in before if name in after and before[name] != after[name]]
    runs = [name for name in changed if name.startswith("runs/toy") and "manifest" not in name
            and "scores" not in name]  # fmt: skip
    outcome.require(not runs, "lost work", f"files of runs changed: {runs[:5]}")
    outcome.require(not any(".corrupt-" in name for name in after), "lost work", "set aside")


def _check_tables(outcome: Outcome, here: Path, reference: Reference, log: Path) -> None:
    for submission in here.glob("results/tiny/submissions/*"):
        submission.unlink()
    shutil.rmtree(here / "runs" / "costs", ignore_errors=True)  # pages show those that there are
    run = legible(here, *RUN, "--only-local", log=log)
    outcome.require(run.code == 0, "lost work", f"run: {run.text[-300:]}")
    published = legible(here, *PUBLISH, "--only-local", log=log)
    outcome.require(published.code == 0, "lost work", f"publish: {published.text[-300:]}")
    names = different(tables(here), reference.tables)
    outcome.require(not names, "silently wrong", f"tables differ: {names}")


def _prepare(outcome: Outcome, here: Path, words: Sequence[str], log: Path) -> None:
    """Does what a situation starts from."""
    if words[0] == "rm":
        for path in here.glob(REMOVALS[words[1]]):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    elif words[0] == "age":
        age(here)
    else:
        ended = legible(here, *words, log=log)
        outcome.require(ended.code == 0, "other", f"{words[0]}: {ended.text[-300:]}")


def age(here: Path) -> None:
    """Gives the published runs the names that other code would have given them."""
    folder = here / "results" / "tiny"
    for name in ("publication.json", "provenance.json", "runs.csv"):
        (folder / name).unlink()
    table = folder / "scores.csv"
    table.write_text(re.sub(r"(-s\d)-[0-9a-f]{12}", r"\1-0123456789ab", table.read_text()))


def fill(folder: Path, free: int) -> None:
    """Leaves about so many bytes free on the disk of a folder."""
    filler = folder / "filler"
    with filler.open("wb") as file:
        while True:
            stat = os.statvfs(folder)
            room = stat.f_bavail * stat.f_frsize - free
            if room <= 0:
                break
            try:
                file.write(bytes(min(room, MIB)))
                file.flush()
            except OSError:
                break


def _content(here: Path) -> dict[str, bytes]:
    """All files that a command must keep; logs, locks and marks do not count."""
    return {
        str(path.relative_to(here)): path.read_bytes()
        for path in here.rglob("*")
        if path.is_file() and not {".locks", ".marks"} & {*path.parts}
        and not path.name.startswith(".output")
        and "__pycache__" not in path.parts and path.suffix != ".lock"
    }  # fmt: skip
