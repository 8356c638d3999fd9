"""Exporting one's scores, merging those of others, and checking them by a rerun."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from bench import registry
from bench.data.base import DataMissing
from bench.execute import Bench, Event, worker
from bench.registry import UserError
from bench.score import metric_keys
from bench.store import Corrupt, read_json, write_bytes, write_json
from bench.submissions import (
    Expected,
    Submission,
    SubmissionError,
    check,
    merge,
    pack,
    read,
    to_text,
)
from bench.suite import Cell, Suite
from bench.table import COLUMNS, score_table
from bench.verify import disagreements, verdict
from metrics.base import METRICS

VERDICTS = "verdicts.json"


def expected(bench: Bench, suite: Suite, cells: Sequence[Cell]) -> Expected:
    """What a submission must agree with here."""
    data = {}
    for cell in {c.dataset_label: c for c in cells}.values():
        try:
            data[cell.dataset_label] = bench.dataset(cell.dataset, cell.data)[1]
        except DataMissing:
            continue
    return Expected(
        suite.name, suite.version, data,
        frozenset((c.dataset_label, c.backbone_label) for c in cells),
        frozenset(c.seed for c in cells), METRICS,
        metric_keys(METRICS),
    )  # fmt: skip


def export(bench: Bench, suite: Suite, cells: Sequence[Cell], origin: str, out: Path) -> Path:
    """Packs scores, manifests and plugin sources into one JSON file. Raises UserError."""
    table = score_table(bench, cells)
    table = table[(table["method"] != "oracle") & (table["status"] == "ok")]
    if table.empty:
        raise UserError(f"nothing to export: run `legible run {suite.name}` first")
    runs = {}
    sources = {}
    for cell in cells:
        run = bench.run_of(cell)
        if run.name in set(table["run"]):
            runs[run.name] = run.manifest()
            for source in sorted((run.folder / "plugins").glob("*.py")):
                sources[source.name] = source.read_text(encoding="utf-8")
    try:
        packed = pack(table, runs, sources, expected(bench, suite, cells), origin)
        write_bytes(out, to_text(packed).encode())
    except SubmissionError as error:
        raise UserError(str(error)) from error
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror}") from error
    return out


def accept(
    bench: Bench, suite: Suite, cells: Sequence[Cell], files: Sequence[Path], results: Path
) -> list[Path]:
    """Checks submissions and puts them where `publish` finds them. Nothing in them is executed.

    Raises UserError, in one line, for the first that is refused; then none is taken.
    """
    known = expected(bench, suite, cells)
    try:
        found = [read(file) for file in files]
        for submission in found:
            check(submission, known)
        merge(pd.DataFrame(columns=list(COLUMNS)), found)
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
    bench: Bench,
    suite: Suite,
    cells: Sequence[Cell],
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
        check(submission, expected(bench, suite, cells))
        seed, rerun = _rerun(bench, cells, submission, say)
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
    bench: Bench, cells: Sequence[Cell], submission: Submission, say: Callable[[str], None]
) -> tuple[int, pd.DataFrame]:
    table = submission.table()
    seed = int(table["seed"].min())
    wanted = set(zip(table["dataset"], table["backbone"], table["method"], strict=True))
    chosen = [
        c for c in cells
        if c.seed == seed and (c.dataset_label, c.backbone_label, c.method) in wanted
    ]  # fmt: skip
    unknown = sorted({method for *_, method in wanted} - set(registry.METHODS))
    if unknown:
        say(f"not rerun, unknown here (give its file with --plugin): {', '.join(unknown)}")

    def tell(event: Event) -> None:
        if event.kind in ("done", "failed", "note"):
            say(f"{event.kind}: {event.cell} {event.text}")

    worker(bench, chosen, tell)
    rerun = score_table(bench, chosen)
    return seed, rerun[rerun["method"] != "oracle"]
