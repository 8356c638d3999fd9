"""The head of the leaderboard: accuracy cost, aspect ranks and overall tier over all blocks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from legible.bench.leaderboard.board import Board, Row
from legible.bench.leaderboard.cells import (
    ARROWS,
    Notes,
    link,
    row_name,
    set_apart,
    tabled,
    trained,
)
from legible.bench.leaderboard.standings import TASK, Standings
from legible.bench.statistics.intervals import Interval
from legible.bench.statistics.ranks import Ranking
from legible.bench.text import digits_with_half, escape, grid, number

EXPLAINED = """\
Ranks use the one headline metric of each aspect, averaged over blocks (a block is a dataset on a
backbone). In brackets: the rank interval; all intervals of a column together hold the true ranks
with 95 % confidence. *Overall* orders methods by the mean of their aspect ranks, all aspects alike;
accuracy is no part of it and stands beside. A method that failed, or whose metric is undefined,
where others have a value counts as the worst method there, seed by seed; one that was skipped, or
whose data is missing, is not ranked. A tier holds the methods that are not told apart from
its leader (every pair compared seed by seed, Holm's correction over all pairs); **bold** is the
best tier, and nothing is bold where all methods share one."""

COVERS = """\
What the intervals cover: ranks and tiers ask whether the order would hold with other seeds on
these very blocks. Differences averaged over blocks are bootstrapped over blocks and seeds: they ask
about other blocks like these, as if the blocks were independent draws. They are not where blocks
share a dataset or a backbone, so that with few blocks even these wide intervals may be too narrow.
Neither covers other recipes, other strengths of a method, or the choice of the metric."""


def overall_section(standings: Standings) -> list[str]:
    """The headline table."""
    if not standings.rows or not standings.board.headlines:
        return []
    return ["## Overall", overall_table(standings)]


def explained_section(standings: Standings) -> list[str]:
    """How the headline table is made, what its intervals cover, and differences to plain over all
    blocks."""
    board = standings.board
    if not standings.rows or not board.headlines:
        return []
    explained = EXPLAINED if standings.headlines else ""
    parts = ["### How to read the overall table", explained, COVERS]
    names = list(board.headlines.values())
    others = [row for row in board.rows if row is not board.baseline]
    interval = standings.differences(others, names)
    if interval is not None and len(board.blocks) > 1:
        title = "Differences to plain over blocks like these (bootstrapped over blocks and seeds)"
        parts += [f"<details><summary>{title}</summary>",
                  difference_table(board, others, names, interval), "</details>"]  # fmt: skip
    return parts


def overall_table(standings: Standings) -> str:
    """Rows from best to worst: tier, mean rank, accuracy against plain, a rank an aspect."""
    board, notes = standings.board, Notes()
    rows = standings.ordered()
    accuracy = board.headlines.get(TASK)
    differences = standings.differences(rows, [accuracy]) if accuracy else None
    ranks = ["tier", "mean rank"] if standings.headlines else []
    header = ["method", *ranks, *_accuracy_head(board, accuracy),
              *(f"{escape(a)}<br>{link(board, n, board.metric(n).title)}"
                for a, n in standings.headlines.items())]  # fmt: skip

    def line(row: Row) -> list[str]:
        i = standings.rows.index(row)
        texts = [row_name(board, row, notes, incomplete(standings, row))]
        texts += _overall_text(standings.overall, i) if ranks else []
        if accuracy:
            texts.append(_against_plain(board, differences, rows, row, notes))
        return texts + [
            rank_text(ranking, i) + trained(board, row, standings.headlines[aspect])
            for aspect, ranking in standings.aspects.items()
        ]

    return tabled(grid(header, [line(row) for row in rows]), notes)


def _accuracy_head(board: Board, accuracy: str | None) -> list[str]:
    if not accuracy:
        return []
    metric = board.metric(accuracy)
    return [f"{link(board, accuracy, metric.title)} − plain {ARROWS[metric.better]}"]


def _overall_text(overall: Ranking | None, row: int) -> list[str]:
    if overall is None or not overall.tier[row]:
        return ["—", "—"]
    text = f"{number(-overall.score[row], 2)} ({overall.low[row]}–{overall.high[row]})"
    leads = overall.tier[row] == 1 and overall.tier.max() > 1
    tier = str(overall.tier[row])
    return [f"**{tier}**", f"**{text}**"] if leads else [tier, text]


def rank_text(ranking: Ranking, row: int) -> str:
    """``rank (low–high)``, bold in the best tier, a dash where unranked."""
    if not ranking.tier[row]:
        return "—"
    text = f"{ranking.rank[row]:.0f} ({ranking.low[row]}–{ranking.high[row]})"
    return f"**{text}**" if ranking.tier[row] == 1 and ranking.tier.max() > 1 else text


def _against_plain(
    board: Board, differences: Interval | None, rows: Sequence[Row], row: Row, notes: Notes
) -> str:
    if row is board.baseline:
        return "baseline"
    if differences is None:
        return "—"
    digits = digits_with_half(differences.mean[:, 0], differences.half[:, 0])
    i = rows.index(row)
    return signed(differences, i, 0, digits) + fewer_blocks(differences, i, 0, notes)


def fewer_blocks(differences: Interval, row: int, column: int, notes: Notes) -> str:
    """A footnote where a row has values in fewer blocks than others."""
    n, most = int(differences.n[row, column]), int(np.max(differences.n[:, column]))
    return notes.mark([f"over {n} of {most} blocks"] if 0 < n < most else [])


def signed(differences: Interval, row: int, column: int, digits: int) -> str:
    """A signed difference ± half its interval."""
    text = number(float(differences.mean[row, column]), digits, signed=True)
    half = float(differences.half[row, column])
    return f"{text} ± {number(half, digits)}" if math.isfinite(half) else text


def incomplete(standings: Standings, row: Row) -> list[str]:
    """Why a row has no rank in some aspects, or counts as the worst method somewhere."""
    i, notes = standings.rows.index(row), []
    lacking = [aspect for aspect, ranking in standings.aspects.items() if not ranking.tier[i]]
    if lacking:
        where = "no value in some block where others have one"
        notes.append(f"unranked in {', '.join(lacking)}: {where}")
    found_worst = standings.counted_worst(list(standings.headlines.values()))
    worst = np.asarray(found_worst[:, :, i].any(1))
    for block, at in zip(standings.board.blocks, worst, strict=True):
        found = [
            a for a, is_worst in zip(standings.headlines, at.tolist(), strict=True) if is_worst
        ]
        if found := [aspect for aspect in found if aspect not in lacking]:
            where = "failed or undefined for some seed, ranked as the worst method there"
            notes.append(f"{', '.join(found)} on {' · '.join(block)}: {where}")
    return notes


def difference_table(
    board: Board, rows: Sequence[Row], names: Sequence[str], interval: Interval
) -> str:
    """Differences to plain averaged over blocks, bootstrapped over blocks and seeds."""
    notes = Notes()
    ranked = [row.ranked for row in rows]
    digits = [digits_with_half(interval.mean[ranked, c], interval.half[ranked, c])
              for c in range(len(names))]  # fmt: skip

    def line(row: Row) -> list[str]:
        i = rows.index(row)
        cells = [signed(interval, i, c, digits[c]) + fewer_blocks(interval, i, c, notes)
                 for c in range(len(names))]  # fmt: skip
        return [row_name(board, row, notes), *cells]

    metrics = [board.metric(name) for name in names]
    heads = [f"{escape(m.aspect)}<br>{link(board, m.name, m.title)} {ARROWS[m.better]}".rstrip()
             for m in metrics]  # fmt: skip
    return tabled(grid(["method − plain", *heads], set_apart(rows, line, len(names))), notes)


def correlation_section(standings: Standings) -> list[str]:
    """What pairing by seed achieved, and which metrics say the same."""
    board = standings.board
    names = list(board.headlines.values())
    parts: list[str] = []
    pairing = standings.pairing(names)
    if pairing is not None and np.isfinite(pairing.mean).any():
        others = [row for row in standings.rows if row is not board.baseline]
        parts += ["<details><summary>What pairing by seed achieved</summary>", PAIRING,
                  _pairing_table(board, others, names, pairing), "</details>"]  # fmt: skip
    agreement = standings.agreement(names)
    if agreement is not None and np.isfinite(agreement.mean).any():
        parts += ["<details><summary>Agreement between the headline metrics</summary>", AGREEMENT,
                  _agreement_table(board, names, agreement), "</details>"]  # fmt: skip
    return ["## Between the numbers", *parts] if parts else []


PAIRING = """\
Correlation over seeds between a method and plain, pooled over blocks, with Fisher's 95 % interval
where there are enough seeds. Pairing narrows a difference's interval where it is above 0."""

AGREEMENT = """\
Spearman's correlation between metrics over the ranked methods of all blocks, standardised within
each block; less-is-better metrics are flipped. With a 95 % interval from ten cells on, which takes
methods as a sample and cells as independent: read it as a description."""


def _pairing_table(board: Board, rows: Sequence[Row], names: Sequence[str], r: Interval) -> str:
    notes = Notes()
    body = [[row_name(board, row, notes), *(_correlation(r, i, c) for c in range(len(names)))]
            for i, row in enumerate(rows)]  # fmt: skip
    return tabled(grid(["method", *(escape(board.metric(n).title) for n in names)], body), notes)


def _agreement_table(board: Board, names: Sequence[str], r: Interval) -> str:
    titles = [escape(board.metric(name).title) for name in names]
    body = [[titles[i], *(_correlation(r, i, c) if c < i else "" for c in range(len(names) - 1))]
            for i in range(1, len(names))]  # fmt: skip
    return grid(["", *titles[:-1]], body)


def _correlation(r: Interval, i: int, j: int) -> str:
    text = number(float(r.mean[i, j]), 2)
    low, high = float(r.low[i, j]), float(r.high[i, j])
    return f"{text} ({number(low, 2)} to {number(high, 2)})" if math.isfinite(low) else text
