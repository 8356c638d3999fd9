"""Subjects that are tests of the suite, run with many more cases: hostile plugins and fuzz."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from torture.outcomes import Outcome
from torture.place import Reference

Case = Callable[[Reference, Path], Outcome]
TESTS = Path(__file__).parents[2]
#: Cases of each fuzz test in the long form.
FUZZ_CASES = int(os.environ.get("LEGIBLE_FUZZ", "10000"))
FUZZ = {
    "mutated suites": "bench/suites/test_fuzz.py",
    "mutated submissions": "bench/scores/test_fuzz.py",
    "mutated score tables": "bench/scores/test_fuzz_tables.py",
    "mutated declarations of plugins": "bench/plugins/test_fuzz.py",
}
ISOLATION = "bench/execution/test_isolation.py"


def fuzz(short: bool) -> Iterator[Case]:
    """One case for each fuzz test; it counts the examples that hypothesis tried."""
    for name, file in FUZZ.items():
        yield partial(fuzz_test, name, file, 100 if short else FUZZ_CASES)


def plugins(short: bool) -> Iterator[Case]:
    """One case for each batch of hostile plugins."""
    yield partial(hostile_plugins, short)


def fuzz_test(name: str, file: str, count: int, reference: Reference, folder: Path) -> Outcome:
    """A test with ``count`` examples."""
    outcome = Outcome(f"fuzz: {name}", f"{count} examples")
    text = _pytest(folder, file, "--hypothesis-show-statistics", LEGIBLE_FUZZ=str(count))
    tried = [sum(map(int, numbers)) for numbers in
             re.findall(r"(\d+) passing(?: examples)?, (\d+) failing", text)]  # fmt: skip
    outcome.cases = max(1, sum(tried))
    _take_failures(outcome, text)
    outcome.require(sum(tried) > 0, "other", f"no example was tried: {text[-300:]}")
    return outcome


def hostile_plugins(short: bool, reference: Reference, folder: Path) -> Outcome:
    """All hostile plugins of the corpus, or a few."""
    from hostile_plugins import hostile_plugins as corpus

    outcome = Outcome("hostile plugins", "a few" if short else "all")
    options = ["-k", "refused and not -1"] if short else []
    environment = {} if short else {"LEGIBLE_TORTURE": "1"}
    text = _pytest(folder, ISOLATION, *options, **environment)
    passed = re.search(r"(\d+) passed", text)
    outcome.cases = (int(passed[1]) if passed else 1) if short else len(corpus())
    _take_failures(outcome, text)
    outcome.require(passed is not None, "other", f"no test passed: {text[-300:]}")
    return outcome


def _take_failures(outcome: Outcome, text: str) -> None:
    """Each failed test is a problem."""
    for line in re.findall(r"^(?:FAILED|ERROR) .*", text, re.MULTILINE):
        kind = "silently wrong" if "check_others" in text else "stack trace"
        outcome.problems.append((kind, line[:300]))


def _pytest(folder: Path, file: str, *options: str, **environment: str) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-o", "addopts=-p no:legible --import-mode=importlib",
         "-q", "-p", "no:cacheprovider", "--tb=short", "--basetemp", folder / "pytest",
         TESTS / file, *options],
        cwd=TESTS.parent, capture_output=True, text=True, check=False,
        env={**os.environ, **environment},
    )  # fmt: skip
    return result.stdout + result.stderr
