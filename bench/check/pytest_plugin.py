"""pytest plugin: ``pytest --legible my_method.py`` holds a plugin to its laws, one test each.

In a test file of your own, the same is

    from bench.check import checks

    @pytest.mark.parametrize("law", checks("my_method.py"), ids=str)
    def test_my_method(law):
        law()
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from legible.bench.check.conformance import Case


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("legible").addoption(
        "--legible", action="append", default=[], metavar="FILE_OR_NAME",
        help="hold a Legible plugin file, or a registered name, to its laws; repeatable",
    )  # fmt: skip


@pytest.hookimpl(tryfirst=True)  # so that -k and --deselect apply
def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> None:
    for target in config.getoption("--legible"):
        laws = Laws.from_parent(session, name=target, nodeid=f"legible/{target}")
        items.extend(laws.collect())


class Laws(pytest.Collector):
    """All laws for one file or name."""

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
    """One law for one plugin."""

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
