"""The eight laws of metrics: properties that every metric should have.

Tests check them for every metric (tests/metrics/test_laws.py, tests/metrics/test_planted.py). A
metric that must break a law declares it with the reason, ``metric(breaks={law: reason})``: then its
card prints the reason, the leaderboard marks the metric, and the test of that law skips it.
"""

from __future__ import annotations

LAWS = {
    "known": "a planted network gives its known answer",
    "order": "the order of units makes no difference",
    "scale": "scaling a unit against its outgoing weights changes nothing",
    "dose": "corrupting planted structure moves it steadily to its null",
    "rotation": "rotating a layer's units, with the same function, makes it worse",
    "nulls": "it tells plain networks from untrained and from rotated ones",
    "undefined": "if it cannot be computed, it is undefined with a reason",
    "repeats": "any chunk size or device gives the same value",
}
