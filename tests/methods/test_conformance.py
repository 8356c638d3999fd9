"""Every built-in method follows every law of `legible check`."""

from __future__ import annotations

import pkgutil

import pytest

from legible import methods
from legible.bench.check.conformance import Case, checks

NAMES = sorted(
    module.name
    for module in pkgutil.iter_modules(methods.__path__)
    if module.name != "base" and not module.name.startswith("_")
)
#: Parameters that make a slow method faster.
FASTER = {"posthoc_sae": {"steps": 60}}
CASES = [case for name in NAMES for case in checks(name, **FASTER.get(name, {}))]


@pytest.mark.parametrize("law", CASES, ids=str)
def test_built_in_method(law: Case) -> None:
    law()


@pytest.mark.parametrize("name", NAMES)
def test_a_toy_network_has_what_it_needs(name: str) -> None:
    """Otherwise all laws would be skipped, and none would fail."""
    (case,) = (case for case in CASES if str(case) == f"method-{name}-attaches")
    assert case.outcome().status == "pass"
