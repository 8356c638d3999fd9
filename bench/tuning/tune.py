"""Tuning: the same number of trials for every method, and a choice on validation data alone.

Each trial is an ordinary run in the store. Its seed is not one that the suite tests with, and it is
scored on validation images with the validation half of the concepts (see scoring/splits.py). The
ledger holds every trial; `legible run` then trains the chosen settings, and tests them on the other
half of the concepts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.table import Table

from legible.bench.errors import UserError, reason_of
from legible.bench.execution import schedule
from legible.bench.execution.listing import read_listed, write_listed
from legible.bench.execution.progress import CONSOLE
from legible.bench.execution.workspace import Workspace, probe_key
from legible.bench.plugins import registry
from legible.bench.suites.run_spec import RunSpec, non_default
from legible.bench.suites.schema import Suite, Tune
from legible.bench.text import one_line, settings
from legible.bench.tuning import ledger as ledgers
from legible.bench.tuning.ledger import Choice, Ledger, Trial, nine_digits
from legible.bench.tuning.trials import PlannedTrial, Result, plan_trials, tune_table
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
    planned = plan_trials(suite, None if methods is None else [*methods, "plain"], datasets)
    path = results / suite.name / ledgers.FILE
    partial = methods is not None or datasets is not None
    earlier = _read_trials(suite, path) if partial and path.exists() else []
    schedule.attempt(workspace, [p.spec for p in planned], jobs, plugins)
    new = finished_trials(workspace, planned, tune_table(suite))
    by_place = {trial.place: trial for trial in [*earlier, *new]}
    whole = plan_trials(suite)
    places = [p.trial(tune_table(suite).metric).place for p in whole]
    trials = [by_place[place] for place in places if place in by_place]
    trials = _ledger(suite, whole, trials).with_choices()
    try:
        write_listed(path.parent, {path.name: ledgers.to_text(trials).encode()})
    except OSError as error:
        raise UserError(f"cannot write to {path.parent}: {reason_of(error)}") from error
    show(_ledger(suite, whole, trials))
    return path


def finished_trials(
    workspace: Workspace, planned: Sequence[PlannedTrial], tune: Tune
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
            result = _result(workspace, run.spec, tune.metric)
        else:
            reason = run.reason or "not finished: run `legible tune` again"
            raise UserError(f"no ledger yet: {run.spec.name}: {reason}")
        out.append(item.trial(tune.metric, result))
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


def _table_row(key: tuple[str, str, str, str], choice: Choice) -> list[str]:
    outcome = choice.outcome
    numbers = (f"{value:.4f}" for value in (outcome.accuracy, outcome.value))
    name = f"{key[2]} {settings(key[3])}".strip()
    return [name, str(choice.trials), settings(outcome.setting), *numbers, choice.reason]


# ----------------------------------------------------------------- using the ledger


def read(suite: Suite, results: Path) -> Ledger:
    """A suite's ledger, after checking that it fits the suite and that its choices follow from its
    numbers.

    Raises UserError, in one line that names `legible tune`, if it does not or there is none.
    """
    path = results / suite.name / ledgers.FILE
    again = f"run `legible tune {suite.name}`"
    if not path.exists():
        raise UserError(f"suite '{suite.name}' needs tuning, but there is no {path}: {again} first")
    trials = _read_trials(suite, path)
    planned = plan_trials(suite)
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


def _read_trials(suite: Suite, path: Path) -> list[Trial]:
    """The trials of a ledger file. Raises UserError if it is damaged."""
    command = f"legible tune {suite.name}"
    try:
        trials = ledgers.read(path)
    except UserError as error:
        raise UserError(f"{error}; run `{command}`") from None
    read_listed(path.parent, path.name, command)
    return trials


def tuned_specs(suite: Suite, specs: Sequence[RunSpec], results: Path) -> list[RunSpec]:
    """The run specs with the chosen settings, to be judged on data that did not choose them.

    A suite that tunes nothing keeps its run specs. Raises UserError if a choice is missing.
    """
    if suite.tune is None:
        return list(specs)
    if both := sorted({spec.seed for spec in specs} & set(tune_table(suite).seeds)):
        raise UserError(f"seed {both[0]} was used to choose settings, so it cannot test them")
    ledger = read(suite, results)
    return [_with_choice(suite, spec, ledger) for spec in specs]


def _with_choice(suite: Suite, spec: RunSpec, ledger: Ledger) -> RunSpec:
    choice = ledger.choices.get((*spec.block, *spec.row))
    if choice is None:
        raise UserError(
            f"no setting of '{spec.method}' on {spec.dataset_label}, {spec.backbone_label} is "
            f"chosen yet: run `legible tune {suite.name}` first"
        )
    cls = registry.get("methods", spec.method)
    params = registry.parameters(cls, json.loads(choice.outcome.setting))
    return replace(
        spec, params=params, given=non_default(cls, params), declared=spec.given, stage="final"
    )
