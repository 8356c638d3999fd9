"""Rerunning a submission's runs in a process of its own, whose answer is not trusted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_suites import TOY_PLUGIN, toy_suite, write_suite

from legible.bench.errors import UserError
from legible.bench.scores.rerun import Place, SubmittedRuns, _checked, rerun_apart
from legible.bench.scores.score_table import records

MINE = '''
from legible import Method, register


@register
class Mine(Method):
    """Changes nothing."""
'''
RUNS = SubmittedRuns(1, frozenset({("toy", "vgg(width=4,stages=2)", name) for name in
                                   ("mine", "plain", "unknown")}))  # fmt: skip


def place(folder: Path, plugin: str) -> Place:
    (folder / "mine.py").write_text(plugin)
    text = toy_suite(seeds=[0, 1], top=f'plugins = ["{TOY_PLUGIN}"]')
    suite = write_suite(folder, text)
    plugins = [folder / "mine.py"]
    return Place(suite, plugins, "cpu", folder / "runs", None, folder / "results")


@pytest.mark.slow
def test_one_seed_of_the_submitted_methods_is_rerun_by_another_process(tmp_path: Path) -> None:
    lines: list[str] = []
    table = rerun_apart(place(tmp_path, MINE), RUNS, lines.append)
    assert set(table["method"]) == {"mine", "plain"} and set(table["seed"]) == {1}
    assert set(table["status"]) == {"ok"} and table["value"].notna().all()
    text = "not rerun because the method is not registered: pass its file with --plugin: unknown"
    assert lines == [text]
    assert len([*(tmp_path / "runs").glob("toy*")]) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("plugin", "message"),
    [
        ("import os\nos._exit(0)\n", "the process of the rerun left with exit code 0"),
        ("import os\nos.abort()\n", r"was killed by SIGABRT \(signal 6\)"),
        ("1 / 0\n", "mine.py: ZeroDivisionError"),
        (
            "import multiprocessing.connection as c\n"
            "c.Connection.send_bytes = lambda self, data: self._send_bytes(b'[]')\n" + MINE,
            "the rerun gave no score table: AttributeError",
        ),
    ],
)
def test_a_plugin_that_ends_or_lies_is_one_line(
    tmp_path: Path, plugin: str, message: str
) -> None:
    with pytest.raises(UserError, match=message) as error:
        rerun_apart(place(tmp_path, plugin), RUNS)
    assert "\n" not in str(error.value)


ROW = {
    "dataset": "toy", "backbone": "vgg", "method": "mine", "label": "mine", "kind": "method",
    "params": "{}", "seed": 1, "layer": "", "metric": "accuracy", "aspect": "task", "value": 0.5,
    "live": 0.5, "undefined": 0, "count": 1, "status": "ok", "reason": "", "run": "r",
}  # fmt: skip


@pytest.mark.parametrize(
    "answer",
    [
        b"", b"[", b"\xff", b"{}", b"[]", b"3", b'{"lines": 1, "rows": []}',
        json.dumps({"lines": [], "rows": [ROW | {"seed": "1"}]}).encode(),
        json.dumps({"lines": [], "rows": [ROW | {"more": 1}]}).encode(),
        json.dumps({"lines": [], "rows": [ROW, ROW]}).encode(),
        ("[" * 100_000).encode(),
    ],
)  # fmt: skip
def test_an_answer_that_is_no_score_table_is_one_line(answer: bytes) -> None:
    with pytest.raises(UserError, match="the rerun gave no score table") as error:
        _checked(answer, print)
    assert len(str(error.value).splitlines()) == 1


def test_a_score_table_comes_back_and_lines_are_made_safe() -> None:
    lines: list[str] = []
    answer = json.dumps({"lines": ["a\nb\x1b[31m"], "rows": [ROW]}).encode()
    assert records(_checked(answer, lines.append)) == [ROW]
    assert lines == ["a b\\x1b[31m"]
