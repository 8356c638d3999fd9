"""The short form of `make torture`: a few kills, flips, full disks, ... must lose nothing."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from torture import flips, kills, publications, suites_of_tests
from torture.outcomes import Outcome, failed, table
from torture.place import without_times

TESTS = Path(__file__).parent


@pytest.mark.slow
def test_nothing_is_lost_or_silently_wrong():
    """Hostile plugins and fuzz have tests of their own; the long form runs them with more cases."""
    subjects = ["kills", "flips", "publications", "disk", "users"]
    result = subprocess.run(
        [sys.executable, "-m", "torture", "--short", *subjects], cwd=TESTS,
        env={**os.environ, "PYTHONPATH": f"{TESTS / 'support'}{os.pathsep}{TESTS.parent}"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    last = result.stdout.split("\n\n")[-1].splitlines()[-1].split("|")
    cases, held = (int(cell) for cell in last[1:3])
    assert cases == held > 0 or int(last[-1]) > 0


def test_counts_by_situation():
    outcomes = [
        Outcome("a", "1"),
        Outcome("a", "2", [("lost work", "x"), ("lost work", "y"), ("stack trace", "z")]),
        Outcome("b", "3", cases=100),
        Outcome("b", "4", skipped="not permitted"),
    ]
    lines = [line.split() for line in table(outcomes).replace("|", "").splitlines()]
    assert lines[1:] == [
        ["a", "2", "1", "1", "0", "1", "0", "0"],
        ["b", "100", "100", "0", "0", "0", "0", "1"],
        ["all", "102", "101", "1", "0", "1", "0", "1"],
    ]
    assert failed(outcomes) and not failed(outcomes[2:])
    assert "LOST WORK: x" in outcomes[1].line() and outcomes[0].line() == "a: 1: held"


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


def test_pages_are_compared_without_times():
    text = "| device | CPU |\n| finished | 2026-01-01T10:00:00 |\nplain 0.5\n| train seconds | 3 |"
    assert without_times(text) == "| device | CPU |\nplain 0.5"
