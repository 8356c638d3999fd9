"""Exporting one's scores, merging those of others, and checking them by a rerun."""

from __future__ import annotations

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
from legible.bench.scores.score_table import COLUMNS
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

VERDICTS = "verdicts.json"


def expected(workspace: Workspace, suite: Suite, specs: Sequence[RunSpec]) -> Expected:
    """What a submission must agree with here."""
    data = {}
    for spec in {c.dataset_label: c for c in specs}.values():
        try:
            data[spec.dataset_label] = workspace.fingerprint(spec)
        except DataMissing:
            continue
    return Expected(
        suite.name, suite.version, data,
        frozenset(spec.block for spec in specs),
        frozenset(c.seed for c in specs), METRICS,
        metric_keys(METRICS),
    )  # fmt: skip


def export(
    workspace: Workspace, suite: Suite, specs: Sequence[RunSpec], origin: str, out: Path
) -> Path:
    """Packs scores, manifests and plugin sources into one JSON file. Raises UserError."""
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
    """Checks submissions and puts them where `publish` finds them. Nothing in them is executed.

    Raises UserError, in one line, for the first that is refused; then none is taken.
    """
    known = expected(workspace, suite, specs)
    try:
        found = [read(file) for file in files]
        for submission in found:
            check(submission, known)
        merge(pd.DataFrame(columns=COLUMNS), found)
    except SubmissionError as error:
        raise UserError(str(error)) from error
    folder = results / suite.name / "submissions"
    places = [folder / f"{s.origin.replace(' ', '_')}.json" for s in found]
    for place, submission in zip(places, found, strict=True):
        write_bytes(place, to_text(submission).encode())
    return places


def with_submissions(
    scores: pd.DataFrame, folder: Path, known: Expected
) -> tuple[pd.DataFrame, dict[str, str]]:
    """The score table with all accepted submissions, and a mark for each submitted method."""
    files = sorted(p for p in (folder / "submissions").glob("*.json") if p.name != VERDICTS)
    if not files:
        return scores, {}
    try:
        found = [read(file) for file in files]
        for submission in found:
            check(submission, known)
        return merge(scores, found, read_json(folder / "submissions" / VERDICTS) or {})
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
    """Reruns the first submitted seed of the methods that are known here and compares.

    The verdict is kept beside the accepted submissions. Only code that is already registered
    here runs: never the submission's own. Returns whether all agrees.
    """
    try:
        submission = read(file)
        check(submission, expected(workspace, suite, specs))
        seed, rerun = _rerun(workspace, specs, submission, say)
        lines = disagreements(submission, rerun)
    except SubmissionError as error:
        raise UserError(str(error)) from error
    for line in lines:
        say(line)
    said = verdict(lines, seed)
    place = results / suite.name / "submissions" / VERDICTS
    write_json(place, {**(read_json(place) or {}), submission.sha256: said})
    say(said)
    return not lines


def _rerun(
    workspace: Workspace,
    specs: Sequence[RunSpec],
    submission: Submission,
    say: Callable[[str], None],
) -> tuple[int, pd.DataFrame]:
    table = submission.table()
    seed = int(table["seed"].min())
    wanted = set(zip(table["dataset"], table["backbone"], table["method"], strict=True))
    chosen = [
        c for c in specs
        if c.seed == seed and (c.dataset_label, c.backbone_label, c.method) in wanted
    ]  # fmt: skip
    unknown = sorted({method for *_, method in wanted} - set(registry.METHODS))
    if unknown:
        say(f"not rerun, unknown here (give its file with --plugin): {', '.join(unknown)}")

    def tell(event: Event) -> None:
        if event.kind in ("done", "failed", "note"):
            say(f"{event.kind}: {event.run} {event.text}")

    work_through(workspace, chosen, tell)
    rerun = score_table(workspace, chosen)
    return seed, rerun[rerun["method"] != "oracle"]
