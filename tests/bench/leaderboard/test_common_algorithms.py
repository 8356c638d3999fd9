"""Attributions: every row of a block is judged by the same algorithms."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from legible.bench.leaderboard.common_algorithms import (
    FAILED,
    UNKNOWN,
    algorithms_for_all,
    by_run,
    over_common_algorithms,
)
from legible.bench.scores.collect import BY_ALGORITHM
from legible.bench.scores.score_table import COLUMNS

NAN = np.nan
#: Method -> a line for each seed: values of saliency, deep_lift and occlusion.
VALUES = {
    "plain": [(0.3, 0.9, 0.3), (0.3, 0.9, 0.5)],
    "icnn": [(0.4, NAN, 0.4), (0.4, NAN, 0.6)],
    "posthoc": [(0.3, 0.9, 0.3), (NAN, 0.9, 0.5)],
}
KINDS = {"plain": "method", "icnn": "method", "posthoc": "null"}
ALGORITHMS = ("saliency", "deep_lift", "occlusion")


def tables(values=VALUES, kinds=KINDS):
    """The score table of runs, with their own means, and their values by algorithm."""
    scores, lines = [], []
    for method, seeds in values.items():
        for seed, numbers in enumerate(seeds):
            own = float(np.nanmean(numbers))
            scores.append(dict.fromkeys(COLUMNS, "") | {
                "dataset": "kanji", "backbone": "vgg", "method": method, "kind": kinds[method],
                "params": "{}", "seed": seed, "metric": "relevance_mass", "value": own,
                "live": own, "undefined": int(np.isnan(numbers).sum()), "count": 3,
                "status": "ok",
            })  # fmt: skip
            place = ("kanji", "vgg", method, "{}", seed)
            for name, value in zip(ALGORITHMS, numbers, strict=True):
                lines.append((*place, name, "relevance_mass", value))
                lines.append((*place, name, "attribution_audit", float(value == value)))
    return pd.DataFrame(scores, columns=COLUMNS), pd.DataFrame(lines, columns=list(BY_ALGORITHM))


def test_an_algorithm_that_fails_for_one_method_counts_for_none():
    scores, algorithms = tables()
    table = over_common_algorithms(scores, algorithms)
    values = {method: group["value"].tolist() for method, group in table.groupby("method")}
    assert_allclose(values["plain"], [0.3, 0.4])
    assert_allclose(values["icnn"], [0.4, 0.5])  # better than plain; its own means are not
    assert_allclose(scores.loc[scores["method"] == "icnn", "value"], [0.4, 0.5])
    assert scores.loc[scores["method"] == "plain", "value"].min() > 0.49


def test_a_run_on_which_a_common_algorithm_fails_has_no_value():
    table = over_common_algorithms(*tables())
    first, second = table[table["method"] == "posthoc"].itertuples()
    assert first.value == pytest.approx(0.3) and (first.undefined, first.count) == (0, 2)
    assert np.isnan(second.value) and second.reason == FAILED
    assert (second.undefined, second.count) == (2, 2)


def test_a_method_on_which_most_algorithms_fail_does_not_decide():
    values = {**VALUES, "broken": [(NAN, NAN, 0.2)] * 2}
    table = over_common_algorithms(*tables(values, {**KINDS, "broken": "method"}))
    assert_allclose(table.loc[table["method"] == "plain", "value"], [0.3, 0.4])
    assert table.loc[table["method"] == "broken", "value"].isna().all()


def test_a_run_without_values_by_algorithm_is_not_compared():
    """A submitted row: its own mean is over algorithms that nobody here knows."""
    scores, algorithms = tables()
    others = algorithms[algorithms["method"] != "icnn"]
    scores.loc[scores["method"] == "posthoc", ["value", "live"]] = NAN
    scores.loc[scores["method"] == "posthoc", "reason"] = "not read"
    others = others[others["method"] != "posthoc"]
    table = over_common_algorithms(scores, others).set_index("method")
    assert table.loc["icnn", "value"].isna().all() and set(table.loc["icnn", "reason"]) == {UNKNOWN}
    assert set(table.loc["posthoc", "reason"]) == {"not read"}
    assert_allclose(table.loc["plain", "value"], [0.5, 1.7 / 3])


def test_without_a_common_algorithm_nothing_is_compared():
    values = {"plain": [(0.3, NAN, NAN)], "icnn": [(NAN, 0.4, NAN)]}
    scores, algorithms = tables(values)
    wide = by_run(algorithms[algorithms["metric"] == "relevance_mass"])
    assert algorithms_for_all(wide, {("plain", "{}"), ("icnn", "{}")}) == []
    assert over_common_algorithms(scores, algorithms)["value"].isna().all()


def test_other_metrics_and_blocks_stay_as_they_are():
    scores, algorithms = tables()
    other = scores.assign(metric="accuracy")
    elsewhere = scores.assign(dataset="shapes")
    table = over_common_algorithms(
        pd.concat([scores, other, elsewhere], ignore_index=True), algorithms
    )
    assert table["value"].tolist()[len(scores) :] == [*other["value"], *elsewhere["value"]]
    assert over_common_algorithms(scores, algorithms.iloc[:0]) is scores
