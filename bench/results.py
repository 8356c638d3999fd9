"""Finished runs -> results/<suite>/: the leaderboard, the score table and the cost table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench import registry
from bench.cost import cost_table
from bench.data.base import DataMissing
from bench.execute import Bench
from bench.publish import leaderboard, write_scores
from bench.registry import UserError
from bench.store import write_text
from bench.suite import Cell, Suite
from bench.table import score_table


def publish(
    bench: Bench,
    suite: Suite,
    cells: Sequence[Cell],
    results: Path,
    cost: bool,
    command: str,
    say: Callable[[str], None] = print,
) -> Path:
    """Writes README.md, scores.csv and cost.csv below results/<suite>/ and returns the README."""
    folder = results / suite.name
    scores = score_table(bench, cells)
    costs = cost_table(bench, cells, cost, say)
    credits = sorted({d.attribution for d in _datasets(bench, cells) if d.attribution})
    classes = {c.method: registry.get("methods", c.method) for c in cells}
    text = leaderboard(
        scores, costs, suite.headline, provenance(bench, suite, cells, command),
        f"{suite.title} leaderboard",
        layers=layer_order(bench, cells),
        trained_on={name: cls.trains_on for name, cls in classes.items() if cls.trains_on},
        marks={n: f"replaces a {cls.replaces}" for n, cls in classes.items() if cls.replaces},
        attributions=credits,
    )  # fmt: skip
    try:
        write_text(folder / "README.md", text)
        write_scores(scores, folder / "scores.csv")
        write_text(folder / "cost.csv", costs.to_csv(index=False, float_format="%.4g"))
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}") from error
    return folder / "README.md"


def _datasets(bench: Bench, cells: Sequence[Cell]) -> list[Any]:
    found = []
    for cell in {c.dataset_label: c for c in cells}.values():
        try:
            found.append(bench.dataset(cell.dataset, cell.data)[0])
        except DataMissing:
            continue
    return found


def layer_order(bench: Bench, cells: Sequence[Cell]) -> dict[tuple[str, str], list[str]]:
    """The Taps of each block in running order."""
    order = {}
    for cell in {(c.dataset_label, c.backbone_label): c for c in cells}.values():
        try:
            network = bench.build(cell)[0]
        except DataMissing:
            continue
        order[cell.dataset_label, cell.backbone_label] = list(network.taps)
    return order


def provenance(bench: Bench, suite: Suite, cells: Sequence[Cell], command: str) -> dict[str, str]:
    """How the numbers came to be, read from the runs themselves."""

    manifests = [bench.run_of(c).manifest() for c in cells if not bench.why_not(c)[0]]
    environments = [m["environment"] for m in manifests if m]
    told = {
        "command": f"legible run {suite.name} && {command}",
        "suite version": str(suite.version),
    }
    for key in sorted({k for e in environments for k in e}):
        told[key] = ", ".join(sorted({e[key] for e in environments if key in e}))
    told["finished"] = max((m["finished"] for m in manifests if m), default="never")
    for cell in {c.dataset_label: c for c in cells}.values():
        if not bench.why_not(cell)[0]:
            told[f"data {cell.dataset_label}"] = bench.dataset(cell.dataset, cell.data)[1]
    return told
