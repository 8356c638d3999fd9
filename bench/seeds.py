"""Seeds of independent random streams, derived from a run's seed by name."""

from __future__ import annotations

import hashlib


def stream(seed: int, *names: object) -> int:
    """An independent seed for each named random stream of a run."""
    digest = hashlib.sha256(repr((seed, *names)).encode()).digest()
    return int.from_bytes(digest[:7], "big")
