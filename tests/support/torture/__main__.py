"""Runs the torture: ``python -m torture [--short] [--log FILE] [--page PAGE] [SUBJECT ...]``.

It prints each case as it ends, then a table of counts. The exit code is 1 if anything went wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "agg")

from tiny_suites import TOY_PLUGIN

from torture import disk, flips, kills, publications, suites_of_tests, users, workers
from torture.outcomes import Log, Outcome, failed, table, write_counts
from torture.place import Reference, reference
from torture.suites_of_tests import TESTS

Case = Callable[[Reference, Path], Outcome]
#: Subject -> its cases in the long and in the short form, from a seed.
SUBJECTS: dict[str, Callable[[bool, int], Iterable[Case]]] = {
    "kills": lambda short, seed: kills.cases(1 if short else 8, seed),
    "flips": lambda short, seed: flips.cases(1 if short else 2, seed),
    "publications": lambda short, seed: publications.cases(2 if short else 15, seed),
    "disk": lambda short, seed: disk.cases(short),
    "users": lambda short, seed: users.cases(short),
    "workers": lambda short, seed: workers.cases(short, seed),
    "plugins": lambda short, seed: suites_of_tests.plugins(short),
    "fuzz": lambda short, seed: suites_of_tests.fuzz(short),
}
SHORT = 1  # cases of a subject in the short form


def main(words: Sequence[str] | None = None) -> int:
    """Runs the subjects named on the command line, or all; returns the exit code."""
    arguments = _arguments(words)
    load_everything()
    log = Log(arguments.log)
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="legible-torture-") as name:
        root = Path(name)
        root.chmod(0o755)
        for subject in arguments.subjects or SUBJECTS:
            cases = _cases(subject, arguments)
            held = [outcome for case in cases if (outcome := log.held(_key(subject, case)))]
            left = [case for case in cases if not log.held(_key(subject, case))]
            print(f"{subject}: {len(cases)} cases, {len(held)} of them held before", flush=True)
            start = time.monotonic()
            outcomes += held + in_processes(subject, left, root, arguments.processes, log)
            print(f"{subject}: {time.monotonic() - start:.0f} s", flush=True)
    print(f"\n{table(outcomes, 'situation')}")
    for outcome in outcomes:
        if outcome.problems:
            print(outcome.line())
    if arguments.page:
        write_counts(arguments.page, log.outcomes(SUBJECTS) or outcomes)
    return int(failed(outcomes))


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="torture", description=__doc__)
    parser.add_argument("subjects", nargs="*", metavar="SUBJECT", help=", ".join(SUBJECTS))
    parser.add_argument("--short", action="store_true", help="one case of each subject")
    parser.add_argument("--cases", type=int, metavar="N", help="at most N cases of each subject")
    parser.add_argument("--seed", type=int, default=0, help="draws times and places")
    parser.add_argument("--processes", type=int, default=2, help="cases at a time")
    parser.add_argument("--log", type=Path, help="a file of outcomes; cases in it that held are "
                        "not tried again")  # fmt: skip
    parser.add_argument("--page", type=Path, help="a page into which the counts are written")
    arguments = parser.parse_args(words)
    if unknown := [name for name in arguments.subjects if name not in SUBJECTS]:
        parser.error(f"no subject '{unknown[0]}' (there are: {', '.join(SUBJECTS)})")
    return arguments


def _cases(subject: str, arguments: argparse.Namespace) -> list[Case]:
    """The cases of a subject; where not all of them are wanted, a random choice."""
    cases = list(SUBJECTS[subject](arguments.short, arguments.seed))
    limit = arguments.cases or (SHORT if arguments.short else None)
    if limit is not None and subject not in ("fuzz", "plugins"):
        random.Random(arguments.seed).shuffle(cases)
        return cases[:limit]
    return cases


def _key(subject: str, case: Case) -> str:
    """A case in words that are the same in each call."""
    values = [getattr(case, "func", case), *getattr(case, "args", ())]
    return " ".join([subject, *(getattr(value, "__name__", str(value)) for value in values)])


def load_everything() -> None:
    """Imports what commands import, and reads the sources that they read, before any process is
    forked."""
    import legible.bench.cli.main
    from legible.bench import api
    from legible.bench.leaderboard import publish, reproduce
    from legible.bench.leaderboard.figures import units
    from legible.bench.plugins import registry
    from legible.bench.scores import adopt, exchange
    from legible.bench.source_keys import files_reached_by

    registry.load()
    sources = [path for room in ("bench", "methods", "metrics")
               for path in (TESTS.parent / room).rglob("*.py")]  # fmt: skip
    files_reached_by([*sources, TOY_PLUGIN])
    del legible, api, publish, reproduce, units, adopt, exchange


def in_processes(
    subject: str, cases: Sequence[Case], root: Path, processes: int, log: Log
) -> list[Outcome]:
    """Runs cases in some forked processes; prints and logs each outcome as it comes."""
    if not cases:
        return []
    shared = reference(root)
    streams = []
    for number in range(processes):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            with os.fdopen(writing, "w") as out:
                for case in cases[number::processes]:
                    outcome = _run(case, shared, root)
                    outcome.subject, outcome.key = subject, _key(subject, case)
                    out.write(json.dumps(asdict(outcome)) + "\n")
                    out.flush()
            os._exit(0)
        os.close(writing)
        streams.append((child, os.fdopen(reading)))
    outcomes = []
    for outcome in _lines(streams):
        outcomes.append(outcome)
        log.add(outcome)
        print(f"[{len(outcomes)}/{len(cases)}] {outcome.line()}", flush=True)
    lost = len(cases) - len(outcomes)
    dead = Outcome("torture itself", "a case did not end", [("other", "its process died")])
    return outcomes + [dead] * lost


def _lines(streams: list) -> Iterator[Outcome]:
    import select

    waiting = dict.fromkeys([stream for _, stream in streams])
    while waiting:
        for stream in select.select(list(waiting), [], [])[0]:
            if line := stream.readline():
                yield Outcome.from_json(line)
            else:
                del waiting[stream]
    for child, stream in streams:
        stream.close()
        os.waitpid(child, 0)


def _run(case: Case, shared: Reference, root: Path) -> Outcome:
    """One case in a new folder, which is removed after it."""
    folder = Path(tempfile.mkdtemp(dir=root)) / "here"
    folder.parent.chmod(0o755)
    try:
        return case(shared, folder)
    except Exception as error:
        import traceback

        name = getattr(case, "func", case).__name__
        text = " ".join(traceback.format_exc().split())[-600:]
        return Outcome("torture itself", name, [("other", f"{error!r}: {text}")])
    finally:
        shutil.rmtree(folder.parent, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
