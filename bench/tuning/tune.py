"""A fair contest: the same number of trials for every method, chosen on validation data alone.

Each trial is an ordinary stored run, on a tuning seed that the suite does not test with, scored on
validation images with the validation half of the concepts (see bench/stages.py). The ledger keeps
every trial; `legible run` then trains what it chose, and the other half of the concepts tests it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from legible.bench.errors import UserError
from legible.bench.execution import schedule
from legible.bench.execution.progress import CONSOLE
from legible.bench.execution.store import write_bytes
from legible.bench.execution.workspace import Workspace, probe_key
from legible.bench.plugins import registry
from legible.bench.suites.run_spec import RunSpec, non_default
from legible.bench.suites.schema import Suite, Tune
from legible.bench.text import one_line, settings
from legible.bench.tuning import ledger as ledgers
from legible.bench.tuning.ledger import Choice, Ledger, Trial, nine_digits
from legible.bench.tuning.trials import Planned, plan, tuning
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
    """Makes the trials that are not there yet and writes the ledger. Raises UserError.

    With only some methods or datasets, the others' lines are kept as they stand.
    """
    wanted = None if methods is None else [*methods, "plain"]
    planned = plan(suite, wanted, datasets)
    path = results / suite.name / ledgers.FILE
    kept = [] if (methods, datasets) == (None, None) or not path.exists() else ledgers.read(path)
    schedule.attempt(workspace, [p.spec for p in planned], jobs, plugins)
    found = {t.place: t for t in [*kept, *measured(workspace, planned, tuning(suite))]}
    whole = plan(suite)
    places = [p.trial(tuning(suite).metric).place for p in whole]
    trials = _ledger(suite, whole, [found[place] for place in places if place in found]).judged()
    try:
        write_bytes(path, ledgers.to_text(trials).encode())
    except OSError as error:
        raise UserError(f"cannot write to {path.parent}: {error.strerror}") from error
    show(_ledger(suite, whole, trials))
    return path


def measured(workspace: Workspace, planned: Sequence[Planned], tune: Tune) -> list[Trial]:
    """The ledger's lines of finished trials, read from their runs; nothing chosen yet.

    UserError for one that is not finished or whose data is missing.
    """
    out = []
    statuses = schedule.plan(workspace, [p.spec for p in planned])
    for item, (spec, status, reason) in zip(planned, statuses, strict=True):
        if status in ("skipped", "failed"):
            found: dict[str, Any] = {"problem": one_line(f"{status}: {reason}", 300)}
        elif status in ("done", "to score"):
            found = _scored(workspace, spec, tune.metric)
        else:
            raise UserError(f"no ledger yet: {spec.name}: {reason or 'not finished'}")
        out.append(item.trial(tune.metric, **found))
    return out


def _scored(workspace: Workspace, spec: RunSpec, metric: str) -> dict[str, Any]:
    run = workspace.run_of(spec)
    entry = run.scores(probe_key(workspace, spec)).get(metric)
    if entry is None:
        raise UserError(f"no ledger yet: {spec.name}: not scored")
    (score,) = entry.layers
    value = nine_digits(score.value)
    problem = one_line(score.reason or "undefined", 300) if value is None else ""
    accuracy = nine_digits(run.require_manifest().validation_accuracy or 0.0)
    return {"layer": score.layer, "value": value, "accuracy": accuracy, "problem": problem}


def _ledger(suite: Suite, planned: Sequence[Planned], trials: Sequence[Trial]) -> Ledger:
    tune = tuning(suite)
    fixed = {p.key for p in planned if p.fixed}
    return Ledger(
        trials, tune.metric, METRICS[tune.metric].better, tune.tolerance, fixed, tune.epochs
    )


def show(ledger: Ledger) -> None:
    """Prints each method's choice."""
    for block in dict.fromkeys(key[:2] for key in ledger.choices):
        CONSOLE.print(f"{', '.join(block)}: {ledger.metric} on validation", markup=False)
        table = Table("method", "trials", "chosen", "accuracy", "metric", "why", box=None)
        for key, choice in ledger.choices.items():
            if key[:2] == block:
                table.add_row(*map(escape, _line(key, choice)))
        CONSOLE.print(table)


def _line(key: tuple[str, str, str, str], choice: Choice) -> list[str]:
    chosen = choice.outcome
    numbers = (f"{value:.4f}" for value in (chosen.accuracy, chosen.value))
    name = f"{key[2]} {settings(key[3])}".strip()
    return [name, str(choice.trials), settings(chosen.setting), *numbers, choice.reason]


# ----------------------------------------------------------------- what is tested


def read(suite: Suite, results: Path) -> Ledger:
    """A suite's ledger, if it fits the suite and its choices follow from its numbers.

    UserError, in one line that names `legible tune`, where there is none or it does not.
    """
    path = results / suite.name / ledgers.FILE
    again = f"run `legible tune {suite.name}`"
    if not path.exists():
        raise UserError(f"suite '{suite.name}' is tuned and {path} is not there: {again} first")
    try:
        trials = ledgers.read(path)
    except UserError as error:
        raise UserError(f"{error}; {again}") from None
    planned = plan(suite)
    metric = tuning(suite).metric
    ledger = _ledger(suite, planned, trials)
    want: dict[tuple[str, str, str, str], list[Any]] = {}
    for p in planned:
        want.setdefault(p.key, []).append((*p.trial(metric).place, metric))
    for key, group in ledger.groups.items():
        if [(*t.place, t.metric) for t in group] != want.get(key):
            name = one_line(" ".join(key), 120)
            raise UserError(f"{path} does not fit the suite as it is now ({name}); {again}")
    for number, (trial, due) in enumerate(zip(trials, ledger.judged(), strict=True), 2):
        if trial != due:
            raise UserError(f"{path}: line {number} is not what its numbers choose; {again}")
    return ledger


def tuned_specs(suite: Suite, specs: Sequence[RunSpec], results: Path) -> list[RunSpec]:
    """The suite's cells with the chosen settings, judged on what did not choose; the cells as
    they are where the suite tunes nothing. UserError where a choice is missing."""
    if suite.tune is None:
        return list(specs)
    if both := sorted({spec.seed for spec in specs} & set(tuning(suite).seeds)):
        raise UserError(f"seed {both[0]} chose the settings, so it cannot test them")
    ledger = read(suite, results)
    return [_settled(suite, spec, ledger) for spec in specs]


def _settled(suite: Suite, spec: RunSpec, ledger: Ledger) -> RunSpec:
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
