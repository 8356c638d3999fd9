"""The ledger of a tuned suite, results/<suite>/ledger.csv: every trial, the choice, the reason.

Choices follow from the numbers in the file alone, so they can be checked when it is read.
"""

from __future__ import annotations

import csv
import io
import json
import math
import statistics
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from legible.bench.errors import UserError, reason_of
from legible.bench.execution.listing import refuse_edited
from legible.bench.suites.run_spec import BASELINE

FILE = "ledger.csv"
LARGEST = 16 * 2**20  # bytes of a ledger that is read
SLACK = 1e-8  # accuracies have nine digits


def _is_object(text: str) -> str:
    try:
        parsed = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if not isinstance(parsed, dict):
        raise ValueError("must be a JSON object")
    return text


Params = Annotated[str, Field(max_length=2000), AfterValidator(_is_object)]
_PRINTABLE = r"^[^\x00-\x1f\x7f]*$"
Name = Annotated[str, Field(max_length=200, pattern=_PRINTABLE)]
NonEmpty = Annotated[str, Field(min_length=1, max_length=200, pattern=_PRINTABLE)]
Reason = Annotated[str, Field(max_length=500, pattern=_PRINTABLE)]


class Trial(BaseModel):
    """One setting of a method, trained on one tuning seed: a line of the ledger.

    ``declared`` holds the parameters that the suite names, ``setting`` these and the searched ones,
    both as JSON without defaults; ``number`` counts a method's settings from 0. ``setup`` is a hash
    of data, backbone, recipe, layer and probe. ``accuracy`` is over all validation images;
    ``value`` is the metric's headline mean on the probed ones, with validation concepts. If one of
    them is missing, ``problem`` says why.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: NonEmpty
    backbone: NonEmpty
    method: NonEmpty
    declared: Params
    number: int = Field(ge=0, lt=1000)
    setting: Params
    seed: int = Field(ge=0, lt=2**63)
    metric: NonEmpty
    layer: Name
    value: float | None = Field(allow_inf_nan=False)
    accuracy: float | None = Field(ge=0, le=1, allow_inf_nan=False)
    problem: Reason
    chosen: bool
    reason: Reason
    setup: str = Field(pattern=r"^[0-9a-f]{12}$")

    @property
    def block(self) -> tuple[str, str]:
        """Its block of the suite's tables."""
        return self.dataset, self.backbone

    @property
    def row(self) -> tuple[str, str]:
        """Its row of the suite's tables."""
        return self.method, self.declared

    @property
    def place(self) -> tuple[Any, ...]:
        """All that identifies a trial, without its results."""
        return (*self.block, *self.row, self.number, self.setting, self.seed, self.setup)


class Outcome(NamedTuple):
    """The results of a setting: means over its tuning seeds, NaN if a seed has no value."""

    number: int
    setting: str
    accuracy: float
    value: float


class Choice(NamedTuple):
    """The chosen setting of a method on a block. ``within``: it is within the tolerance."""

    outcome: Outcome
    within: bool
    reason: str
    trials: int


# ----------------------------------------------------------------- choosing


def outcomes(trials: Sequence[Trial]) -> list[Outcome]:
    """The results of one method's settings on one block, by number."""
    settings: dict[tuple[int, str], list[Trial]] = {}
    for trial in trials:
        settings.setdefault((trial.number, trial.setting), []).append(trial)
    return [
        Outcome(*key, _mean([t.accuracy for t in group]), _mean([t.value for t in group]))
        for key, group in sorted(settings.items())
    ]


def _mean(values: Sequence[float | None]) -> float:
    return math.nan if None in values else math.fsum(v or 0.0 for v in values) / len(values)


def _standard_error(pairs: Sequence[tuple[float | None, float | None]]) -> float:
    """Of the mean difference between paired values; NaN below two complete pairs."""
    gaps = [first - second for first, second in pairs if first is not None and second is not None]
    return statistics.stdev(gaps) / math.sqrt(len(gaps)) if len(gaps) > 1 else math.nan


def choose(
    candidates: Sequence[Outcome], reference: float, better: str, tolerance: float, trials: int = 0
) -> Choice:
    """The setting with the best metric among those that are at most ``tolerance`` less accurate
    than the reference; if there is none, the most accurate setting.

    Of equal metrics the more accurate setting counts, then the one with the lower number.
    """
    sign = -1.0 if better == "lower" else 1.0
    able = [o for o in candidates if math.isfinite(o.accuracy)]
    within = [o for o in able if tolerable(o, reference, tolerance) and math.isfinite(o.value)]
    if within:
        best = max(within, key=lambda o: (sign * o.value, o.accuracy, -o.number))
        return Choice(best, True, "best within the tolerance", trials)
    if able:
        best = max(able, key=lambda o: (o.accuracy, -o.number))
        return Choice(best, False, "most accurate; none is within the tolerance", trials)
    return Choice(candidates[0], False, "the first; none could be trained", trials)


def tolerable(outcome: Outcome, reference: float, tolerance: float) -> bool:
    """Whether a setting is at most ``tolerance`` less accurate than the reference."""
    return outcome.accuracy >= reference - tolerance - SLACK


@dataclass(frozen=True, eq=False)
class Ledger:
    """All trials of a suite, and the choices that follow from them.

    ``fixed`` holds (dataset, backbone, method, declared) of methods that have nothing to search.
    ``epochs`` is the training length of trials, if it is shorter than that of the suite's runs.
    """

    trials: Sequence[Trial]
    metric: str
    better: Literal["higher", "lower", "neither"]
    tolerance: float
    fixed: Collection[tuple[str, str, str, str]] = ()
    epochs: int | None = None

    @cached_property
    def groups(self) -> dict[tuple[str, str, str, str], list[Trial]]:
        """Trials by dataset, backbone, method and declared parameters."""
        groups: dict[tuple[str, str, str, str], list[Trial]] = {}
        for trial in self.trials:
            groups.setdefault((*trial.block, *trial.row), []).append(trial)
        return groups

    def reference(self, block: tuple[str, str]) -> Outcome:
        """The results of plain training on a block. Raises UserError if it has none."""
        trials = self.groups.get((*block, *BASELINE), [])
        where = ", ".join(block)
        if not trials:
            raise UserError(f"no trial of plain on {where}, so there is nothing to compare with")
        plain = outcomes(trials)[0]
        if not (math.isfinite(plain.accuracy) and math.isfinite(plain.value)):
            problem = next((t.problem for t in trials if t.problem), "undefined")
            raise UserError(f"plain has no {self.metric} on {where} ({problem})")
        return plain

    def error(self, block: tuple[str, str]) -> float:
        """The standard error of a difference in accuracy to plain, paired by tuning seed: the
        median over all settings of a block. NaN with a single tuning seed."""
        plain = {t.seed: t.accuracy for t in self.groups.get((*block, *BASELINE), [])}
        errors = [
            _standard_error([(t.accuracy, plain.get(t.seed)) for t in trials])
            for trials in self._settings(block)
        ]
        defined = [error for error in errors if math.isfinite(error)]
        return statistics.median(defined) if defined else math.nan

    def _settings(self, block: tuple[str, str]) -> list[list[Trial]]:
        """The trials of each searched setting of a block."""
        settings: dict[tuple[str, ...], list[Trial]] = {}
        for key, trials in self.groups.items():
            if key[:2] == tuple(block) and key not in self.fixed:
                for trial in trials:
                    settings.setdefault((*key, trial.setting), []).append(trial)
        return list(settings.values())

    def at_edge(self, key: tuple[str, str, str, str]) -> bool:
        """Whether the chosen strength is the smallest or the largest of several that were tried, so
        that a better one may lie beyond."""
        tried = {
            value
            for trial in self.groups[key]
            if isinstance(value := json.loads(trial.setting).get("strength"), int | float)
        }
        best = json.loads(self.choices[key].outcome.setting).get("strength")
        return len(tried) > 1 and best in (min(tried), max(tried))

    @cached_property
    def choices(self) -> dict[tuple[str, str, str, str], Choice]:
        """The choice of each method on each block."""
        return {key: self._choice(key, trials) for key, trials in self.groups.items()}

    def _choice(self, key: tuple[str, str, str, str], trials: Sequence[Trial]) -> Choice:
        reference = self.reference(key[:2])
        choice = choose(
            outcomes(trials), reference.accuracy, self.better, self.tolerance, len(trials)
        )
        reason = choice.reason
        if key in self.fixed:
            reason = "no search space" + ("" if choice.within else "; not within the tolerance")
        if key[2:] == BASELINE:
            reason = f"the reference; {reason}"
        return choice._replace(reason=reason)

    def with_choices(self) -> list[Trial]:
        """The trials, each marked as chosen or not, with the reason."""
        out = []
        for trial in self.trials:
            key = (*trial.block, *trial.row)
            choice = self.choices[key]
            is_choice = trial.number == choice.outcome.number
            reason = choice.reason if is_choice else self._reason_against(trial)
            out.append(trial.model_copy(update={"chosen": is_choice, "reason": reason}))
        return out

    def _reason_against(self, trial: Trial) -> str:
        group = self.groups[(*trial.block, *trial.row)]
        outcome = next(o for o in outcomes(group) if o.number == trial.number)
        if not math.isfinite(outcome.accuracy):
            return "not trained on every seed"
        if not tolerable(outcome, self.reference(trial.block).accuracy, self.tolerance):
            return "not within the tolerance"
        return "another is better" if math.isfinite(outcome.value) else "metric undefined"


# ----------------------------------------------------------------- the file


def to_text(trials: Sequence[Trial]) -> str:
    """The text of the file; the same trials always give the same bytes."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(Trial.model_fields), lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: _to_csv(v) for k, v in trial.model_dump().items()} for trial in trials)
    return text.getvalue()


def nine_digits(value: float) -> float | None:
    """A number as the file holds it; None for one that is not finite."""
    return float(f"{value:.9g}") if math.isfinite(value) else None


def _to_csv(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    if isinstance(value, float):
        return f"{value:.9g}"
    return "" if value is None else str(value)


def read(path: Path) -> list[Trial]:
    """The trials of a ledger file. Raises UserError, in one line, for anything else."""
    try:
        if path.stat().st_size > LARGEST:
            raise UserError(f"{path}: larger than {LARGEST // 2**20} MiB")
        lines = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig")), strict=True)
        rows = list(lines)
    except FileNotFoundError:
        raise UserError(f"no ledger {path}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({reason_of(error)})") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    if list(lines.fieldnames or []) != list(Trial.model_fields):
        raise UserError(f"{path}: the columns are not {', '.join(Trial.model_fields)}")
    refuse_edited(path)
    return [_parse(path, number, row) for number, row in enumerate(rows, 2)]


def _parse(path: Path, number: int, row: dict[Any, Any]) -> Trial:
    if None in row or None in row.values():
        raise UserError(f"{path}: line {number} does not have {len(Trial.model_fields)} columns")
    if row["chosen"] not in ("yes", ""):
        raise UserError(f"{path}: line {number}: chosen must be 'yes' or empty")
    typed = row | {name: row[name] or None for name in ("value", "accuracy")}
    try:
        return Trial.model_validate(typed | {"chosen": row["chosen"] == "yes"})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise UserError(f"{path}: line {number}: {where}: {first['msg']}") from None
