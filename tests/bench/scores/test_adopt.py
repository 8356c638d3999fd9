"""Adopting published rows: equal numbers take new run names, everything else stays as it is."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace

import pandas as pd
import pytest
from published_suites import EARLIER, Published

from legible.bench.errors import UserError
from legible.bench.execution.listing import refuse_edited, write_listed
from legible.bench.execution.published import Machine, read_published, sealed_files
from legible.bench.execution.schedule import plan_runs
from legible.bench.leaderboard.publish import marks_of_earlier
from legible.bench.plugins import registry
from legible.bench.scores.adopt import adopt_published
from legible.bench.scores.score_table import read_scores, scores_text
from legible.bench.scores.suite_numbers import gather_numbers
from legible.bench.suites.run_spec import expand
from legible.bench.suites.schema import MarginEntry
from legible.metrics.base import METRICS


class Publication(Published):
    """The published suite, and what adopting makes of it."""

    def __init__(self, root):
        super().__init__(root)
        self.file = self.folder / "scores.csv"
        self.present = self.file.read_text()

    def age(self, legacy=False):
        """Gives all runs the names that earlier code gave them; ``legacy``: the table has no
        provenance."""
        self.write(re.sub(r"(-s\d)-[0-9a-f]{12}", rf"\1-{EARLIER}", self.present))
        if legacy:
            (self.folder / "provenance.json").unlink()
            (self.folder / "runs.csv").unlink()

    def write(self, text, **changes):
        """Writes the score table and seals it; ``changes`` are made to the record of each run."""
        table = read_published(self.folder)
        scores = text.encode()
        renamed = {
            name: next(iter(re.findall(rf"{re.escape(name[:-12])}[0-9a-f]{{12}}", text)), name)
            for name in table.runs
        }
        records = [
            replace(record, run=renamed[name], **changes) for name, record in table.runs.items()
        ]
        tables = {"scores.csv": scores, "cost.csv": (self.folder / "cost.csv").read_bytes()}
        files = sealed_files(tables, records, table.data, 1)
        for name, data in {"scores.csv": scores, **files}.items():
            (self.folder / name).write_bytes(data)

    def change(self, **changes):
        """Changes the first value of bean, as its author published it."""
        table = read_scores(self.file)
        (row, *_) = table.index[(table["method"] == "bean") & (table["metric"] == "accuracy")]
        for column, value in changes.items():
            table.loc[row, column] = value
        self.write(scores_text(table))

    def adopt(self, methods=None):
        self.workspace.published = None
        specs = expand(self.suite, methods=methods)
        return adopt_published(self.workspace, self.suite, specs, self.results, 1)

    def names(self, method):
        table = read_scores(self.file)
        return set(table.loc[table["method"] == method, "run"])

    def compared(self):
        return {record.compared for record in read_published(self.folder).runs.values()}


@pytest.fixture
def published(published_root, tmp_path):
    shutil.copytree(published_root, tmp_path / "copy")
    return Publication(tmp_path / "copy")


def test_equal_rows_take_the_present_names_and_keep_their_numbers(published, capsys):
    published.age()
    assert EARLIER in published.file.read_text()
    assert published.adopt() == []
    assert published.file.read_text() == published.present
    out = capsys.readouterr().out
    line = "adopted: bean on toy · vgg(width=4,stages=2) (2 seeds; seed 0 rerun on"
    assert line in out and "oracle" not in out
    assert [name[:-13].rpartition("-")[2] for name in published.runs] == ["s0"] * 3


def test_adopted_rows_can_be_reused_and_say_how_they_were_compared(published):
    published.age()
    table = read_published(published.folder)
    assert published.adopt() == []
    published.open()
    plan = plan_runs(published.workspace, published.specs)
    assert {item.status for item in plan} <= {"published", "done"}
    assert {text.rpartition(": ")[2] for text in published.compared()} == {"equal"}
    machine = next(iter(table.runs.values())).machine
    assert all(record.machine == machine for record in published.workspace.published.runs.values())


def test_a_table_without_provenance_is_adopted_from_an_unknown_machine(published):
    published.age(legacy=True)
    assert published.adopt() == []
    published.open()
    assert {item.status for item in plan_runs(published.workspace, published.specs)} <= {
        "published", "done",
    }  # fmt: skip
    machines = {r.machine.environment.device for r in published.workspace.published.runs.values()}
    assert machines == {"unknown"}


def test_a_table_edited_by_hand_is_refused(published):
    published.edit("scores.csv", r"0\.\d", "0.9")
    with pytest.raises(UserError, match="it was changed after it was published"):
        published.adopt()
    assert published.runs == []


def test_other_code_of_a_metric_is_compared_and_takes_the_present_keys(published):
    table = read_published(published.folder)
    (record, *_) = table.runs.values()
    keys = {**record.scoring.metrics, "accuracy": "f" * 14}
    published.write(published.present, scoring=record.scoring.model_copy(update={"metrics": keys}))
    assert published.adopt() == []
    again = next(iter(read_published(published.folder).runs.values()))
    assert again.scoring == record.scoring
    assert len(published.runs) == 3


def test_another_machine_of_the_same_kind_is_compared_once(published):
    table = read_published(published.folder)
    machine = next(iter(table.runs.values())).machine
    environment = machine.environment.model_copy(update={"device": "CPU, another"})
    published.write(
        published.present, machine=machine.model_copy(update={"environment": environment})
    )
    assert published.adopt(["plain"]) == []
    assert len(published.runs) == 1 and published.file.read_text() == published.present
    assert published.compared() == {"", f"seed 0 rerun on {machine.environment.device}: equal"}
    shutil.rmtree(published.workspace.store.root)
    assert published.adopt(["plain"]) == [] and published.runs == []


@pytest.fixture
def from_gpu(published):
    """The table as a GPU would have made it: other run names, and all values a little higher."""
    table = read_published(published.folder)
    machine = next(iter(table.runs.values())).machine
    environment = machine.environment.model_copy(update={"device": "NVIDIA X"})

    def shift(by):
        published.age()
        scores = read_scores(published.file)
        headlines = {m.name for m in METRICS.values() if m.headline} | {"accuracy"}
        rows = scores["metric"].isin(headlines) & ~scores["metric"].str.endswith("_seeds")
        scores.loc[rows, "value"] += by
        published.write(scores_text(scores), machine=Machine(kind="cuda", environment=environment))

    margin = MarginEntry(value=0.01, reason="one point")
    names = [m.name for m in METRICS.values() if m.headline]
    published.suite = published.suite.model_copy(update={"margins": dict.fromkeys(names, margin)})
    return published, shift


def test_another_kind_of_device_is_adopted_within_a_tenth_of_the_margin(from_gpu):
    published, shift = from_gpu
    shift(0.0009)
    before = read_scores(published.file)
    assert published.adopt() == []
    after = read_scores(published.file)
    pd.testing.assert_frame_equal(before.drop(columns="run"), after.drop(columns="run"))
    assert all("headlines differ by at most 0.09 of the margin" in t for t in published.compared())
    published.open()
    records = published.workspace.published.runs.values()
    assert {record.machine.kind for record in records} == {"cuda"}
    shutil.rmtree(published.workspace.store.root)
    (published.workspace.store.root / ".locks").mkdir(parents=True)
    numbers = gather_numbers(
        published.workspace, published.suite, published.specs, published.results
    )
    marks = marks_of_earlier(numbers, "cpu")
    assert marks["bean"].startswith("made on cuda (NVIDIA X); seed 0 rerun on ")
    assert marks_of_earlier(numbers, "cuda") == {}


def test_another_kind_of_device_is_stale_beyond_a_tenth_of_the_margin(from_gpu):
    published, shift = from_gpu
    shift(0.0011)
    lines = published.adopt()
    assert len(lines) == 3
    assert all("more than a tenth of its margin (0.01)" in line for line in lines)
    assert all(name.endswith(EARLIER) for name in published.names("plain"))


def test_without_a_margin_another_kind_of_device_must_be_equal(from_gpu):
    published, shift = from_gpu
    published.suite = published.suite.model_copy(update={"margins": {}})
    shift(1e-6)
    assert len(published.adopt()) == 3
    shift(0.0)
    assert published.adopt() == []


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
    published.change(**change)
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
    published.change(value=float(value.iloc[0]) + 1e-9)
    assert len(published.adopt()) == 1


def test_a_rerun_that_fails_is_stale(published, monkeypatch):
    published.age()
    monkeypatch.setattr(registry.METHODS["bean"], "penalty", lambda self, step: 1 / 0)
    (line,) = published.adopt()
    assert "the rerun of seed 0 gave no scores (in penalty of method 'bean': ZeroDiv" in line


def test_comparisons_of_seeds_keep_their_values(published):
    published.age()
    table = read_scores(published.file)
    pairs = table["metric"].str.endswith("_seeds")
    assert pairs.any()
    table.loc[pairs, "value"] = 0.25
    published.write(scores_text(table))
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
    assert "all rows match the current code" in capsys.readouterr().out
    assert published.runs == [] and published.file.read_text() == published.present


def test_nothing_published_and_a_damaged_table_are_one_line(published):
    published.file.write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match=r"scores\.csv: its columns") as error:
        published.adopt()
    assert "\n" not in str(error.value)
    published.file.unlink()
    with pytest.raises(UserError, match="nothing to adopt: no "):
        published.adopt()


def test_adopting_keeps_the_checksum_true(published):
    published.age()
    write_listed(published.folder, {"scores.csv": published.file.read_bytes()})
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
