"""Speed as a ratio to a stated peer, the two interleaved in one run."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import asdict

import pytest
from speed.comparison import Action, compare_with


@pytest.fixture
def compare(benchmark) -> Callable[..., float]:
    """``compare(subject, peer_name, ours, peer)`` times both in turn and keeps a `Comparison`,
    which `make speed` prints; returns the ratio peer / ours.

    pytest-benchmark times ``ours`` as well; the ratio is the median over pairs, so that a drift
    of the machine's speed hits both sides. With --benchmark-disable each runs once. ``package``
    names the package that the peer needs: without it ours is timed alone, and the ratio is 0.
    """

    def run(
        subject: str, peer_name: str, ours: Action, peer: Action, rounds: int = 5, package: str = ""
    ) -> float:
        missing = ""
        if package and importlib.util.find_spec(package) is None:
            missing = f"the package {package} is not installed"
        other = None if missing else peer
        if not benchmark.disabled:
            ours(), other and other()
        comparison = compare_with(
            subject, peer_name, ours, other, 1 if benchmark.disabled else rounds, missing
        )
        benchmark.pedantic(ours, rounds=1)
        benchmark.extra_info["comparison"] = asdict(comparison)
        return comparison.ratio

    return run
