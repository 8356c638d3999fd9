"""Tuning the recipe of plain training: its trials, their ledger, and the recipes that follow.

Each trial is an ordinary run of plain, with a tuning seed, and only its accuracy on the validation
images counts. `recipe_search` says what is tried and what is chosen. The recipes stand in the suite
files that use them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from rich.table import Table

from legible.bench.errors import UserError, reason_of
from legible.bench.execution import schedule
from legible.bench.execution.listing import write_listed
from legible.bench.execution.progress import CONSOLE
from legible.bench.execution.workspace import Workspace
from legible.bench.suites.run_spec import Block, RunSpec, canonical, expand
from legible.bench.suites.schema import Suite, TuneRecipe
from legible.bench.tuning import ledger as ledgers
from legible.bench.tuning.ledger import Trial
from legible.bench.tuning.recipe_search import Accuracies, RecipeChoice, RecipePoint, search
from legible.bench.tuning.trials import PlannedTrial
from legible.bench.tuning.tune import finished_trials

METRIC = "accuracy"


class BlockSearch(NamedTuple):
    """The state of the search on one block: the trials that it has asked for, and the choice (None
    while trials are missing)."""

    planned: list[PlannedTrial]
    choice: RecipeChoice | None


def run_recipe_trials(
    workspace: Workspace,
    suite: Suite,
    results: Path,
    jobs: int = 0,
    plugins: Sequence[Path] = (),
    datasets: Sequence[str] | None = None,
) -> Path:
    """Makes the trials that the search asks for, writes the ledger and returns its path.

    With ``datasets`` the ledger's lines of the other blocks stay as they are. Raises UserError.
    """
    path = results / suite.name / ledgers.FILE
    templates = block_templates(suite, datasets)
    trials: list[Trial] = []
    while True:
        states = search_blocks(suite, templates, trials)
        if all(state.choice for state in states.values()):
            break
        planned = [item for state in states.values() for item in state.planned]
        schedule.attempt(workspace, [item.spec for item in planned], jobs, plugins)
        trials = finished_trials(workspace, planned, METRIC)
    lines = with_choices(states, trials)
    if datasets is not None and path.exists():
        lines += [trial for trial in ledgers.read(path) if Block(*trial.block) not in states]
    order = list(block_templates(suite))
    lines.sort(key=lambda trial: order.index(Block(*trial.block)))
    try:
        write_listed(path.parent, {path.name: ledgers.to_text(lines).encode()})
    except OSError as error:
        raise UserError(f"cannot write to {path.parent}: {reason_of(error)}") from error
    show(states)
    return path


def recipe_table(suite: Suite) -> TuneRecipe:
    """The suite's [tune_recipe] table. Raises UserError if it cannot be carried out."""
    table = suite.tune_recipe
    if table is None:
        raise UserError(f"suite '{suite.name}' has no [tune_recipe] table: no recipe to tune")
    if both := sorted(set(table.seeds) & set(suite.seeds)):
        raise UserError(f"[tune_recipe] seed {both[0]} is also one that the suite tests with")
    return table


def block_templates(suite: Suite, datasets: Sequence[str] | None = None) -> dict[Block, RunSpec]:
    """A run spec of plain for each block, with the suite's recipe: trials differ from it in their
    recipe and seed."""
    seed = recipe_table(suite).seeds[0]
    specs = expand(suite, [seed], ["plain"], datasets)
    return {
        spec.block: replace(spec, stage="tuning", measures=(METRIC,), partner=None)
        for spec in specs
        if not spec.given
    }


def plan_first_trials(suite: Suite, datasets: Sequence[str] | None = None) -> list[PlannedTrial]:
    """The trials of the grid; which others follow depends on their accuracies."""
    states = search_blocks(suite, block_templates(suite, datasets), [])
    return [item for state in states.values() for item in state.planned]


def search_blocks(
    suite: Suite, templates: dict[Block, RunSpec], trials: Iterable[Trial]
) -> dict[Block, BlockSearch]:
    """The state of the search on each block, given trials that were made."""
    table = recipe_table(suite)
    made: dict[Block, list[Trial]] = {block: [] for block in templates}
    for trial in trials:
        made.setdefault(Block(*trial.block), []).append(trial)
    states = {}
    for block, template in templates.items():
        path, choice = search(table, template.recipe.epochs, accuracies_of(made[block], table))
        planned = [
            PlannedTrial(_spec(template, point, seed), number, canonical(point._asdict()), False)
            for number, point in enumerate(path)
            for seed in table.seeds
        ]
        states[block] = BlockSearch(planned, choice)
    return states


def _spec(template: RunSpec, point: RecipePoint, seed: int) -> RunSpec:
    recipe = template.recipe.model_copy(update=point._asdict())
    return replace(template, recipe=recipe, seed=seed)


def accuracies_of(trials: Iterable[Trial], table: TuneRecipe) -> Accuracies:
    """The accuracies of each setting that was tried on every seed, in the order of the seeds."""
    by_seed: dict[RecipePoint, dict[int, float]] = {}
    for trial in trials:
        accuracy = math.nan if trial.accuracy is None else trial.accuracy
        by_seed.setdefault(point_of(trial), {})[trial.seed] = accuracy
    return {
        point: [values[seed] for seed in table.seeds]
        for point, values in by_seed.items()
        if set(table.seeds) <= set(values)
    }


def point_of(trial: Trial) -> RecipePoint:
    """The setting of a trial. Raises UserError for a setting of something else."""
    try:
        return RecipePoint(**json.loads(trial.setting))
    except TypeError:
        raise UserError(f"setting {trial.setting} is not one of a recipe") from None


def with_choices(states: dict[Block, BlockSearch], trials: Iterable[Trial]) -> list[Trial]:
    """The trials, each marked as chosen or not, with the reason."""
    out = []
    for trial in trials:
        choice = states[Block(*trial.block)].choice
        assert choice is not None
        is_choice = point_of(trial) == choice.point
        reason = choice.reason if is_choice else _reason_against(point_of(trial), choice)
        out.append(trial.model_copy(update={"chosen": is_choice, "reason": reason}))
    return out


def _reason_against(point: RecipePoint, choice: RecipeChoice) -> str:
    if point.epochs > choice.point.epochs:
        return "the gain is below the tolerance"
    if point.epochs < choice.point.epochs:
        return "more epochs gain the tolerance"
    return "another is more accurate"


def show(states: dict[Block, BlockSearch]) -> None:
    """Prints the recipe that was chosen for each block."""
    table = Table("block", "trials", "recipe", "accuracy", "why", box=None)
    for block, state in states.items():
        choice = state.choice
        assert choice is not None
        recipe = ", ".join(f"{name} = {value:g}" for name, value in choice.point._asdict().items())
        table.add_row(", ".join(block), str(len(state.planned)), recipe,
                      f"{choice.accuracy:.4f}", choice.reason)  # fmt: skip
    CONSOLE.print(table)


def read_recipes(suite: Suite, results: Path) -> dict[Block, RecipeChoice]:
    """The recipes that a suite's ledger chooses, after checking that they follow from its numbers.

    Raises UserError, in one line that names `legible tune`, if they do not or there is no ledger.
    """
    path = results / suite.name / ledgers.FILE
    again = f"run `legible tune {suite.name}`"
    try:
        trials = ledgers.read(path)
        states = search_blocks(suite, block_templates(suite), trials)
    except UserError as error:
        raise UserError(f"{error}; {again}") from None
    if missing := next((block for block, state in states.items() if state.choice is None), None):
        raise UserError(f"{path}: trials of {', '.join(missing)} are missing; {again}")
    places = [item.trial(METRIC).place for state in states.values() for item in state.planned]
    if [trial.place for trial in trials] != places:
        raise UserError(f"{path} does not fit the suite as it is now; {again}")
    if trials != with_choices(states, trials):
        raise UserError(f"{path}: 'chosen' or 'reason' is not what the numbers give; {again}")
    return {block: state.choice for block, state in states.items() if state.choice}
