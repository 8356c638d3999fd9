"""Many workers on one folder, of two users with different umasks and clocks, that die at random:
every run is done once, and the tables are those of an undisturbed run."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from multiprocessing import popen_fork, resource_tracker
from pathlib import Path

from torture.commands import Command, check_text, import_what_it_needs, legible
from torture.outcomes import Outcome
from torture.place import (
    RUN,
    Reference,
    copy_of,
    left_behind,
    make_place,
    publish_and_compare,
    scratch,
    states,
)
from torture.users import NOBODY

Case = Callable[[Reference, Path], Outcome]
WORKER = (*RUN, "--worker", "--jobs", "1")
DAY = 86400.0


def cases(short: bool, seed: int) -> Iterator[Case]:
    """Four workers in the short form; four and sixteen in the long one."""
    yield partial(random_kills, 4, 6, seed)
    if not short:
        for number in range(3):
            yield partial(random_kills, 16, 30, seed + number)


def random_kills(count: int, kills: int, seed: int, reference: Reference, folder: Path) -> Outcome:
    """Workers are killed, or asked to stop, and others take their places."""
    outcome = Outcome("random kills of workers", f"{count} workers, {kills} kills, seed {seed}")
    make_place(folder)
    if os.geteuid() == 0:
        _import_for(reference)
        _share(folder)
    numbers = random.Random(seed)
    workers = {place: _start(folder, place, 0) for place in range(count)}
    seen: dict[str, set[tuple[int, int]]] = {}
    due = time.monotonic() + numbers.uniform(0.5, 2.0)
    starts = count
    while workers:
        for name, state in states(folder).items():
            seen.setdefault(name, set()).add(state)
        if kills and time.monotonic() >= due:
            kills -= 1
            due = time.monotonic() + numbers.uniform(0.1, 1.5 * reference.seconds / count)
            victim = workers[numbers.choice(sorted(workers))]
            if victim.running():
                victim.kill(numbers.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]))
        for place, worker in list(workers.items()):
            if not worker.running():
                ended = worker.wait()
                check_text(outcome, ended)
                outcome.require(not worker.workers_that_outlive(), "other", "a process outlives")
                del workers[place]
                if ended.code in (-signal.SIGKILL, -signal.SIGTERM, 143):
                    workers[place] = _start(folder, place, starts)
                    starts += 1
                else:
                    outcome.require(ended.code == 0, "other", f"{ended.code}: {ended.text[-300:]}")
        time.sleep(0.02)
    _finish(outcome, folder, reference, seen)
    return outcome


def _start(folder: Path, place: int, number: int) -> Command:
    """A worker; every second one is of another user, whose umask and clock are others."""
    stranger = place % 2 == 1

    def setting() -> None:
        os.umask(0o077 if stranger else 0o022)
        if stranger:
            clock = time.time
            time.time = lambda: clock() - DAY

    user = NOBODY if stranger and os.geteuid() == 0 else 0
    log = folder.parent / f"output-{place}-{number}"
    return Command(folder, *WORKER, user=user, log=log, setting=setting)


def _share(folder: Path) -> None:
    """Gives a folder to the group of the other user."""
    for path in (folder.parent, folder, *folder.rglob("*")):
        os.chown(path, -1, NOBODY)
    for path in (folder.parent, folder):
        path.chmod(0o2775)


@cache
def _import_for(reference: Reference) -> None:
    """Imports and starts all that workers need, which the other user may not be allowed to read."""
    resource_tracker.ensure_running()
    assert popen_fork  # a worker forks where a run ended its process before
    folder = copy_of(reference, scratch(reference.folder.parent) / "workers")
    for path in (folder / "results", *folder.glob("runs/toy*-s0-*")):  # tables stand for runs
        shutil.rmtree(path)
    import_what_it_needs(folder, *WORKER)


def _finish(
    outcome: Outcome, folder: Path, reference: Reference, seen: dict[str, set[tuple[int, int]]]
) -> None:
    """The workers alone have done everything, comparisons of seeds included."""
    redone = [name for name, run_states in seen.items() if len(run_states) > 1]
    outcome.require(not redone, "lost work", f"finished runs were redone: {redone}")
    plan = legible(folder, *RUN, "--dry-run")
    outcome.require("10 done\n" in plan.text, "lost work", plan.text[-300:])
    publish_and_compare(outcome, folder, reference)
    outcome.require(not left_behind(folder), "other", f"left behind: {left_behind(folder)}")
