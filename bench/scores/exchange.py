"""Exchange of scores: exporting one's own, merging those of others, verifying them by a rerun."""

from __future__ import annotations

import contextlib
import tokenize
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import pandas as pd

from legible.bench.data.base import DataMissing
from legible.bench.errors import UserError, reason_of
from legible.bench.execution.pairs import between_seeds
from legible.bench.execution.progress import Event
from legible.bench.execution.schedule import do_runs
from legible.bench.execution.store import PLUGINS, Corrupt, read_sealed, sealed_bytes
from legible.bench.execution.workspace import Workspace
from legible.bench.files import write_bytes, write_together
from legible.bench.plugins import registry
from legible.bench.scores.collect import score_table
from legible.bench.scores.score_table import to_table
from legible.bench.scores.submission import (
    ROW,
    Expected,
    Submission,
    SubmissionError,
    check,
    disagreements,
    first_runs,
    merge,
    not_rerun,
    pack,
    read,
    to_text,
    verdict,
)
from legible.bench.scoring.score import metric_keys
from legible.bench.suites.run_spec import RunSpec
from legible.bench.suites.schema import Suite
from legible.bench.text import one_line
from legible.metrics.base import METRICS

#: Holds the verdict of each verified submission by its hash, beside the submissions.
VERDICTS = "verdicts.json"


def expected(workspace: Workspace, suite: Suite, specs: Sequence[RunSpec]) -> Expected:
    """What a submission must agree with to stand beside the runs of this workspace."""
    data = {}
    for spec in {spec.dataset_label: spec for spec in specs}.values():
        with contextlib.suppress(DataMissing, UserError):  # no submission can be about it
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
        if workspace.obstacle(spec):
            continue
        run = workspace.run_of(spec)
        if run.name in set(table["run"]):
            try:
                runs[run.name] = run.require_manifest().to_json()
                run.verify_copies()
                for source in sorted((run.folder / PLUGINS).glob("*.py")):
                    sources[source.name] = python_source(source)
            except OSError as error:
                raise UserError(f"cannot read {error.filename}: {reason_of(error)}") from error
            except Corrupt as error:
                raise UserError(f"{run.name}: {error}; `legible run` makes it again") from error
    try:
        packed = pack(table, runs, sources, expected(workspace, suite, specs), origin)
    except SubmissionError as error:
        raise UserError(str(error)) from error
    with _one_line(out):
        write_bytes(out, to_text(packed).encode())
    return out


def python_source(file: Path) -> str:
    """The text of a Python file in the encoding that it declares, without a byte order mark."""
    try:
        with tokenize.open(file) as text:
            return text.read()
    except (SyntaxError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {file}: {error}") from error


@contextlib.contextmanager
def _one_line(path: Path) -> Iterator[None]:
    """Turns an error of writing into a UserError with the path and the reason."""
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write {error.filename or path}: {reason_of(error)}") from error


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
    folder = results / suite.name / "submissions"
    try:
        submissions = [read(file) for file in files]
        for submission in submissions:
            check(submission, reference)
        merge(to_table([]), submissions)
        with _one_line(folder):
            write_together(folder, lambda: _accepting(submissions, folder))
    except SubmissionError as error:
        raise UserError(str(error)) from error
    return [folder / file_name(submission.origin) for submission in submissions]


def _accepting(submissions: Sequence[Submission], folder: Path) -> dict[str, bytes | None]:
    """The files to write for new submissions, and None for files of theirs that are replaced.

    Raises SubmissionError."""
    earlier = {path.name: _origin(path) for path in _accepted(folder)}
    for submission in submissions:
        _refuse_namesake(submission.origin, earlier.values())
    origins = {submission.origin for submission in submissions}
    replaced = [name for name, origin in earlier.items() if origin in origins]
    texts = {file_name(s.origin): to_text(s).encode() for s in submissions}
    return {**dict.fromkeys(replaced), **texts}


def file_name(origin: str) -> str:
    """The name of an origin's submission file: no two origins share one, and none is `VERDICTS`.

    A space becomes ``_``, and ``_`` becomes ``%5F``.
    """
    name = origin.replace("_", "%5F").replace(" ", "_")
    if f"{name.lower()}.json" == VERDICTS:
        name = f"%{ord(name[0]):02X}{name[1:]}"
    return f"{name}.json"


def _accepted(folder: Path) -> list[Path]:
    """The files of accepted submissions. Raises SubmissionError if the folder cannot be read."""
    try:
        names = sorted(p for p in folder.iterdir() if p.suffix == ".json" and p.name != VERDICTS)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise SubmissionError(f"cannot read {folder}: {reason_of(error)}") from error
    return [path for path in names if not path.name.startswith(".")]


def _origin(path: Path) -> str:
    """The origin of an accepted submission; empty if the file is no submission any more."""
    try:
        return read(path).origin
    except SubmissionError:
        return ""


def _refuse_namesake(origin: str, others: Iterable[str]) -> None:
    """Raises SubmissionError if an accepted origin differs from this one only in
    upper and lower case."""
    for other in others:
        if other != origin and other.lower() == origin.lower():
            raise SubmissionError(f"origin '{origin}' differs from '{other}' only in upper and "
                                  "lower case: choose another origin")  # fmt: skip


def with_submissions(
    scores: pd.DataFrame, folder: Path, reference: Expected
) -> tuple[pd.DataFrame, dict[str, str]]:
    """The score table with the rows of all merged submissions, and a mark for each of their
    methods. Raises UserError for a submission that does not fit any more."""
    try:
        files = _accepted(folder / "submissions")
        if not files:
            return scores, {}
        submissions = [read(file) for file in files]
        for submission in submissions:
            check(submission, reference)
        return merge(scores, submissions, read_verdicts(folder / "submissions" / VERDICTS))
    except Corrupt as error:
        raise UserError(
            f"{folder / 'submissions'}: {error}; delete it and run `legible verify` again"
        ) from error
    except SubmissionError as error:
        raise UserError(f"{folder / 'submissions'}: {error}") from error


def read_verdicts(path: Path) -> dict[str, str]:
    """The verdict of each verified submission, by its hash. Raises Corrupt."""
    verdicts = read_sealed(path, VERDICTS)
    if verdicts is None:
        return {}
    if not all(isinstance(verdict, str) for verdict in verdicts.values()):
        raise Corrupt(f"{path.name}: not a table of verdicts by hash")
    return {key: one_line(text, 300) for key, text in verdicts.items()}


def verify(
    workspace: Workspace,
    suite: Suite,
    specs: Sequence[RunSpec],
    file: Path,
    results: Path,
    say: Callable[[str], None] = print,
) -> bool:
    """Reruns the first submitted seed of each row and compares; returns whether all values agree.

    Only methods that are registered here run, never the submission's own code. The verdict is
    stored beside the merged submissions, and `publish` shows it; it names the methods that were not
    rerun.
    """
    folder = results / suite.name / "submissions"
    try:
        submission = read(file)
        check(submission, expected(workspace, suite, specs))
        read_verdicts(folder / VERDICTS)  # a damaged file is said before the rerun
        rerun = _rerun(workspace, specs, submission, say)
        other_seeds = [name for name in METRICS if between_seeds(name)]
        lines = disagreements(submission, rerun, other_seeds=other_seeds)
        seeds = sorted(map(int, rerun["seed"].unique()))
        outcome = verdict(lines, seeds, not_rerun(submission, rerun))

        def changes() -> dict[str, bytes | None]:
            verdicts = {**read_verdicts(folder / VERDICTS), submission.sha256: outcome}
            return {VERDICTS: sealed_bytes(VERDICTS, VERDICTS, verdicts)}

        with _one_line(folder):
            write_together(folder, changes)
    except Corrupt as error:
        raise UserError(f"{folder}: {error}; delete it and verify again") from error
    except SubmissionError as error:
        raise UserError(str(error)) from error
    for line in [*lines, outcome]:
        say(line)
    return not lines


def _rerun(
    workspace: Workspace,
    specs: Sequence[RunSpec],
    submission: Submission,
    say: Callable[[str], None],
) -> pd.DataFrame:
    """The scores of a rerun of the first submitted seed of each row."""
    runs = set(first_runs(submission)[[*ROW, "seed"]].itertuples(index=False, name=None))
    to_rerun = [spec for spec in specs if (*spec.block, *spec.row, spec.seed) in runs]
    unknown = sorted({method for _, _, method, *_ in runs} - set(registry.METHODS))
    if unknown:
        names = one_line(", ".join(unknown))
        say(f"not rerun because the method is not registered: pass its file with --plugin: {names}")

    def report(event: Event) -> None:
        if event.kind in ("done", "failed", "note"):
            say(f"{event.kind}: {event.run} {event.text}")

    do_runs(workspace, to_rerun, 1, registry.plugin_files(), report)
    rerun = score_table(workspace, to_rerun)
    return rerun[rerun["method"] != "oracle"]
