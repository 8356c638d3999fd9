"""The leaderboard as markdown: `results/<suite>/README.md`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from urllib.parse import quote

import pandas as pd

from bench.publish.blocks import block_section
from bench.publish.board import Block, Board, Row
from bench.publish.cells import ARROWS, Notes, link, references, row_name, set_apart, tabled
from bench.publish.overall import correlation_section, overall_section
from bench.publish.standings import Standings
from bench.publish.text import code_block, escape, grid, number, settings
from bench.stats import t_interval

READING = """\
Each number is the mean over seeds ± half of its 95 % t interval (standard deviation with ddof = 1):
it says where the mean of further seeds would lie on the same data, backbone and recipe, and nothing
about other data. ↑ more is better, ↓ less is better. ∅n/m: n of m units (over all seeds) had no
defined value and count as the metric's null. <sup>t</sup>: the method's own loss nearly minimises
this metric. Every number stands for the layer named in its column's head. Null and control rows
stand apart and are never ranked. **Bold**: the best tier of a column (every pair of methods
compared seed by seed, Holm's correction); nothing is bold where no two methods are told apart."""


def render(board: Board) -> str:
    """The README of a suite's results."""
    standings = Standings(board)
    parts = [f"# {escape(board.title)}", basis(board), *seeds_note(board)]
    parts += overall_section(standings) + figures_section(board)
    parts += ["## How to read the tables", READING]
    for block in board.blocks:
        parts += block_section(board, block)
    parts += cost_section(board) + correlation_section(standings) + missing_section(board)
    parts += [*legend(board), *provenance_section(board), references(board)]
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


def figures_section(board: Board) -> list[str]:
    """Each figure with its caption, and links to the pictures of single methods."""
    shown = [f"![{escape(caption)}]({quote(path)})\n\n<sub>{escape(caption)}</sub>"
             for path, caption in board.figures]  # fmt: skip
    linked = [part for block in board.blocks for part in gallery_table(board, block)]
    return ["## Pictures", *shown, *linked] if shown or linked else []


def gallery_table(board: Board, block: Block) -> list[str]:
    """Links to the pictures of one block: rows by kinds of picture."""
    links = {(row, kind): path for b, row, kind, path in board.gallery if b == block}
    kinds = list(dict.fromkeys(kind for _, kind in links))
    if not links:
        return []
    notes = Notes()
    body = [
        [
            row_name(board, row, notes),
            *(_picture(links.get((row.key, kind)), kind) for kind in kinds),
        ]
        for row in board.rows
        if any(key == row.key for key, _ in links)
    ]
    summary = f"<details><summary>Pictures by method: {escape(' · '.join(block))}</summary>"
    return [summary, tabled(grid(["method", *kinds], body, "center"), notes), "</details>"]


def _picture(path: str | None, kind: str) -> str:
    return f"[{kind}]({quote(path)})" if path else ""


COSTS = {
    "step_ratio": "step time",
    "memory_ratio": "peak memory",
    "parameter_ratio": "parameters",
}


def cost_section(board: Board) -> list[str]:
    """Cost as ratios to plain, measured in the same run."""
    if board.cost.empty:
        return []
    parts = ["## Cost", "Ratios to plain, measured in the same run; mean ± half of the 95 % t "
             "interval over seeds. ↓ less is better."]  # fmt: skip
    for (dataset, backbone, device), group in board.cost.groupby(["dataset", "backbone", "device"]):
        title = " · ".join(escape(name) for name in (dataset, backbone, device))
        parts += [f"### Cost: {title}", cost_table(board, group)]
    return parts


def cost_table(board: Board, group: pd.DataFrame) -> str:
    """Rows by cost ratios of one block and device."""
    notes = Notes()
    keys = list(zip(group["method"], group["params"], strict=True))
    rows = [row for row in board.rows if row.key in set(keys)]

    def line(row: Row) -> list[str]:
        mine = group[[key == row.key for key in keys]]
        return [row_name(board, row, notes), *(_ratio(mine[name]) for name in COSTS)]

    header = ["method", *(f"{title} ↓" for title in COSTS.values())]
    return tabled(grid(header, set_apart(rows, line, len(COSTS))), notes)


def _ratio(values: pd.Series) -> str:
    ratio = t_interval(values.to_numpy(dtype="float64"))
    half = float(ratio.half)
    return number(float(ratio.mean), 2) + (f" ± {number(half, 2)}" if math.isfinite(half) else "")


def missing_section(board: Board) -> list[str]:
    """Every cell that gave no scores, with its reason."""
    if not board.failures:
        return []
    labels = {row.key: row.label for row in board.rows}
    body = [
        [escape(f"{labels[method, params]} {settings(params)}"), *map(escape, (data, net, reason))]
        for (data, net, method, params), reasons in board.failures.items()
        for reason in reasons
    ]
    return ["## Skipped, failed and missing cells",
            grid(["method", "dataset", "backbone", "reason"], body, "left")]  # fmt: skip


def legend(board: Board) -> list[str]:
    """Each metric with its aspect, its first line and a link to its definition."""
    body: list[Sequence[str]] = []
    for aspect in board.aspects:
        for name in board.of_aspect(aspect):
            metric = board.metric(name)
            better = f"{metric.better} {ARROWS[metric.better]}".strip()
            headline = "headline" if board.headlines.get(aspect) == name else ""
            said = " ".join(filter(None, [metric.summary, board.remarks.get(name, "")]))
            body.append([link(board, name, metric.title), escape(aspect), headline, better,
                         escape(said, 600)])  # fmt: skip
    if not body:
        return []
    header = ["metric", "aspect", "ranked", "better", "what it says"]
    return ["## Metrics", grid(header, body, "left")]


def provenance_section(board: Board) -> list[str]:
    """How the table was made, and the command that makes it again."""
    facts = dict(board.provenance)
    command = facts.pop("command", "")
    parts = ["## How this was made"]
    if command:
        parts += ["Reproduce with", code_block(command)]
    if facts:
        body = [[escape(key), escape(value, 2000)] for key, value in facts.items()]
        parts.append(grid(["what", "value"], body, "left"))
    parts += [f"Images: {escape(credit, 600)}." for credit in board.attributions]
    return parts if len(parts) > 1 else []
