"""Writing a publication to disk, without any run: what it reads is replaced by the synthetic board.

That runs are read as they should be is tested by the commands (tests/bench/cli) and by tuning.
"""

from __future__ import annotations

import json
from dataclasses import replace

import pandas as pd
import pytest

from legible.bench.errors import UserError
from legible.bench.execution.listing import LISTING, Listing
from legible.bench.execution.workspace import Workspace
from legible.bench.leaderboard import publish
from legible.bench.plugins import registry
from legible.bench.scores.suite_numbers import SuiteNumbers
from legible.bench.suites.run_spec import expand
from legible.bench.suites.schema import find_suite, read_suite


@pytest.fixture
def suite():
    registry.load()
    return read_suite(find_suite("quick"))


@pytest.fixture
def specs(suite):
    return expand(suite, [0], ["plain"])[:1]


@pytest.fixture
def workspace():
    """One that nothing reads from."""
    return object.__new__(Workspace)


@pytest.fixture
def read_nothing(monkeypatch, board):
    costs = pd.DataFrame({
        "seed": [0], "step_ratio": [1.23456789], "method": "plain", "params": "{}",
        "dataset": "kanji", "backbone": "vgg", "device": "cpu",
    })  # fmt: skip
    numbers = SuiteNumbers(board.scores, costs, pd.DataFrame(), [], [], {}, (), {})
    monkeypatch.setattr(publish, "ended", lambda workspace, spec: True)
    monkeypatch.setattr(publish, "gather_numbers", lambda *arguments: numbers)
    monkeypatch.setattr(publish, "make_board", lambda *arguments: board)


def test_nothing_that_has_run_is_an_error(workspace, suite, tmp_path):
    with pytest.raises(UserError, match="'quick' has no finished runs: run `legible run quick`"):
        publish.write_publication(workspace, suite, [], tmp_path, False, "")


def test_files_are_written_and_those_of_the_earlier_publication_removed(
    read_nothing, workspace, suite, specs, tmp_path
):
    folder = tmp_path / "quick"
    mine = ("notes.txt", "figures/mine.png", "details/notes.md", "details/more/x.md")
    for name in ("figures/old.svg", "details/old.md", *mine):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("old")
    names = ["figures/old.svg", "details/old.md", "details/more", "../../x"]
    old = Listing("Old", [], dict.fromkeys(names, ""))
    (folder / LISTING).write_bytes(old.to_bytes())
    (tmp_path.parent / "x").write_text("outside")
    readme = publish.write_publication(
        workspace, suite, specs, tmp_path, False, "legible run quick", ["csv"], with_pictures=False
    )
    assert readme == folder / "README.md"
    assert "Reproduce with" in readme.read_text()
    assert (folder / "cost.csv").read_text().splitlines()[1].startswith("0,1.235,plain,")
    assert (folder / "scores.csv").is_file()
    assert all((folder / name).read_text() == "old" for name in mine)
    assert (tmp_path.parent / "x").is_file()
    listing = json.loads((folder / LISTING).read_text())
    assert "README.md" in listing["files"] and "figures/old.svg" not in listing["files"]
    assert (listing["title"], listing["blocks"]) == (suite.title, suite.block_names)
    assert not list(folder.rglob(".*"))
    assert not (folder / "figures" / "old.svg").exists()
    assert not (folder / "details" / "old.md").exists()


def test_runs_that_have_not_been_made_are_an_error_unless_partial(
    read_nothing, workspace, suite, specs, tmp_path, board, monkeypatch
):
    first = board.scores.iloc[:1].assign(
        metric="", aspect="", status="missing", reason="not run yet", run="bean-1", seed=99
    )
    board = replace(board, scores=pd.concat([board.scores, first]))
    monkeypatch.setattr(publish, "make_board", lambda *arguments: board)
    with pytest.raises(UserError, match=r"'quick': 1 run has no scores yet: run .* --partial"):
        publish.write_publication(workspace, suite, specs, tmp_path, False, "", [], False)
    assert not (tmp_path / "quick").exists()
    readme = publish.write_publication(
        workspace, suite, specs, tmp_path, False, "", [], False, partial=True
    )
    assert "> **Partial:** Some runs have not been made" in readme.read_text()


def test_a_run_that_is_impossible_here_is_not_waited_for(suite, board):
    impossible = board.scores.iloc[:1].assign(metric="", status="missing", run="")
    publish.refuse_unfinished(impossible, suite)


def test_a_folder_that_cannot_be_written_is_an_error(
    read_nothing, workspace, suite, specs, tmp_path
):
    (tmp_path / "quick").write_text("a file where the folder should be")
    with pytest.raises(UserError, match="cannot write to"):
        publish.write_publication(workspace, suite, specs, tmp_path, False, "", [], False)


def test_a_folder_in_a_file_s_place_is_named_and_nothing_changes(
    read_nothing, workspace, suite, specs, tmp_path
):
    folder = tmp_path / "quick"
    (folder / "cost.csv").mkdir(parents=True)
    (folder / "README.md").write_text("old")
    with pytest.raises(UserError, match=r"cost\.csv: there is a folder in the file's place"):
        publish.write_publication(workspace, suite, specs, tmp_path, False, "", ["csv"], False)
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "cost.csv"]
    assert (folder / "README.md").read_text() == "old"
