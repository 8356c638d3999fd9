"""Speed as a ratio to a stated peer, the two interleaved in one run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import pytest


@pytest.fixture
def compare(benchmark) -> Callable[..., float]:
    """``compare(ours, peer)`` times both in turn and keeps peer / ours as extra information.

    pytest-benchmark times ``ours`` as well; the ratio is the median over pairs, so that a drift
    of the machine's speed hits both sides. With --benchmark-disable each runs once.
    """

    def run(ours: Callable[[], object], peer: Callable[[], object], rounds: int = 5) -> float:
        if benchmark.disabled:
            rounds = 1
        else:
            ours(), peer()
        ratios = []
        for _ in range(rounds):
            seconds = []
            for action in (peer, ours):
                start = time.perf_counter()
                action()
                seconds.append(time.perf_counter() - start)
            ratios.append(seconds[0] / seconds[1])
        benchmark.pedantic(ours, rounds=1)
        ratio = statistics.median(ratios)
        benchmark.extra_info["peer / ours"] = round(ratio, 2)
        print(
            f"\n{benchmark.name}: {ratio:.2f} x the peer's speed "
            f"({min(ratios):.2f}-{max(ratios):.2f})"
        )
        return ratio

    return run
