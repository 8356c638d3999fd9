"""Starting files: they pass the check as they stand, and nothing is overwritten."""

from __future__ import annotations

from pathlib import Path

import pytest

from legible.bench.check.conformance import check, failed, render
from legible.bench.errors import UserError
from legible.bench.plugins import registry
from legible.bench.plugins.scaffold import KINDS, write_plugin


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_file_passes_the_check_as_it_stands(
    kind: str, tmp_path: Path, kept_registry: None
) -> None:
    path = write_plugin(kind, f"fresh_{kind}", tmp_path)
    assert path == tmp_path / f"fresh_{kind}.py"
    outcomes = check(path)
    assert not failed(outcomes), render(outcomes)
    assert any(outcome.status == "pass" for outcome in outcomes)
    assert f"fresh_{kind}" in registry.KINDS[f"{kind}s"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_file_has_no_placeholder_left(kind: str, tmp_path: Path) -> None:
    text = write_plugin(kind, "a_thing", tmp_path).read_text()
    assert "$" not in text
    assert all(len(line) <= 100 for line in text.splitlines())


def test_an_existing_file_is_refused(tmp_path: Path) -> None:
    path = write_plugin("method", "mine", tmp_path)
    path.write_text("precious")
    with pytest.raises(UserError, match="exists: choose another name"):
        write_plugin("method", "mine", tmp_path)
    assert path.read_text() == "precious"


@pytest.mark.parametrize(
    ("kind", "name", "reason"),
    [
        ("method", "my-method", "is no Python name"),
        ("method", "2fast", "is no Python name"),
        ("method", "class", "is no Python name"),
        ("method", "", "is no Python name"),
        ("method", "mé", "is no Python name"),
        ("metric", "../up", "is no Python name"),
        ("method", "Mine", "has capitals"),
        ("method", "plain", "there is a method 'plain' already"),
        ("metric", "accuracy", "there is a metric 'accuracy' already"),
        ("dataset", "kanji", "there is a dataset 'kanji' already"),
        ("methud", "x", "did you mean 'method'"),
        ("suite", "x", "no template for a 'suite'"),
    ],
)
def test_impossible_names_are_refused_in_one_line(
    kind: str, name: str, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=reason) as error:
        write_plugin(kind, name, tmp_path)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no folder"):
        write_plugin("method", "mine", tmp_path / "nowhere")
