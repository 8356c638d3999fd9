"""The leaderboard as markdown: `results/<suite>/README.md`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from bench.publish.board import Block, Board, Cell, Column, Row
from bench.publish.cells import ARROWS, Notes, heading, link, measured, row_name
from bench.publish.text import code_block, decimals, escape, grid, number, settings
from bench.stats import holm, paired_difference, paired_p, t_interval

READING = """\
Each number is the mean over seeds ± half of its 95 % t interval (standard deviation with ddof = 1):
it says where the mean of further seeds would lie on the same data, backbone and recipe, and nothing
about other data. ↑ more is better, ↓ less is better. ∅n/m: n of m units (over all seeds) had no
defined value and count as the metric's null. <sup>t</sup>: the method's own loss nearly minimises
this metric. Every number stands for the layer named in its column's head. Null and control rows
stand apart and are never ranked."""


def render(board: Board) -> str:
    """The README of a suite's results."""
    parts = [f"# {escape(board.title)}", basis(board), READING, *seeds_note(board)]
    for block in board.blocks:
        parts += block_section(board, block)
    parts += cost_section(board) + missing_section(board)
    parts += legend(board) + provenance_section(board)
    return "\n\n".join(part for part in parts if part) + "\n"


def basis(board: Board) -> str:
    """What the concepts behind the semantics are, said before any number."""
    present = {block.dataset for block in board.blocks}
    if photographs := sorted(present & set(board.photographs)):
        return (
            "> **What the semantics rest on:** concept masks on photographs "
            f"({', '.join(map(escape, photographs))}) beside drawn or generated images."
        )
    return (
        "> **What the semantics rest on:** drawn characters and synthetic scenes with exact masks; "
        "no photographs with concept masks are in this suite. Whatever is said here about units "
        "and concepts has not been shown on natural images."
    )


def seeds_note(board: Board) -> list[str]:
    """A remark where a single seed leaves every interval out."""
    seeds = board.table.loc[board.table["seed"] >= 0, "seed"].nunique()
    remark = "**One seed: no intervals; no comparison here is more than an impression.**"
    return [remark] if seeds == 1 else []


def block_section(board: Board, block: Block) -> list[str]:
    """A dataset and backbone: headlines, differences to plain, each aspect, other layers."""
    parts = [f"## {escape(block.dataset)} · {escape(block.backbone)}"]
    columns = board.columns(block, board.headlines.values())
    rows = rows_of(board, block)
    if columns:
        parts += [
            score_table(board, block, rows, columns),
            *difference_table(board, block, columns),
        ]
    for aspect in board.aspects:
        if found := board.columns(block, board.of_aspect(aspect)):
            parts += [f"### {escape(aspect.capitalize())}",
                      score_table(board, block, rows, found, aspect=False)]  # fmt: skip
    return parts + other_layers(board, block, rows)


def rows_of(board: Board, block: Block) -> list[Row]:
    """The rows that stand in a block's tables, failed and missing ones too."""
    table = board.table
    here = table[(table["dataset"] == block.dataset) & (table["backbone"] == block.backbone)]
    keys = set(zip(here["method"], here["params"], strict=True))
    return [row for row in board.rows if row.key in keys]


def score_table(board: Board, block: Block, rows: Sequence[Row], columns: Sequence[Column],
                aspect: bool = True) -> str:  # fmt: skip
    """Rows by columns with footnotes; nulls and controls below a line of their own."""
    notes = Notes()
    cells = {(row, c): board.cell(block, row, column)
             for row in rows for c, column in enumerate(columns)}  # fmt: skip
    digits = [column_digits([cells[row, c] for row in rows]) for c in range(len(columns))]

    def line(row: Row) -> list[str]:
        name = row_name(board, row, notes)
        texts = [measured(board, row, column, cells[row, c], digits[c], False, notes)
                 for c, column in enumerate(columns)]  # fmt: skip
        return [name, *texts]

    body = set_apart(rows, line, len(columns))
    table = grid(["method", *(heading(board, column, aspect) for column in columns)], body)
    return "\n\n".join(filter(None, [table, str(notes)]))


def set_apart(rows: Sequence[Row], line, width: int) -> list[list[str]]:  # type: ignore[no-untyped-def]
    """Lines of the ranked rows, then those of controls and nulls under headings."""
    body = [line(row) for row in rows if row.ranked]
    for kind, title in (("control", "controls"), ("null", "null rows")):
        if apart := [row for row in rows if row.kind == kind]:
            body += [[f"*{title}*", *[""] * width], *map(line, apart)]
    return body


def column_digits(cells: Iterable[Cell]) -> int:
    return decimals(cell.mean for cell in cells)


def difference_table(board: Board, block: Block, columns: Sequence[Column]) -> list[str]:
    """Differences to plain, paired by seed, with Holm's correction over the ranked rows."""
    rows = [row for row in rows_of(board, block) if row is not board.baseline]
    if board.baseline is None or not rows:
        return []
    values = board.values(block, [board.baseline, *rows], columns)
    if not len(values):
        return []
    difference = paired_difference(values[:, 1:], values[:, :1])
    p = paired_p(values[:, 1:], values[:, :1])
    p[[not row.ranked for row in rows]] = np.nan
    adjusted, notes = holm(p), Notes()

    def line(row: Row) -> list[str]:
        i = rows.index(row)
        texts = [
            difference_text(
                column, float(difference.mean[i, c]), float(difference.half[i, c]),
                float(adjusted[i, c]), decimals(difference.mean[:, c]),
            )
            for c, column in enumerate(columns)
        ]  # fmt: skip
        return [row_name(board, row, notes), *texts]

    table = grid(
        ["method − plain", *(heading(board, column) for column in columns)],
        set_apart(rows, line, len(columns)),
    )
    text = (
        "Differences to plain, paired by seed, ± half of the 95 % t interval. ▲ better and ▼ worse "
        "where Holm's correction over all ranked cells of this table leaves p < .05."
    )
    return [text, table, str(notes)]


def difference_text(column: Column, mean: float, half: float, p: float, digits: int) -> str:
    """A signed difference, with a triangle where it is significant."""
    text = number(mean, digits, signed=True)
    if math.isfinite(half):
        text += f" ± {number(half, digits)}"
    if p < 0.05 and column.metric.better != "neither":
        better = (mean > 0) == (column.metric.better == "higher")
        text += " ▲" if better else " ▼"
    return text


def other_layers(board: Board, block: Block, rows: Sequence[Row]) -> list[str]:
    """A folded table a layer, for the layers that the tables above do not show."""
    table = board.table
    here = table[(table["dataset"] == block.dataset) & (table["backbone"] == block.backbone)]
    shown = board.places[block]
    parts = []
    for layer in board.in_order(block, here.loc[here["value"].notna(), "layer"]):
        names = here.loc[(here["layer"] == layer) & here["value"].notna(), "metric"].unique()
        columns = [
            Column(board.metric(name), layer)
            for aspect in board.aspects for name in board.of_aspect(aspect)
            if name in names and shown[name] != layer
        ]  # fmt: skip
        if columns:
            summary = f"<details><summary>Other layer: {escape(layer)}</summary>"
            parts += [summary, score_table(board, block, rows, columns), "</details>"]
    return parts


COSTS = {
    "step_ratio": "step time",
    "memory_ratio": "peak memory",
    "parameter_ratio": "parameters",
}


def cost_section(board: Board) -> list[str]:
    """Cost as ratios to plain, measured in the same run."""
    cost = board.cost
    if cost.empty:
        return []
    parts = ["## Cost", "Ratios to plain, measured in the same run; mean ± half of the 95 % t "
             "interval over seeds. ↓ less is better."]  # fmt: skip
    for (dataset, backbone, device), group in cost.groupby(["dataset", "backbone", "device"]):
        keys = list(zip(group["method"], group["params"], strict=True))
        rows = [row for row in board.rows if row.key in set(keys)]
        title = " · ".join(escape(name) for name in (dataset, backbone, device))
        groups = [group[[key == row.key for key in keys]] for row in rows]
        parts += [f"### Cost: {title}", cost_table(board, rows, groups)]
    return parts


def cost_table(board: Board, rows: Sequence[Row], groups: Sequence) -> str:  # type: ignore[type-arg]
    notes = Notes()

    def line(row: Row) -> list[str]:
        group = groups[rows.index(row)]
        texts = []
        for name in COSTS:
            ratio = t_interval(group[name].to_numpy(dtype="float64"))
            half = f" ± {number(float(ratio.half), 2)}" if math.isfinite(float(ratio.half)) else ""
            texts.append(number(float(ratio.mean), 2) + half)
        return [row_name(board, row, notes), *texts]

    header = ["method", *(f"{title} ↓" for title in COSTS.values())]
    table = grid(header, set_apart(rows, line, len(COSTS)))
    return "\n\n".join(filter(None, [table, str(notes)]))


def missing_section(board: Board) -> list[str]:
    """Every cell that gave no scores, with its reason."""
    if not board.failures:
        return []
    labels = {row.key: row.label for row in board.rows}
    body = [
        [escape(f"{labels[method, params]} {settings(params)}"), escape(dataset),
         escape(backbone), escape(reason)]
        for (dataset, backbone, method, params), reasons in board.failures.items()
        for reason in reasons
    ]  # fmt: skip
    return ["## Skipped, failed and missing cells",
            grid(["method", "dataset", "backbone", "reason"], body, "left")]  # fmt: skip


def legend(board: Board) -> list[str]:
    """Each metric with its aspect, its first line and a link to its definition."""
    body = []
    for aspect in board.aspects:
        for name in board.of_aspect(aspect):
            metric = board.metric(name)
            better = f"{metric.better} {ARROWS[metric.better]}".strip()
            headline = "headline" if board.headlines.get(aspect) == name else ""
            body.append([link(board, name, metric.title), escape(aspect), headline, better,
                         escape(metric.summary)])  # fmt: skip
    if not body:
        return []
    return [
        "## Metrics",
        grid(["metric", "aspect", "ranked", "better", "what it says"], body, "left"),
    ]


def provenance_section(board: Board) -> list[str]:
    """How the table was made, and the command that makes it again."""
    facts = dict(board.provenance)
    command = facts.pop("command", "")
    parts = ["## How this was made"]
    if command:
        parts += ["Reproduce with", code_block(command)]
    if facts:
        parts.append(
            grid(["", ""], [[escape(k), escape(v, 2000)] for k, v in facts.items()], "left")
        )
    parts += [f"Images: {escape(credit)}." for credit in board.attributions]
    return parts if len(parts) > 1 else []
