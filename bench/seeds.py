"""Seeds of independent random streams: derived from a run's seed and a name."""

from __future__ import annotations

import hashlib


def stream(seed: int, *names: object) -> int:
    """A seed for the random stream of that name, independent of all other streams of the run."""
    digest = hashlib.sha256(repr((seed, *names)).encode()).digest()
    return int.from_bytes(digest[:7], "big")
