"""The short form of `make torture`: a few kills, flips, full disks, ... must lose nothing."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from torture import flips, kills, publications, suites_of_tests
from torture.outcomes import Log, Outcome, failed, table, write_counts
from torture.place import provenance_without_times, runs_without_times, without_times

TESTS = Path(__file__).parent


@pytest.mark.slow
def test_nothing_is_lost_or_silently_wrong():
    """Hostile plugins and fuzz have tests of their own; the long form runs them with more cases."""
    subjects = ["kills", "flips", "publications", "disk", "users", "workers"]
    result = subprocess.run(
        [sys.executable, "-m", "torture", "--short", "--processes", "1", *subjects], cwd=TESTS,
        env={**os.environ, "PYTHONPATH": f"{TESTS / 'support'}{os.pathsep}{TESTS.parent}"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    last = result.stdout.splitlines()[-1].strip("| ").split("|")
    assert last[0].strip() == "all"
    cases, held, skipped = int(last[1]), int(last[2]), int(last[-1])
    assert cases == held and cases + skipped == len(subjects)


def test_counts_by_situation():
    outcomes = [
        Outcome("a", "1"),
        Outcome("a", "2", [("lost work", "x"), ("lost work", "y"), ("stack trace", "z")]),
        Outcome("b", "3", cases=100),
        Outcome("b", "4", skipped="not permitted"),
    ]
    text = table(outcomes, "situation").replace("|", "")
    lines = [line.split() for line in text.splitlines()]
    assert lines[2:] == [
        ["a", "2", "1", "1", "0", "1", "0", "0"],
        ["b", "100", "100", "0", "0", "0", "0", "1"],
        ["all", "102", "101", "1", "0", "1", "0", "1"],
    ]
    assert failed(outcomes) and not failed(outcomes[2:])
    assert "LOST WORK: x" in outcomes[1].line() and outcomes[0].line() == "a: 1: held"


def test_what_held_before_is_not_tried_again_and_a_page_gets_the_counts(tmp_path):
    good = Outcome("a", "1", subject="kills", key="kills 1")
    bad = Outcome("a", "2", [("lost work", "x")], subject="disk", key="disk 2")
    log = Log(tmp_path / "log")
    for outcome in (bad, good):
        log.add(outcome)
    again = Log(tmp_path / "log")
    assert again.held("kills 1") == good and again.held("disk 2") is None
    assert again.outcomes(["kills", "disk"]) == [good, bad]
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- counts -->\nold\n<!-- end of counts -->\nafter\n")
    write_counts(page, again.outcomes(["kills", "disk"]))
    lines = page.read_text().splitlines()
    assert (lines[0], lines[-1]) == ("before", "after") and "old" not in lines
    assert lines[-3].replace(" ", "") == "|all|2|1|1|0|0|0|0|"


def test_cases_follow_from_the_seed():
    for module in (kills, flips, publications):
        first, again, other = (list(map(repr, module.cases(2, seed))) for seed in (0, 0, 1))
        assert [r.split(" at 0x")[0] for r in first] == [r.split(" at 0x")[0] for r in again]
        assert len(first) == len(other)


def test_the_files_of_fuzz_tests_are_there():
    names = [*suites_of_tests.FUZZ.values(), suites_of_tests.ISOLATION]
    assert [name for name in names if not (TESTS / name).is_file()] == []


@pytest.mark.parametrize("damage", flips.DAMAGES)
def test_damages_change_a_file(tmp_path, damage):
    path = tmp_path / "x"
    path.write_bytes(b"content")
    damage(path, random.Random(0))
    assert path.is_symlink() or path.is_dir() or path.read_bytes() != b"content"


def test_tables_are_compared_without_times():
    first, second, other = (
        f'run,finished,train_seconds,score_seconds,rows\n"plain(a,b)",{day},{day},{day},{rows}\n'
        for day, rows in [("1", "a"), ("2", "a"), ("1", "b")]
    )
    assert runs_without_times(first) == runs_without_times(second)
    assert runs_without_times(first) == '[{"run": "plain(a,b)", "rows": "a"}]'
    assert runs_without_times(first) != runs_without_times(other)
    assert runs_without_times("a,b\n1\n") == "a,b\n1\n"
    files = [{"runs.csv": runs, "scores.csv": scores} for runs, scores in ("ac", "xc", "az")]
    first, second, other = (
        provenance_without_times(json.dumps({"checksum": str(item), "files": item}))
        for item in files
    )
    assert first == second != other
    assert provenance_without_times("[") == "["


def test_pages_are_compared_without_times():
    text = "| device | CPU |\n| finished | 2026-01-01T10:00:00 |\nplain 0.5\n| train seconds | 3 |"
    assert without_times(text) == "| device | CPU |\nplain 0.5"
