"""`legible why`: what changed since a run was made, down to the module."""

from __future__ import annotations

import pytest
from tiny_suites import TOY_PLUGIN, specs_of, toy_suite, work

from legible.bench.errors import UserError
from legible.bench.execution.changes import describe_changes, differences, stored_run
from legible.bench.execution.store import MANIFEST, write_sealed
from legible.bench.execution.workspace import open_workspace
from legible.bench.plugins import registry

METHOD = '''
from helper import halved
from legible import Method, register

@register
class Mine(Method):
    """Small activations."""

    def penalty(self, step):
        return {"mean": self.strength * halved(step.activations[self.taps[0]].mean())}
'''
HELPER = "def halved(value):\n    return value / 2\n"


@pytest.fixture
def run(workspace, tmp_path):
    """A finished run of plain."""
    (spec,) = specs_of(tmp_path, toy_suite())
    work(workspace, [spec])
    return workspace.run_of(spec)


def edit_identity(run, change):
    value = run.require_manifest().to_json()
    change(value)
    write_sealed(run.folder / MANIFEST, run.owner, value)


def test_a_run_of_the_present_code_has_no_changes(workspace, run):
    assert describe_changes(workspace, run.name) == []


def test_values_and_modules_that_differ_are_named(workspace, run):
    def change(value):
        value["identity"]["recipe"]["lr"] = 7.0
        value["sources"]["legible.bench.training.loop"] = "older"
        del value["sources"]["legible.methods.plain"]

    edit_identity(run, change)
    lines = describe_changes(workspace, run.name)
    assert [line.partition(":")[0] for line in lines] == [
        "code.legible.bench.training.loop", "code.legible.methods.plain", "recipe.lr",
    ]  # fmt: skip
    assert lines[2] == "recipe.lr: 7.0 -> 0.002"
    assert lines[0].startswith("code.legible.bench.training.loop: older -> ")
    assert "absent -> " in lines[1]


def test_an_import_that_leads_elsewhere_is_a_change_too(workspace, run):
    edit_identity(run, lambda value: value["identity"]["code"].update(method="other"))
    (line,) = describe_changes(workspace, run.name)
    assert line == "code: an import now resolves to a different function"


def test_a_plugin_s_helper_module_is_named(workspace, tmp_path, kept_registry):
    (tmp_path / "mine.py").write_text(METHOD)
    (tmp_path / "helper.py").write_text(HELPER)
    files = [tmp_path / "mine.py", TOY_PLUGIN]
    registry.load(plugins=files)
    (spec,) = specs_of(tmp_path, toy_suite('"mine"'))
    work(workspace, [spec])
    name = workspace.run_of(spec).name
    (tmp_path / "helper.py").write_text(HELPER + "\n# another comment\n")
    later = open_workspace("cpu", files, tmp_path / "runs", None)
    assert describe_changes(later, name) == []
    (tmp_path / "helper.py").write_text(HELPER.replace("/ 2", "/ 4"))
    later = open_workspace("cpu", files, tmp_path / "runs", None)
    (line,) = describe_changes(later, name)
    assert line.startswith("code.helper: ") and later.run_of(spec).name != name


def test_a_run_whose_method_is_gone_is_one_line(workspace, run):
    edit_identity(run, lambda value: value["spec"].update(method="forgotten"))
    with pytest.raises(UserError, match="no method 'forgotten'"):
        stored_run(workspace, run.name)
    edit_identity(run, lambda value: value.pop("spec"))
    with pytest.raises(UserError, match="spec: Field required"):
        stored_run(workspace, run.name)


def test_differences_of_nested_values_have_a_path():
    old = {"a": {"b": 1, "c": [1]}, "d": 2}
    assert list(differences(old, {"a": {"b": 1, "c": [2]}, "e": 3})) == [
        ("a.c", [1], [2]), ("d", 2, "absent"), ("e", "absent", 3),
    ]  # fmt: skip
