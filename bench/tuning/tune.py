"""Tuning: the same number of trials for every method, and a choice on validation data alone.

Each trial is an ordinary run in the store. Its seed is not one that the suite tests with, and it is
scored on validation images with the validation half of the concepts (see scoring/splits.py). The
ledger holds every trial; `legible run` then trains the chosen settings, and tests them on the other
half of the concepts.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from rich.table import Table

from legible.bench.errors import UserError, reason_of
from legible.bench.execution import schedule
from legible.bench.execution.listing import write_listed
from legible.bench.execution.progress import CONSOLE
from legible.bench.execution.published import PACKAGED
from legible.bench.execution.workspace import Workspace, probe_key
from legible.bench.plugins import registry
from legible.bench.suites.run_spec import BASELINE, Block, RunSpec, non_default
from legible.bench.suites.schema import Suite
from legible.bench.text import one_line, settings
from legible.bench.tuning import ledger as ledgers
from legible.bench.tuning.ledger import Choice, Ledger, Trial, nine_digits
from legible.bench.tuning.trials import (
    PlannedTrial,
    Result,
    further_trials,
    in_order,
    plan_trials,
    tune_table,
)
from legible.metrics.base import METRICS


def run_trials(
    workspace: Workspace,
    suite: Suite,
    results: Path,
    jobs: int = 0,
    plugins: Sequence[Path] = (),
    methods: Sequence[str] | None = None,
    datasets: Sequence[str] | None = None,
) -> Path:
    """Makes the trials that are missing, writes the ledger and returns its path. Raises UserError.

    With ``methods`` or ``datasets`` the ledger's lines of the others stay as they are; plain is
    always tried, because it is the reference.
    """
    base = plan_trials(suite, None if methods is None else [*methods, "plain"], datasets)
    path = results / suite.name / ledgers.FILE
    trials = _make(workspace, suite, base, jobs, plugins)
    if methods is not None or datasets is not None:
        trials = _with_earlier(suite, ledger_file(suite, results), base, trials)
    whole = with_extensions(suite, plan_trials(suite), trials)
    trials = _ledger(suite, whole, trials).with_choices()
    try:
        write_listed(path.parent, {path.name: ledgers.to_text(trials).encode()})
    except OSError as error:
        raise UserError(f"cannot write to {path.parent}: {reason_of(error)}") from error
    show(_ledger(suite, whole, trials))
    return path


def _make(
    workspace: Workspace,
    suite: Suite,
    base: Sequence[PlannedTrial],
    jobs: int,
    plugins: Sequence[Path],
) -> list[Trial]:
    """The ledger's lines of all trials, those beyond the edges included."""
    trials: list[Trial] = []
    while len(planned := with_extensions(suite, base, trials)) > len(trials):
        schedule.attempt(workspace, [p.spec for p in planned], jobs, plugins)
        trials = finished_trials(workspace, planned, tune_table(suite).metric)
    return trials


def _with_earlier(
    suite: Suite, path: Path, base: Sequence[PlannedTrial], trials: Sequence[Trial]
) -> list[Trial]:
    """The trials, and those of an earlier ledger for the methods and blocks that were left out, if
    they still fit the suite; in the order of the ledger."""
    new = {p.key for p in base}
    earlier = ledgers.read(path) if path.exists() else []
    both = [*trials, *(t for t in earlier if (*t.block, *t.row) not in new)]
    by_place = {trial.place: trial for trial in both}
    metric = tune_table(suite).metric
    whole = with_extensions(suite, plan_trials(suite), both)
    places = [planned.trial(metric).place for planned in whole]
    return [by_place[place] for place in places if place in by_place]


def with_extensions(
    suite: Suite, base: Sequence[PlannedTrial], trials: Sequence[Trial]
) -> list[PlannedTrial]:
    """The planned trials and those that follow from results: as long as the best setting of a
    method lies at the edge of the strengths tried, one more lies beyond it, `Tune.extensions` at
    most."""
    tune = tune_table(suite)
    groups: dict[tuple[str, str, str, str], list[PlannedTrial]] = {}
    for planned in base:
        groups.setdefault(planned.key, []).append(planned)
    for group in groups.values():
        if not group[0].fixed:
            for _ in range(tune.extensions):
                group += _one_more(suite, base, group, trials)
    return in_order([planned for group in groups.values() for planned in group], tune.seeds)


def _one_more(
    suite: Suite,
    base: Sequence[PlannedTrial],
    group: Sequence[PlannedTrial],
    trials: Sequence[Trial],
) -> list[PlannedTrial]:
    """The trials beyond the edge for one method on one block; none while results are missing."""
    tune = tune_table(suite)
    reference = (*group[0].key[:2], *BASELINE)
    own = {p.trial(tune.metric).place for p in group}
    plain = {p.trial(tune.metric).place for p in base if p.key == reference}
    made = [trial for trial in trials if trial.place in own | plain]
    if not plain or len(made) < len(own | plain):
        return []
    choice = _ledger(suite, base, made).choices[group[0].key]
    return further_trials(group, choice.outcome.setting, tune)


def finished_trials(
    workspace: Workspace, planned: Sequence[PlannedTrial], metric: str
) -> list[Trial]:
    """The ledger's lines of finished trials, before anything is chosen.

    Raises UserError for a trial that is not finished or whose data is missing.
    """
    out = []
    runs = schedule.plan_runs(workspace, [p.spec for p in planned])
    for item, run in zip(planned, runs, strict=True):
        if run.status in ("skipped", "failed"):
            result = Result(problem=one_line(f"{run.status}: {run.reason}", 300))
        elif run.status in ("done", "to score"):
            result = _result(workspace, run.spec, metric)
        else:
            reason = run.reason or "not finished: run `legible tune` again"
            raise UserError(f"no ledger yet: {run.spec.name}: {reason}")
        out.append(item.trial(metric, result))
    return out


def _result(workspace: Workspace, spec: RunSpec, metric: str) -> Result:
    run = workspace.run_of(spec)
    entry = run.scores(probe_key(workspace, spec)).get(metric)
    if entry is None:
        raise UserError(f"no ledger yet: {spec.name}: not scored")
    (score,) = entry.layers
    value = nine_digits(score.value)
    problem = one_line(score.reason or "undefined", 300) if value is None else ""
    accuracy = nine_digits(run.require_manifest().validation_accuracy or 0.0)
    return Result(score.layer, value, accuracy, problem)


def _ledger(suite: Suite, planned: Sequence[PlannedTrial], trials: Sequence[Trial]) -> Ledger:
    tune = tune_table(suite)
    fixed = {p.key for p in planned if p.fixed}
    return Ledger(
        trials, tune.metric, METRICS[tune.metric].better, tune.tolerance, fixed, tune.epochs
    )


def show(ledger: Ledger) -> None:
    """Prints the choice of each method on each block."""
    for block in dict.fromkeys(key[:2] for key in ledger.choices):
        CONSOLE.print(f"{', '.join(block)}: {ledger.metric} on validation")
        table = Table("method", "trials", "chosen", "accuracy", "metric", "why", box=None)
        for key, choice in ledger.choices.items():
            if key[:2] == block:
                table.add_row(*_table_row(key, choice))
        CONSOLE.print(table)
        CONSOLE.print(tolerance_note(ledger, Block(*block)))


def tolerance_note(ledger: Ledger, block: Block) -> str:
    """The tolerance beside its standard error: it should be the larger of the two."""
    error = ledger.error(block)
    if math.isnan(error):
        return f"tolerance {ledger.tolerance:g}; its standard error needs two tuning seeds"
    advice = "" if error < ledger.tolerance else ": too large, give [tune] more seeds"
    return f"tolerance {ledger.tolerance:g}, standard error of a difference {error:.4f}{advice}"


def _table_row(key: tuple[str, str, str, str], choice: Choice) -> list[str]:
    outcome = choice.outcome
    numbers = (f"{value:.4f}" for value in (outcome.accuracy, outcome.value))
    name = f"{key[2]} {settings(key[3])}".strip()
    return [name, str(choice.trials), settings(outcome.setting), *numbers, choice.reason]


# ----------------------------------------------------------------- using the ledger


def ledger_file(suite: Suite, results: Path) -> Path:
    """The path of a suite's ledger: below ``results``, or else the package's own."""
    here, packaged = (folder / suite.name / ledgers.FILE for folder in (results, PACKAGED))
    return packaged if packaged.is_file() and not here.is_file() else here


def read(suite: Suite, results: Path) -> Ledger:
    """A suite's ledger, after checking that it fits the suite and that its choices follow from its
    numbers.

    Raises UserError, in one line that names `legible tune`, if it does not or there is none.
    """
    path = ledger_file(suite, results)
    again = f"run `legible tune {suite.name}`"
    if not path.exists():
        raise UserError(f"suite '{suite.name}' needs tuning, but there is no {path}: {again} first")
    try:
        trials = ledgers.read(path)
    except UserError as error:
        raise UserError(f"{error}; {again}") from None
    planned = with_extensions(suite, plan_trials(suite), trials)
    metric = tune_table(suite).metric
    ledger = _ledger(suite, planned, trials)
    places: dict[tuple[str, str, str, str], list[Any]] = {}
    for p in planned:
        places.setdefault(p.key, []).append((*p.trial(metric).place, metric))
    for key, group in ledger.groups.items():
        if [(*t.place, t.metric) for t in group] != places.get(key):
            name = one_line(" ".join(key), 120)
            raise UserError(f"{path} does not fit the suite as it is now ({name}); {again}")
    for number, (trial, correct) in enumerate(zip(trials, ledger.with_choices(), strict=True), 2):
        if trial != correct:
            raise UserError(
                f"{path}: line {number}: 'chosen' or 'reason' is not what the numbers give (was "
                f"the file edited?); {again}"
            )
    return ledger


def tuned_specs(suite: Suite, specs: Sequence[RunSpec], results: Path) -> list[RunSpec]:
    """The run specs with the chosen settings, to be judged on data that did not choose them.

    A suite that tunes nothing keeps its run specs. A plugin's method that the ledger does not hold
    keeps its default setting. Raises UserError if another choice is missing.
    """
    if suite.tune is None:
        return list(specs)
    if both := sorted({spec.seed for spec in specs} & set(tune_table(suite).seeds)):
        raise UserError(f"seed {both[0]} was used to choose settings, so it cannot test them")
    ledger = read(suite, results)
    return [_with_choice(suite, spec, ledger) for spec in specs]


def _with_choice(suite: Suite, spec: RunSpec, ledger: Ledger) -> RunSpec:
    block = _choosing_block(suite, spec, ledger)
    stage: Literal["", "final"] = "final" if block == spec.block else ""
    choice = ledger.choices.get((*block, *spec.row))
    if choice is None and registry.plugin_of("methods", spec.method) is not None:
        return replace(spec, declared=spec.given, stage=stage)
    if choice is None:
        raise UserError(
            f"no setting of '{spec.method}' on {', '.join(block)} is chosen yet: run `legible tune "
            f"{suite.name}` first"
        )
    cls = registry.get("methods", spec.method)
    params = registry.parameters(cls, json.loads(choice.outcome.setting))
    return replace(
        spec, params=params, given=non_default(cls, params), declared=spec.given, stage=stage
    )


def _choosing_block(suite: Suite, spec: RunSpec, ledger: Ledger) -> Block:
    """The block on which the settings of a run spec were chosen: its own, or the one that chooses
    for all."""
    if tune_table(suite).dataset is None:
        return spec.block
    return next((Block(*key[:2]) for key in ledger.groups), spec.block)
