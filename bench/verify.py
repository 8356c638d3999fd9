"""A submission against a rerun of some of its cells."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from bench.publish.scores import KEY, tidy
from bench.submissions import Submission, SubmissionError


def disagreements(
    submission: Submission, rerun: pd.DataFrame, tolerance: float = 1e-4
) -> list[str]:
    """Where the values of a rerun differ from those submitted, one line a value.

    ``rerun`` is a score table of some of the submitted cells (one seed is enough). Values may
    differ by ``tolerance`` times the larger of 1 and the value; undefined counts not at all.
    Raises SubmissionError where nothing can be compared.
    """
    ours, theirs = (t[t["metric"] != ""].set_index(KEY) for t in (tidy(rerun), submission.table()))
    shared = ours.index.intersection(theirs.index)
    if not len(shared):
        raise SubmissionError("the rerun has no cell in common with the submission")
    cells = {key[:5] for key in theirs.index}
    found = [
        "/".join(map(str, key)) + ": measured in the rerun, not submitted"
        for key in ours.index.difference(theirs.index)
        if key[:5] in cells
    ]
    for key in shared:
        a, b = theirs.loc[key], ours.loc[key]
        close = _close(a["value"], b["value"], tolerance) and _close(
            a["live"], b["live"], tolerance
        )
        if not close or a["undefined"] != b["undefined"]:
            where = "/".join(map(str, key))
            found.append(f"{where}: submitted {a['value']:.6g}, rerun {b['value']:.6g}")
    return found


def verdict(lines: Sequence[str], seed: int) -> str:
    """What the leaderboard says of a submission after a rerun of one seed."""
    if not lines:
        return f"a rerun of seed {seed} agrees"
    return f"FLAGGED: a rerun of seed {seed} disagrees in {len(lines)} values"


def _close(a: float, b: float, tolerance: float) -> bool:
    if pd.isna(a) or pd.isna(b):
        return bool(pd.isna(a) and pd.isna(b))
    return bool(abs(a - b) <= tolerance * max(1.0, abs(a), abs(b)))
