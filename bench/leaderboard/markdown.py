"""The leaderboard as markdown: `results/<suite>/README.md`."""

from __future__ import annotations

import math
from urllib.parse import quote

import pandas as pd

from legible.bench.leaderboard.aspects import aspect_sections
from legible.bench.leaderboard.blocks import page_path
from legible.bench.leaderboard.board import Board, Row
from legible.bench.leaderboard.cells import Notes, references, row_name, set_apart, tabled
from legible.bench.leaderboard.conclusions import conclusions
from legible.bench.leaderboard.contest import contest_section
from legible.bench.leaderboard.overall import (
    correlation_section,
    explained_section,
    overall_section,
)
from legible.bench.leaderboard.standings import Standings
from legible.bench.statistics.intervals import t_interval
from legible.bench.suites.run_spec import Block, RowKey
from legible.bench.text import code_block, escape, grid, number, settings


def render(board: Board) -> str:
    """The README of a suite's results."""
    standings = Standings(board)
    parts = [f"# {escape(board.title)}", basis(board), *seeds_note(board)]
    parts += contest_section(board)
    parts += overall_section(standings) + conclusions_section(standings)
    parts += explained_section(standings)
    parts += aspect_sections(standings) + details_section(board) + figures_section(board)
    parts += cost_section(board) + correlation_section(standings) + missing_section(board)
    parts += [*provenance_section(board), references(board, names=linked(board))]
    return "\n\n".join(part for part in parts if part) + "\n"


def linked(board: Board) -> list[str]:
    """Metrics whose definitions the README links to."""
    chose = [board.ledger.metric] if board.ledger else []
    return list(dict.fromkeys([*board.headlines.values(), *chose]))


def basis(board: Board) -> str:
    """What the concepts behind the semantics are, said before any number."""
    return f"> **{RESTS}** {escape(' '.join(basis_sentences(board)), 1000)}"


RESTS = "What the semantics rest on:"


def basis_sentences(board: Board) -> list[str]:
    """Where concept masks come from: photographs, drawings, or nowhere."""
    present = sorted({block.dataset for block in board.blocks})
    photographs = [name for name in present if name in board.photographs]
    bare = [name for name in present if name in board.unmasked]
    if present and len(bare) == len(present):
        return ["nothing: no dataset of this suite has concept masks, so whether a unit stands for "
                "a concept is not measured."]  # fmt: skip
    without = [f"Without masks, and so without semantics: {', '.join(bare)}."] if bare else []
    if photographs:
        drawn = set(present) - set(photographs) - set(bare)
        beside = ", beside drawn or generated images" if drawn else ""
        return [f"concept masks on photographs ({', '.join(photographs)}){beside}.", *without]
    return ["drawn characters and synthetic scenes with exact masks; no photographs with concept "
            "masks are in this suite. Whatever is said here about units and concepts has not been "
            "shown on natural images.", *without]  # fmt: skip


def conclusions_section(standings: Standings) -> list[str]:
    """What can be said against plain, and what cannot, in sentences made from the numbers."""
    said = conclusions(standings)
    lines = [f"- **{escape(about)}:** {escape(text, 2000)}." for about, text in said]
    return ["## What this shows, and what it does not", COMPARED, "\n".join(lines)] if said else []


COMPARED = """\
Differences to plain in the headline metric of each aspect, paired by seed and averaged over the
blocks, each ± half of its 95 % interval over further seeds on these very blocks; named where Holm's
correction over all methods and aspects leaves p < .05."""


def details_section(board: Board) -> list[str]:
    """Links to the pages with every metric of a block."""
    lines = [f"- [{escape(' · '.join(block))}]({quote(page_path(board, block))})"
             for block in board.blocks]  # fmt: skip
    return ["## Every metric at every layer", "\n".join(lines)] if lines else []


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
    "memory_ratio": "memory of a step",
    "parameter_ratio": "parameters",
}


def cost_section(board: Board) -> list[str]:
    """Cost as ratios to plain, measured in the same run."""
    if board.cost.empty:
        return []
    parts = ["## Cost", MEASURED]
    for (dataset, backbone, device), group in board.cost.groupby(["dataset", "backbone", "device"]):
        title = " · ".join(escape(name) for name in (dataset, backbone, device))
        parts += [f"### Cost: {title}", cost_table(board, group)]
    return parts


MEASURED = """\
Ratios to plain: the time of a training step, its steps interleaved with plain's; the peak memory of
a step on a GPU, or what it keeps for the backward pass on a CPU; and the number of parameters. ↓
less is better. ± half of the 95 % t interval where several seeds were measured."""


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
        [
            escape(f"{labels[RowKey(method, params)]} {settings(params)}"),
            *map(escape, (data, net, reason)),
        ]
        for (data, net, method, params), reasons in board.failures.items()
        for reason in reasons
    ]
    return ["## Skipped, failed and missing cells",
            grid(["method", "dataset", "backbone", "reason"], body, "left")]  # fmt: skip


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
