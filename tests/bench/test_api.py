"""The benchmark from Python: run, scores and publish, as a script or a notebook calls them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from small_networks import small_network
from tiny_suites import TOY_PLUGIN, toy_suite, write_suite

import legible
from legible.bench.api import prepare
from legible.bench.errors import UserError
from legible.bench.plugins import registry
from legible.bench.plugins.limits import RunLimits
from legible.bench.scores.score_table import COLUMNS

ON_CPU = {"device": "cpu"}


@pytest.fixture
def suite(tmp_path, monkeypatch, toy_plugin):
    """The path of a tiny suite, in the working directory."""
    monkeypatch.chdir(tmp_path)
    text = toy_suite('"plain", "bean"', [0, 1, 2], top=f'plugins = ["{TOY_PLUGIN}"]')
    return str(write_suite(tmp_path, text))


def test_everything_public_is_there():
    public = {"run", "scores", "publish", "score", "Method", "register", "metric"}
    assert public <= set(dir(legible))
    for name in legible.__all__:
        assert getattr(legible, name) is not None


def test_data_is_loaded_by_its_name_with_parameters():
    data = legible.load("shapes(train=20,validation=10,test=10,size=32)")
    assert data.train.images.shape[0] == 20 and data.test.images.shape[2:] == (32, 32)
    assert len(data.train.labels) == 20 and data.train.concepts
    with pytest.raises(legible.UserError, match="did you mean 'shapes'"):
        legible.load("shape")


def test_seeds_are_a_number_or_a_list(suite):
    assert {s.seed for s in prepare(suite, seeds=2, **ON_CPU).specs} == {0, 1}
    assert {s.seed for s in prepare(suite, seeds=[7], **ON_CPU).specs} == {7}
    assert {s.seed for s in prepare(suite, **ON_CPU).specs} == {0, 1, 2}


def test_the_suite_s_plugins_and_one_s_own_belong_to_a_run(suite, tmp_path, kept_registry):
    mine = tmp_path / "mine.py"
    mine.write_text(
        "from legible import Method, register\n\n\n@register\nclass Mine(Method):\n"
        '    """Changes nothing."""\n'
    )
    here = prepare(suite, plugins=[str(mine)], seeds=1, **ON_CPU)
    assert here.plugins == [mine, TOY_PLUGIN]
    assert [spec.method for spec in here.specs] == ["plain", "bean", "mine"]


def test_running_returns_the_tidy_score_table(suite):
    table = legible.run(suite, methods=["plain"], seeds=1, jobs=1, **ON_CPU)
    assert list(table.columns) == COLUMNS
    plain = table[table["method"] == "plain"]
    treated = "assembly_disparity"  # by bean, whose row is compared with plain's
    assert set(plain["metric"]) == {"accuracy", "expected_calibration_error", treated}
    again = legible.run(suite, methods=["plain"], seeds=1, jobs=1, **ON_CPU)
    pd.testing.assert_frame_equal(again, table)


def test_a_failed_run_is_an_error(suite, monkeypatch):
    monkeypatch.setattr(registry.METHODS["bean"], "penalty", lambda self, step: 1 / 0)
    with pytest.raises(UserError, match="1 runs failed, the first: toy-"):
        legible.run(suite, seeds=1, jobs=1, **ON_CPU)


@pytest.mark.slow
def test_what_is_published_is_what_scores_returns(suite):
    with pytest.raises(UserError, match="suite 'tiny' has no finished runs"):
        legible.publish(suite, **ON_CPU)
    table = legible.run(suite, seeds=2, jobs=1, **ON_CPU)
    readme = legible.publish(suite, seeds=2, pictures=False, cost=False, **ON_CPU)
    assert readme == Path("results/tiny/README.md") and readme.is_file()
    pd.testing.assert_frame_equal(legible.scores(suite), table)


def test_scores_that_are_not_published_or_damaged_are_one_line(suite):
    with pytest.raises(UserError, match=r"no results/tiny/scores\.csv: `legible publish"):
        legible.scores(suite)
    path = Path("results/tiny/scores.csv")
    path.parent.mkdir(parents=True)
    path.write_text("a,b\n")
    with pytest.raises(UserError, match=r"scores\.csv: .*columns") as error:
        legible.scores(suite)
    assert "\n" not in str(error.value)


def test_published_rows_of_the_package_are_reused(published, monkeypatch, tmp_path):
    """As in an installed package: no results folder, no runs, and the method of a stranger."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("legible.bench.execution.published.PACKAGED", published.results)
    suite = str(published.root / "tiny.toml")
    table = legible.run(suite, jobs=1, runs="mine", **ON_CPU)
    assert set(table["method"]) == {"plain", "bean", "untrained", "oracle"}
    assert not list(Path("mine").glob("*/manifest.json"))
    pd.testing.assert_frame_equal(legible.scores(suite), table)
    assert prepare(suite, runs="mine", **ON_CPU).workspace.published is None
    local = legible.run(suite, methods=["untrained"], only_local=True, runs="mine", **ON_CPU)
    assert set(local["method"]) == {"untrained", "oracle"}
    assert len(list(Path("mine").glob("*/manifest.json"))) == 2


def test_limits_are_those_of_each_run(suite):
    limits = prepare(suite, time_limit="2h", memory_limit="4GiB", **ON_CPU).workspace.limits
    assert limits == RunLimits(seconds=7200.0, memory=4 * 2.0**30)
    assert prepare(suite, **ON_CPU).workspace.limits == RunLimits()


def test_a_network_in_memory_is_scored(toy, tmp_path, kept_registry):
    table = legible.score(small_network(), toy, layers=["4"], metrics=["accuracy", "modularity"],
                          results=tmp_path, name="mine", **ON_CPU)  # fmt: skip
    assert list(table.columns) == COLUMNS and set(table["layer"]) == {"", "4"}
    assert (tmp_path / "scored" / "mine" / "README.md").is_file()
    with pytest.raises(UserError, match="has no node or module '44'"):
        legible.score(small_network(), toy, layers=["44"], results=None, **ON_CPU)
