"""Publications: killed while they write, and two at once. A publication appears whole or not at
all."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path

from torture.commands import Command, check_text, legible
from torture.outcomes import Outcome
from torture.place import (
    PUBLISH,
    RUN,
    Reference,
    copy_of,
    different,
    left_behind,
    publish_and_compare,
    scratch,
    tables,
)

Case = Callable[[Reference, Path], Outcome]
#: The first publication has one row less, so that nearly every file differs.
SMALL = (*PUBLISH, "--methods", "plain,bean,untrained")
#: What a user put there; it must stay.
MINE = {"figures/mine.png": "mine", "details/notes.md": "mine", "notes.txt": "mine"}


def cases(count: int, seed: int) -> Iterator[Case]:
    """``count`` kills while a publication writes, and a fifth as many of the other cases."""
    numbers = random.Random(seed)
    for number in range(count):
        yield partial(killed, numbers.uniform(0.0, 0.03))
        if number % 5 == 1:
            yield partial(killed_anywhere, numbers.uniform(0.1, 1.0))
            yield two_at_once
            yield partial(one_of_two_killed, numbers.uniform(0.0, 0.03))


@cache
def _with_small(reference: Reference) -> tuple[Path, dict[str, str]]:
    """A place where a smaller table is published, beside a user's files."""
    folder = copy_of(reference, scratch(reference.folder.parent) / "small")
    shutil.rmtree(folder / "results")
    published = legible(folder, *SMALL, "--only-local")
    assert published.code == 0, published.text
    for name, text in MINE.items():
        path = folder / "results" / "tiny" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return folder, tables(folder)


def _place(reference: Reference, folder: Path) -> dict[str, str]:
    template, old = _with_small(reference)
    shutil.copytree(template, folder, symlinks=True)
    return old


def _check(outcome: Outcome, folder: Path, reference: Reference, old: dict[str, str]) -> Outcome:
    """The next command finds the old or the new publication, whole; publishing gives the new."""
    new = reference.tables | MINE
    half = tables(folder)
    journal = (folder / "results" / "tiny" / ".journal").exists()
    whole = not different(half, old) or not different(half, new)
    outcome.require(whole or journal, "silently wrong",
                    f"mixed, without a journal: {_mix(half, old, new)}")  # fmt: skip
    looked = legible(folder, *RUN)
    check_text(outcome, looked)
    outcome.require(looked.code == 0, "other", looked.text[-300:])
    settled = tables(folder)
    whole = not different(settled, old) or not different(settled, new)
    outcome.require(whole, "silently wrong", f"old and new are mixed: {_mix(settled, old, new)}")
    outcome.require(not left_behind(folder), "other", f"left behind: {left_behind(folder)}")
    wanted = Reference(reference.folder, new, reference.seconds)
    publish_and_compare(outcome, folder, wanted)
    outcome.require(not left_behind(folder), "other", f"left behind: {left_behind(folder)}")
    return outcome


def _mix(half: dict[str, str], old: dict[str, str], new: dict[str, str]) -> str:
    return f"not old: {different(half, old)[:3]}, not new: {different(half, new)[:3]}"


def _wait_for_writing(command: Command, folder: Path) -> None:
    lock = folder / "results" / "tiny" / ".lock"
    while command.running() and not lock.exists():
        time.sleep(0.0005)


def killed(delay: float, reference: Reference, folder: Path) -> Outcome:
    """kill -9 some milliseconds after it began to write."""
    outcome = Outcome("publication killed while it writes", f"after {1000 * delay:.1f} ms")
    old = _place(reference, folder)
    command = Command(folder, *PUBLISH)
    _wait_for_writing(command, folder)
    time.sleep(delay)
    command.kill()
    check_text(outcome, command.wait())
    return _check(outcome, folder, reference, old)


def killed_anywhere(share: float, reference: Reference, folder: Path) -> Outcome:
    """kill -9 at any time."""
    outcome = Outcome("publication killed at any time", f"at {share:.2f}")
    old = _place(reference, folder)
    command = Command(folder, *PUBLISH)
    time.sleep(share * 5.0)
    command.kill()
    check_text(outcome, command.wait())
    return _check(outcome, folder, reference, old)


def two_at_once(reference: Reference, folder: Path) -> Outcome:
    """Two publications of the same suite at the same time."""
    outcome = Outcome("two publications at once", "")
    old = _place(reference, folder)
    commands = [Command(folder, *PUBLISH, log=folder / f".output{n}") for n in range(2)]
    for command in commands:
        ended = command.wait()
        check_text(outcome, ended)
        outcome.require(ended.code == 0, "other", ended.text[-300:])
    return _check(outcome, folder, reference, old)


def one_of_two_killed(delay: float, reference: Reference, folder: Path) -> Outcome:
    """Two publications at the same time; the first that writes is killed, the other goes on."""
    outcome = Outcome("one of two publications killed", f"after {1000 * delay:.1f} ms")
    old = _place(reference, folder)
    commands = [Command(folder, *PUBLISH, log=folder / f".output{n}") for n in range(2)]
    _wait_for_writing(commands[0], folder)
    time.sleep(delay)
    commands[0].kill()
    commands[0].wait()
    ended = commands[1].wait()
    check_text(outcome, ended)
    outcome.require(ended.code == 0, "other", ended.text[-300:])
    return _check(outcome, folder, reference, old)
