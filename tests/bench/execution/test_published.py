"""Published tables: what is sealed is read again, and any change by hand is refused in one line."""

from __future__ import annotations

import csv
import json
import shutil

import pytest

from legible.bench.errors import UserError
from legible.bench.execution.published import (
    PACKAGED,
    PROVENANCE,
    RUNS,
    SCORES,
    RunPlace,
    checksum_of_rows,
    published_folder,
    read_published,
)
from legible.bench.suites.run_spec import Block, RowKey


def test_a_table_is_read_as_it_was_sealed(published):
    table = read_published(published.folder)
    assert len(table.runs) == len(published.specs) == 6
    spec = published.specs[1]
    run = published.made.run_of(spec)
    record = table.runs[run.name]
    manifest = run.require_manifest()
    assert record.machine.kind == "cpu"
    assert record.machine.environment == manifest.environment
    assert (record.partner, record.finished) == (1, manifest.finished)
    assert record.train_seconds == pytest.approx(sum(manifest.seconds), rel=1e-3)
    assert set(record.scoring.metrics) == set(spec.metrics)
    assert table.places[run.name] == RunPlace(spec.block, spec.row, 0)
    assert table.runs_by_place[RunPlace(spec.block, spec.row, 0)] == run.name
    assert {row["metric"] for row in table.rows[run.name]} == set(spec.metrics)
    assert {row["method"] for row in table.others} == {"oracle"}
    assert table.data == {"toy": published.made.fingerprint(spec)}
    (cost,) = table.companion_rows("cost.csv", spec.block, spec.row)
    assert cost["method"] == spec.method
    assert table.companion_rows("cost.csv", Block("toy", "vgg"), RowKey("none", "{}")) == []


@pytest.mark.parametrize(
    ("file", "pattern", "text", "problem"),
    [
        (SCORES, r",accuracy,task,0\.\d", ",accuracy,task,0.9", "rows of toy-vgg"),
        (SCORES, r"\n(toy[^\n]*,oracle,[^\n]*,)0\.\d", r"\n\g<1>0.1", "rows that belong to no run"),
        (SCORES, r"dataset,backbone", "backbone,dataset", "rows that belong to no run"),
        ("cost.csv", r"step_ms,step_ratio", "step_ratio,step_ms", "cost.csv"),
        (SCORES, r"\n[^\n]*,accuracy,[^\n]*", "", "rows of toy-vgg"),
        ("cost.csv", r"(toy.*),\d", r"\g<1>,7", "cost.csv"),
        (RUNS, r",2\d\d\d-", ",1999-", "runs.csv"),
        (RUNS, r"run,machine", "run,engine", "runs.csv: its columns"),
        (PROVENANCE, r'"kind": "cpu"', '"kind": "cuda"', "provenance.json"),
        (PROVENANCE, r'"kind": "cpu",?', "", "provenance.json"),
    ],
)  # fmt: skip
def test_what_was_changed_by_hand_is_refused_in_one_line(published, file, pattern, text, problem):
    published.edit(file, pattern, text)
    with pytest.raises(UserError, match="it was changed after it was published") as error:
        read_published(published.folder)
    assert problem in str(error.value) and "\n" not in str(error.value)
    assert "--only-local" in str(error.value)


def test_a_missing_file_is_named(published):
    (published.folder / RUNS).unlink()
    with pytest.raises(UserError, match=r"runs\.csv is missing"):
        read_published(published.folder)


def test_line_ends_do_not_count(published):
    for name in (SCORES, RUNS, "cost.csv"):
        path = published.folder / name
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert len(read_published(published.folder).runs) == 6


def test_a_table_without_provenance_holds_no_run(published, tmp_path):
    (published.folder / PROVENANCE).unlink()
    table = read_published(published.folder)
    assert not table.runs and len(table.others) > 20
    assert read_published(tmp_path / "nothing") is None


def test_records_are_stored_once(published):
    provenance = json.loads((published.folder / PROVENANCE).read_text())
    assert len(provenance["machines"]) == 1 and len(provenance["scorings"]) == 1
    with (published.folder / RUNS).open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["run"] for line in lines] == sorted(line["run"] for line in lines)
    assert {line["compared"] for line in lines} == {""}


def test_checksums_tell_cells_and_lines_apart():
    assert checksum_of_rows([["a", "b"]]) != checksum_of_rows([["ab"]])
    assert checksum_of_rows([["a"], ["b"]]) != checksum_of_rows([["a", "b"]])


def test_the_package_s_table_is_used_where_there_is_none(tmp_path):
    assert published_folder(tmp_path, "quick") == PACKAGED / "quick"
    assert published_folder(tmp_path, "mine") == tmp_path / "mine"
    (tmp_path / "quick").mkdir()
    shutil.copy(PACKAGED / "quick" / SCORES, tmp_path / "quick")
    assert published_folder(tmp_path, "quick") == tmp_path / "quick"
