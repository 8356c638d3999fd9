"""Reasons for missing values: each reason once, with the seeds that share it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class SeedReason(NamedTuple):
    """Why one seed has no value. Seed -1 stands for a comparison between seeds."""

    seed: int
    reason: str


def merge(reasons: Iterable[SeedReason]) -> list[str]:
    """Each distinct reason once, followed by its seeds in brackets."""
    seeds: dict[str, list[int]] = {}
    for seed, reason in reasons:
        seeds.setdefault(reason, []).append(seed)
    return [reason if of == [-1] else f"{reason} ({seed_list(of)})" for reason, of in seeds.items()]


def seed_list(seeds: Iterable[int]) -> str:
    """Seeds in words: ``seed 4`` or ``seeds 0–3, 7``."""
    ranges: list[list[int]] = []
    for seed in sorted(set(seeds)):
        if ranges and seed == ranges[-1][-1] + 1:
            ranges[-1].append(seed)
        else:
            ranges.append([seed])
    parts = [str(r[0]) if len(r) == 1 else f"{r[0]}–{r[-1]}" for r in ranges]
    return f"seed{'s' if sum(map(len, ranges)) > 1 else ''} {', '.join(parts)}"
