"""The tests that need a GPU: those marked ``gpu``."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gpu_check.record import Check
from gpu_check.setting import Case, Setting

PART = "tests"
TESTS = Path(__file__).parents[3]
#: Options of pytest in the place of those in pyproject.toml, whose import hook takes long.
OPTIONS = (
    "-q", "-p", "no:cacheprovider", "-p", "no:legible", "-o", "addopts=--import-mode=importlib",
    "-W", "ignore::pytest.PytestAssertRewriteWarning", "-m", "gpu",
)  # fmt: skip


def marked_files(tests: Path = TESTS) -> list[Path]:
    """The test files in which some test is marked ``gpu``."""
    return [path for path in sorted(tests.rglob("test_*.py"))
            if "pytest.mark.gpu" in path.read_text(encoding="utf-8")]  # fmt: skip


class Collector:
    """A plugin of pytest: a record for each test, and no further test when the time is over."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.records: list[Check] = []
        self.waiting: set[str] = set()

    def pytest_collection_finish(self, session: Any) -> None:
        self.session, self.waiting = session, {item.nodeid for item in session.items}

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.waiting.discard(report.nodeid)
        if report.when == "call" or report.outcome != "passed":
            verdict = {"passed": "ok", "failed": "bad", "skipped": "skipped"}[report.outcome]
            text = "" if report.passed else _last_line(report.longrepr)
            case, seconds = report.nodeid.rpartition("/")[2], report.duration
            self.records.append(Check(PART, case, "test, s", verdict, seconds, text=text))

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        if self.setting.left <= 0:
            self.session.shouldstop = "the time of this part is over"

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            text = _last_line(report.longrepr)
            self.records.append(Check(PART, report.nodeid, "import", "bad", text=text))


def _last_line(text: object) -> str:
    lines = str(text).strip().splitlines()
    own = [line for line in lines if line.startswith("E ")]
    return (own or lines or [""])[-1][:300]


def cases(setting: Setting) -> dict[str, Case]:
    """A case for each file with such tests."""
    os.environ["LEGIBLE_TEST_GPU"] = setting.device
    files = marked_files()
    if setting.rehearse:
        files = [path for path in files if path.name == "test_loop.py"]
    return {path.name: lambda path=path: run_file(path, setting) for path in files}


def run_file(path: Path, setting: Setting) -> Iterable[Check]:
    """The records of the tests of a file."""
    import pytest

    collector = Collector(setting)
    pytest.main([*OPTIONS, f"--rootdir={TESTS.parent}", str(path)], plugins=[collector])
    yield from collector.records
    if collector.waiting:
        text = f"{len(collector.waiting)} tests were not run"
        yield Check(PART, path.name, "tests", "cut", text=text)
