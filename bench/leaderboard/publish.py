"""From finished runs to results/SUITE/: leaderboard, score table, cost table and pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from legible.bench.data.base import DataMissing, Dataset
from legible.bench.data.photographs import data_notes
from legible.bench.errors import UserError, reason_of
from legible.bench.execution.listing import Listing, write_publication_files
from legible.bench.execution.published import SCORES, RunPlace, sealed_files
from legible.bench.execution.reuse import reused
from legible.bench.execution.store import MANIFEST, Run
from legible.bench.execution.workspace import Workspace
from legible.bench.leaderboard.board import Board
from legible.bench.leaderboard.figures.training_curves import gather_histories
from legible.bench.leaderboard.formats import DEFAULT_FORMATS, publication_files
from legible.bench.leaderboard.publication import picture_paths
from legible.bench.leaderboard.render.as_csv import (
    attributions_csv,
    cost_csv,
    curves_csv,
)
from legible.bench.leaderboard.run_pictures import (
    about_pictures,
    allowed_pictures,
    pictures_of_rows,
)
from legible.bench.leaderboard.suite_board import board_of_suite
from legible.bench.plugins import registry
from legible.bench.scores.exchange import expected, with_submissions
from legible.bench.scores.score_table import scores_text
from legible.bench.scores.suite_numbers import SuiteNumbers, curve_table, gather_numbers
from legible.bench.suites.run_spec import RunSpec
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
    partial: bool = False,
    say: Callable[[str], None] = print,
) -> Path:
    """Writes the README, its pages, figures and tables below ``results``/SUITE/ and returns the
    README's path.

    ``cost`` measures costs that are not known yet. ``command`` is the text that the README shows
    under "Reproduce with". ``formats`` names further files (see `formats.FORMATS`). Raises
    UserError; also for runs that have not been made, unless ``partial``: then the page names them.
    """
    folder = results / suite.name
    if not (folder / "submissions").is_dir() and not any(ended(workspace, s) for s in specs):
        raise UserError(
            f"suite '{suite.name}' has no finished runs: run `legible run {suite.name}`"
        )
    numbers = gather_numbers(workspace, suite, specs, results, cost, say)
    board = make_board(workspace, suite, specs, numbers, command, folder)
    if not partial:
        refuse_unfinished(board.scores, suite)
    pictures = pictures_of_rows(workspace, specs, board, folder, say) if with_pictures else []
    if pictures:
        pictures = allowed_pictures(pictures, _datasets(workspace, specs), say)
    files = publication_files(board, pictures, formats)
    files |= store_files(board.scores, numbers, suite.version)
    about = about_pictures(dict(zip(picture_paths(board, pictures), pictures, strict=True)))
    listing = Listing(suite.title, suite.block_names, pictures=about)
    try:
        write_publication_files(folder, listing, files)
    except OSError as error:
        raise UserError(
            f"cannot write to {folder}: {error.filename}: {reason_of(error)}"
        ) from error
    return folder / "README.md"


def unnamed_plugins(workspace: Workspace, specs: Sequence[RunSpec]) -> dict[str, str]:
    """Methods with finished runs on the blocks of some run specs that no plugin of this call
    defines, each with the file that defined it."""
    blocks = {(spec.dataset, spec.backbone) for spec in specs}
    methods = {spec.method for spec in specs} | set(registry.METHODS)
    sources: dict[str, str] = {}
    for folder in sorted(workspace.store.root.glob(f"*/{MANIFEST}")):
        manifest = Run(folder.parent).readable_manifest()
        if manifest is None or manifest.status != "done":
            continue
        name = manifest.spec.get("method")
        if name not in methods and tuple(map(manifest.spec.get, ("dataset", "backbone"))) in blocks:
            files = [p.origin for p in manifest.plugins if (p.kind, p.name) == ("method", name)]
            sources[str(name)] = next(iter(files), "FILE")
    return sources


def refuse_unfinished(scores: pd.DataFrame, suite: Suite) -> None:
    """Raises UserError if runs that are possible here have no scores."""
    waiting = scores[(scores["status"] == "missing") & (scores["metric"] == "")]
    count = int((waiting["run"] != "").sum())  # a run that is impossible here has no name
    if count:
        raise UserError(
            f"suite '{suite.name}': {count} run{'s have' if count > 1 else ' has'} no scores yet: "
            f"run `legible run {suite.name}`, or publish the others with --partial"
        )


def store_files(
    scores: pd.DataFrame, numbers: SuiteNumbers, suite_version: int
) -> dict[str, bytes]:
    """The tables from which later commands take published values, with their seals, by file.

    ``scores`` holds the rows of accepted submissions too.
    """
    tables = {SCORES: scores_text(scores), "cost.csv": cost_csv(numbers.costs)}
    if len(numbers.algorithms):
        tables["attributions.csv"] = attributions_csv(numbers.algorithms)
    curves = curve_table(numbers.histories)
    if len(curves):
        tables["curves.csv"] = curves_csv(curves)
    files = {name: text.encode() for name, text in tables.items()}
    return files | sealed_files(files, numbers.records, numbers.data, suite_version)


def make_board(
    workspace: Workspace,
    suite: Suite,
    specs: Sequence[RunSpec],
    numbers: SuiteNumbers,
    command: str,
    folder: Path,
) -> Board:
    """The data of a leaderboard, from its numbers and from accepted submissions."""
    scores, submitted = with_submissions(numbers.scores, folder, expected(workspace, suite, specs))
    datasets = _datasets(workspace, specs)
    return board_of_suite(
        suite,
        scores,
        cost=numbers.costs,
        provenance=provenance(suite, numbers),
        command=command,
        layers=layer_order(workspace, specs),
        algorithms=numbers.algorithms,
        ledger=tune.read(suite, folder.parent) if suite.tune else None,
        marks=submitted | marks_of_earlier(numbers, workspace.device),
        attributions=sorted({d.attribution for d in datasets.values() if d.attribution}),
        photographs=sorted(name for name, d in datasets.items() if d.test.concepts and not d.drawn),
        data_notes={name: notes for name, d in datasets.items() if (notes := data_notes(d))},
        dynamics=gather_histories((p.block, p.row, h) for p, h in numbers.histories),
        unmasked=sorted(name for name, d in datasets.items() if not d.test.concepts),
    )


def ended(workspace: Workspace, spec: RunSpec) -> bool:
    """Whether a run has ended, with or without an error, here or in a published table."""
    if reused(workspace, spec):
        return True
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


def provenance(suite: Suite, numbers: SuiteNumbers) -> dict[str, str]:
    """How the numbers were made: where and when the runs ended, which were published earlier."""
    facts = {"suite version": str(suite.version)}
    environments = [record.machine.environment.facts() for record in numbers.records]
    for key in sorted({key for environment in environments for key in environment}):
        facts[key] = ", ".join(sorted({e[key] for e in environments if key in e}))
    facts["finished"] = max((record.finished for record in numbers.records), default="never")
    facts |= {f"data {name}": numbers.data[name] for name in sorted(numbers.data)}
    return facts | earlier_rows(numbers)


def earlier_rows(numbers: SuiteNumbers) -> dict[str, str]:
    """Which rows were taken from an earlier publication, by the machine that made them."""
    groups: dict[tuple[str, str, str], list[RunPlace]] = {}
    for record in numbers.records:
        if record.run in numbers.earlier:
            environment = record.machine.environment
            key = (environment.device, environment.commit, record.compared or "not rerun here")
            groups.setdefault(key, []).append(numbers.earlier[record.run])
    lines = []
    for (device, commit, compared), places in sorted(groups.items()):
        methods = ", ".join(sorted({place.row.method for place in places}))
        lines.append(f"{methods} ({len(places)} runs on {device}, commit {commit}; {compared})")
    return {"rows of earlier publications": "; ".join(lines)} if lines else {}


#: The footnote of published methods that are not registered here.
UNCHECKED = "published earlier; its code is not here and was not compared"


def marks_of_earlier(numbers: SuiteNumbers, device: str) -> dict[str, str]:
    """A footnote for methods whose published rows need one: they come from another kind of device,
    or their code is not here."""
    marks = dict.fromkeys(sorted(numbers.unchecked), UNCHECKED)
    for record in numbers.records:
        machine = record.machine
        if record.run in numbers.earlier and not device.startswith(machine.kind):
            name = machine.environment.device
            marks[numbers.earlier[record.run].row.method] = (
                f"made on {machine.kind} ({name}); {record.compared or 'not rerun here'}"
            )
    return marks
