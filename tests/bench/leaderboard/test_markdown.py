"""The rendered leaderboard, against a golden file and piece by piece."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pandas as pd
import pytest

from legible.bench.leaderboard.blocks import page_path, render_block
from legible.bench.leaderboard.board import Board
from legible.bench.leaderboard.conclusions import conclusions, listed
from legible.bench.leaderboard.markdown import basis, render
from legible.bench.leaderboard.standings import Standings
from legible.bench.scores.score_table import KEY, read_scores, write_scores
from legible.bench.text import code_block, decimals, escape, number


def test_the_leaderboard_is_as_it_was(board, golden):
    golden("leaderboard.md", render(board))
    golden("leaderboard-block.md", render_block(board, board.blocks[1]))


def test_row_order_and_a_trip_through_the_file_change_nothing(board, tmp_path):
    write_scores(board.scores, tmp_path / "scores.csv")
    shuffled = read_scores(tmp_path / "scores.csv").sample(frac=1, random_state=0)
    again = dataclasses.replace(board, scores=shuffled)
    assert render(again) == render(board)


def test_the_head_says_what_the_semantics_rest_on(board):
    assert "no photographs with concept masks" in render(board).split("##")[0]
    with_photographs = dataclasses.replace(board, photographs=["shapes"])
    assert "concept masks on photographs (shapes)" in render(with_photographs).split("##")[0]


def test_nothing_is_dropped(board):
    text = render(board)
    pages = [render_block(board, block) for block in board.blocks]
    for row in board.rows:
        assert escape(row.label) in text
        assert any(escape(row.label) in page for page in pages)
    assert "skipped: needs a dense &#124; layer with &lt;b&gt;weights" in text
    assert "failed: step 7" in text


def test_only_methods_are_ranked(board):
    standings = Standings(board)
    assert {row.kind for row in standings.rows} == {"method"}
    head = render(board).split("## What this shows")[0]
    assert "untrained" not in head
    assert "greedy" not in head


def test_the_better_method_leads_and_an_incomplete_one_is_unranked(board):
    standings = Standings(board)
    names = [(row.method, row.params) for row in standings.ordered()]
    assert names == [
        ("sync", '{"strength": 2.0}'), ("sync", "{}"), ("plain", "{}"), ("bean", "{}")
    ]  # fmt: skip
    overall = standings.overall
    tier = {row.key: int(t) for row, t in zip(standings.rows, overall.tier, strict=True)}
    assert tier[("bean", "{}")] == 0
    assert "over 2 of 3 blocks" in render(board)


def test_a_failed_seed_counts_as_the_worst_and_a_skipped_block_does_not(board):
    standings = Standings(board)
    keys = [row.key for row in standings.rows]
    worst = standings.counted_worst(["iou"])[..., 0]
    assert worst.sum() == 1
    block = [b.dataset for b in board.blocks].index("shapes")
    assert worst[block, 2, keys.index(("sync", '{"strength": 2.0}'))]
    values = standings._oriented(["iou"])[block, 2, :, 0]
    assert values[keys.index(("sync", '{"strength": 2.0}'))] == np.nanmin(values)
    assert "failed or undefined for some seed, ranked as the worst method there" in render(board)


def test_an_undefined_headline_ranks_last_not_nowhere(board):
    dead = (board.scores["method"] == "sync") & (board.scores["metric"] == "dispersion")
    dead &= (board.scores["backbone"] == "lenet5") & (board.scores["params"] == "{}")
    scores = board.scores.copy()
    scores.loc[dead, ["value", "live"]] = np.nan
    scores.loc[dead, "reason"] = "undefined on this network"
    standings = Standings(dataclasses.replace(board, scores=scores))
    i = [row.key for row in standings.rows].index(("sync", "{}"))
    before = Standings(board).aspects["focus"]
    assert standings.aspects["focus"].tier[i] > 0
    assert standings.aspects["focus"].score[i] < before.score[i]


def test_metrics_without_a_direction_are_not_ranked(board):
    assert "structure" not in Standings(board).aspects
    assert set(Standings(board).aspects) == {"focus", "semantics"}


def test_a_metric_is_shown_at_the_last_layer_that_has_it(board):
    places = {(b.dataset, b.backbone): names for b, names in board.places.items()}
    assert places["kanji(size=28)", "lenet5"]["dispersion"] == "conv2"
    assert places["kanji(size=28)", "lenet5"]["rank"] == "dense1"
    assert places["kanji", "vgg"]["dispersion"] == "stage2"


def test_one_seed_has_no_intervals_and_says_so(board):
    one = board.scores[board.scores["seed"] == 0]
    text = render(dataclasses.replace(board, scores=one))
    assert "One seed: no intervals" in text
    assert "Nothing can be concluded yet" in text
    blocks = text.split("## Aspects")[1].split("## Cost")[0]
    pages = "\n".join(render_block(dataclasses.replace(board, scores=one), b) for b in board.blocks)
    tables = [line for line in (blocks + pages).splitlines() if line.startswith("|")]
    assert not any("±" in line or "▲" in line for line in tables)


def test_an_unregistered_metric_is_shown_all_the_same(board):
    bare = dataclasses.replace(board, metrics={})
    text = render_block(bare, bare.blocks[0])
    assert "[dispersion][dispersion]" in text
    assert "\n[dispersion]: ../../../docs/metrics.md#dispersion\n" in text


def test_without_plain_there_are_no_differences(board):
    rest = board.scores[board.scores["method"] != "plain"]
    assert "− plain |" not in render(dataclasses.replace(board, scores=rest))


def test_a_table_of_failures_alone_renders(board):
    failures = board.scores[board.scores["metric"] == ""]
    text = render(Board(failures, pd.DataFrame(), {}, {}, "t"))
    assert "## Skipped, failed and missing cells" in text


def test_comparisons_across_seeds_have_no_interval(board):
    across = board.scores[board.scores["metric"] == "iou"].copy()
    across = across[across["seed"] == 0].assign(seed=-1, metric="overlap", aspect="consistency")
    both = dataclasses.replace(board, scores=pd.concat([board.scores, across]))
    text = render_block(both, both.blocks[0])
    assert "## Consistency" in text


HOSTILE = [
    "a|b", "<script>alert(1)</script>", "`x`", "line\nbreak", "**bold** _it_", "[a](http://b)",
    "![a](javascript:b)", "x\u202ey", "$\\alpha$", "&lt;", "www.evil.example", "# head", "\x00",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_escaped_text_has_no_live_markup(text):
    out = escape(text)
    assert not set(out) & set("|<>`*[]$\n\u202e\x00")
    assert "://" not in out
    assert "www." not in out


def test_hostile_names_stay_in_their_cells(board):
    evil = "| x <img src=x onerror=alert(1)> [l](javascript:1) `\n# h"
    scores = board.scores.assign(label=evil.replace("\n", " "))
    text = render(dataclasses.replace(board, scores=scores, title=evil, marks={"bean": evil}))
    assert "<img" not in text
    assert "](javascript" not in text
    before = [line.count("|") for line in render(board).splitlines() if line.startswith("|")]
    after = [line.count("|") for line in text.splitlines() if line.startswith("|")]
    assert after == before


def test_a_code_block_cannot_be_left():
    assert code_block("a\n```\nb").startswith("````sh\n")


@pytest.mark.parametrize(
    "value, digits, text",
    [(0.12345, 3, "0.123"), (-0.0001, 3, "0.000"), (-1.5, 1, "−1.5"), (np.nan, 2, "—")],
)
def test_numbers(value, digits, text):
    assert number(value, digits) == text


def test_decimals_show_three_digits_of_the_largest():
    assert decimals([0.5, 0.1]) == 3
    assert decimals([0.95, 1.0]) == 3
    assert decimals([0.95, 1.01]) == 2
    assert decimals([12.0]) == 1
    assert decimals([1234.0]) == 0
    assert decimals([np.nan]) == 3


def test_an_empty_board_needs_only_scores(board):
    assert "(details/kanji-vgg.md)" in render(Board(board.scores))


# ------------------------------------------------------------- what is concluded


def told(board):
    return {sentence.about: sentence.text for sentence in conclusions(Standings(board))}


def test_planted_differences_are_concluded_and_no_others(board):
    """The fixture's sync is better than plain in dispersion and iou, worse in accuracy."""
    said = told(board)
    assert said["Focus (dispersion ↓)"].startswith("better than plain sync (reconstruction) −0.0")
    assert "[strength=2.0] −0.099" in said["Focus (dispersion ↓)"]
    assert "its own loss trains on this" in said["Focus (dispersion ↓)"]
    assert said["Semantics (iou ↑)"].startswith("better than plain sync")
    assert said["Task (accuracy ↑)"].startswith("worse than plain sync")
    assert "bean" not in said["Task (accuracy ↑)"]
    assert said["No difference from plain was shown"] == "by bean, in any aspect"
    assert "kanji" in said["The blocks are not independent"]


def test_without_differences_none_is_concluded(board):
    scores = board.scores.copy()
    rows = scores["metric"] != ""
    scores.loc[rows, "value"] = np.random.default_rng(5).normal(0.5, 0.1, rows.sum())
    said = told(dataclasses.replace(board, scores=scores))
    assert said["No difference from plain was shown"] == "in any aspect, by any method"
    assert said["Overall"].startswith("no two methods")
    assert "untrained" in said["Plain training is not shown to beat a null row in"]


def test_a_null_row_that_plain_beats_is_not_held_against_it(board):
    """The fixture's untrained row is worse than plain by far; the oracle is better."""
    text = told(board)["Plain training is not shown to beat a null row in"]
    assert "oracle" in text
    assert "untrained" not in text


def test_names_are_listed_in_words():
    assert [listed(list("abc")[:n]) for n in range(4)] == ["", "a", "a and b", "a, b and c"]


# ------------------------------------------------------------- suites of other shapes


def replicated(board, seeds):
    """The board with more seeds, each a noisy copy of seed 0."""
    first = board.scores[(board.scores["seed"] == 0) & (board.scores["metric"] != "")]
    rng = np.random.default_rng(3)
    parts = [
        first.assign(seed=s, value=first["value"] + rng.normal(0, 0.01, len(first)))
        for s in range(seeds)
    ]
    return dataclasses.replace(board, scores=pd.concat(parts))


def variants(board, count):
    """The board with ``count`` variants of one method that differ in long parameters."""
    kept = board.scores[board.scores["method"].isin(["plain", "untrained"])]
    sync = board.scores[(board.scores["method"] == "sync") & (board.scores["params"] == "{}")]
    more = [
        sync.assign(params=f'{{"centre": "centroid", "neighbours": "global", "focus": 0.{i:02d}}}')
        for i in range(count)
    ]
    return dataclasses.replace(board, scores=pd.concat([kept, *more]))


def test_variants_of_one_method_are_rows_of_their_own(board):
    many = variants(board, 30)
    text = render(many)
    heads = [
        line for line in text.split("## What this shows")[0].splitlines() if "focus=0." in line
    ]
    assert len(heads) == 30
    for i in range(30):
        assert f"<sub>centre=centroid, neighbours=global, focus={i / 100}</sub>" in text
    assert len(text) < 120_000


def test_ten_seeds_are_told_in_short(board):
    ten = replicated(board, 10)
    failed = ten.scores.iloc[:1].assign(
        method="bean", label="bean", metric="", aspect="", layer="", value=np.nan, live=np.nan,
        status="failed", reason="step 7",
    )  # fmt: skip
    rest = ten.scores[ten.scores["method"] != "bean"]
    failures = pd.concat([failed.assign(seed=s) for s in (0, 1, 2, 3, 5, 7, 8)])
    text = render(dataclasses.replace(ten, scores=pd.concat([rest, failures])))
    assert "failed: step 7 (seeds 0–3, 5, 7–8)" in text


def test_a_suite_of_accuracy_alone_has_no_ranks(board):
    task = board.scores[board.scores["metric"].isin(["accuracy", ""])]
    text = render(dataclasses.replace(board, scores=task))
    head = text.split("## What this shows")[0]
    assert "mean rank" not in head
    assert "accuracy][accuracy] − plain" in head
    assert "Ranks use the one headline" not in text
    assert "### Task" in text


def test_data_without_masks_is_named(board):
    some = dataclasses.replace(board, unmasked=["shapes"])
    assert "Without masks, and so without semantics: shapes." in basis(some)
    none = dataclasses.replace(board, unmasked=sorted({b.dataset for b in board.blocks}))
    assert "no dataset of this suite has concept masks" in basis(none)
    assert "exact masks" not in basis(none)


def test_pages_of_blocks_have_plain_and_distinct_names(board):
    twins = pd.concat([board.scores, board.scores.assign(dataset="kanji(size=28")])
    both = dataclasses.replace(board, scores=twins.drop_duplicates(["dataset", *KEY[1:]]))
    names = [page_path(both, block) for block in both.blocks]
    assert len(set(names)) == len(names) == 5
    assert all(re.fullmatch(r"details/[a-z0-9-]+\.md", name) for name in names)


def test_blocks_stand_in_the_order_of_their_numbers(board):
    names = {"kanji": "x(shots=10)", "shapes": "x(shots=5)", "kanji(size=28)": "x"}
    scores = board.scores.assign(dataset=board.scores["dataset"].map(names))
    renamed = dataclasses.replace(board, scores=scores)
    assert [block.dataset for block in renamed.blocks] == ["x", "x(shots=5)", "x(shots=10)"]
