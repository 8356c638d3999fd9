"""The table that keeps concepts apart."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest
from tiny_suites import specs_of, toy_suite, work, write_suite

from legible.bench.cards.precision_by_concept import COLUMNS, by_concept, main
from legible.bench.one_network.unit_concepts import precision_table
from legible.bench.scoring.oracle import oracle_layer


@pytest.fixture
def done(tmp_path, workspace):
    """A suite file whose two seeds are trained, with its run specs."""
    text = toy_suite(seeds=[0, 1])
    specs = specs_of(tmp_path, text)
    work(workspace, specs)
    return write_suite(tmp_path, text), specs


def test_finished_runs_are_read_and_sorted(done, tmp_path, workspace, capsys):
    suite, specs = done
    (tmp_path / "cards").mkdir()
    other = ["other", "plain", "{}", 7, "conv", "bar", 10, 0.1, 0.2, 0.5]
    pd.DataFrame([other], columns=COLUMNS).to_csv(
        tmp_path / "cards" / "precision_by_concept.csv", index=False
    )
    for _ in range(2):  # the second time replaces the rows of the first
        main([str(suite), "--runs", str(tmp_path / "runs"), "--results", str(tmp_path)])
    table = pd.read_csv(tmp_path / "cards" / "precision_by_concept.csv")
    assert list(table.columns) == COLUMNS and table.loc[table["suite"] == "other"].shape[0] == 1
    table = table[table["suite"] != "other"]
    assert set(table["seed"]) == {0, 1} and not table.duplicated(COLUMNS[:6]).any()
    assert set(table["method"]) == {"plain"} and "[2/2]" in capsys.readouterr().out
    expected = by_concept(workspace.probe(specs[0]))
    first = table[table["seed"] == 0].set_index(["layer", "concept"]).sort_index()
    expected = expected.set_index(["layer", "concept"]).sort_index()
    for name in ("mean", "best", "units"):
        assert first[name].to_numpy() == pytest.approx(expected[name].to_numpy(), rel=1e-3)


def test_units_that_are_the_masks_are_the_best_of_their_concept(done, workspace):
    probe = workspace.probe(done[1][0])
    (name,) = probe.layers
    size = probe.layers[name].activation.shape[2:]
    table = by_concept(replace(probe, layers={name: oracle_layer(probe.concepts, size)}))
    assert len(table) == precision_table(probe)["concept"].nunique() > 1
    assert (table["best"] > 0.5).all() and (table["best"] > table["mean"]).all()
    assert table["units"].sum() <= 1 and (table["units"] > 0).all()


def test_without_a_finished_run_there_is_no_table(tmp_path, workspace, capsys):
    suite = write_suite(tmp_path, toy_suite())
    with pytest.raises(SystemExit):
        main([str(suite), "--runs", str(tmp_path / "runs"), "--results", str(tmp_path)])
    assert "no finished run of tiny" in capsys.readouterr().err
