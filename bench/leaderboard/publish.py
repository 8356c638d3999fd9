"""From finished runs to results/SUITE/: leaderboard, score table, cost table and pictures."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pandas as pd

from legible.bench.data.base import DataMissing, Dataset
from legible.bench.errors import UserError, reason_of
from legible.bench.execution.cost import cost_table
from legible.bench.execution.listing import write_publication_files
from legible.bench.execution.store import Corrupt
from legible.bench.execution.workspace import Workspace
from legible.bench.leaderboard.board import Board
from legible.bench.leaderboard.figures.network_pictures import (
    Picture,
    PictureData,
    draw_pictures,
)
from legible.bench.leaderboard.figures.picture_data import gather_picture_data
from legible.bench.leaderboard.figures.training_curves import History, gather_histories
from legible.bench.leaderboard.formats import DEFAULT_FORMATS, publication_files
from legible.bench.leaderboard.null_networks import metric_remarks, published_cards
from legible.bench.leaderboard.render.as_csv import attributions_csv, cost_csv
from legible.bench.plugins import registry
from legible.bench.plugins.faults import PluginFault
from legible.bench.scores.collect import algorithm_table, score_table
from legible.bench.scores.exchange import expected, with_submissions
from legible.bench.suites.run_spec import BASELINE, Block, RowKey, RunSpec
from legible.bench.suites.schema import Suite
from legible.bench.tuning import tune


def write_publication(
    workspace: Workspace,
    suite: Suite,
    specs: Sequence[RunSpec],
    results: Path,
    cost: bool,
    command: str,
    formats: Sequence[str] = DEFAULT_FORMATS,
    with_pictures: bool = True,
    say: Callable[[str], None] = print,
) -> Path:
    """Writes the README, its pages, figures and tables below ``results``/SUITE/ and returns the
    README's path.

    ``cost`` measures costs that are not known yet. ``command`` is the text that the README shows
    under "Reproduce with". ``formats`` names further files (see `FORMATS`). Raises
    UserError.
    """
    folder = results / suite.name
    if not (folder / "submissions").is_dir() and not any(ended(workspace, s) for s in specs):
        raise UserError(
            f"suite '{suite.name}' has no finished runs: run `legible run {suite.name}`"
        )
    costs = cost_table(workspace, specs, cost, say)
    board = make_board(workspace, suite, specs, costs, command, folder)
    pictures = pictures_of_runs(workspace, specs, say) if with_pictures else []
    files = publication_files(board, pictures, formats)
    if len(board.algorithms):
        files["attributions.csv"] = attributions_csv(board.algorithms).encode()
    files["cost.csv"] = cost_csv(costs).encode()
    try:
        write_publication_files(folder, suite.title, suite.block_names, files)
    except OSError as error:
        raise UserError(
            f"cannot write to {folder}: {error.filename}: {reason_of(error)}"
        ) from error
    return folder / "README.md"


def make_board(
    workspace: Workspace,
    suite: Suite,
    specs: Sequence[RunSpec],
    costs: pd.DataFrame,
    command: str,
    folder: Path,
) -> Board:
    """The data of a leaderboard, read from finished runs and accepted submissions."""
    classes = {spec.method: registry.get("methods", spec.method) for spec in specs}
    scores, submitted = with_submissions(
        score_table(workspace, specs), folder, expected(workspace, suite, specs)
    )
    datasets = _datasets(workspace, specs)
    replaced = {n: f"replaces a {cls.replaces}" for n, cls in classes.items() if cls.replaces}
    return Board(
        scores,
        costs,
        suite.headline,
        provenance(workspace, suite, specs),
        command,
        f"{suite.title} leaderboard",
        layers=layer_order(workspace, specs),
        algorithms=algorithm_table(workspace, specs),
        ledger=tune.read(suite, folder.parent) if suite.tune else None,
        trained_on={name: cls.trains_on for name, cls in classes.items() if cls.trains_on},
        marks=replaced | submitted,
        remarks=metric_remarks(published_cards()),
        attributions=sorted({d.attribution for d in datasets.values() if d.attribution}),
        photographs=sorted(name for name, d in datasets.items() if d.test.concepts and not d.drawn),
        dynamics=gather_histories(_histories(workspace, specs)),
        unmasked=sorted(name for name, d in datasets.items() if not d.test.concepts),
    )


def _histories(
    workspace: Workspace, specs: Sequence[RunSpec]
) -> Iterator[tuple[Block, RowKey, History]]:
    """What finished runs recorded by epoch, with the block and row that they belong to."""
    for spec in specs:
        if finished(workspace, spec):
            yield spec.block, spec.row, workspace.run_of(spec).require_manifest().history


def pictures_of_runs(
    workspace: Workspace, specs: Sequence[RunSpec], say: Callable[[str], None] = print
) -> list[Picture]:
    """The pictures of the first finished seed of each row and block, with plain as the baseline.

    Where a plugin fails, this is said, and there are no pictures of its row.
    """
    first: dict[tuple[Block, RowKey], RunSpec] = {}
    for spec in specs:
        if (spec.block, spec.row) not in first and finished(workspace, spec):
            first[spec.block, spec.row] = spec
    pictures: list[Picture] = []
    baselines: dict[Block, PictureData] = {}
    for (block, row), spec in first.items():
        draw = functools.partial(_draw_run, workspace, spec, baselines.get(block))
        try:
            drawn, picture_data = workspace.apart(spec, draw)
        except (PluginFault, ValueError) as fault:
            say(f"no pictures of {spec.name}: {fault}")
            continue
        if row == BASELINE:
            baselines[block] = picture_data
        pictures += drawn
    return pictures


def _draw_run(
    workspace: Workspace, spec: RunSpec, baseline: PictureData | None
) -> tuple[list[Picture], PictureData]:
    """The pictures of one run, and what they show."""
    data = workspace.dataset(spec)
    probe = workspace.probe(spec)
    images = data.test.images[: len(probe.images)].float() / 255
    picture_data = gather_picture_data(probe, images, data.class_names, attributions=True)
    pictures = draw_pictures(
        picture_data, spec.block, spec.row, registry.get("methods", spec.method).label,
        workspace.run_of(spec).require_manifest().history, baseline, data.attribution,
    )  # fmt: skip
    return pictures, picture_data


def finished(workspace: Workspace, spec: RunSpec) -> bool:
    """Whether a run is finished and can be read."""
    try:
        return not workspace.obstacle(spec) and workspace.run_of(spec).done()
    except Corrupt:
        return False


def ended(workspace: Workspace, spec: RunSpec) -> bool:
    """Whether a run has ended, with or without an error."""
    return not workspace.obstacle(spec) and workspace.run_of(spec).readable_manifest() is not None


def _datasets(workspace: Workspace, specs: Sequence[RunSpec]) -> dict[str, Dataset]:
    """The datasets that are on this machine, by label."""
    datasets = {}
    for label, spec in {spec.dataset_label: spec for spec in specs}.items():
        try:
            datasets[label] = workspace.dataset(spec)
        except (DataMissing, UserError):  # the rows say why
            continue
    return datasets


def layer_order(workspace: Workspace, specs: Sequence[RunSpec]) -> dict[tuple[str, str], list[str]]:
    """The Taps of each block in the network's order."""
    order: dict[tuple[str, str], list[str]] = {}
    for spec in specs:
        if spec.block not in order and not workspace.obstacle(spec):
            order[spec.block] = workspace.taps(spec)
    return order


def provenance(workspace: Workspace, suite: Suite, specs: Sequence[RunSpec]) -> dict[str, str]:
    """How the numbers were made, read from the manifests of the runs."""
    possible = [spec for spec in specs if not workspace.obstacle(spec)]
    records = [workspace.run_of(spec).readable_manifest() for spec in possible]
    manifests = [manifest for manifest in records if manifest is not None]
    facts = {"suite version": str(suite.version)}
    environments = [manifest.environment.facts() for manifest in manifests]
    for key in sorted({key for environment in environments for key in environment}):
        facts[key] = ", ".join(sorted({e[key] for e in environments if key in e}))
    facts["finished"] = max((manifest.finished for manifest in manifests), default="never")
    for spec in {spec.dataset_label: spec for spec in specs}.values():
        if not workspace.obstacle(spec):
            facts[f"data {spec.dataset_label}"] = workspace.fingerprint(spec)
    return facts
