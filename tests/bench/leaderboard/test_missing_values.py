"""Reasons for missing values, merged over seeds."""

from legible.bench.leaderboard.missing_values import SeedReason, merge, seed_list


def test_each_reason_stands_once_with_its_seeds():
    reasons = [SeedReason(0, "a"), SeedReason(2, "b"), SeedReason(1, "a")]
    assert merge(reasons) == ["a (seeds 0–1)", "b (seed 2)"]


def test_a_comparison_between_seeds_has_no_seed():
    assert merge([SeedReason(-1, "needs two runs")]) == ["needs two runs"]


def test_seeds_in_a_row_are_joined():
    assert seed_list([0, 1, 2, 3, 5, 7, 8]) == "seeds 0–3, 5, 7–8"
    assert seed_list([4]) == "seed 4"
