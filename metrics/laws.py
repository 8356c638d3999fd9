"""The eight laws of metrics, as they are named on cards and in `metric(breaks={...})`.

Tests hold every metric to them (tests/metrics/test_laws.py, tests/planted). A metric that has to
break one says so, with the reason, where it is declared: its card prints it, the leaderboard
marks it, and the test of that law passes it over.
"""

from __future__ import annotations

LAWS = {
    "known": "a planted network gives its known answer",
    "order": "the order of units makes no difference",
    "scale": "scaling a unit against its outgoing weights changes nothing",
    "dose": "corrupting planted structure moves it steadily to its null",
    "rotation": "rotating a layer's units, the function unchanged, spoils it",
    "nulls": "it tells plain from untrained and from rotated networks",
    "undefined": "what cannot be measured is undefined with a reason",
    "repeats": "any chunk size or device gives the same value",
}
