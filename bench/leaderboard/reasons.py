"""Why values are missing, told once for all seeds that share a reason."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class SeedReason(NamedTuple):
    """A reason and the seed it belongs to."""

    seed: int
    reason: str


def merge(reasons: Iterable[SeedReason]) -> list[str]:
    """Each distinct reason once, with the seeds that have it."""
    seeds: dict[str, list[int]] = {}
    for seed, reason in reasons:
        seeds.setdefault(reason, []).append(seed)
    return [reason if of == [-1] else f"{reason} ({told(of)})" for reason, of in seeds.items()]


def told(seeds: Iterable[int]) -> str:
    """``seed 4`` or ``seeds 0–3, 7``."""
    runs: list[list[int]] = []
    for seed in sorted(set(seeds)):
        if runs and seed == runs[-1][-1] + 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    parts = [str(run[0]) if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs]
    return f"seed{'s' if sum(map(len, runs)) > 1 else ''} {', '.join(parts)}"
