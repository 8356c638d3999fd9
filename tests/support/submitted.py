"""A submission of made-up scores, and ways to spoil it."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pandas as pd
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from records import score_row

from legible.bench.scores import submission as submissions
from legible.bench.scores.score_table import to_table
from legible.bench.scores.submission import (
    Expected,
    Submission,
    SubmissionError,
    check,
    merge,
    pack,
    read,
    to_text,
)
from legible.metrics.base import Metric


def describe(name: str, aspect: str) -> Metric:
    """A metric with values from 0 to 1."""
    return Metric(name, lambda layer, probe: None, aspect, "higher", "unit", None, frozenset(),
                  True, name, (0.0, 1.0), "")  # fmt: skip


METRICS = {
    "accuracy": describe("accuracy", "task"),
    "iou": describe("iou", "semantics"),
}
EXPECTED = Expected(
    suite="quick", suite_version=1, data={"kanji": "f00d" * 4},
    blocks=frozenset({("kanji", "vgg")}), seeds=frozenset({0, 1, 2}), metrics=METRICS,
    metric_keys={"accuracy": "key a", "iou": "key b"},
)  # fmt: skip
#: Would end the process that imports it.
PLUGIN = {"mine.py": "raise SystemExit('executed')\n"}


def scores(method: str = "mine", shift: float = 0.0) -> pd.DataFrame:
    """The score table of a method with three seeds and two metrics."""
    return to_table([
        score_row(
            method=method, label=method, seed=seed, layer="" if name == "accuracy" else "stage2",
            metric=name, aspect=metric.aspect, value=0.5 + 0.1 * seed + shift,
            live=0.5 + 0.1 * seed + shift, count=8, run=f"kanji-vgg-{method}-s{seed}-0f",
        )
        for seed in range(3)
        for name, metric in METRICS.items()
    ])  # fmt: skip


def runs(method: str = "mine") -> dict[str, dict[str, str]]:
    """Manifests of the runs behind `scores`."""
    return {f"kanji-vgg-{method}-s{seed}-0f": {"status": "done"} for seed in range(3)}


def packed() -> Submission:
    """The scores above, submitted by Lab X."""
    return pack(scores(), runs(), PLUGIN, EXPECTED, "Lab X")


WHOLE = json.loads(to_text(packed()))


def sign(content: dict[str, Any]) -> dict[str, Any]:
    """The content with a hash that fits, if it has the form of a submission."""
    content = content | {"sha256": "0" * 64}
    with contextlib.suppress(SubmissionError):
        content["sha256"] = submissions._validated(content).digest()
    return content


def edited(**changes: Any) -> dict[str, Any]:
    """The content with changes and a hash that fits."""
    return sign(WHOLE | changes)


def edited_row(**changes: Any) -> dict[str, Any]:
    """The content with changes in its first score, and a hash that fits."""
    first, *others = WHOLE["scores"]
    return edited(scores=[first | changes, *others])


def merged(path: Path, data: bytes) -> tuple[pd.DataFrame, dict[str, str]] | None:
    """Our scores with those of a file; None if it is refused, which takes one line."""
    path.write_bytes(data)
    try:
        submission = read(path)
        check(submission, EXPECTED)
        return merge(scores(), [submission])
    except SubmissionError as error:
        assert "\n" not in str(error)
        assert len(str(error).encode()) < 1000
        return None


# ------------------------------------------------------------- whatever comes

TEXT = st.text(max_size=40) | st.sampled_from(
    ["../../x", "<script>", "\ud800", "a\nb", "$x$|`", "{{7*7}}", "\u202ex", "[" * 500, "9" * 5000]
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
FUZZ = settings(max_examples=150, deadline=None,
                suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
