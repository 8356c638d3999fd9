"""Finished runs -> results/<suite>/: the leaderboard, the score table and the cost table."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from legible.bench.data.base import DataMissing, Dataset
from legible.bench.errors import UserError
from legible.bench.execution.cost import cost_table
from legible.bench.execution.store import Corrupt, write_bytes
from legible.bench.execution.workspace import Workspace
from legible.bench.leaderboard import null_networks as measured
from legible.bench.leaderboard.board import Board
from legible.bench.leaderboard.documents import FORMATS, documents
from legible.bench.leaderboard.figures import dynamics
from legible.bench.leaderboard.figures.evidence import Evidence, Picture, examine, pictures_of
from legible.bench.plugins import registry
from legible.bench.scores.collect import algorithm_table, score_table
from legible.bench.scores.exchange import expected, with_submissions
from legible.bench.suites.run_spec import BASELINE, Block, RunSpec
from legible.bench.suites.schema import Suite
from legible.bench.tuning.tune import read as read_ledger


def write_publication(
    workspace: Workspace,
    suite: Suite,
    specs: Sequence[RunSpec],
    results: Path,
    cost: bool,
    command: str,
    formats: Sequence[str] = tuple(FORMATS),
    with_pictures: bool = True,
    say: Callable[[str], None] = print,
) -> Path:
    """Writes README.md, figures, details, the tables and what else ``formats`` names below
    results/<suite>/, and returns the README. Raises UserError."""
    folder = results / suite.name
    if not (folder / "submissions").is_dir() and not any(ended(workspace, c) for c in specs):
        raise UserError(f"nothing of '{suite.name}' has run yet: legible run {suite.name}")
    costs = cost_table(workspace, specs, cost, say)
    board = make_board(workspace, suite, specs, costs, command, folder)
    try:
        files = documents(board, pictures(workspace, specs) if with_pictures else [], formats)
    except ValueError as error:
        raise UserError(str(error)) from error
    if len(board.algorithms):
        table = board.algorithms
        files["attributions.csv"] = table.to_csv(index=False, float_format="%.6g").encode()
    files["cost.csv"] = costs.to_csv(index=False, float_format="%.4g").encode()
    try:
        for old in [*(folder / "figures").glob("*"), *(folder / "details").glob("*.md")]:
            if f"{old.parent.name}/{old.name}" not in files:
                old.unlink()
        for name, data in files.items():
            write_bytes(folder / name, data)
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}") from error
    return folder / "README.md"


def make_board(
    workspace: Workspace,
    suite: Suite,
    specs: Sequence[RunSpec],
    costs: pd.DataFrame,
    command: str,
    folder: Path,
) -> Board:
    """All that the renderers need, read from finished runs and accepted submissions."""
    classes = {c.method: registry.get("methods", c.method) for c in specs}
    known = expected(workspace, suite, specs)
    scores, submitted = with_submissions(score_table(workspace, specs), folder, known)
    datasets = _datasets(workspace, specs)
    replaced = {n: f"replaces a {cls.replaces}" for n, cls in classes.items() if cls.replaces}
    return Board(
        scores, costs, suite.headline, provenance(workspace, suite, specs, command),
        f"{suite.title} leaderboard",
        layers=layer_order(workspace, specs),
        algorithms=algorithm_table(workspace, specs),
        ledger=read_ledger(suite, folder.parent) if suite.tune else None,
        trained_on={name: cls.trains_on for name, cls in classes.items() if cls.trains_on},
        marks=replaced | submitted,
        remarks=measured.remarks(measured.read()),
        attributions=sorted({d.attribution for d in datasets.values() if d.attribution}),
        photographs=sorted(name for name, d in datasets.items() if d.test.concepts and not d.drawn),
        dynamics=dynamics.gather(_histories(workspace, specs)),
        unmasked=sorted(name for name, d in datasets.items() if not d.test.concepts),
    )  # fmt: skip


def _histories(
    workspace: Workspace, specs: Sequence[RunSpec]
) -> Iterator[tuple[Block, tuple[str, str], list[dict[str, Any]]]]:
    """What finished runs recorded by epoch, with the block and row they belong to."""
    for spec in specs:
        if not workspace.obstacle(spec) and finished(workspace, spec):
            block = Block(spec.dataset_label, spec.backbone_label)
            yield block, spec.row, workspace.run_of(spec).require_manifest().history


def pictures(workspace: Workspace, specs: Sequence[RunSpec]) -> list[Picture]:
    """The pictures of each row's first finished seed on each block, plain's as the baseline."""
    found: list[Picture] = []
    baselines: dict[Block, Evidence] = {}
    first: dict[tuple[Any, ...], RunSpec] = {}
    for spec in specs:
        key = (spec.dataset_label, spec.backbone_label, *spec.row)
        if key not in first and not workspace.obstacle(spec) and finished(workspace, spec):
            first[key] = spec
    for (dataset, backbone, method, params), spec in first.items():
        block = Block(dataset, backbone)
        data = workspace.dataset(spec)
        probed = workspace.probe(spec)
        images = data.test.images[: len(probed.images)].float() / 255
        evidence = examine(probed, images, data.class_names, attributions=True)
        if method == BASELINE[0] and params == BASELINE[1]:
            baselines[block] = evidence
        history = workspace.run_of(spec).require_manifest().history
        found += pictures_of(
            evidence, block, (method, params), registry.get("methods", method).label, history,
            baselines.get(block), data.attribution,
        )  # fmt: skip
    return found


def finished(workspace: Workspace, spec: RunSpec) -> bool:
    """Whether a cell's run is there to be probed."""
    try:
        return workspace.run_of(spec).done()
    except Corrupt:
        return False


def ended(workspace: Workspace, spec: RunSpec) -> bool:
    """Whether a cell has run here, well or not."""
    return not workspace.obstacle(spec) and workspace.run_of(spec).readable_manifest() is not None


def _datasets(workspace: Workspace, specs: Sequence[RunSpec]) -> dict[str, Dataset]:
    """The datasets that are on this machine, by label."""
    found = {}
    for label, spec in {c.dataset_label: c for c in specs}.items():
        try:
            found[label] = workspace.dataset(spec)
        except DataMissing:
            continue
    return found


def layer_order(workspace: Workspace, specs: Sequence[RunSpec]) -> dict[tuple[str, str], list[str]]:
    """The Taps of each block in running order."""
    order: dict[tuple[str, str], list[str]] = {}
    for spec in specs:
        block = spec.dataset_label, spec.backbone_label
        if block not in order and not workspace.obstacle(spec):
            order[block] = list(workspace.build(spec)[0].taps)
    return order


#: Options of `publish` that `run` does not know, and whether a value follows.
PUBLISHING = {"--results": True, "--format": True, "--cost": False, "--no-cost": False,
              "--pictures": False, "--no-pictures": False}  # fmt: skip


def reproduction(command: str, suite: str, tuned: bool = False) -> str:
    """The commands that make the results again: the run that fits a publish command, and it."""
    words = shlex.split(command)
    file = next((word for word in words[2:] if Path(word).stem == suite), suite)
    first = f"legible tune {shlex.quote(file)} && " if tuned else ""
    if words[1:2] != ["publish"]:
        return f"{first}legible run {suite} && {command}".removesuffix(" && ")
    kept, rest = [words[0], "run"], iter(words[2:])
    for word in rest:
        name, equals, _ = word.partition("=")
        if name not in PUBLISHING:
            kept.append(word)
        elif PUBLISHING[name] and not equals:
            next(rest, None)
    return f"{first}{shlex.join(kept)} && {shlex.join(words)}"


def provenance(
    workspace: Workspace, suite: Suite, specs: Sequence[RunSpec], command: str
) -> dict[str, str]:
    """How the numbers came to be, read from the runs themselves."""

    possible = [spec for spec in specs if not workspace.obstacle(spec)]
    records = [workspace.run_of(spec).readable_manifest() for spec in possible]
    manifests = [manifest for manifest in records if manifest is not None]
    facts = {
        "command": reproduction(command, suite.name, bool(suite.tune)),
        "suite version": str(suite.version),
    }
    environments = [manifest.environment.facts() for manifest in manifests]
    for key in sorted({key for environment in environments for key in environment}):
        facts[key] = ", ".join(sorted({e[key] for e in environments if key in e}))
    facts["finished"] = max((manifest.finished for manifest in manifests), default="never")
    for spec in {c.dataset_label: c for c in specs}.values():
        if not workspace.obstacle(spec):
            facts[f"data {spec.dataset_label}"] = workspace.fingerprint(spec)
    return facts
