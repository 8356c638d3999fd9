"""Published score tables as stores of scores: reading, checking and sealing results/SUITE/.

Beside ``scores.csv`` stand ``runs.csv``, with a line for each run that the table has scores of, and
``provenance.json``, which holds what these lines refer to: environments, and the keys of the code
that made the scores. Both are sealed: a table that was edited by hand is refused.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from legible.bench.errors import UserError, reason_of
from legible.bench.execution.environment import Environment
from legible.bench.files import checksum
from legible.bench.suites.run_spec import Block, RowKey
from legible.bench.text import one_line

SCORES, RUNS, PROVENANCE = "scores.csv", "runs.csv", "provenance.json"
#: Further tables of a publication. Their first columns are dataset, backbone, method and params.
COMPANIONS = ("cost.csv", "attributions.csv", "curves.csv")
#: Published tables of some suites, so that an installed package has a copy: a link to results/.
PACKAGED = Path(__file__).parent / "published_tables"

Record = dict[str, str]  # a line of a table: column -> text


class RunPlace(NamedTuple):
    """Where a run stands in a table: its block, its row and its seed."""

    block: Block
    row: RowKey
    seed: int

    def __str__(self) -> str:
        params = "" if self.row.params == "{}" else f" {self.row.params}"
        return f"{self.row.method}{params} on {' · '.join(self.block)}, seed {self.seed}"


class Machine(BaseModel):
    """The environment of runs, and the kind of device that they were made on: cpu or cuda."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str
    environment: Environment


class Scoring(BaseModel):
    """What scores depend on besides their run: the key of the probe, and the key of each metric's
    code."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    probe: str
    metrics: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What a publication says about a run besides its scores.

    ``partner`` is the seed that comparisons of seeds used, None if there was none. ``compared``
    says how a rerun of one seed of the same row compares (see `legible adopt`); it is empty before.
    """

    run: str
    machine: Machine
    scoring: Scoring
    partner: int | None = None
    finished: str = ""
    train_seconds: float = 0.0
    score_seconds: float = 0.0
    compared: str = ""


class RunLine(NamedTuple):
    """A line of runs.csv. ``machine`` and ``scoring`` name entries of provenance.json, ``rows`` is
    the checksum of the run's rows in scores.csv."""

    run: str
    machine: str
    scoring: str
    partner: str
    finished: str
    train_seconds: str
    score_seconds: str
    compared: str
    rows: str


class Provenance(BaseModel):
    """The content of provenance.json. ``data`` maps datasets to fingerprints, ``files`` the tables
    of the publication to checksums; that of scores.csv covers the rows that belong to no run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    suite_version: int
    machines: dict[str, Machine]
    scorings: dict[str, Scoring]
    data: dict[str, str]
    files: dict[str, str]
    checksum: str = ""

    def seal(self) -> str:
        """The checksum of everything else."""
        content = self.model_dump(mode="json", exclude={"checksum"})
        return checksum(json.dumps(content, sort_keys=True))


@dataclass(frozen=True, eq=False)
class PublishedTable:
    """A published score table. ``runs`` holds the runs that can be reused, ``rows`` their rows,
    ``others`` all other rows: of the oracle, of runs without scores, of submissions.
    ``companions`` holds the rows of further tables by file."""

    folder: Path
    runs: Mapping[str, RunRecord]
    rows: Mapping[str, Sequence[Record]]
    others: Sequence[Record]
    companions: Mapping[str, Sequence[Record]]
    data: Mapping[str, str]

    @cached_property
    def places(self) -> dict[str, RunPlace]:
        """The place of each run that can be reused."""
        return {run: place_of(self.rows[run][0]) for run in self.runs}

    @cached_property
    def runs_by_place(self) -> dict[RunPlace, str]:
        """The run at each place."""
        return {place: run for run, place in self.places.items()}

    def companion_rows(self, file: str, block: Block, row: RowKey) -> list[Record]:
        """The lines of a further table that belong to a row of the leaderboard on a block."""
        return self._companions_by_row.get((file, block, row), [])

    @cached_property
    def _companions_by_row(self) -> dict[tuple[str, Block, RowKey], list[Record]]:
        lines: dict[tuple[str, Block, RowKey], list[Record]] = {}
        for file, table in self.companions.items():
            for line in table:
                lines.setdefault((file, *row_of(line)), []).append(line)
        return lines


def row_of(record: Record) -> tuple[Block, RowKey]:
    """Block and row of the leaderboard of a line in a table."""
    return (
        Block(record["dataset"], record["backbone"]), RowKey(record["method"], record["params"])
    )  # fmt: skip


def place_of(record: Record) -> RunPlace:
    """The place of a line in a table of scores."""
    return RunPlace(*row_of(record), int(record["seed"]))


def published_folder(results: Path, suite: str) -> Path:
    """The folder of a suite's published table: below ``results``, or else the package's own."""
    here, packaged = results / suite, PACKAGED / suite
    return packaged if (packaged / SCORES).is_file() and not (here / SCORES).is_file() else here


# ----------------------------------------------------------------- reading


def read_published(folder: Path) -> PublishedTable | None:
    """The published table in a folder; None if there is none.

    A table without ``provenance.json`` holds no run that can be reused. Raises UserError, in one
    line, for a table that was changed after it was published.
    """
    if not (folder / SCORES).is_file():
        return None
    try:
        return _read(folder)
    except OSError as error:
        raise UserError(f"cannot read {error.filename or folder}: {reason_of(error)}") from error
    except _Changed as problem:
        raise UserError(
            f"{folder}: {problem}: it was changed after it was published; restore it, or leave it "
            "out with --only-local"
        ) from None


class _Changed(Exception):
    """What does not fit the seals of a published table."""


def _read(folder: Path) -> PublishedTable:
    scores = _records(folder / SCORES)
    if not (folder / PROVENANCE).is_file():
        return PublishedTable(folder, {}, {}, scores, {}, {})
    provenance = _provenance(folder / PROVENANCE)
    lines = [RunLine(*record.values()) for record in _records(folder / RUNS, RunLine._fields)]
    if provenance.files.get(RUNS) != checksum_of_rows(lines):
        raise _Changed(RUNS)
    rows: dict[str, list[Record]] = {line.run: [] for line in lines}
    others: list[Record] = []
    for record in scores:
        rows.get(record["run"], others).append(record)
    for line in lines:
        if _checksum_of_records(rows[line.run]) != line.rows:
            raise _Changed(f"{SCORES}: rows of {line.run}")
    head = list(scores[0]) if scores else []
    if _checksum_of_table(others, head) != provenance.files.get(SCORES):
        raise _Changed(f"{SCORES}: rows that belong to no run")
    companions = {}
    for name in COMPANIONS:
        if name in provenance.files:
            companions[name] = _records(folder / name)
            if _checksum_of_table(companions[name]) != provenance.files[name]:
                raise _Changed(name)
    runs = {line.run: _run_record(line, provenance) for line in lines}
    return PublishedTable(folder, runs, rows, others, companions, provenance.data)


def _records(path: Path, columns: Sequence[str] = ()) -> list[Record]:
    """The lines of a CSV file by column. ``columns``: exactly those it must have."""
    if not path.is_file():
        raise _Changed(f"{path.name} is missing")
    try:
        records = _parse(path.read_bytes())
    except (ValueError, csv.Error) as error:
        raise _Changed(f"{path.name} is no table ({one_line(str(error), 100)})") from error
    present = tuple(records[0]) if records else tuple(columns)
    needed = columns or ("dataset", "backbone", "method", "params")
    if (columns and present != tuple(columns)) or (records and not {*needed} <= {*present}):
        raise _Changed(f"{path.name}: its columns")
    return records


def _parse(data: bytes) -> list[Record]:
    """The lines of a CSV file by column. Raises ValueError and csv.Error."""
    lines = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
    head = next(lines, [])
    return [dict(zip(head, line, strict=True)) for line in lines]


def _provenance(path: Path) -> Provenance:
    try:
        provenance = Provenance.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise _Changed(f"{path.name} ({one_line(error.errors()[0]['msg'], 100)})") from error
    if provenance.seal() != provenance.checksum:
        raise _Changed(path.name)
    return provenance


def _run_record(line: RunLine, provenance: Provenance) -> RunRecord:
    return RunRecord(
        run=line.run, machine=provenance.machines[line.machine],
        scoring=provenance.scorings[line.scoring],
        partner=int(line.partner) if line.partner else None, finished=line.finished,
        train_seconds=float(line.train_seconds), score_seconds=float(line.score_seconds),
        compared=line.compared,
    )  # fmt: skip


# ----------------------------------------------------------------- writing


def checksum_of_rows(rows: Iterable[Iterable[str]]) -> str:
    """Sixteen hexadecimal digits of a table's lines; line ends and quotes do not count."""
    return checksum("\x1e".join("\x1f".join(row) for row in rows))[:16]


def sealed_files(
    tables: Mapping[str, bytes],
    runs: Iterable[RunRecord],
    data: Mapping[str, str],
    suite_version: int,
) -> dict[str, bytes]:
    """``runs.csv`` and ``provenance.json`` of a publication.

    ``tables`` holds the content of scores.csv and of the companions that there are; ``runs`` what
    is known about the runs of the table; ``data`` maps datasets to fingerprints.
    """
    by_name = {run.run: run for run in runs}
    rows: dict[str, list[Record]] = {}
    others: list[Record] = []
    records = _parse(tables[SCORES])
    for record in records:
        (rows.setdefault(record["run"], []) if record["run"] in by_name else others).append(record)
    lines: list[RunLine] = []
    machines: dict[str, Machine] = {}
    scorings: dict[str, Scoring] = {}
    for name in sorted(rows):
        run = by_name[name]
        machine, scoring = _name(run.machine), _name(run.scoring)
        machines[machine], scorings[scoring] = run.machine, run.scoring
        lines.append(RunLine(
            name, machine, scoring, "" if run.partner is None else str(run.partner), run.finished,
            f"{run.train_seconds:.4g}", f"{run.score_seconds:.4g}", run.compared,
            _checksum_of_records(rows[name]),
        ))  # fmt: skip
    head = list(records[0]) if records else []
    files = {RUNS: checksum_of_rows(lines), SCORES: _checksum_of_table(others, head)}
    for name in COMPANIONS:
        if name in tables:
            files[name] = _checksum_of_table(_parse(tables[name]))
    provenance = Provenance(
        suite_version=suite_version, machines=machines, scorings=scorings, data=dict(data),
        files=files,
    )  # fmt: skip
    sealed = provenance.model_copy(update={"checksum": provenance.seal()})
    text = json.dumps(sealed.model_dump(mode="json"), sort_keys=True, indent=1) + "\n"
    return {RUNS: _runs_text(lines).encode(), PROVENANCE: text.encode()}


def _runs_text(lines: Iterable[RunLine]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([RunLine._fields, *lines])
    return text.getvalue()


def _checksum_of_records(records: Iterable[Record]) -> str:
    return checksum_of_rows(record.values() for record in records)


def _checksum_of_table(records: Sequence[Record], head: Sequence[str] = ()) -> str:
    """The checksum of lines and of the names of their columns."""
    names = head or (list(records[0]) if records else [])
    return checksum_of_rows([names, *(record.values() for record in records)])


def _name(value: BaseModel) -> str:
    """Eight hexadecimal digits that stand for a record."""
    return checksum(json.dumps(value.model_dump(mode="json"), sort_keys=True))[:8]
