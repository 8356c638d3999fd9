"""One comparison of speed: ours against a peer, the two interleaved in one run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

#: Side of the square matrices whose product measures a core's peak.
SIDE = 1024

#: All rates that were measured in this process.
_RATES: list[float] = []

Action = Callable[[], object]


@dataclass(frozen=True)
class Comparison:
    """Ours against a peer, in seconds; the ratio is peer / ours, the median over pairs.

    ``floor`` is the time of our multiplications and additions in matrix products and convolutions
    at this core's measured peak; 0 where there are none. ``missing`` says why there is no peer.
    """

    subject: str
    peer: str
    ours_seconds: float
    peer_seconds: float = 0.0
    ratio: float = 0.0
    low: float = 0.0
    high: float = 0.0
    floor: float = 0.0
    missing: str = ""


def compare_with(
    subject: str, peer_name: str, ours: Action, peer: Action | None, rounds: int, missing: str = ""
) -> Comparison:
    """Times ours and the peer in turn. A peer that is None is ``missing``."""
    actions = [action for action in (peer, ours) if action is not None]
    pairs = [[seconds_of(action) for action in actions] for _ in range(rounds)]
    ours_seconds = statistics.median(pair[-1] for pair in pairs)
    floor = floating_point_operations(ours) / peak_rate()
    if peer is None:
        return Comparison(subject, peer_name, ours_seconds, floor=floor, missing=missing)
    ratios = [pair[0] / pair[1] for pair in pairs]
    return Comparison(
        subject, peer_name, ours_seconds, statistics.median(pair[0] for pair in pairs),
        statistics.median(ratios), min(ratios), max(ratios), floor,
    )  # fmt: skip


def seconds_of(action: Action) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def floating_point_operations(action: Action) -> int:
    """Operations of matrix products and convolutions in one call; a multiplication and an addition
    count as two."""
    with FlopCounterMode(display=False) as counter:
        action()
    return int(counter.get_total_flops())


def peak_rate(repeats: int = 5) -> float:
    """This core's floating-point operations a second, in the best of some float32 products of this
    process so far."""
    matrix = torch.ones(SIDE, SIDE)
    _RATES.extend(2 * SIDE**3 / seconds_of(lambda: matrix @ matrix) for _ in range(repeats))
    return max(_RATES)
