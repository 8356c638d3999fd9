"""Finished runs -> results/<suite>/: the leaderboard, the score table and the cost table."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bench import measured, registry
from bench.cost import cost_table
from bench.data.base import DataMissing, Dataset
from bench.execute import Bench
from bench.publish import dynamics
from bench.publish.board import BASELINE, Block, Board
from bench.publish.documents import FORMATS, documents
from bench.publish.evidence import Evidence, examine, pictures_of
from bench.publish.html import Picture
from bench.registry import UserError
from bench.share import expected, with_submissions
from bench.store import Corrupt, write_bytes
from bench.suite import Cell, Suite
from bench.table import algorithm_table, score_table
from bench.tune import read as read_ledger


def publish(
    bench: Bench,
    suite: Suite,
    cells: Sequence[Cell],
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
    if not (folder / "submissions").is_dir() and not any(ended(bench, c) for c in cells):
        raise UserError(f"nothing of '{suite.name}' has run yet: legible run {suite.name}")
    costs = cost_table(bench, cells, cost, say)
    board = make_board(bench, suite, cells, costs, command, folder)
    try:
        files = documents(board, pictures(bench, cells) if with_pictures else [], formats)
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
    bench: Bench,
    suite: Suite,
    cells: Sequence[Cell],
    costs: pd.DataFrame,
    command: str,
    folder: Path,
) -> Board:
    """All that the renderers need, read from finished runs and accepted submissions."""
    classes = {c.method: registry.get("methods", c.method) for c in cells}
    known = expected(bench, suite, cells)
    scores, submitted = with_submissions(score_table(bench, cells), folder, known)
    datasets = _datasets(bench, cells)
    replaced = {n: f"replaces a {cls.replaces}" for n, cls in classes.items() if cls.replaces}
    return Board(
        scores, costs, suite.headline, provenance(bench, suite, cells, command),
        f"{suite.title} leaderboard",
        layers=layer_order(bench, cells),
        algorithms=algorithm_table(bench, cells),
        ledger=read_ledger(suite, folder.parent) if suite.tune else None,
        trained_on={name: cls.trains_on for name, cls in classes.items() if cls.trains_on},
        marks=replaced | submitted,
        remarks=measured.remarks(measured.read()),
        attributions=sorted({d.attribution for d in datasets.values() if d.attribution}),
        photographs=sorted(name for name, d in datasets.items() if d.test.concepts and not d.drawn),
        dynamics=dynamics.gather(_histories(bench, cells)),
        unmasked=sorted(name for name, d in datasets.items() if not d.test.concepts),
    )  # fmt: skip


def _histories(
    bench: Bench, cells: Sequence[Cell]
) -> Iterator[tuple[Block, tuple[str, str], list[dict[str, Any]]]]:
    """What finished runs recorded by epoch, with the block and row they belong to."""
    for cell in cells:
        if not bench.why_not(cell)[0] and finished(bench, cell):
            block = Block(cell.dataset_label, cell.backbone_label)
            history = bench.run_of(cell).manifest().get("history", [])
            yield block, cell.row, history


def pictures(bench: Bench, cells: Sequence[Cell]) -> list[Picture]:
    """The pictures of each row's first finished seed on each block, plain's as the baseline."""
    found: list[Picture] = []
    baselines: dict[Block, Evidence] = {}
    first: dict[tuple[Any, ...], Cell] = {}
    for cell in cells:
        key = (cell.dataset_label, cell.backbone_label, *cell.row)
        if key not in first and not bench.why_not(cell)[0] and finished(bench, cell):
            first[key] = cell
    for (dataset, backbone, method, params), cell in first.items():
        block = Block(dataset, backbone)
        data, _ = bench.dataset(cell.dataset, cell.data)
        probed = bench.probe(cell)
        images = data.test.images[: len(probed.images)].float() / 255
        evidence = examine(probed, images, data.class_names, attributions=True)
        if method == BASELINE[0] and params == BASELINE[1]:
            baselines[block] = evidence
        found += pictures_of(
            evidence, block, (method, params), registry.get("methods", method).label,
            bench.run_of(cell).manifest()["history"], baselines.get(block), data.attribution,
        )  # fmt: skip
    return found


def finished(bench: Bench, cell: Cell) -> bool:
    """Whether a cell's run is there to be probed."""
    try:
        return bench.run_of(cell).done()
    except Corrupt:
        return False


def ended(bench: Bench, cell: Cell) -> bool:
    """Whether a cell has run here, well or not."""
    return not bench.why_not(cell)[0] and bool(bench.run_of(cell).told())


def _datasets(bench: Bench, cells: Sequence[Cell]) -> dict[str, Dataset]:
    """The datasets that are on this machine, by label."""
    found = {}
    for label, cell in {c.dataset_label: c for c in cells}.items():
        try:
            found[label] = bench.dataset(cell.dataset, cell.data)[0]
        except DataMissing:
            continue
    return found


def layer_order(bench: Bench, cells: Sequence[Cell]) -> dict[tuple[str, str], list[str]]:
    """The Taps of each block in running order."""
    order: dict[tuple[str, str], list[str]] = {}
    for cell in cells:
        block = cell.dataset_label, cell.backbone_label
        if block not in order and not bench.why_not(cell)[0]:
            order[block] = list(bench.build(cell)[0].taps)
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


def provenance(bench: Bench, suite: Suite, cells: Sequence[Cell], command: str) -> dict[str, str]:
    """How the numbers came to be, read from the runs themselves."""

    manifests = [bench.run_of(c).told() for c in cells if not bench.why_not(c)[0]]
    environments = [m["environment"] for m in manifests if m]
    told = {
        "command": reproduction(command, suite.name, bool(suite.tune)),
        "suite version": str(suite.version),
    }
    for key in sorted({k for e in environments for k in e}):
        told[key] = ", ".join(sorted({e[key] for e in environments if key in e}))
    told["finished"] = max((m["finished"] for m in manifests if m), default="never")
    for cell in {c.dataset_label: c for c in cells}.values():
        if not bench.why_not(cell)[0]:
            told[f"data {cell.dataset_label}"] = bench.dataset(cell.dataset, cell.data)[1]
    return told
