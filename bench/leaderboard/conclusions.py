"""What a leaderboard shows, in generated sentences: one that sums it up, and some remarks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from legible.bench.leaderboard.board import Board
from legible.bench.leaderboard.missing_values import seed_list
from legible.bench.leaderboard.tables.differences import column_digits
from legible.bench.leaderboard.verdicts import BETTER, TASK, WORSE, AspectColumn, Standings
from legible.bench.statistics.contrasts import FEWEST_SEEDS
from legible.bench.statistics.intervals import LEVEL
from legible.bench.statistics.multiplicity import benjamini_hochberg
from legible.bench.suites.run_spec import Block, RowKey
from legible.bench.text import listed, number
from legible.metrics.base import NEEDS, PARTS, TREATMENT

FEW_NAMES = 3  # more methods are counted, not named


class Sentence(NamedTuple):
    """One statement: its subject and the statement itself, as plain text."""

    about: str
    text: str


# ----------------------------------------------------------------- the sentence above the table


def summary(standings: Standings) -> str:
    """One sentence for the whole table; "" if there is nothing to compare with plain."""
    columns = list(standings.signed.values()) or [
        column for aspect, column in standings.columns.items() if aspect == TASK
    ]
    methods = [i for i in standings.methods if any(
        np.isfinite(column.contrast.difference[i]) for column in columns)]  # fmt: skip
    if not methods:
        return ""
    if standings.most_seeds < FEWEST_SEEDS:
        return _too_few_seeds(standings, columns, methods)
    counted = [i for i in methods if standings.counts(i)]
    signs = {i: [column.symbol(i) for column in columns] for i in counted}
    improve = [i for i in counted if set(signs[i]) & {*BETTER}]
    worsen = [i for i in counted if set(signs[i]) & {*WORSE}]
    equal = [i for i in counted if set(signs[i]) - {""} == {"≈"}]
    both = [i for i in improve if i in worsen]
    runs = np.max([part.data.runs for column in columns for part in column.parts], 0)
    few = [i for i in counted if runs[i] < FEWEST_SEEDS]
    neither = [i for i in counted if not {*improve, *worsen, *equal, *few} & {i}]
    same = "shown equal to plain in every aspect"
    parts = [
        _some(len(improve), "improves an aspect", "improve an aspect")
        + _small([i for i in improve if not set(signs[i]) & {BETTER[0]}])
        + _by_aspect(standings, columns, improve, BETTER),
        worsen
        and _some(len(worsen), "worsens one", "worsen one")
        + _small([i for i in worsen if not set(signs[i]) & {WORSE[0]}])
        + _by_aspect(standings, columns, worsen, WORSE),
        both and _some(len(both), "does both", "do both"),
        equal and _some(len(equal), f"is {same}", f"are {same}"),
        few and _some(len(few), "has", "have") + f" fewer than {FEWEST_SEEDS} seeds",
        neither and f"for {len(neither)} no difference is shown",
    ]
    text = f"Of {_methods(len(counted))}, {listed(part for part in parts if part)}"
    beating = {i for rows in standings.beating.values() for i in rows if i in counted}
    if standings.training_free and standings.beating:
        names = _names(standings, sorted(beating))
        text += f"; {_some(len(beating), 'beats', 'beat')} every training-free row in an aspect"
        text += f" ({names})" if names else ""
    costly = [i for i in costs_accuracy(standings) if i in counted and standings.signed]
    text += f"; {_some(len(costly), 'loses accuracy', 'lose accuracy')}" if costly else ""
    return f"{text}.{_not_delivered(standings, [i for i in methods if i not in counted])}"


def _not_delivered(standings: Standings, rows: Sequence[int]) -> str:
    if not rows:
        return ""
    names = _names(standings, rows)
    words = "its own target and does" if len(rows) == 1 else "their own targets and do"
    text = f" {_methods(len(rows)).capitalize()} did not move {words} not count"
    return f"{text}{f' ({names})' if names else ''}."


def basis(standings: Standings) -> str:
    """What the table rests on: its blocks and seeds; "" if there is nothing to compare."""
    board, plain = standings.board, standings.plain_seeds
    if not plain:
        return ""
    blocks = listed(board.block_title(block) for block in board.blocks)
    seeds = f"{standings.most_seeds} seed{'' if standings.most_seeds == 1 else 's'}"
    return f"On {blocks}: up to {seeds} of each method, {plain} of plain."


def costs_accuracy(standings: Standings) -> list[int]:
    """The methods that are significantly less accurate than plain."""
    column = standings.columns.get(TASK)
    return [i for i in standings.methods if column and column.symbol(i) in WORSE]


def _methods(count: int) -> str:
    return f"{count} method{'' if count == 1 else 's'}"


def _some(count: int, one: str, several: str) -> str:
    return f"{count or 'none'} {one if count == 1 else several}"


def _small(rows: Sequence[int]) -> str:
    """How many rows differ by less than the margin wherever they differ."""
    return f", {len(rows)} of them by less than the margin only" if rows else ""


def _by_aspect(
    standings: Standings, columns: Sequence[AspectColumn], rows: Sequence[int], signs: Sequence[str]
) -> str:
    """In which aspects rows have one of the signs, in brackets: names if they are few."""
    parts = []
    for column in columns:
        own = [i for i in rows if column.symbol(i) in signs]
        if own:
            parts.append(f"{column.aspect}: {_names(standings, own) or len(own)}")
    return f" ({'; '.join(parts)})" if parts else ""


def _names(standings: Standings, rows: Sequence[int]) -> str:
    """The names of rows, if they are few; else ""."""
    names = [standings.board.rows[i].name for i in rows]
    return listed(names) if len(names) <= FEW_NAMES else ""


def _too_few_seeds(
    standings: Standings, columns: Sequence[AspectColumn], methods: Sequence[int]
) -> str:
    """No verdict below eight seeds: what eight would decide if the differences stay as they are."""
    needed = np.array([[column.seeds_needed[i] for i in methods] for column in columns])
    decided = int((needed <= FEWEST_SEEDS).sum())
    seeds = f"{standings.most_seeds} seed{'' if standings.most_seeds == 1 else 's'}"
    text = (f"All {_methods(len(methods))} are undecided: a verdict needs {FEWEST_SEEDS} seeds, "
            f"and there {'is' if standings.most_seeds == 1 else 'are'} {seeds}")  # fmt: skip
    if not np.isfinite(needed).any():
        return f"{text}."
    return (f"{text}. If the differences stay as they are, {FEWEST_SEEDS} seeds would decide "
            f"{decided} of {int((~np.isnan(needed)).sum())} table cells.")  # fmt: skip


# ----------------------------------------------------------------- what is not there


def unfinished(board: Board) -> list[str]:
    """Rows whose runs have not been made, each with its missing seeds and blocks; and the blocks
    of which no run has been made."""
    rows = board.table[(board.table["metric"] == "") & (board.table["status"] == "missing")]
    labels = {row.key: row.name for row in board.rows}
    seeds: dict[tuple[str, Block], list[int]] = {}
    for _, line in rows.iterrows():
        row = RowKey(line["method"], line["params"])
        block = Block(line["dataset"], line["backbone"])
        if block not in board.absent_blocks:
            seeds.setdefault((labels[row], block), []).append(int(line["seed"]))
    where = {
        b: f" on {board.block_title(b)}" if len(board.blocks) > 1 else "" for b in board.blocks
    }
    return [
        *(f"{name}{where[block]}: {seed_list(of)}" for (name, block), of in seeds.items()),
        *(f"{board.block_title(block)}: all rows ({reason})"
          for block, reason in board.absent_blocks.items()),
    ]  # fmt: skip


# ----------------------------------------------------------------- remarks


def conclude(standings: Standings) -> list[Sentence]:
    """Remarks about the table of verdicts, in reading order."""
    return [
        *_without_headline(standings), *_blocks_left_out(standings),
        *_undecided_columns(standings), *_training_free(standings), *_shared(standings),
        *_too_coarse(standings),
        *_discoveries(standings),
    ]  # fmt: skip


def _without_headline(standings: Standings) -> list[Sentence]:
    """Aspects that have no column in the table of verdicts, each with its reason."""
    board = standings.board
    by_reason: dict[str, list[str]] = {}
    parts = {head for aspect, of in PARTS.items() for head in of if aspect in board.aspects}
    for aspect in board.heads:
        column = standings.columns.get(aspect)
        # An aspect with parts needs no headline of its own, nor a part that no metric measures.
        scored = any(board.metric(name).heads == aspect for name in board.metric_names)
        optional = aspect in {*PARTS, TREATMENT} or (aspect in parts and not scored)
        optional = optional and aspect not in board.usual_headlines
        if (column and not column.descriptive) or optional:
            continue
        reasons = list(dict.fromkeys(standings.left_out[aspect].values()))
        text = "; ".join(reasons) or "its metric has no better direction"
        text += "; described below the table" if column else ""
        by_reason.setdefault(text, []).append(aspect)
    return [Sentence(f"No column for {listed(of)}", text) for text, of in by_reason.items()]


def _blocks_left_out(standings: Standings) -> list[Sentence]:
    """Blocks that take no part in an aspect that other blocks decide."""
    parts = [
        f"{standings.board.block_title(block)} in {aspect} ({reason})"
        for aspect, column in standings.columns.items()
        for block, reason in column.left_out.items() if reason != "not scored"
    ]  # fmt: skip
    return [Sentence("Blocks that take no part", "; ".join(parts))] if parts else []


def _undecided_columns(standings: Standings) -> list[Sentence]:
    """What the columns without a decided sign could have shown."""
    parts = []
    for column in standings.signed.values():
        signs = {column.symbol(i) for i in standings.methods}
        if signs <= {"?", ""} and math.isfinite(column.detectable):
            unit = " margins" if column.in_margins else ""
            size = number(column.detectable, column_digits(column))
            parts.append(f"{column.aspect} {size}{unit}")
    if not parts:
        return []
    text = f"{', '.join(parts)} (with 80 % power, after the correction)"
    return [Sentence("Aspects in which no method differs, and the smallest difference that would "
                     "have been shown", text)]  # fmt: skip


def _training_free(standings: Standings) -> list[Sentence]:
    """The training-free rows that are better than plain, by aspect: they train nothing."""
    parts = []
    for column in standings.signed.values():
        rows = [i for i in standings.training_free if column.symbol(i) in BETTER]
        parts += [f"{column.aspect} ({_names(standings, rows) or len(rows)})"] if rows else []
    if not parts:
        return []
    text = f"{'; '.join(parts)}. There, a method must beat these rows too: see its last column"
    return [Sentence("Training-free rows that are better than plain", text)]


def _shared(standings: Standings) -> list[Sentence]:
    """Which datasets and backbones are in several blocks."""
    blocks = standings.board.blocks
    if len(blocks) < 2:
        return [Sentence("One dataset on one backbone", "other data may give other results")]
    parts = []
    for names in ([b.dataset.partition("(")[0] for b in blocks], [b.backbone for b in blocks]):
        parts += [f"{name} in {names.count(name)} of {len(blocks)}"
                  for name in dict.fromkeys(names) if names.count(name) > 1]  # fmt: skip
    if not parts:
        return []
    text = (
        f"{listed(parts)}. The intervals here say how much the result would change with new "
        "seeds on the same blocks, for which independence is not needed; they say nothing about "
        "other data"
    )
    return [Sentence("The blocks are not independent", text)]


def _too_coarse(standings: Standings) -> list[Sentence]:
    """The layers whose maps are too coarse for the concept masks, by block."""
    board = standings.board
    parts = []
    for block in board.blocks:
        table = board.of_block(board.table, block)
        layers = table.loc[table["reason"] == NEEDS["measurable"], "layer"].unique()
        if len(layers):
            parts.append(f"{', '.join(map(str, layers))} of {board.block_title(block)}")
    text = (
        "there metrics that compare units with masks are left out, because the oracle (the masks "
        "themselves, at the size of the map) fails the gate"
    )
    return [Sentence(f"Maps too coarse for the masks: {'; '.join(parts)}", text)] if parts else []


def _discoveries(standings: Standings) -> list[Sentence]:
    """The differences of Benjamini and Hochberg's list, over all tests, that have no sign."""
    tests = [
        (column, i)
        for column in standings.signed.values()
        for i in range(len(standings.board.rows))
        if not column.reason(i) and column.symbol(i) and np.isfinite(column.contrast.p()[i])
    ]
    if not tests:
        return []
    p = benjamini_hochberg(np.array([column.contrast.p()[i] for column, i in tests]))
    discoveries = [test for test, value in zip(tests, p, strict=True) if value < 1 - LEVEL]
    more = [
        f"{standings.board.rows[i].name} "
        f"{'better' if column.contrast.difference[i] > 0 else 'worse'} in {column.aspect}"
        for column, i in discoveries if column.symbol(i) not in {*BETTER, *WORSE}
    ]  # fmt: skip
    text = (
        f"{len(discoveries)} of {len(tests)} differences are on a list of which 5 % may be wrong "
        "(Benjamini and Hochberg)"
    )
    text += f"; without a sign in the table: {', '.join(more)}" if more else ""
    return [Sentence("Discoveries", text)]
