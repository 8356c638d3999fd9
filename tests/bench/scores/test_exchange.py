"""Exchange: scores exported in one place are merged and verified in another."""

from __future__ import annotations

import hashlib
import json

import pytest
from submitted import sign
from tiny_suites import toy_suite, work, write_suite

from legible.bench.errors import UserError
from legible.bench.execution.store import Store
from legible.bench.execution.workspace import Workspace
from legible.bench.plugins import registry
from legible.bench.scores.exchange import (
    VERDICTS,
    accept,
    expected,
    export,
    file_name,
    python_source,
    read_verdicts,
    verify,
    with_submissions,
)
from legible.bench.scores.score_table import to_table
from legible.bench.scores.submission import read
from legible.bench.suites.run_spec import expand
from legible.bench.suites.schema import read_suite
from legible.bench.text import visible

METHOD = '''
from my_package.maths import small
from legible import Method, register

@register
class Mine(Method):
    """Small activations."""

    def penalty(self, step):
        return {"mean": small(self.strength * step.activations[self.taps[0]].mean())}
'''


class Lab:
    """A suite, its run specs and a workspace with finished runs."""

    def __init__(self, folder, text):
        self.suite = read_suite(write_suite(folder, text))
        self.specs = expand(self.suite)
        self.workspace = Workspace(Store(folder / "runs"))
        self.place = (self.workspace, self.suite, self.specs)

    def export(self, out):
        return export(*self.place, "Lab X", out)


@pytest.fixture
def lab(toy_plugin, tmp_path):
    lab = Lab(tmp_path, toy_suite('"plain", "bean"', [0, 1]))
    work(lab.workspace, lab.specs)
    return lab


@pytest.fixture
def file(lab, tmp_path):
    """A submission of the lab's scores."""
    return lab.export(tmp_path / "x.json")


def test_a_damaged_copy_of_a_source_is_not_exported_and_made_again(lab, tmp_path):
    run = lab.workspace.run_of(lab.specs[0])
    copy = run.folder / "plugins" / "toy_plugin.py"
    source = copy.read_text()
    copy.write_text(source.replace("bright", "brighx"))
    with pytest.raises(UserError, match=r"plugins/toy_plugin.py: its checksum differs .*`legible"):
        lab.export(tmp_path / "x.json")
    events = work(lab.workspace, lab.specs)
    assert [e.kind for e in events] == ["note"] + ["done"] * len(lab.specs)
    assert "set aside as plugins.corrupt-1" in events[0].text and copy.read_text() == source
    assert lab.export(tmp_path / "x.json")


def states(folder):
    """Size and time of every file below a folder."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


def edit(file, **changes):
    """Another file, with changes in the text of a submission."""
    text = file.read_text()
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    other = file.with_name("edited.json")
    other.write_text(text)
    return other


def test_an_export_holds_scores_and_manifests_and_no_oracle(lab, file):
    submission = read(file)
    assert (submission.origin, submission.suite) == ("Lab X", "tiny")
    assert {row.method for row in submission.scores} == {"plain", "bean"}
    names = {lab.workspace.run_of(spec).name for spec in lab.specs}
    assert set(submission.runs) == names
    assert all(manifest["status"] == "done" for manifest in submission.runs.values())
    assert [plugin.name for plugin in submission.plugins] == ["toy_plugin.py"]


def test_nothing_to_export_and_nowhere_to_write_are_one_line(lab, tmp_path):
    empty = Workspace(Store(tmp_path / "empty"))
    with pytest.raises(UserError, match="nothing to export: run `legible run tiny` first"):
        export(empty, lab.suite, lab.specs, "Lab X", tmp_path / "x.json")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        lab.export(tmp_path / "file" / "x.json")
    with pytest.raises(UserError, match="origin"):
        export(*lab.place, "<Lab>", tmp_path / "x.json")


def test_a_plugin_s_package_is_exported_module_by_module_and_merged(
    toy_plugin, tmp_path, kept_registry
):
    package = tmp_path / "my_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "maths.py").write_text("def small(value):\n    return value / 2\n")
    (package / "mine.py").write_text(METHOD)
    registry.load_plugin(package / "mine.py")
    lab = Lab(tmp_path, toy_suite('"plain", "mine"'))
    work(lab.workspace, lab.specs)
    file = lab.export(tmp_path / "x.json")
    sources = {plugin.name: plugin.source for plugin in read(file).plugins}
    assert sources["my_package.mine.py"] == METHOD and "my_package.maths.py" in sources
    (path,) = accept(*lab.place, [file], tmp_path / "results")
    assert read(path) == read(file)


def test_origins_never_share_a_file():
    origins = ["Lab X", "Lab_X", "Lab  X", "Lab__X", "Lab _X", "Lab_ X", "verdicts", "Verdicts"]
    names = [file_name(origin) for origin in origins]
    assert len(set(names)) == len(origins) and VERDICTS not in [name.lower() for name in names]
    assert names[:2] == ["Lab_X.json", "Lab%5FX.json"]


def test_sources_are_read_in_the_encoding_that_they_declare(tmp_path):
    file = tmp_path / "mine.py"
    for data in ("é = 1\n".encode("utf-8-sig"), "# coding: latin-1\né = 1\n".encode("latin-1")):
        file.write_bytes(data)
        assert python_source(file).endswith("é = 1\n") and "\ufeff" not in python_source(file)
    file.write_bytes(b"\xff")
    with pytest.raises(UserError, match="cannot read"):
        python_source(file)


class TestMerge:
    def test_an_origin_that_differs_in_capitals_alone_is_refused(self, lab, file, tmp_path):
        accept(*lab.place, [file], tmp_path / "results")
        other = export(*lab.place, "LAB x", tmp_path / "other.json")
        with pytest.raises(UserError, match="differs from 'Lab X' only in upper and lower case"):
            accept(*lab.place, [other], tmp_path / "results")

    def test_a_newer_submission_replaces_the_file_of_its_origin(self, lab, tmp_path):
        old = export(*lab.place, "Lab_X", tmp_path / "results" / "tiny" / "submissions" / "a.json")
        new = export(*lab.place, "Lab_X", tmp_path / "new.json")
        (path,) = accept(*lab.place, [new], tmp_path / "results")
        assert path.name == "Lab%5FX.json" and not old.exists()

    def test_an_accepted_file_lies_beside_the_results_and_becomes_rows(self, lab, file, tmp_path):
        (path,) = accept(*lab.place, [file], tmp_path / "results")
        folder = tmp_path / "results" / "tiny"
        assert path == folder / "submissions" / "Lab_X.json" and read(path) == read(file)
        table, marks = with_submissions(to_table([]), folder, expected(*lab.place))
        assert set(table["method"]) == set(marks) == {"plain@Lab X", "bean@Lab X"}

    def test_without_submissions_the_table_stays_as_it_is(self, lab, tmp_path):
        table = to_table([])
        assert with_submissions(table, tmp_path, expected(*lab.place)) == (table, {})

    def test_one_refused_file_stops_all(self, lab, file, tmp_path):
        wrong = edit(file, **{'"toy"': '"tyo"'})
        with pytest.raises(UserError, match=r"edited\.json: .*sha256") as error:
            accept(*lab.place, [file, wrong], tmp_path / "results")
        assert "\n" not in str(error.value) and not (tmp_path / "results").exists()
        with pytest.raises(UserError, match="two submissions from 'lab x'"):
            accept(*lab.place, [file, file], tmp_path / "results")

    def test_a_submission_that_does_not_fit_any_more_is_named(self, lab, file, tmp_path):
        accept(*lab.place, [file], tmp_path / "results")
        newer = lab.suite.model_copy(update={"version": 2})
        with pytest.raises(UserError, match="submissions: made with suite tiny version 1"):
            with_submissions(to_table([]), tmp_path / "results" / "tiny",
                             expected(lab.workspace, newer, lab.specs))  # fmt: skip

    def test_data_that_is_not_here_is_not_compared(self, lab, tmp_path):
        missing = toy_suite(block="data = {missing = true}")
        other = Lab(tmp_path, missing)
        assert expected(*other.place).data == {}


class TestVerify:
    def test_a_rerun_that_agrees_is_shown_with_the_rows(self, lab, file, tmp_path):
        lines = []
        elsewhere = (Workspace(Store(tmp_path / "elsewhere")), *lab.place[1:])
        assert verify(*elsewhere, file, tmp_path / "results", lines.append)
        assert lines[-1] == "a rerun of seed 0 agrees"
        accept(*lab.place, [file], tmp_path / "results")
        folder = tmp_path / "results" / "tiny"
        _, marks = with_submissions(to_table([]), folder, expected(*lab.place))
        assert marks["bean@Lab X"] == "submitted by Lab X; a rerun of seed 0 agrees"

    def test_a_rerun_that_disagrees_flags_it(self, lab, file, tmp_path, monkeypatch):
        elsewhere = (Workspace(Store(tmp_path / "elsewhere")), *lab.place[1:])
        cls = registry.METHODS["bean"]
        monkeypatch.setattr(
            cls, "penalty", lambda self, step: {"x": 99 * step.logits.square().sum()}
        )
        lines = []
        assert not verify(*elsewhere, file, tmp_path / "results", lines.append)
        assert lines[-1].startswith("FLAGGED: a rerun of seed 0 disagrees in")
        assert any("/bean/" in line and "submitted" in line for line in lines)
        path = tmp_path / "results" / "tiny" / "submissions" / VERDICTS
        assert list(read_verdicts(path)) == [read(file).sha256]

    def test_methods_that_are_unknown_here_are_named(self, lab, file, tmp_path, monkeypatch):
        monkeypatch.delitem(registry.METHODS, "bean")
        lines = []
        plain = [spec for spec in lab.specs if spec.method == "plain"]
        verify(lab.workspace, lab.suite, plain, file, tmp_path / "results", lines.append)
        text = "not rerun because the method is not registered: pass its file with --plugin: bean"
        assert text in lines

    def test_a_hostile_submission_does_no_harm_and_gets_no_false_verdict(self, lab, file, tmp_path):
        """Its sources would write a file; its rows claim methods, layers and seeds that nobody ran;
        its manifests point elsewhere."""
        content = json.loads(file.read_text())
        bean = [row for row in content["scores"] if row["method"] == "bean"]
        escape = "bean](../../escape)\u202e<script>"
        content["scores"] += [
            *({**row, "layer": "../../escape"} for row in bean),
            *({**row, "method": escape, "label": escape} for row in bean),
            *({**row, "params": '{"strength": 99.0}'} for row in bean if row["seed"] == 1),
        ]
        harm = f"open({str(tmp_path / 'executed')!r}, 'w').write('')\n"
        content["plugins"] = [
            {"name": name, "source": harm, "sha256": hashlib.sha256(harm.encode()).hexdigest()}
            for name in ("bean.py", "toy_plugin.py", "sitecustomize.py", "conftest.py")
        ]
        for manifest in content["runs"].values():
            manifest |= {"weights": "../../escape", "copies": {"../../escape.py": "0" * 32}}
        hostile = tmp_path / "hostile.json"
        hostile.write_text(json.dumps(sign(content)))
        before = states(tmp_path)
        lines = []
        assert not verify(*lab.place, hostile, tmp_path / "results", lines.append)
        verdicts = tmp_path / "results" / "tiny" / "submissions" / VERDICTS
        new = {path for path, state in states(tmp_path).items() if before.get(path) != state}
        visible_files = {path for path in new if "/." not in str(path.relative_to(tmp_path.parent))}
        assert visible_files == {verdicts}
        assert any("../../escape/" in line and "submitted, but not in" in line for line in lines)
        text = read_verdicts(verdicts)[read(hostile).sha256]
        assert text.startswith("FLAGGED: a rerun of seed 0 disagrees in ")
        assert all(visible(line) == line for line in [*lines, text])

    def test_a_row_that_was_not_rerun_is_named_in_the_verdict(self, lab, file, tmp_path):
        content = json.loads(file.read_text())
        content["scores"] += [{**row, "method": "better", "value": 1.0, "live": 1.0}
                              for row in content["scores"] if row["metric"] == "accuracy"
                              and row["method"] == "bean"]  # fmt: skip
        other = tmp_path / "other.json"
        other.write_text(json.dumps(sign(content)))
        lines = []
        assert verify(*lab.place, other, tmp_path / "results", lines.append)
        assert lines[-1] == "a rerun of seed 0 agrees; not rerun: better"

    def test_damaged_verdicts_are_one_line(self, lab, file, tmp_path):
        folder = tmp_path / "results" / "tiny" / "submissions"
        folder.mkdir(parents=True)
        (folder / VERDICTS).write_text("{")
        with pytest.raises(UserError, match=f"{VERDICTS}: .*; delete it and verify again"):
            verify(*lab.place, file, tmp_path / "results")

    def test_a_verdict_with_a_flipped_bit_is_refused(self, lab, file, tmp_path):
        assert verify(*lab.place, file, tmp_path / "results")
        path = tmp_path / "results" / "tiny" / "submissions" / VERDICTS
        path.write_text(path.read_text().replace("agrees", "agreez"))
        accept(*lab.place, [file], tmp_path / "results")
        with pytest.raises(UserError, match=r"its checksum differs; delete it and run `legible"):
            with_submissions(to_table([]), path.parents[1], expected(*lab.place))
