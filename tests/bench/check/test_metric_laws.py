"""Laws about metrics: each is broken by a plugin of its own."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent, indent

import pytest
from broken_plugins import failures, laws_in

from legible.bench.check import metric_laws

METRIC = """
import torch
from legible import metric

CALLS = []

@metric(aspect="focus", better="higher", per="{per}", null={null}, limits=({limits}))
def {name}({arguments}):
    {doc}
{body}
"""

MEAN = "return layer.pooled.mean(0)"

#: Law -> name of a plugin -> what is put into the template.
BROKEN = {
    "declarations_are_valid": {
        "undocumented": {"doc": "pass"},
        "no_null": {"null": "None"},
    },
    "values_have_the_declared_shape": {
        "too_few": {"body": "return layer.pooled.mean(0)[1:]"},
        "infinite": {"body": "return layer.pooled.mean(0) / 0"},
        "above": {"limits": "0.0, 1e-6"},
    },
    "works_without_concepts_and_with_dead_units": {
        "concepts_unsaid": {"body": "return layer.pooled.mean(0) + len(probe.concepts)"},
        "dead_divides": {"body": "return 1 / layer.pooled.amax(0)"},
    },
    "same_probe_same_value": {
        "draws": {"body": "return layer.pooled.mean(0) * torch.rand(())"},
        "counts": {"body": "CALLS.append(1)\nreturn layer.pooled.mean(0) * len(CALLS)"},
    },
    "changes_nothing": {
        "zeroes": {"body": "layer.activation[0] = 0\nreturn 0 * layer.pooled.mean(0)"},
    },
}  # fmt: skip
DEFAULTS = {"per": "unit", "null": "0.0", "limits": "-float('inf'), float('inf')",
              "arguments": "layer, probe", "doc": '"""A number."""', "body": MEAN}  # fmt: skip


def write_plugin(path: Path, **fields: str) -> Path:
    """Writes a metric's file from the template."""
    fields = DEFAULTS | fields
    body = indent(dedent(fields.pop("body", "pass")), "    ")
    path.write_text(METRIC.format(name=path.stem, body=body, **fields))
    return path


@pytest.mark.parametrize(
    ("law", "name"), [(law, name) for law, plugins in BROKEN.items() for name in plugins]
)
def test_only_the_broken_law_fails(
    law: str, name: str, tmp_path: Path, kept_registry: None
) -> None:
    reasons = failures(write_plugin(tmp_path / f"{name}.py", **BROKEN[law][name]))
    assert set(reasons) == {law}, reasons


def test_every_law_is_broken_by_a_plugin() -> None:
    assert set(BROKEN) == laws_in(metric_laws, "metrics")


def test_a_plugin_that_breaks_no_law_passes(tmp_path: Path, kept_registry: None) -> None:
    assert failures(write_plugin(tmp_path / "sound.py")) == {}


def test_a_metric_of_an_unknown_scope_is_refused_at_loading(tmp_path: Path) -> None:
    file = write_plugin(tmp_path / "unscoped.py", arguments="thing, probe", body="return 1.0")
    reasons = failures(file)
    assert list(reasons) == ["registers"]
    assert "the first argument must be one of layer, network, first" in reasons["registers"]
