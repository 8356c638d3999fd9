"""Verdicts of the synthetic board: signs, blocks that take part, delivery, training-free rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from legible.bench.leaderboard.board import Column
from legible.bench.leaderboard.verdicts import (
    OrientedValues,
    Standings,
    beats_untrained,
    block_column,
    oriented_values,
)
from legible.bench.statistics.contrasts import against_plain
from legible.bench.suites.run_spec import Block, RowKey
from legible.methods.base import Target

KANJI = Block("kanji", "vgg")
SYNC, STRONG = RowKey("sync", "{}"), RowKey("sync", '{"strength": 2.0}')


@pytest.fixture(scope="module")
def standings(board):
    return Standings(board)


def signs(standings, aspect):
    """Row -> sign of an aspect, for rows that have one."""
    column = standings.columns[aspect]
    rows = enumerate(standings.board.rows)
    return {row.key: column.symbol(i) for i, row in rows if column.symbol(i)}


def with_values(board, change, **where):
    """The board with changed values where columns of the score table have the given values."""
    scores = board.scores.copy()
    rows = np.logical_and.reduce([scores[name] == value for name, value in where.items()])
    rows &= scores["value"].notna()
    scores.loc[rows, ["value", "live"]] = change(scores.loc[rows, ["value", "live"]])
    return replace(board, scores=scores)


# ----------------------------------------------------------------- one block


def test_values_are_turned_so_that_more_is_better(board):
    column = Column(board.metric("dispersion"), "stage2")
    data = oriented_values(board, KANJI, column)
    plain = data.values[board.rows.index(board.baseline)]
    table = board.scores
    here = table[(table.dataset == "kanji") & (table.metric == "dispersion")]
    here = here[(here.method == "plain") & (here.layer == "stage2")].sort_values("seed")
    np.testing.assert_allclose(plain, -here["value"], rtol=1e-8)
    assert np.isfinite(plain).sum() == 18
    assert np.isfinite(data.values[board.rows.index(board.baseline) + 1]).sum() == 9


def test_a_block_column_is_the_comparison_of_all_rows_with_plain(board):
    part = block_column(board, KANJI, Column(board.metric("iou"), "stage2"))
    rows, values = board.rows, part.data.values
    others = [row is not board.baseline for row in rows]
    direct = against_plain(
        values[others][:, :9], values[rows.index(board.baseline)],
        np.array([row.trained for row in rows])[others],
        np.array([row.method == "atoms" for row in rows])[others],
    )  # fmt: skip
    np.testing.assert_allclose(part.contrast.difference[others], direct.difference)
    np.testing.assert_allclose(part.contrast.error[others], direct.error)
    i = rows.index(board.baseline)
    assert np.isnan(part.contrast.difference[i]) and part.contrast.seeds[i] == 0
    assert part.symbol([row.key for row in rows].index(STRONG)) == "▲"


def test_controls_and_null_rows_have_differences_without_signs(board):
    part = block_column(board, KANJI, Column(board.metric("iou"), "stage2"))
    for i, row in enumerate(board.rows):
        if row.group in ("control", "null"):
            assert part.symbol(i) == "" and np.isfinite(part.contrast.difference[i])
            assert part.verdicts.reason[i] == "not in the family"


def test_values_between_seeds_form_a_ring_of_pairs(board):
    data = OrientedValues(
        tuple(board.rows[:2]), np.arange(24, dtype=float).reshape(2, 12),
        np.ones(2, bool), np.zeros(2, bool), True, np.full(2, 12),
    )  # fmt: skip
    matrix = data.pairs([1])[0]
    assert matrix.shape == (10, 10)  # the first ten networks
    assert matrix[0, 1] == 12 and matrix[8, 9] == 20 and np.isnan(matrix[9, 0])
    assert np.isfinite(matrix).sum() == 9
    small = replace(data, values=data.values[:, :4])
    assert small.pairs([0])[0, 3, 0] == 3  # the last network with the first


def test_no_plain_gives_nothing(board):
    rest = replace(board, scores=board.scores[board.scores["method"] != "plain"])
    assert block_column(rest, KANJI, Column(rest.metric("iou"), "stage2")) is None
    assert Standings(rest).columns == {}


# ----------------------------------------------------------------- over blocks


def test_the_planted_signs_are_there_and_no_others(standings):
    """sync improves dispersion and iou and costs accuracy; bean lacks one block."""
    atoms = RowKey("atoms", "{}")
    assert signs(standings, "focus") == {SYNC: "▲", STRONG: "▲", atoms: "▲"}
    assert signs(standings, "semantics") == {SYNC: "▲", STRONG: "▲", atoms: "▲"}
    assert signs(standings, "task") == {SYNC: "▼", STRONG: "▼", atoms: "▽"}
    assert signs(standings, "structure") == {} and standings.columns["structure"].descriptive
    assert list(standings.signed) == ["focus", "semantics"]


def test_one_margin_gives_the_unit_of_the_metric_and_several_give_margins(board, standings):
    focus = standings.columns["focus"]
    i = [row.key for row in board.rows].index(SYNC)
    parts = [part.contrast.difference[i] for part in focus.parts]
    assert not focus.in_margins and focus.margin == 0.02
    assert focus.contrast.difference[i] == pytest.approx(np.mean(parts))
    sizes = [0.02, 0.01, 0.04]
    margins = {b: {"dispersion": m} for b, m in zip(board.blocks, sizes, strict=True)}
    other = Standings(replace(board, margins=margins)).columns["focus"]
    assert other.in_margins and other.margin == 1
    assert other.contrast.difference[i] == pytest.approx(np.mean(np.divide(parts, sizes)))


def test_without_margins_nothing_is_equal_or_small(board):
    column = Standings(replace(board, margins={})).columns["task"]
    assert {column.symbol(i) for i in range(len(board.rows))} <= {"▲", "▼", "?", ""}
    assert np.isnan(column.margin)


def test_equal_needs_a_margin_and_is_shown(board):
    calm = with_values(board, lambda v: v * 0 + 0.5, metric="iou", method="bean")
    rng = np.random.default_rng(4)
    calm = with_values(calm, lambda v: 0.5 + rng.normal(0, 0.002, v.shape), metric="iou")
    kanji = replace(
        calm, scores=calm.scores[calm.scores["dataset"] == "kanji"], margins={KANJI: {"iou": 0.01}}
    )
    column = Standings(kanji).columns
    assert column["semantics"].descriptive  # plain does not beat the untrained network any more
    kanji = with_values(kanji, lambda v: v - 0.3, metric="iou", method="untrained")
    assert set(signs(Standings(kanji), "semantics").values()) == {"≈"}


def test_below_eight_seeds_everything_is_undecided_and_says_how_many_seeds_decide(three_seeds):
    standings = Standings(three_seeds)
    assert set(signs(standings, "focus").values()) == {"?"}
    column = standings.columns["focus"]
    i = [row.key for row in three_seeds.rows].index(STRONG)
    assert column.seeds_needed[i] == 8  # a large difference: the fewest that decide
    assert column.verdicts.reason[i] == "few seeds" and standings.most_seeds == 3


def test_a_block_where_plain_does_not_beat_untrained_takes_no_part(board):
    weak = with_values(board, lambda v: v + 0.088, metric="iou", method="untrained",
                       backbone="lenet5")  # fmt: skip
    standings = Standings(weak)
    column = standings.columns["semantics"]
    assert [part.block.backbone for part in column.parts] == ["vgg", "vgg"]
    lenet = Block("kanji(size=28)", "lenet5")
    assert column.left_out == {lenet: "plain does not beat the untrained network in iou"}
    assert len(standings.columns["task"].parts) == 3  # accuracy is always compared


def test_two_or_three_seeds_are_enough_to_beat_a_network_that_is_far_worse(three_seeds):
    """Welch's test; the difference is 30 standard deviations."""
    part = Standings(three_seeds).headline_columns[KANJI]["semantics"]
    assert beats_untrained(three_seeds, part)
    two = replace(three_seeds, scores=three_seeds.scores[three_seeds.scores["seed"] < 2])
    assert beats_untrained(two, Standings(two).headline_columns[KANJI]["semantics"])


def test_an_aspect_with_values_of_the_oracle_alone_does_not_touch_the_others(board):
    extra = board.scores[(board.scores["method"] == "oracle") & (board.scores["metric"] == "iou")]
    extra = extra.assign(aspect="attribution", metric="mass")
    metrics = {**board.metrics, "mass": replace(board.metrics["iou"], name="mass",
                                                aspect="attribution")}  # fmt: skip
    both = replace(board, scores=pd.concat([board.scores, extra]), metrics=metrics)
    standings = Standings(both)
    assert "attribution" not in standings.columns
    assert set(standings.left_out["attribution"].values()) == {"no value of plain"}
    assert signs(standings, "semantics") == signs(Standings(board), "semantics")


def test_no_headline_qualifies_with_its_reason(board):
    none = {block: {"focus": ""} for block in board.blocks}
    reasons = {(block, "focus"): "no headline qualifies: label" for block in board.blocks}
    standings = Standings(replace(board, block_headlines=none, unheaded=reasons))
    assert standings.columns["focus"].descriptive and "focus" not in standings.signed
    assert set(standings.left_out["focus"].values()) == {"no headline qualifies: label"}
    instead = {board.blocks[0]: {"focus": "instability"}}
    mixed = Standings(replace(board, block_headlines=instead, margins={
        block: {"dispersion": 0.02, "instability": 0.02} for block in board.blocks
    })).columns["focus"]  # fmt: skip
    assert {part.column.metric.name for part in mixed.parts} == {"dispersion", "instability"}
    assert mixed.in_margins


def test_a_row_that_leaves_plain_as_it_is_on_a_block_counts_on_the_others(board):
    """As a rotation of a layer that the metric does not read."""
    plain = board.scores[(board.scores["method"] == "plain") & (board.scores["seed"] < 9)]
    rotated = plain.assign(method="plain_rotated", label="plain_rotated", kind="null")
    here = rotated["dataset"] == "kanji"
    rotated.loc[here & (rotated["metric"] == "iou"), "value"] -= 0.1
    both = replace(board, scores=pd.concat([board.scores, rotated]), derived=["plain_rotated"])
    column = Standings(both).columns["semantics"]
    i = [row.method for row in both.rows].index("plain_rotated")
    assert column.contrast.difference[i] == pytest.approx(-0.1)
    assert Standings(both).columns["task"].contrast.difference[i] == 0
    assert both.rows[i].group == "null"  # it is no training-free row


def test_a_row_that_differs_by_0_on_average_is_no_row_that_leaves_plain_as_it_is(board):
    plain = board.scores[(board.scores["method"] == "plain") & (board.scores["seed"] < 9)]
    coded = plain.assign(method="coded", label="coded", kind="null")
    here = coded["metric"] == "iou"
    shift = (coded["seed"] - 4) / 1024  # sums to 0 over the nine seeds, exactly
    coded.loc[here, "value"] = 0.5 + shift[here]
    fixed = board.scores.copy()
    fixed.loc[(fixed["method"] == "plain") & (fixed["metric"] == "iou"), "value"] = 0.5
    both = replace(board, scores=pd.concat([fixed, coded]), derived=["coded"])
    column = Standings(both).columns["semantics"]
    i = [row.method for row in both.rows].index("coded")
    assert column.contrast.difference[i] == 0 and np.isfinite(column.contrast.error[i])


def test_a_row_without_spread_is_not_tested_and_says_so(board):
    flat = with_values(board, lambda v: v * 0 + 0.5, metric="iou", method="sync", params="{}")
    column = Standings(flat).columns["semantics"]
    i = [row.key for row in flat.rows].index(SYNC)
    assert column.symbol(i) == "" and column.reason(i) == "no spread"


# ----------------------------------------------------------------- delivery, training-free rows


def test_a_target_is_tested_by_itself(standings):
    deliveries = standings.deliveries
    assert deliveries[SYNC].text == "yes" and deliveries[SYNC].blocks == 3
    assert deliveries[STRONG].text == "—" and deliveries[STRONG].note == "acts elsewhere"
    bean = deliveries["bean", "{}"]
    assert bean.failed and bean.text == "no" and "instability, should be higher" in bean.note
    bean_row = [row.method for row in standings.board.rows].index("bean")
    assert not standings.counts(bean_row)


def test_a_target_that_moves_on_some_blocks_or_has_too_few_seeds(board, three_seeds):
    stuck = with_values(board, lambda v: v + 0.05, metric="dispersion", method="sync",
                        params="{}", dataset="kanji")  # fmt: skip
    assert Standings(stuck).deliveries[SYNC].text == "in 2 of 3 blocks"
    few = Standings(three_seeds).deliveries[SYNC]
    assert few.text == "?" and not few.failed
    missing = Standings(replace(board, targets={SYNC: Target("sparsity", "higher")}))
    assert missing.deliveries[SYNC].note.endswith("not scored")


def test_a_target_at_the_end_of_its_range_is_tested_against_the_seeds_of_plain(board):
    flat = with_values(board, lambda v: v * 0, metric="dispersion", method="sync", params="{}")
    assert Standings(flat).deliveries[SYNC].text == "yes"
    away = with_values(board, lambda v: v * 0 + 9, metric="dispersion", method="sync", params="{}")
    assert Standings(away).deliveries[SYNC].text == "no"
    plain = with_values(flat, lambda v: v * 0, metric="dispersion", method="plain")
    assert Standings(plain).deliveries[SYNC].note.endswith("no spread")


def test_a_method_beats_the_training_free_rows_if_it_beats_each(board, standings):
    keys = [row.key for row in board.rows]
    assert standings.beating["focus"] == [keys.index(SYNC), keys.index(STRONG)]
    ahead = with_values(board, lambda v: v - 0.05, metric="dispersion", method="atoms")
    assert Standings(ahead).beating["focus"] == [keys.index(STRONG)]


def test_nothing_is_beaten_below_eight_seeds_or_without_training_free_rows(board, three_seeds):
    assert not any(Standings(three_seeds).beating.values())
    none = Standings(replace(board, derived=[]))
    assert none.training_free == [] and not any(none.beating.values())


def test_pairs_of_rows_are_compared_over_blocks(board, standings):
    keys = [row.key for row in board.rows]
    column = standings.columns["semantics"]
    contrast = standings.compare(column, [keys.index(STRONG)], [keys.index(SYNC)])
    expected = [
        np.nanmean(part.data.values[keys.index(STRONG)] - part.data.values[keys.index(SYNC)])
        for part in column.parts
    ]
    assert contrast.difference[0] == pytest.approx(np.mean(expected))


def test_agreement_has_a_correlation_for_each_pair_of_headlines(standings, board):
    agreement = standings.agreement
    assert agreement.mean.shape == (4, 4)
    names = list(standings.columns)
    both = agreement.mean[names.index("focus"), names.index("semantics")]
    assert both > 0.9  # sync improves both
    one = replace(board, scores=board.scores[board.scores["metric"] == "accuracy"])
    assert Standings(one).agreement is None
