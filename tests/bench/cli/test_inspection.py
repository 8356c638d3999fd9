"""Commands that show what there is: list, show, why."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_suites import TOY_PLUGIN, toy_suite, write_suite

from legible.bench.execution.store import MANIFEST, Run, write_sealed
from legible.bench.plugins import registry

RUN = "toy-vgg(width=4,stages=2)"


class TestList:
    @pytest.mark.parametrize(
        ("kind", "name", "words"),
        [
            ("methods", "untrained", "[null]"),
            ("metrics", "accuracy", "↑ task (headline): Share of"),
            ("datasets", "shapes", ""),
            ("backbones", "vgg", ""),
            ("suites", "quick", "Quick"),
        ],
    )
    def test_each_kind_has_a_line_for_each_name(self, legible, kind, name, words):
        code, out, _ = legible("list", kind)
        lines = [line for line in out.splitlines() if line.split()[:1] == [name]]
        assert code == 0 and any(words in line for line in lines)

    @pytest.mark.parametrize(
        ("kind", "words"), [("datasets", "distractors=1"), ("backbones", "width=")]
    )
    def test_parameters_are_listed_with_their_defaults(self, legible, kind, words):
        assert words in legible("list", kind)[1]

    def test_plugins_are_listed_and_what_failed_with_the_reason(
        self, legible, kept_registry, monkeypatch
    ):
        monkeypatch.setitem(registry.FAILED, "broken", "ImportError: no [module]")
        _, out, _ = legible("list", "datasets", "--plugin", TOY_PLUGIN)
        assert "toy" in out and "broken: cannot be imported: ImportError: no [module]" in out

    def test_cards_of_metrics_are_markdown(self, legible):
        code, out, _ = legible("list", "metrics", "--cards")
        assert code == 0 and out.startswith("# ") and "accuracy" in out

    def test_an_unknown_kind_is_one_line(self, legible):
        code, _, err = legible("list", "method")
        assert code == 2 and "did you mean 'methods'?" in err


@pytest.mark.slow
def test_square_brackets_are_shown_as_they_are(tmp_path, monkeypatch, legible, kept_registry):
    folder = tmp_path / "[bold]x[1]"
    folder.mkdir()
    monkeypatch.chdir(folder)
    text = '"""Keeps [bold]all[/bold] of [/x] and :x:."""'
    Path("mine.py").write_text(
        f"from legible import Method, register\n\n@register\nclass Mine(Method):\n    {text}\n"
    )
    code, out, _ = legible("list", "methods", "--plugin", folder / "mine.py")
    assert code == 0 and "Keeps [bold]all[/bold] of [/x] and :x:." in out
    top = f"name = 'a [b]'\nplugins = ['{TOY_PLUGIN}', 'mine.py', 'boxes.py']"
    Path("boxes.py").write_text(
        "from legible import dataset\nfrom legible.bench.data.base import DataMissing\n\n"
        "@dataset\ndef boxes(root):\n    raise DataMissing('[/x] is [bold]not[/bold] here')\n"
    )
    suite = toy_suite('"plain", "mine"', top=top).replace('dataset = "toy"', 'dataset = "boxes"')
    write_suite(folder, suite)
    code, out, err = legible("run", folder / "tiny.toml", "--dry-run")
    assert code == 0 and "[/x] is [bold]not[/bold] here" in out, (out, err)


class TestAfterARun:
    def test_why_says_up_to_date_or_names_what_changed(self, here, legible, run_folder):
        options = ("--plugin", TOY_PLUGIN)
        code, out, _ = legible("why", f"{RUN}-sync-s0", *options)
        assert code == 0 and "up to date" in out
        run = Run(run_folder("sync-s0"))
        manifest = run.require_manifest().to_json()
        manifest["identity"]["recipe"]["lr"] = 7.0
        manifest["sources"]["legible.methods.sync"] = "older"
        write_sealed(run.folder / MANIFEST, run.owner, manifest)
        code, out, _ = legible("why", run.folder, *options)
        assert code == 0 and "recipe.lr: 7.0 -> 0.002" in out
        assert "code.legible.methods.sync: older -> " in out

    def test_show_draws_units(self, here, legible):
        options = ("--out", "units.png", "--plugin", TOY_PLUGIN)
        code, out, err = legible("show", f"{RUN}-plain-s0", "--units", "0,2", *options)
        assert code == 0 and out.strip() == "units.png", err
        assert Path("units.png").read_bytes()[:4] == b"\x89PNG"
        code, _, err = legible("show", f"{RUN}-plain-s0", "--units", "99", *options)
        assert code == 2 and "units 0 to" in err
