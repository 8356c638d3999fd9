"""Submissions: the results of one lab in a JSON file, to be merged with those of others.

A submission is data: reading, checking and merging it executes and imports nothing in it. The
plugin sources in it are for people to read. The hash shows damage, not who wrote it. Whatever is
wrong with a submission is said in one line.
"""

from __future__ import annotations

import hashlib
import json
import math
import stat
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from legible.bench.errors import LONGEST, reason_of, shortened
from legible.bench.scores.score_table import KEY, ScoreRow, records, tidy, to_table
from legible.bench.text import one_line, visible
from legible.metrics.base import Metric

LARGEST = 32 * 2**20  # bytes of a submission file
TEXTS = ["method", "label", "layer", "reason", "run"]  # columns that a submitter can fill freely
ROW = KEY[:4]  # columns that identify a row of the leaderboard on a block
FORMULA = set("=+-@")  # a spreadsheet would execute a text that starts with one of these
SLACK = 1e-6  # how far rounding may take a value beyond its metric's limits

Origin = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,39}$")]
#: The name of a plugin file; it is shown, and is never a path.
FileName = Annotated[
    str, Field(pattern=r"^[^\x00-\x20\x7f./\\=+@-][^\x00-\x1f\x7f/\\]{0,195}\.py$")
]
RunName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_(][A-Za-z0-9_()=,.+-]{0,199}$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{12,64}$")]
Short = Annotated[str, Field(max_length=200)]


class SubmissionError(ValueError):
    """What is wrong with a submission, in one line."""

    def __init__(self, message: str) -> None:
        super().__init__(shortened(visible(message), LONGEST))


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class PluginSource(_Strict):
    """The source of a plugin file or of a helper module, for people to read."""

    name: FileName
    sha256: Digest
    source: Annotated[str, Field(max_length=200_000)]


class Submission(_Strict):
    """The content of a submission file. ``data`` maps datasets to fingerprints, ``metrics`` maps
    metrics to the hash of their code, ``runs`` maps run names to manifests."""

    format: Literal["legible submission"] = "legible submission"
    version: Literal[1] = 1
    origin: Origin
    suite: Short
    suite_version: Annotated[int, Field(ge=0, le=10**6)]
    data: dict[Short, Short]
    metrics: dict[Short, Short]
    scores: Annotated[list[ScoreRow], Field(min_length=1, max_length=200_000)]
    runs: Annotated[dict[RunName, dict[Short, JsonValue]], Field(max_length=20_000)]
    plugins: Annotated[list[PluginSource], Field(max_length=50)] = []
    sha256: Digest = "0" * 64

    def digest(self) -> str:
        """The hash of everything except `sha256` itself."""
        return _sha256(json.dumps(self.model_dump(exclude={"sha256"}), sort_keys=True))

    def table(self) -> pd.DataFrame:
        """The score table. Raises SubmissionError if a row is there twice."""
        try:
            return tidy(to_table(self.scores))
        except ValueError as error:
            raise SubmissionError(str(error)) from None


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What a submission must agree with to be comparable. ``data`` maps datasets to fingerprints,
    ``metric_keys`` maps metrics to the hash of their code."""

    suite: str
    suite_version: int
    data: Mapping[str, str]
    blocks: frozenset[tuple[str, str]]
    seeds: frozenset[int]
    metrics: Mapping[str, Metric]
    metric_keys: Mapping[str, str]


def pack(
    scores: pd.DataFrame,
    runs: Mapping[str, Mapping[str, Any]],
    plugins: Mapping[str, str],
    expected: Expected,
    origin: str,
) -> Submission:
    """A submission of a score table, manifests by run name, and plugin sources by file name.

    Raises SubmissionError if `check` would refuse it.
    """
    try:
        table = tidy(scores)
    except ValueError as error:
        raise SubmissionError(str(error)) from None
    content = {
        "origin": origin,
        "suite": expected.suite,
        "suite_version": expected.suite_version,
        "data": {name: expected.data[name] for name in sorted(table["dataset"].unique())
                 if name in expected.data},
        "metrics": {name: expected.metric_keys[name] for name in sorted(table["metric"].unique())
                    if name in expected.metric_keys},
        "scores": records(table),
        "runs": {name: json.loads(json.dumps(manifest, default=str))
                 for name, manifest in sorted(runs.items())},
        "plugins": [{"name": name, "sha256": _sha256(source), "source": source}
                    for name, source in sorted(plugins.items())],
    }  # fmt: skip
    unsigned = _validated(content)
    submission = unsigned.model_copy(update={"sha256": unsigned.digest()})
    check(submission, expected)
    return submission


def schema() -> dict[str, Any]:
    """The JSON schema of a submission file."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | (
        Submission.model_json_schema()
    )


def to_text(submission: Submission) -> str:
    """The text of the file; the same submission always gives the same bytes."""
    return json.dumps(submission.model_dump(), sort_keys=True, indent=0, ensure_ascii=False) + "\n"


def read(path: Path | str) -> Submission:
    """Reads a submission and checks its form and hashes. Raises SubmissionError."""
    path = Path(path)
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            raise SubmissionError(f"{path.name}: not a file")
        if about.st_size > LARGEST:
            raise SubmissionError(f"{path.name}: larger than {LARGEST // 2**20} MiB")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SubmissionError(f"{path}: cannot be read ({reason_of(error)})") from None
    except UnicodeDecodeError as error:
        raise SubmissionError(f"{path.name}: cannot be read ({one_line(error, 120)})") from None
    try:
        submission = _validated(_parse(text))
        _check_hashes(submission)
    except SubmissionError as error:
        raise SubmissionError(f"{path.name}: {error}") from None
    return submission


def check(submission: Submission, expected: Expected) -> None:
    """Raises SubmissionError for a submission that is not comparable with our own rows."""
    _check_suite(submission, expected)
    table = submission.table()
    for row in records(table):
        where = "/".join(one_line(row[name], 40) for name in KEY)
        if problem := _row_problem(row, submission, expected):
            raise SubmissionError(f"{where}: {problem}")


def merge(
    scores: pd.DataFrame,
    submissions: Sequence[Submission],
    verdicts: Mapping[str, str] | None = None,
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Our table with the submitted rows, and a mark for every submitted method.

    A submitted method is named ``method@origin``, so that it cannot be taken for ours. ``verdicts``
    maps the hash of a submission to its `verdict`. Raises SubmissionError for two submissions from
    one origin.
    """
    parts, marks = [tidy(scores)], dict[str, str]()
    origins = [submission.origin.lower() for submission in submissions]
    if twice := sorted({origin for origin in origins if origins.count(origin) > 1}):
        raise SubmissionError(f"two submissions from '{twice[0]}'")
    for submission in submissions:
        table = submission.table()
        outcome = (verdicts or {}).get(submission.sha256, "not rerun here")
        table["label"] = [
            f"{(label or method)[:150]} ({submission.origin})"
            for label, method in zip(table["label"], table["method"], strict=True)
        ]
        table["method"] = [f"{method[:150]}@{submission.origin}" for method in table["method"]]
        marks |= dict.fromkeys(table["method"], f"submitted by {submission.origin}; {outcome}")
        parts.append(table)
    return tidy(pd.concat(parts, ignore_index=True)), marks


def first_runs(submission: Submission) -> pd.DataFrame:
    """The submitted values of the first submitted seed of each row on each block."""
    table = submission.table()
    table = table[(table["metric"] != "") & (table["seed"] >= 0)]
    return table[table["seed"] == table.groupby(ROW)["seed"].transform("min")]


def disagreements(
    submission: Submission,
    rerun: pd.DataFrame,
    tolerance: float = 1e-4,
    other_seeds: Collection[str] = (),
) -> list[str]:
    """A line for each value of a rerun that differs from the submitted one, and for each that only
    one of the two has.

    ``rerun`` is a score table of some of the submitted runs; one seed is enough. Values may differ
    by ``tolerance`` times the larger of 1 and the value, counts of undefined values must be equal.
    ``other_seeds``: metrics that compare with another seed, of which the rerun may have no value.
    Raises SubmissionError if the two have no run in common.
    """
    ours, theirs = (t[t["metric"] != ""].set_index(KEY) for t in (tidy(rerun), submission.table()))
    shared = ours.index.intersection(theirs.index)
    if not len(shared):
        raise SubmissionError("the rerun has no run in common with the submission")
    runs = {key[:5] for key in ours.index} & {key[:5] for key in theirs.index}
    lines = [
        f"{_place(key)}: in the rerun, but not submitted"
        for key in ours.index.difference(theirs.index)
        if key[:5] in runs
    ]
    lines += [
        f"{_place(key)}: submitted, but not in the rerun"
        for key in theirs.index.difference(ours.index)
        if key[:5] in runs and key[-1] not in other_seeds
    ]
    for key in shared:
        a, b = theirs.loc[key], ours.loc[key]
        close = _close(a["value"], b["value"], tolerance) and _close(
            a["live"], b["live"], tolerance
        )
        if not close or a["undefined"] != b["undefined"]:
            lines.append(f"{_place(key)}: submitted {a['value']:.6g}, rerun {b['value']:.6g}")
    return lines


def not_rerun(submission: Submission, rerun: pd.DataFrame) -> list[str]:
    """The submitted methods, with parameters, of which a rerun has no run on some block."""
    rows = submission.table()[ROW].drop_duplicates().itertuples(index=False, name=None)
    done = set(rerun.loc[rerun["metric"] != "", ROW].itertuples(index=False, name=None))
    names = [method if params == "{}" else f"{method} {params}"
             for _, _, method, params in (row for row in rows if row not in done)]  # fmt: skip
    return list(dict.fromkeys(names))


def _place(key: Sequence[object]) -> str:
    """The place of a value in the score table, in one line."""
    return one_line("/".join(map(str, key)))


def verdict(lines: Sequence[str], seeds: Sequence[int], left_out: Sequence[str] = ()) -> str:
    """What the leaderboard says about a submission after a rerun of one seed of each row.

    ``left_out``: the submitted rows that were not rerun.
    """
    rerun = f"a rerun of seed{'s'[: len(seeds) > 1]} {', '.join(map(str, seeds[:3]))}"
    if lines:
        return f"FLAGGED: {rerun} disagrees in {len(lines)} values"
    names = ", ".join(one_line(name, 40) for name in left_out[:3])
    more = f" and {len(left_out) - 3} more" if len(left_out) > 3 else ""
    return f"{rerun} agrees" + (f"; not rerun: {names}{more}" if left_out else "")


def _validated(content: Any) -> Submission:
    try:
        return Submission.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise SubmissionError(one_line(f"{where}: {first['msg']}", 200)) from None
    except RecursionError:
        raise SubmissionError("nested too deep") from None


def _parse(text: str) -> Any:
    def refuse(name: str) -> Any:
        raise SubmissionError(f"the number {name} is not allowed")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) != len(pairs):
            raise SubmissionError("the same key twice in one object")
        return value

    def finite(digits: str) -> float:
        if not math.isfinite(number := float(digits)):
            raise SubmissionError(f"the number {one_line(digits, 40)} is not finite here")
        return number

    def of_64_bits(digits: str) -> int:
        if len(digits) > 20 or not -(2**63) <= (number := int(digits)) < 2**63:
            raise SubmissionError(f"the number {one_line(digits, 40)} does not fit into 64 bits")
        return number

    try:
        content = json.loads(
            text, parse_constant=refuse, object_pairs_hook=once, parse_float=finite,
            parse_int=of_64_bits,
        )  # fmt: skip
        if "\\u" in text:  # only an escape can make half a character
            json.dumps(content, ensure_ascii=False).encode()
        return content
    except SubmissionError:
        raise
    except UnicodeEncodeError:
        raise SubmissionError("a text holds half a character (a lone surrogate)") from None
    except (ValueError, RecursionError) as error:
        raise SubmissionError(f"not JSON ({one_line(error, 100)})") from None


def _check_hashes(submission: Submission) -> None:
    if submission.sha256 != submission.digest():
        raise SubmissionError("the content does not fit its sha256")
    for plugin in submission.plugins:
        if plugin.sha256 != _sha256(plugin.source):
            raise SubmissionError(f"plugin {plugin.name} does not fit its sha256")


def _check_suite(submission: Submission, expected: Expected) -> None:
    ours = f"{expected.suite} version {expected.suite_version}"
    theirs = f"{one_line(submission.suite, 60)} version {submission.suite_version}"
    if ours != theirs:
        raise SubmissionError(f"made with suite {theirs}, not {ours}")
    for kind, mine, other in (("data", expected.data, submission.data),
                              ("metric", expected.metric_keys, submission.metrics)):  # fmt: skip
        for name, key in other.items():
            if name in mine and mine[name] != key:
                raise SubmissionError(f"{kind} '{one_line(name, 60)}' is not the one used here")


def _row_problem(row: dict[str, Any], submission: Submission, expected: Expected) -> str:
    """The first thing that is wrong with a row; empty if nothing is."""
    if (row["dataset"], row["backbone"]) not in expected.blocks:
        return "not a block of the suite"
    if formula := next((name for name in TEXTS if row[name][:1] in FORMULA), ""):
        return f"{formula} starts like a spreadsheet's formula"
    if row["seed"] not in expected.seeds and row["seed"] != -1:
        return f"seed {row['seed']} is not one of the suite's"
    if not row["metric"]:
        return "" if row["status"] != "ok" and row["value"] is None else "a row without a metric"
    if row["dataset"] not in submission.data:
        return "no data fingerprint"
    if row["metric"] not in expected.metrics or row["metric"] not in submission.metrics:
        return "an unknown metric, or one without the hash of its code"
    if row["run"] not in submission.runs:
        return f"run '{one_line(row['run'], 60)}' is not in the submission"
    return _value_problem(row, expected.metrics[row["metric"]])


def _value_problem(row: dict[str, Any], metric: Metric) -> str:
    low, high = metric.limits
    for name in ("value", "live"):
        value = row[name]
        if value is not None and not low - SLACK <= value <= high + SLACK:
            return f"{name} {value:g} outside {low:g} to {high:g}"
    if row["undefined"] > row["count"]:
        return f"{row['undefined']} of {row['count']} values undefined"
    if row["value"] is None and not row["reason"] and row["undefined"] < row["count"]:
        return "no value and no reason"
    if row["aspect"] != metric.aspect:
        return f"aspect '{one_line(row['aspect'], 40)}', not '{metric.aspect}'"
    return ""


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _close(a: float, b: float, tolerance: float) -> bool:
    if pd.isna(a) or pd.isna(b):
        return bool(pd.isna(a) and pd.isna(b))
    return bool(abs(a - b) <= tolerance * max(1.0, abs(a), abs(b)))
