"""Runs the torture: ``python -m torture [--short] [--seed N] [--processes N] [SUBJECT ...]``.

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

from torture import disk, flips, kills, publications, suites_of_tests, users
from torture.outcomes import Outcome, failed, table
from torture.place import Reference, reference

Case = Callable[[Reference, Path], Outcome]
#: Subject -> its cases in the long and in the short form, from a seed.
SUBJECTS: dict[str, Callable[[bool, int], Iterable[Case]]] = {
    "kills": lambda short, seed: kills.cases(1 if short else 8, seed),
    "flips": lambda short, seed: flips.cases(1 if short else 2, seed),
    "publications": lambda short, seed: publications.cases(2 if short else 15, seed),
    "disk": lambda short, seed: disk.cases(short),
    "users": lambda short, seed: users.cases(short),
    "plugins": lambda short, seed: suites_of_tests.plugins(short),
    "fuzz": lambda short, seed: suites_of_tests.fuzz(short),
}
LIMIT = 3  # cases of a subject in the short form


def main(words: Sequence[str] | None = None) -> int:
    """Runs the subjects named on the command line, or all; returns the exit code."""
    parser = argparse.ArgumentParser(prog="torture", description=__doc__)
    parser.add_argument("subjects", nargs="*", metavar="SUBJECT", help=", ".join(SUBJECTS))
    parser.add_argument("--short", action="store_true", help="a few cases of each subject")
    parser.add_argument("--seed", type=int, default=0, help="draws times and places")
    parser.add_argument("--processes", type=int, default=2, help="cases at a time")
    arguments = parser.parse_args(words)
    if unknown := [name for name in arguments.subjects if name not in SUBJECTS]:
        parser.error(f"no subject '{unknown[0]}' (there are: {', '.join(SUBJECTS)})")
    load_everything()
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="legible-torture-") as name:
        root = Path(name)
        root.chmod(0o755)
        for subject in arguments.subjects or SUBJECTS:
            cases = list(SUBJECTS[subject](arguments.short, arguments.seed))
            if arguments.short and subject not in ("fuzz", "plugins"):
                random.Random(arguments.seed).shuffle(cases)
                cases = cases[:LIMIT]
            print(f"{subject}: {len(cases)} cases", flush=True)
            start = time.monotonic()
            outcomes += in_processes(cases, root, arguments.processes)
            print(f"{subject}: {time.monotonic() - start:.0f} s", flush=True)
    print(f"\n{table(outcomes)}")
    for outcome in outcomes:
        if outcome.problems:
            print(outcome.line())
    return int(failed(outcomes))


def load_everything() -> None:
    """Imports what commands import, before any process is forked."""
    import legible.bench.cli.main
    from legible.bench import api
    from legible.bench.leaderboard import publish, reproduce
    from legible.bench.leaderboard.figures import units
    from legible.bench.plugins import registry
    from legible.bench.scores import adopt, exchange

    registry.load()
    del legible, api, publish, reproduce, units, adopt, exchange


def in_processes(cases: Sequence[Case], root: Path, processes: int) -> list[Outcome]:
    """Runs cases in some forked processes and prints each outcome as it comes."""
    shared = reference(root)
    streams = []
    for number in range(processes):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            with os.fdopen(writing, "w") as out:
                for case in cases[number::processes]:
                    out.write(json.dumps(asdict(_run(case, shared, root))) + "\n")
                    out.flush()
            os._exit(0)
        os.close(writing)
        streams.append((child, os.fdopen(reading)))
    outcomes = []
    for outcome in _lines(streams):
        outcome.problems = [(kind, text) for kind, text in outcome.problems]
        outcomes.append(outcome)
        print(f"[{len(outcomes)}/{len(cases)}] {outcome.line()}", flush=True)
    lost = len(cases) - len(outcomes)
    return outcomes + [Outcome("torture itself", "a case did not end",
                               [("other", "its process died")])] * lost  # fmt: skip


def _lines(streams: list) -> Iterator[Outcome]:
    import select

    waiting = dict.fromkeys([stream for _, stream in streams])
    while waiting:
        for stream in select.select(list(waiting), [], [])[0]:
            if line := stream.readline():
                yield Outcome(**json.loads(line))
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
