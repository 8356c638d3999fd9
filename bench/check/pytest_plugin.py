"""A pytest plugin: ``pytest --legible my_method.py`` checks each law as a test.

``--legible`` takes a plugin file or a registered name, and may be repeated. To check the laws in a
test file of your own, see `legible.checks`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from legible.bench.check.laws import Case


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the option ``--legible``."""
    parser.getgroup("legible").addoption(
        "--legible", action="append", default=[], metavar="FILE_OR_NAME",
        help="check a Legible plugin file, or a registered name, against its laws; repeatable",
    )  # fmt: skip


@pytest.hookimpl(tryfirst=True)  # so that -k and --deselect apply
def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Adds the laws of each ``--legible`` target to the collected tests."""
    for target in config.getoption("--legible"):
        laws = LawCollector.from_parent(session, name=target, nodeid=f"legible/{target}")
        items.extend(laws.collect())


class LawCollector(pytest.Collector):
    """All laws for one file or registered name."""

    def collect(self) -> Iterator[LawItem]:
        from legible.bench.check.conformance import checks
        from legible.bench.errors import UserError

        try:
            cases = checks(self.name)
        except UserError as error:
            raise pytest.UsageError(f"--legible {self.name}: {error}") from error
        for case in cases:
            yield LawItem.from_parent(self, name=str(case), case=case)


class LawItem(pytest.Item):
    """One law for one plugin as a test."""

    def __init__(self, *, case: Case, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.case = case

    def runtest(self) -> None:
        outcome = self.case.outcome()
        if outcome.status == "skip":
            pytest.skip(outcome.reason)
        if outcome.status == "fail":
            raise AssertionError(outcome.reason)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> str:
        return str(excinfo.value)

    def reportinfo(self) -> tuple[str, None, str]:
        return self.case.subject.origin, None, self.name
