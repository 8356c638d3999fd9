"""Kills: a command or a worker ends at a random time; the next call finishes as if undisturbed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from torture.commands import Command, check_text, legible
from torture.outcomes import Outcome
from torture.place import (
    RUN,
    Reference,
    left_behind,
    make_place,
    publish_and_compare,
    states,
)

Case = Callable[[Reference, Path], Outcome]


def cases(count: int, seed: int) -> Iterator[Case]:
    """``count`` cases of each kind, at times drawn from a seed."""
    random_numbers = random.Random(seed)
    for number in range(count):
        for jobs in (1, 2):
            share = random_numbers.uniform(0.05, 1.0)
            yield partial(parent_killed, jobs, share)
            if number % 3 == 0:
                yield partial(worker_killed, jobs, random_numbers.uniform(0.2, 0.9))
                yield partial(terminated, jobs, random_numbers.uniform(0.1, 0.9))
        if number % 3 == 1:
            yield partial(interrupted, random_numbers.uniform(0.1, 0.9))
        if number % 3 == 2:
            yield partial(interrupted_early, random_numbers.uniform(0.3, 8.0))


def duration(reference: Reference, jobs: int) -> float:
    """About how long a run takes; two workers first import everything."""
    return reference.seconds if jobs == 1 else 10 + 0.6 * reference.seconds


def parent_killed(jobs: int, share: float, reference: Reference, folder: Path) -> Outcome:
    """kill -9 of the command itself."""
    outcome = Outcome(f"kill -9 of the command, {jobs} job{'s'[: jobs > 1]}", f"at {share:.2f}")
    make_place(folder)
    command = Command(folder, *RUN, "--jobs", jobs)
    _wait(command, share * duration(reference, jobs))
    command.kill()
    ended = command.wait()
    left = command.workers_that_outlive()
    outcome.require(not left, "other", f"{len(left)} workers outlive their parent")
    check_text(outcome, ended)
    return _finish(outcome, folder, reference, jobs)


def worker_killed(jobs: int, share: float, reference: Reference, folder: Path) -> Outcome:
    """kill -9 of one worker: its run is tried again, and the command itself ends well."""
    outcome = Outcome(f"kill -9 of a worker, {jobs} job{'s'[: jobs > 1]}", f"at {share:.2f}")
    make_place(folder)
    command = Command(folder, *RUN, "--jobs", jobs)
    _wait(command, share * duration(reference, jobs))
    workers = command.workers()
    if workers:
        os.kill(random.Random(str(share)).choice(workers), signal.SIGKILL)
    ended = command.wait()
    check_text(outcome, ended)
    outcome.require(not command.workers_that_outlive(), "other", "a worker outlives its parent")
    outcome.require(ended.code in (0, 2), "other", f"ended with {ended.code}")
    if ended.code == 2:
        outcome.require("was killed by SIGKILL" in ended.text, "other", "the signal is not named")
    return _finish(outcome, folder, reference, jobs, "--retry")


def terminated(jobs: int, share: float, reference: Reference, folder: Path) -> Outcome:
    """SIGTERM: it ends at a checkpoint and says so."""
    outcome = Outcome(f"SIGTERM, {jobs} job{'s'[: jobs > 1]}", f"at {share:.2f}")
    make_place(folder)
    command = Command(folder, *RUN, "--jobs", jobs)
    _wait(command, share * duration(reference, jobs))
    if command.running():
        command.kill(signal.SIGTERM)
    ended = command.wait()
    check_text(outcome, ended)
    outcome.require(not command.workers_that_outlive(), "other", "a worker outlives its parent")
    outcome.require(ended.code in (0, 143, -signal.SIGTERM), "other", f"ended with {ended.code}")
    if ended.code == 143:
        outcome.require(ended.text.count("stopped by SIGTERM") == 1, "other", "it does not say so")
    return _finish(outcome, folder, reference, jobs)


def interrupted(share: float, reference: Reference, folder: Path) -> Outcome:
    """Ctrl-C in the middle: one line, and a checkpoint."""
    outcome = Outcome("Ctrl-C", f"at {share:.2f}")
    make_place(folder)
    command = Command(folder, *RUN, "--jobs", "1")
    _wait(command, share * duration(reference, 1))
    if command.running():
        command.kill(signal.SIGINT)
    ended = command.wait()
    check_text(outcome, ended)
    outcome.require(not command.workers_that_outlive(), "other", "a worker outlives its parent")
    outcome.require(
        ended.code in (0, 130), "other", f"ended with {ended.code}: {ended.text[-300:]}"
    )
    return _finish(outcome, folder, reference, 1)


def interrupted_early(seconds: float, reference: Reference, folder: Path) -> Outcome:
    """Ctrl-C while a fresh process imports and starts; the signal goes to the whole group."""
    outcome = Outcome("early Ctrl-C, fresh process", f"after {seconds:.1f} s")
    make_place(folder)
    log = folder / ".output"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "legible", *RUN, "--jobs", "2"], cwd=folder, stdout=out,
            stderr=out, start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip
        time.sleep(seconds)
        os.killpg(process.pid, signal.SIGINT)
        code = process.wait(120)
    text = log.read_text(errors="replace")
    outcome.require("Traceback" not in text, "stack trace", text[-300:])
    outcome.require(code in (0, 130), "other", f"ended with {code}: {text[-300:]}")
    return _finish(outcome, folder, reference, 1)


def _wait(command: Command, seconds: float) -> None:
    while command.running() and time.monotonic() - command.start < seconds:
        time.sleep(0.01)


def _finish(
    outcome: Outcome, folder: Path, reference: Reference, jobs: int, *options: str
) -> Outcome:
    """Calls `run` again, which must keep what was done, and compares the published tables."""
    before = states(folder)
    again = legible(folder, *RUN, "--jobs", jobs, *options)
    check_text(outcome, again)
    outcome.require(
        again.code == 0, "lost work", f"run ended with {again.code}: {again.text[-300:]}"
    )
    outcome.require("set aside" not in again.text, "lost work", f"{again.text[-300:]}")
    after = states(folder)
    redone = [name for name, state in before.items() if after.get(name) != state]
    outcome.require(not redone, "lost work", f"finished runs were redone: {redone}")
    if again.code == 0:
        publish_and_compare(outcome, folder, reference)
    outcome.require(not left_behind(folder), "other", f"left behind: {left_behind(folder)}")
    return outcome
