"""The sentences that are generated from the numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from scipy import stats

from legible.bench.leaderboard.conclusions import basis, conclude, summary, unfinished
from legible.bench.leaderboard.verdicts import Standings
from legible.metrics.base import METRICS, NEEDS


def remarks(board):
    return {sentence.about: sentence.text for sentence in conclude(Standings(board))}


def with_noise(board, sd):
    """Every row draws from one distribution, but for the untrained one, which is far worse."""
    scores = board.scores.copy()
    rows = scores["metric"] != ""
    noise = np.random.default_rng(5).normal(0.5, sd, rows.sum())
    better_low = scores.loc[rows, "metric"].isin(["dispersion", "instability"])
    worse = np.where(better_low, 0.3, -0.3) * (scores.loc[rows, "method"] == "untrained")
    scores.loc[rows, "value"] = noise + worse
    return replace(board, scores=scores)


def test_planted_differences_are_summed_up(board):
    text = summary(Standings(board))
    sync = "sync (reconstruction) and sync (reconstruction) [strength=2.0]"
    assert text == (
        f"Of 2 methods, 2 improve an aspect (focus: {sync}; semantics: {sync}); 2 beat every "
        f"training-free row in an aspect ({sync}); 2 lose accuracy. 1 method did not move its own "
        "target and does not count (bean)."
    )


def test_many_methods_are_counted_and_not_named(with_many_methods):
    text = summary(Standings(with_many_methods(5)))
    assert text.startswith("Of 7 methods, 7 improve an aspect (focus: 7; semantics: 7);")


def test_noise_leaves_methods_undecided_or_equal(board):
    loud = with_noise(board, 0.1)
    assert summary(Standings(replace(loud, targets={}))).startswith(
        "Of 3 methods, none improve an aspect and for 3 no difference is shown; none beat every"
    )
    wide = {block: {"dispersion": 0.2, "iou": 0.2} for block in board.blocks}
    equal = Standings(replace(with_noise(board, 0.01), targets={}, margins=wide))
    text = summary(equal)
    assert "2 are shown equal to plain in every aspect and for 1 no difference is shown" in text


def test_methods_that_do_both_and_differences_below_the_margin_are_counted(board):
    columns = {"iou": -0.1, "dispersion": 0.0}
    worse = board
    for metric, change in columns.items():
        scores = worse.scores.copy()
        rows = (scores["metric"] == metric) & (scores["method"] == "sync")
        scores.loc[rows, "value"] += change
        worse = replace(worse, scores=scores)
    text = summary(Standings(worse))
    assert "worsen one (semantics: 2)" not in text and "2 do both" in text
    wide = {block: {"dispersion": 5.0, "iou": 5.0} for block in board.blocks}
    small = summary(Standings(replace(board, margins=wide, targets={})))
    assert "2 improve an aspect, 2 of them by less than the margin only (" in small


def test_methods_with_few_seeds_are_counted_apart(board):
    scores = board.scores
    own = (scores["method"] == "sync") & (scores["params"] == "{}")
    few = replace(board, scores=scores[~own | (scores["seed"] < 5)])
    assert "and 1 has fewer than 8 seeds" in summary(Standings(few))


def test_what_the_table_rests_on_is_said(board, one_seed):
    assert basis(Standings(board)) == (
        "On kanji · vgg, kanji(size=28) · lenet5 and shapes · vgg: up to 9 seeds of each method, "
        "18 of plain."
    )
    assert "up to 1 seed of each method" in basis(Standings(one_seed))
    rest = replace(board, scores=board.scores[board.scores["method"] != "plain"])
    assert basis(Standings(rest)) == ""


def test_an_aspect_that_is_measured_but_has_no_headline_says_so(board):
    scores = board.scores.copy()
    purity = scores[scores["metric"] == "iou"].assign(metric="concept_purity")
    with_purity = replace(board, scores=pd.concat([scores, purity]), metrics={
        **board.metrics, "concept_purity": METRICS["concept_purity"],
    })  # fmt: skip
    text = remarks(with_purity)["No column for exclusivity"]
    assert text == "no metric is chosen as its headline"
    assert not any("exclusivity" in subject for subject in remarks(board))


def test_a_method_that_is_worse_is_said_to_be(board):
    swapped = replace(board, metrics={
        **board.metrics, "iou": replace(board.metrics["iou"], better="lower"),
        "dispersion": replace(board.metrics["dispersion"], better="higher"),
    }, scores=board.scores[board.scores["method"] != "untrained"], targets={})  # fmt: skip
    text = summary(Standings(swapped))
    assert "none improve an aspect, 2 worsen one (focus: sync" in text


def test_too_few_seeds_say_what_eight_would_decide(three_seeds, one_seed):
    assert summary(Standings(three_seeds)) == (
        "All 3 methods are undecided: a verdict needs 8 seeds, and there are 3 seeds. If the "
        "differences stay as they are, 8 seeds would decide 4 of 4 table cells."
    )
    assert summary(Standings(one_seed)) == (
        "All 3 methods are undecided: a verdict needs 8 seeds, and there is 1 seed."
    )


def test_without_plain_or_aspects_there_is_no_sentence(board):
    rest = replace(board, scores=board.scores[board.scores["method"] != "plain"])
    assert summary(Standings(rest)) == ""
    structure = replace(board, scores=board.scores[board.scores["metric"] == "rank"])
    assert summary(Standings(structure)) == ""


def test_a_suite_of_accuracy_alone_is_summed_up_by_it(board):
    task = replace(board, scores=board.scores[board.scores["metric"] == "accuracy"], targets={})
    text = summary(Standings(task))
    assert text.startswith("Of 3 methods, none improve an aspect, 2 worsen one (task: sync")
    assert "lose accuracy" not in text and "training-free" not in text


def test_runs_that_have_not_been_made_are_named(board):
    bean = board.scores["method"] == "bean"
    kanji = bean & (board.scores["dataset"] == "kanji") & (board.scores["seed"] > 5)
    scores = board.scores[~kanji]
    gap = board.scores[kanji & (board.scores["metric"] == "accuracy")]
    gap = gap.assign(metric="", aspect="", status="missing", reason="not run yet", value=np.nan)
    assert unfinished(replace(board, scores=pd.concat([scores, gap]))) == [
        "bean on kanji · vgg: seeds 6–8"
    ]
    assert unfinished(board) == []


def test_a_block_without_any_run_is_named_once_and_has_no_place_in_the_tables(board):
    one = board.scores[(board.scores["dataset"] == "shapes") & (board.scores["metric"] == "iou")]
    runs = one.drop_duplicates(["method", "params", "seed"])
    reason = "its block is run on a GPU alone"
    absent = runs.assign(dataset="stl", metric="", aspect="", status="missing", reason=reason,
                         value=np.nan)  # fmt: skip
    with_block = replace(board, scores=pd.concat([board.scores, absent]))
    assert unfinished(with_block) == [f"stl · vgg: all rows ({reason})"]
    assert with_block.blocks == board.blocks and with_block.failures == board.failures
    assert summary(Standings(with_block)) == summary(Standings(board))


def test_remarks_name_aspects_without_a_column_and_blocks_that_take_no_part(board):
    by_subject = remarks(board)
    assert by_subject["No column for structure"] == (
        "its metric has no better direction; described below the table"
    )
    scores = board.scores.copy()
    weak = (scores["method"] == "untrained") & (scores["metric"] == "iou")
    weak &= (scores["backbone"] == "lenet5") & scores["value"].notna()
    scores.loc[weak, "value"] = 0.9
    by_subject = remarks(replace(board, scores=scores))
    assert by_subject["Blocks that take no part"] == (
        "kanji(size=28) · lenet5 in semantics (plain does not beat the untrained network in iou)"
    )
    assert "focus (atoms)" in by_subject["Training-free rows that are better than plain"]


def test_columns_without_a_decided_sign_say_what_they_could_have_shown(board):
    about = ("Aspects in which no method differs, and the smallest difference that would have "
             "been shown")  # fmt: skip
    assert about not in remarks(board)
    text = remarks(with_noise(board, 0.1))[about]
    assert text.startswith("focus 0.") and "semantics 0." in text and "80 % power" in text


def test_blocks_that_share_data_and_a_single_block_are_remarked(board):
    assert "kanji in 2 of 3" in remarks(board)["The blocks are not independent"]
    kanji = replace(board, scores=board.scores[board.scores["dataset"] == "kanji"])
    assert "One dataset on one backbone" in remarks(kanji)


def test_discoveries_are_benjamini_and_hochbergs_over_all_tests(board):
    standings = Standings(board)
    text = remarks(board)["Discoveries"]
    p = np.concatenate([
        column.contrast.p()[[not column.reason(i) and column.symbol(i) != "" for i in
                             range(len(board.rows))]]
        for column in standings.signed.values()
    ])  # fmt: skip
    found = int((stats.false_discovery_control(p) < 0.05).sum())
    assert text.startswith(f"{found} of {len(p)} differences are on a list of which 5 % may be")
    signs = sum(column.symbol(i) in "▲▼△▽" for column in standings.signed.values()
                for i in range(len(board.rows)) if column.symbol(i))  # fmt: skip
    named = text.partition("without a sign in the table: ")[2]
    assert found == signs + (named.count(" in ") if named else 0)


def test_below_eight_seeds_nothing_is_discovered(three_seeds):
    assert "Discoveries" not in remarks(three_seeds)


def test_layers_whose_maps_are_too_coarse_are_named(board):
    scores = board.scores.copy()
    here = (scores["layer"] == "conv2") & (scores["metric"] == "iou")
    assert here.any()
    scores.loc[here, ["value", "live"]] = np.nan
    scores.loc[here, "reason"] = NEEDS["measurable"]
    blocks = scores.loc[here, "dataset"].unique()
    texts = remarks(replace(board, scores=scores))
    (about,) = [about for about in texts if about.startswith("Maps too coarse")]
    assert about.count("conv2 of ") == len(blocks) and "fails the gate" in texts[about]
    assert not any(about.startswith("Maps too coarse") for about in remarks(board))
