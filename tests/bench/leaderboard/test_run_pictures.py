"""Pictures of runs: which are drawn, which are kept, and which may be shown."""

from __future__ import annotations

import pytest
from photograph_files import write_coco
from tiny_suites import TOY_PLUGIN, specs_of, toy_suite, work

from legible.bench.data.coco import coco
from legible.bench.execution.store import Store
from legible.bench.execution.workspace import Workspace
from legible.bench.leaderboard import run_pictures
from legible.bench.leaderboard.figures.network_pictures import Picture
from legible.bench.leaderboard.publish import write_publication
from legible.bench.leaderboard.run_pictures import allowed_pictures, published_pictures
from legible.bench.plugins import registry
from legible.bench.suites.run_spec import Block, RowKey
from legible.bench.suites.schema import read_suite


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """Returns the methods whose pictures were drawn, in this process or in one of a plugin."""
    log, draw = tmp_path / "drawn.txt", run_pictures._draw_run
    log.touch()

    def logged(workspace, spec, *more):
        with log.open("a") as file:
            file.write(f"{spec.method}\n")
        return draw(workspace, spec, *more)

    monkeypatch.setattr(run_pictures, "_draw_run", logged)
    return lambda: log.read_text().split()


@pytest.fixture
def publish(tmp_path, kept_registry):
    """Publishes the first of the methods of a tiny suite that are done by then."""
    registry.load(plugins=[TOY_PLUGIN])

    def run_and_publish(count, block=""):
        specs = specs_of(tmp_path, toy_suite('"plain", "dropout"', block=block))
        suite = read_suite(tmp_path / "tiny.toml")
        workspace = Workspace(Store(tmp_path / "runs"))
        work(workspace, specs[:count])
        write_publication(workspace, suite, specs, tmp_path, False, "", [], partial=True)
        return {(p.row.method, p.kind): p.data for p in published_pictures(tmp_path / "tiny")}

    return run_and_publish


def test_a_run_is_drawn_once(publish, drawn):
    first = publish(1)
    assert drawn() == ["plain"] and {method for method, _ in first} == {"plain"}
    second = publish(2)
    assert drawn() == ["plain", "dropout"]
    assert {method for method, _ in second} == {"plain", "dropout"}
    assert first.items() <= second.items()
    assert publish(2) == second and drawn() == ["plain", "dropout"]


def test_a_block_without_pictures_has_none_not_even_earlier_ones(publish, drawn):
    assert publish(1)
    assert publish(1, "pictures = false") == {} and drawn() == ["plain"]


def test_a_run_is_drawn_again_after_a_change_of_the_code_that_draws(publish, drawn, monkeypatch):
    publish(1)
    monkeypatch.setattr(run_pictures, "_drawing_code", lambda: ["other code"])
    publish(1)
    assert drawn() == ["plain", "plain"]


def test_a_damaged_picture_is_drawn_again(publish, drawn, tmp_path):
    before = publish(1)
    next((tmp_path / "tiny" / "figures").glob("*.png")).unlink()
    assert publish(1) == before and drawn() == ["plain", "plain"]


def test_photographs_are_shown_only_where_they_may_be(tmp_path, capsys):
    write_coco(tmp_path / "photos")
    private, public = (
        coco(tmp_path, path="photos", size=8, validation=1, publish=flag) for flag in (False, True)
    )
    pictures = [
        Picture(Block(name, "vgg"), RowKey("plain", "{}"), kind, "", b"")
        for name in ("private", "public", "gone") for kind in ("units", "members", "lesions")
    ]  # fmt: skip
    allowed = allowed_pictures(pictures, {"private": private, "public": public})
    assert [(p.block.dataset, p.kind) for p in allowed if p.block.dataset != "gone"] == [
        ("private", "lesions"), ("public", "units"), ("public", "members"), ("public", "lesions"),
    ]  # fmt: skip
    assert capsys.readouterr().out == (
        "no pictures with images of private: the dataset does not say that they may be published\n"
    )
