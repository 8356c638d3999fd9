"""Rerunning one seed of a submission, in a process of its own.

The code of a submitted method is a stranger's. The process that compares and writes the verdict
never imports it: a child process does, and what comes back is checked like any score table.
"""

from __future__ import annotations

import ctypes
import json
import multiprocessing
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pandas as pd

from legible.bench.errors import UserError, one_line
from legible.bench.execution import schedule
from legible.bench.execution.pool import PR_SET_PDEATHSIG, cause_of
from legible.bench.execution.workspace import Workspace, open_workspace
from legible.bench.plugins import registry
from legible.bench.scores.collect import score_table
from legible.bench.scores.score_table import COLUMNS, check_rows, records, tidy
from legible.bench.scores.submission import Submission
from legible.bench.suites.run_spec import RunSpec, expand
from legible.bench.suites.schema import read_suite, with_plugins
from legible.bench.tuning.tune import tuned_specs

LARGEST = 64 * 2**20  # bytes of the score table that a child sends


@dataclass(frozen=True)
class Place:
    """Where a suite is rerun: its file, the plugin files, and the folders of a workspace."""

    suite: Path
    plugins: Sequence[Path]
    device: str
    runs: Path
    root: Path | None
    results: Path


@dataclass(frozen=True)
class SubmittedRuns:
    """The runs of a submission that are rerun: one seed, and (dataset, backbone, method)."""

    seed: int
    rows: frozenset[tuple[str, str, str]]


def runs_to_repeat(submission: Submission) -> SubmittedRuns:
    """The runs of the first submitted seed."""
    table = submission.table()
    rows = zip(table["dataset"], table["backbone"], table["method"], strict=True)
    return SubmittedRuns(int(table["seed"].min()), frozenset(rows))


def rerun_here(
    workspace: Workspace,
    specs: Sequence[RunSpec],
    submitted: SubmittedRuns,
    say: Callable[[str], None] = print,
    plugins: Sequence[Path] = (),
) -> pd.DataFrame:
    """The scores of a rerun by this process and its workers; methods that are not registered are
    named and left out."""
    again = [spec for spec in specs
             if spec.seed == submitted.seed and (*spec.block, spec.method) in submitted.rows]  # fmt: skip
    unknown = sorted({method for *_, method in submitted.rows} - set(registry.METHODS))
    if unknown:
        names = ", ".join(unknown)
        say(f"not rerun because the method is not registered: pass its file with --plugin: {names}")
    schedule.attempt(workspace, again, 1, plugins)
    table = score_table(workspace, again)
    return table[table["method"] != "oracle"]


def rerun_apart(
    place: Place, submitted: SubmittedRuns, say: Callable[[str], None] = print
) -> pd.DataFrame:
    """The scores of a rerun by a new process, which loads the plugins. Raises UserError, also if
    the process dies or answers something else."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(place, submitted, theirs))
    process.start()
    theirs.close()
    try:
        answer = ours.recv_bytes(LARGEST)
    except (EOFError, OSError):
        process.join(5)
        raise UserError(f"the process of the rerun {cause_of(process.exitcode)}") from None
    finally:
        process.kill()
        process.join()
        ours.close()
    return _checked(answer, say)


def _checked(answer: bytes, say: Callable[[str], None]) -> pd.DataFrame:
    """The score table in a child's answer."""
    try:
        value = json.loads(answer.decode())
        if error := value.get("error"):
            raise UserError(str(error))
        for line in value["lines"]:
            say(one_line_of(line))
        check_rows(value["rows"])
        return tidy(pd.DataFrame(value["rows"], columns=COLUMNS))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"the rerun gave no score table: {one_line(error)}") from error


def one_line_of(text: Any) -> str:
    """A line that a child sent, as it is safe to print."""
    return str(UserError(str(text)))


def _serve(place: Place, submitted: SubmittedRuns, pipe: Connection) -> None:
    """Reruns in a child process and sends the score table, or the text of a UserError."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    lines: list[str] = []
    try:
        table = _rerun_at(place, submitted, lines.append)
        answer: dict[str, Any] = {"lines": lines, "rows": records(table)}
    except (UserError, ValueError) as error:
        answer = {"error": str(error)}
    pipe.send_bytes(json.dumps(answer).encode())


def _rerun_at(
    place: Place, submitted: SubmittedRuns, say: Callable[[str], None]
) -> pd.DataFrame:
    suite = read_suite(place.suite)
    files = [*place.plugins, *suite.plugins]
    workspace = open_workspace(place.device, files, place.runs, place.root)
    whole = with_plugins(suite, list(place.plugins))
    specs = tuned_specs(whole, expand(whole), place.results)
    return rerun_here(workspace, specs, submitted, say, files)
