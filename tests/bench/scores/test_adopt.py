"""Adopting published rows: equal numbers take new run names, everything else stays as it is."""

from __future__ import annotations

import re

import pandas as pd
import pytest
from tiny_suites import toy_suite, write_suite

from legible.bench.errors import UserError
from legible.bench.execution import schedule
from legible.bench.execution.listing import refuse_edited, write_listed
from legible.bench.execution.store import Store
from legible.bench.execution.workspace import Workspace
from legible.bench.plugins import registry
from legible.bench.scores.adopt import NAMING_RUNS, adopt_published
from legible.bench.scores.collect import score_table
from legible.bench.scores.score_table import read_scores, scores_text
from legible.bench.suites.run_spec import expand
from legible.bench.suites.schema import read_suite

#: The hash at the end of run names, as earlier code made it.
EARLIER = "0123456789ab"


class Publication:
    """A suite whose scores are published, in a workspace that has no runs."""

    def __init__(self, folder):
        text = toy_suite('"plain", "bean", "untrained"', [0, 1],
                         aspects='"task", "semantics", "consistency"')  # fmt: skip
        self.suite = read_suite(write_suite(folder, text))
        self.specs = expand(self.suite)
        made = Workspace(Store(folder / "made"))
        schedule.run_all(made, self.specs, 1, [])
        self.results = folder / "results"
        self.file = self.results / "tiny" / "scores.csv"
        self.file.parent.mkdir(parents=True)
        self.file.write_text(scores_text(score_table(made, self.specs)))
        self.present = self.file.read_text()
        self.workspace = Workspace(Store(folder / "runs"))

    def age(self):
        """Gives all runs the names that earlier code gave them."""
        self.file.write_text(re.sub(r"(-s\d)-[0-9a-f]{12}", rf"\1-{EARLIER}", self.present))

    def edit(self, **changes):
        """Changes the first value of bean."""
        table = read_scores(self.file)
        (row, *_) = table.index[(table["method"] == "bean") & (table["metric"] == "accuracy")]
        for column, value in changes.items():
            table.loc[row, column] = value
        self.file.write_text(scores_text(table))

    def adopt(self, methods=None):
        specs = expand(self.suite, methods=methods)
        return adopt_published(self.workspace, self.suite, specs, self.results, 1)

    @property
    def runs(self):
        """Names of the runs that were made in the workspace."""
        return sorted(
            path.parent.name for path in self.workspace.store.root.glob("*/manifest.json")
        )

    def names(self, method):
        table = read_scores(self.file)
        return set(table.loc[table["method"] == method, "run"])


@pytest.fixture
def published(toy_plugin, tmp_path):
    return Publication(tmp_path)


def test_equal_rows_take_the_present_names_and_keep_their_numbers(published, capsys):
    published.age()
    assert EARLIER in published.file.read_text()
    assert published.adopt() == []
    assert published.file.read_text() == published.present
    out = capsys.readouterr().out
    assert "adopted: bean on toy · vgg(width=4,stages=2) (2 seeds)" in out and "oracle" not in out
    assert [name[:-13].rpartition("-")[2] for name in published.runs] == ["s0"] * 3


def test_every_file_that_names_runs_is_renamed(published):
    published.age()
    files = [published.file.with_name(name) for name in NAMING_RUNS]
    for file in files:
        file.write_text(published.file.read_text())
    assert published.adopt() == []
    assert all(file.read_text() == published.present for file in files)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"value": 0.123456789}, "accuracy of seed 0 was 0.123456789 and is "),
        ({"live": 0.123456789}, "live of accuracy of seed 0 was 0.123456789 and is "),
        ({"count": 2}, "count of accuracy of seed 0 was 2 and is 1"),
        ({"metric": "forgotten"}, "forgotten is no longer measured"),
    ],
)
def test_a_row_of_other_numbers_is_stale_and_stays_as_it_is(published, capsys, change, problem):
    published.age()
    published.edit(**change)
    before = read_scores(published.file)
    (line,) = published.adopt()
    assert line.startswith(f"bean on toy · vgg(width=4,stages=2): {problem}")
    assert f"stale: {line}" in capsys.readouterr().out
    after = read_scores(published.file)
    bean = before["method"] == "bean"
    pd.testing.assert_frame_equal(before[bean], after[bean])
    assert all(name.endswith(EARLIER) for name in published.names("bean"))
    assert not any(name.endswith(EARLIER) for name in published.names("plain"))
    pd.testing.assert_frame_equal(before.drop(columns="run"), after.drop(columns="run"))


def test_the_last_of_nine_digits_counts(published):
    published.age()
    value = read_scores(published.file).query("method == 'bean' and metric == 'accuracy'")["value"]
    published.edit(value=float(value.iloc[0]) + 1e-9)
    assert len(published.adopt()) == 1


def test_a_rerun_that_fails_is_stale(published, monkeypatch):
    published.age()
    monkeypatch.setattr(registry.METHODS["bean"], "penalty", lambda self, step: 1 / 0)
    (line,) = published.adopt()
    assert "the rerun of seed 0 gave no scores (ZeroDivisionError" in line


def test_comparisons_of_seeds_keep_their_values(published):
    published.age()
    table = read_scores(published.file)
    pairs = table["metric"].str.endswith("_seeds")
    assert pairs.any()
    table.loc[pairs, "value"] = 0.25
    published.file.write_text(scores_text(table))
    assert published.adopt() == []
    assert (read_scores(published.file).loc[pairs, "value"] == 0.25).all()


def test_some_methods_alone_are_adopted(published):
    published.age()
    assert published.adopt(["plain"]) == []
    assert not any(name.endswith(EARLIER) for name in published.names("plain"))
    assert all(name.endswith(EARLIER) for name in published.names("bean"))
    assert len(published.runs) == 1 and "-plain-s0" in published.runs[0]


def test_rows_that_have_the_present_names_are_not_rerun(published, capsys):
    assert published.adopt() == []
    assert "all run names match the current code" in capsys.readouterr().out
    assert published.runs == [] and published.file.read_text() == published.present


def test_nothing_published_and_a_damaged_table_are_one_line(published):
    published.file.write_text("a,b\n")
    with pytest.raises(UserError, match=r"scores\.csv: .*columns") as error:
        published.adopt()
    assert "\n" not in str(error.value)
    published.file.unlink()
    with pytest.raises(UserError, match="nothing to adopt: no "):
        published.adopt()


def test_a_table_that_was_changed_since_it_was_published_is_refused(published):
    published.age()
    write_listed(published.file.parent, {"scores.csv": published.file.read_bytes()})
    published.edit(value=0.25)
    with pytest.raises(UserError, match=r"scores\.csv is damaged or was edited"):
        published.adopt()


def test_adopting_keeps_the_checksum_true(published):
    published.age()
    write_listed(published.file.parent, {"scores.csv": published.file.read_bytes()})
    assert published.adopt() == []
    refuse_edited(published.file)
    assert published.file.read_text() == published.present


def test_a_table_that_cannot_be_written_is_one_line(published, monkeypatch):
    published.age()

    def refuse(folder, files):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("legible.bench.scores.adopt.write_listed", refuse)
    with pytest.raises(UserError, match=r"cannot write .*: Permission denied"):
        published.adopt()
