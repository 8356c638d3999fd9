"""All numbers of a suite: a stranger's own row beside published ones, and nothing lost."""

from __future__ import annotations

import pandas as pd
import pytest
from published_suites import aged, publish_tables
from tiny_suites import work

from legible.bench.errors import UserError
from legible.bench.execution import schedule
from legible.bench.execution.published import RunPlace, read_published
from legible.bench.plugins import registry
from legible.bench.scores.score_table import read_scores
from legible.bench.scores.suite_numbers import curve_table, gather_numbers, one_cost_a_row
from legible.bench.suites.run_spec import expand
from legible.bench.suites.schema import MethodEntry

MINE = '''from legible import Method, register


@register
class Mine(Method):
    """Pulls activations to zero."""

    acts_on = "last"

    def penalty(self, step):
        return {"mine": self.strength * step.activations[self.taps[0]].abs().mean()}
'''


@pytest.fixture
def stranger(published, tmp_path, kept_registry):
    """The published suite with the method of a stranger, who has run nothing."""
    file = tmp_path / "mine.py"
    file.write_text(MINE)
    registry.load_plugin(file)
    methods = [*published.suite.methods, MethodEntry(name="mine")]
    published.suite = published.suite.model_copy(update={"methods": methods})
    published.specs = expand(published.suite)
    return published


def gather(published, specs=None, said=None):
    say = (said if said is not None else []).append
    return gather_numbers(
        published.workspace, published.suite, specs or published.specs, published.results, say=say
    )


def test_a_stranger_trains_the_own_row_alone_and_sees_all(stranger, capsys):
    before = read_scores(stranger.folder / "scores.csv")
    schedule.run_all(stranger.workspace, stranger.specs, 1, [])
    assert "2 of 8 runs to do (0 done, 6 published)" in capsys.readouterr().out
    assert [name.rpartition("-s")[0] for name in stranger.runs] == [
        "toy-vgg(width=4,stages=2)-mine"
    ] * 2
    numbers = gather(stranger)
    assert set(numbers.scores["method"]) == {"plain", "bean", "untrained", "mine", "oracle"}
    assert len(numbers.earlier) == 6 and len(numbers.records) == 8
    assert set(numbers.costs["method"]) == {"plain", "bean", "untrained", "mine"}
    assert (
        publish_tables(stranger.workspace, stranger.suite, stranger.specs, stranger.results) == []
    )
    after = read_scores(stranger.folder / "scores.csv")
    others = after[after["method"] != "mine"].reset_index(drop=True)
    pd.testing.assert_frame_equal(others, before)
    assert after.loc[after["method"] == "mine", "value"].notna().any()
    assert len(read_published(stranger.folder).runs) == 8


def test_publishing_again_gives_the_same_bytes(stranger):
    schedule.run_all(stranger.workspace, stranger.specs, 1, [])
    files = ("scores.csv", "runs.csv", "provenance.json", "cost.csv")
    texts = []
    for _ in range(2):
        publish_tables(stranger.workspace, stranger.suite, stranger.specs, stranger.results)
        texts.append([(stranger.folder / name).read_bytes() for name in files])
        stranger.open()
    assert texts[0] == texts[1]


def test_a_part_of_the_suite_keeps_the_other_rows(stranger):
    plain = [spec for spec in stranger.specs if spec.method == "plain"]
    publish_tables(stranger.workspace, stranger.suite, plain, stranger.results)
    assert set(read_scores(stranger.folder / "scores.csv")["method"]) == {
        "plain", "bean", "untrained", "oracle",
    }  # fmt: skip
    assert len(read_published(stranger.folder).runs) == 6


def test_a_row_whose_plugin_is_gone_is_kept_and_named(stranger):
    work(stranger.workspace, [spec for spec in stranger.specs if spec.method == "mine"])
    publish_tables(stranger.workspace, stranger.suite, stranger.specs, stranger.results)
    stranger.open()
    del registry.METHODS["mine"]
    methods = stranger.suite.methods[:-1]
    stranger.suite = stranger.suite.model_copy(update={"methods": methods})
    numbers = gather(stranger, expand(stranger.suite))
    assert numbers.unchecked == {"mine"}
    assert "mine" in set(numbers.scores["method"])


def test_rows_that_other_code_made_are_refused_before_they_are_lost(stranger):
    stranger.workspace.published = aged(stranger.workspace.published, "bean")
    with pytest.raises(UserError, match=r"2 published runs of 1 rows are stale \(bean on") as error:
        gather(stranger)
    assert "`legible adopt tiny`" in str(error.value) and "--only-local" in str(error.value)
    assert "\n" not in str(error.value)
    said = []
    results, stranger.results = stranger.results, stranger.root / "elsewhere"
    scores = gather(stranger, said=said).scores  # the published table stays where it is
    assert "bean" not in set(scores.loc[scores["status"] == "ok", "method"])
    assert len(said) == 1 and said[0].startswith("left out: 2 published runs")
    stranger.results = results
    work(stranger.workspace, [spec for spec in stranger.specs if spec.method == "bean"])
    numbers = gather(stranger)  # replaced by runs that are here
    assert {place.row.method for place in numbers.earlier.values()} == {"plain", "untrained"}
    assert "bean" in set(numbers.scores.loc[numbers.scores["status"] == "ok", "method"])


def test_with_no_published_table_only_runs_here_count(stranger):
    stranger.workspace.published = None
    numbers = gather(stranger)
    assert not numbers.earlier and not numbers.records
    assert set(numbers.scores["status"]) == {"missing", "ok"}  # ok: the oracle


def test_watched_metrics_are_published_and_read_again(published):
    place = RunPlace(published.specs[0].block, published.specs[0].row, 0)
    history = [{"loss": 1.0, "watch.accuracy@": 0.5}, {"loss": 0.5, "watch.accuracy@": 0.75}]
    table = curve_table([(place, history)])
    assert list(table["epoch"]) == [1, 2] and list(table["value"]) == [0.5, 0.75]
    lines = [
        {name: str(value) for name, value in line.items()} for line in table.to_dict("records")
    ]
    published.workspace.published.companions["curves.csv"] = lines
    numbers = gather(published)
    assert numbers.histories == [(place, [{"watch.accuracy@": 0.5}, {"watch.accuracy@": 0.75}])]


def test_values_of_a_run_that_is_to_be_trained_again_stay_until_then(published):
    """Seed 1 was compared with seed 0, and is compared with seed 2 in a longer suite."""
    published.suite = published.suite.model_copy(update={"seeds": [0, 1, 2]})
    numbers = gather(published, expand(published.suite))
    plain = numbers.scores[numbers.scores["method"] == "plain"]
    by_seed = {seed: set(rows["metric"]) for seed, rows in plain.groupby("seed")}
    assert by_seed[2] == {""}
    assert {"accuracy", "netdissect_iou"} <= by_seed[1] and "" not in by_seed[1]
    assert any(name.endswith("_seeds") for name in by_seed[0])
    assert not any(name.endswith("_seeds") for name in by_seed[1])
    assert len(numbers.costs) and not numbers.costs.duplicated().any()
    (record,) = [r for r in numbers.records if "plain-s1" in r.run]
    assert not any(name.endswith("_seeds") for name in record.scoring.metrics)


def test_a_row_has_one_cost_a_device_the_measured_one():
    lines = [("b", "cpu", 1, None), ("a", "cpu", 1, None), ("b", "cpu", 2, 5.0),
             ("b", "gpu", 3, 0.1), ("a", "cpu", 2, None)]  # fmt: skip
    costs = pd.DataFrame(lines, columns=["method", "device", "seed", "step_ms"])
    costs = costs.assign(dataset="kanji", backbone="vgg", params="{}")
    once = one_cost_a_row(costs)
    assert once[["method", "device", "seed"]].to_numpy().tolist() == [
        ["a", "cpu", 1], ["b", "cpu", 2], ["b", "gpu", 3],
    ]  # fmt: skip
    assert list(once.columns) == list(costs.columns)
    assert one_cost_a_row(costs.iloc[:0]).empty
