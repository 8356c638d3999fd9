"""The rendered leaderboard, against a golden file and piece by piece."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from bench.publish import Board, leaderboard, read_scores, write_scores
from bench.publish.markdown import render
from bench.publish.standings import Standings
from bench.publish.text import code_block, decimals, escape, number


def test_the_leaderboard_is_as_it_was(board, golden):
    golden("leaderboard.md", render(board))


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
    for row in board.rows:
        assert escape(row.label) in text
    assert "skipped: needs a dense &#124; layer with &lt;b&gt;weights" in text
    assert "failed: step 7" in text


def test_only_methods_are_ranked(board):
    standings = Standings(board)
    assert {row.kind for row in standings.rows} == {"method"}
    head = render(board).split("## How to read")[0].split("Ranks use")[0]
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
    blocks = text.split("## How to read the tables")[1].split("## Cost")[0]
    tables = [line for line in blocks.splitlines() if line.startswith("|")]
    assert not any("±" in line or "▲" in line for line in tables)


def test_an_unregistered_metric_is_shown_all_the_same(board):
    bare = dataclasses.replace(board, metrics={})
    text = render(bare)
    assert "[dispersion][dispersion]" in text
    assert "\n[dispersion]: ../../docs/metrics.md#dispersion\n" in text


def test_without_plain_there_are_no_differences(board):
    rest = board.scores[board.scores["method"] != "plain"]
    assert "− plain |" not in render(dataclasses.replace(board, scores=rest))


def test_a_table_of_failures_alone_renders(board):
    failures = board.scores[board.scores["metric"] == ""]
    text = leaderboard(failures, pd.DataFrame(), {}, {}, "t")
    assert "## Skipped, failed and missing cells" in text


def test_comparisons_across_seeds_have_no_interval(board):
    across = board.scores[board.scores["metric"] == "iou"].copy()
    across = across[across["seed"] == 0].assign(seed=-1, metric="overlap", aspect="consistency")
    text = render(dataclasses.replace(board, scores=pd.concat([board.scores, across])))
    assert "<summary>Consistency: 1 metric</summary>" in text


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
    assert decimals([12.0]) == 1
    assert decimals([1234.0]) == 0
    assert decimals([np.nan]) == 3


def test_an_empty_board_needs_only_scores(board):
    assert "## kanji · vgg" in render(Board(board.scores))
