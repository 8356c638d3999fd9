"""Exchange of scores: exporting one's own, merging those of others, verifying them by a rerun."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from legible.bench.data.base import DataMissing
from legible.bench.errors import UserError
from legible.bench.execution.progress import Event
from legible.bench.execution.store import Corrupt, read_json, write_bytes, write_json
from legible.bench.execution.worker import work_through
from legible.bench.execution.workspace import Workspace
from legible.bench.plugins import registry
from legible.bench.scores.collect import score_table
from legible.bench.scores.score_table import to_table
from legible.bench.scores.submission import (
    Expected,
    Submission,
    SubmissionError,
    check,
    disagreements,
    merge,
    pack,
    read,
    to_text,
    verdict,
)
from legible.bench.scoring.score import metric_keys
from legible.bench.suites.run_spec import RunSpec
from legible.bench.suites.schema import Suite
from legible.metrics.base import METRICS

#: Holds the verdict of each verified submission by its hash, beside the submissions.
VERDICTS = "verdicts.json"


def expected(workspace: Workspace, suite: Suite, specs: Sequence[RunSpec]) -> Expected:
    """What a submission must agree with to stand beside the runs of this workspace."""
    data = {}
    for spec in {spec.dataset_label: spec for spec in specs}.values():
        with contextlib.suppress(DataMissing):
            data[spec.dataset_label] = workspace.fingerprint(spec)
    return Expected(
        suite=suite.name, suite_version=suite.version, data=data,
        blocks=frozenset(spec.block for spec in specs),
        seeds=frozenset(spec.seed for spec in specs), metrics=METRICS,
        metric_keys=metric_keys(METRICS),
    )  # fmt: skip


def export(
    workspace: Workspace, suite: Suite, specs: Sequence[RunSpec], origin: str, out: Path
) -> Path:
    """Writes scores, manifests and plugin sources of finished runs into one JSON file, and returns
    its path. Raises UserError."""
    table = score_table(workspace, specs)
    table = table[(table["method"] != "oracle") & (table["status"] == "ok")]
    if table.empty:
        raise UserError(f"nothing to export: run `legible run {suite.name}` first")
    runs = {}
    sources = {}
    for spec in specs:
        run = workspace.run_of(spec)
        if run.name in set(table["run"]):
            runs[run.name] = run.require_manifest().to_json()
            for source in sorted((run.folder / "plugins").glob("*.py")):
                sources[source.name] = source.read_text(encoding="utf-8")
    try:
        packed = pack(table, runs, sources, expected(workspace, suite, specs), origin)
        write_bytes(out, to_text(packed).encode())
    except SubmissionError as error:
        raise UserError(str(error)) from error
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror}") from error
    return out


def accept(
    workspace: Workspace,
    suite: Suite,
    specs: Sequence[RunSpec],
    files: Sequence[Path],
    results: Path,
) -> list[Path]:
    """Checks submissions and copies them to where `publish` reads them; returns the new paths.

    Nothing in them is executed. Raises UserError, in one line, for the first that is refused; then
    none is copied.
    """
    reference = expected(workspace, suite, specs)
    try:
        submissions = [read(file) for file in files]
        for submission in submissions:
            check(submission, reference)
        merge(to_table([]), submissions)
    except SubmissionError as error:
        raise UserError(str(error)) from error
    folder = results / suite.name / "submissions"
    paths = [folder / f"{s.origin.replace(' ', '_')}.json" for s in submissions]
    for path, submission in zip(paths, submissions, strict=True):
        write_bytes(path, to_text(submission).encode())
    return paths


def with_submissions(
    scores: pd.DataFrame, folder: Path, reference: Expected
) -> tuple[pd.DataFrame, dict[str, str]]:
    """The score table with the rows of all merged submissions, and a mark for each of their
    methods. Raises UserError for a submission that does not fit any more."""
    files = sorted(p for p in (folder / "submissions").glob("*.json") if p.name != VERDICTS)
    if not files:
        return scores, {}
    try:
        submissions = [read(file) for file in files]
        for submission in submissions:
            check(submission, reference)
        return merge(scores, submissions, read_json(folder / "submissions" / VERDICTS) or {})
    except (SubmissionError, Corrupt) as error:
        raise UserError(f"{folder / 'submissions'}: {error}") from error


def verify(
    workspace: Workspace,
    suite: Suite,
    specs: Sequence[RunSpec],
    file: Path,
    results: Path,
    say: Callable[[str], None] = print,
) -> bool:
    """Reruns the first seed of a submission and compares; returns whether all values agree.

    Only methods that are registered here run, never the submission's own code. The verdict is
    stored beside the merged submissions, and `publish` shows it.
    """
    try:
        submission = read(file)
        check(submission, expected(workspace, suite, specs))
        path = results / suite.name / "submissions" / VERDICTS
        verdicts = read_json(path) or {}
        seed, rerun = _rerun(workspace, specs, submission, say)
        lines = disagreements(submission, rerun)
    except (SubmissionError, Corrupt) as error:
        raise UserError(str(error)) from error
    outcome = verdict(lines, seed)
    write_json(path, {**verdicts, submission.sha256: outcome})
    for line in [*lines, outcome]:
        say(line)
    return not lines


def _rerun(
    workspace: Workspace,
    specs: Sequence[RunSpec],
    submission: Submission,
    say: Callable[[str], None],
) -> tuple[int, pd.DataFrame]:
    """The first submitted seed, and the scores of its rerun."""
    table = submission.table()
    seed = int(table["seed"].min())
    rows = set(zip(table["dataset"], table["backbone"], table["method"], strict=True))
    to_rerun = [spec for spec in specs if spec.seed == seed and (*spec.block, spec.method) in rows]
    unknown = sorted({method for *_, method in rows} - set(registry.METHODS))
    if unknown:
        say(f"not rerun, unknown here (name its file with --plugin): {', '.join(unknown)}")

    def report(event: Event) -> None:
        if event.kind in ("done", "failed", "note"):
            say(f"{event.kind}: {event.run} {event.text}")

    work_through(workspace, to_rerun, report)
    rerun = score_table(workspace, to_rerun)
    return seed, rerun[rerun["method"] != "oracle"]
