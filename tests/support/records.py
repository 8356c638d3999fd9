"""Records with all their fields, of which a test names those that matter to it."""

from __future__ import annotations

from typing import Any

from legible.bench.execution.environment import Environment
from legible.bench.execution.manifest import Manifest
from legible.bench.scores.score_table import ScoreRow

ENVIRONMENT = Environment(packages={"torch": "9.9"}, python="3.11", commit="0123abc", device="CPU")


def manifest(**fields: Any) -> Manifest:
    """The manifest of a finished run."""
    default: dict[str, Any] = {
        "status": "done", "spec": {}, "identity": {}, "sources": {}, "environment": ENVIRONMENT,
        "finished": "2026-01-01T00:00:00+00:00",
    }  # fmt: skip
    return Manifest(**default | fields)


def score_row(**fields: Any) -> ScoreRow:
    """Plain's accuracy on one block."""
    default: dict[str, Any] = {
        "dataset": "kanji", "backbone": "vgg", "method": "plain", "label": "plain",
        "kind": "method", "params": "{}", "seed": 0, "layer": "", "metric": "accuracy",
        "aspect": "task", "value": 0.5, "live": 0.5, "undefined": 0, "count": 1, "status": "ok",
        "reason": "", "run": "r",
    }  # fmt: skip
    return ScoreRow.model_construct(**default | fields)
