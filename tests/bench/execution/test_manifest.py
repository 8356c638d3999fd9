"""The manifest: written and read as it was, and refused in one line."""

from __future__ import annotations

import pytest
from pydantic import ValidationError
from records import manifest

from legible.bench.execution.manifest import Manifest, now


def test_a_manifest_is_read_as_it_was_written():
    written = manifest(history=[{"loss": 0.5}], seconds=[1.5], validation_accuracy=0.9)
    assert Manifest.from_json(written.to_json()) == written


@pytest.mark.parametrize(
    ("status", "final", "ended"), [("done", True, True), ("failed", True, True),
                                   ("failed", False, False)],
)  # fmt: skip
def test_a_failure_that_is_not_final_has_not_ended(status, final, ended):
    assert manifest(status=status, final=final).ended is ended


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "manifest: "),
        ({}, "status: Field required"),
        (manifest().to_json() | {"status": "great"}, "status: "),
        (manifest().to_json() | {"mood": "good"}, "mood: Extra inputs"),
        (manifest().to_json() | {"history": [{"loss": "low"}]}, "history.0.loss"),
    ],
)
def test_anything_else_is_refused_in_one_line(value, message):
    with pytest.raises(ValueError, match=message) as error:
        Manifest.from_json(value)
    assert "\n" not in str(error.value) and not isinstance(error.value, ValidationError)


def test_the_time_is_in_utc_to_the_second():
    assert now().endswith("+00:00") and "." not in now()
