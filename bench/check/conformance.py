"""`legible check`: holds a plugin to the laws of its kind, on toy data, on one CPU core.

from bench.check import check, checks, render
print(render(check("my_method.py")))

@pytest.mark.parametrize("law", checks("my_method.py"), ids=str)
def test_my_method(law):
    law()
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from legible.bench.check import (
    backbones,
    datasets,
    description,
    evaluation,
    metrics,
    steps,
    training,
)
from legible.bench.check.law import LAWS, WAITING, Case, Law, Outcome, spoken
from legible.bench.check.subject import MethodSubject
from legible.bench.errors import UserError
from legible.bench.plugins import registry

__all__ = ["Case", "Outcome", "check", "checks", "failed", "render"]

_WIDEST = max(len(name) for laws in LAWS.values() for name in laws)
_ORDER = (description, training, steps, evaluation)
_SUBJECTS: dict[str, Callable[..., Any]] = {
    "methods": MethodSubject,
    "metrics": metrics.MetricSubject,
    "datasets": datasets.DatasetSubject,
    "backbones": backbones.BackboneSubject,
}


def check(target: str | Path, **params: Any) -> list[Outcome]:
    """Every law for everything that a plugin file registers, or for one registered name.

    ``params`` replace a method's defaults. Raises UserError for a name or file that is not there;
    a file that is there but cannot be imported, or registers nothing, is a failed outcome.
    """
    try:
        cases = checks(target, **params)
    except UserError as error:
        if Path(target).suffix != ".py" or not Path(target).is_file():
            raise
        return [Outcome(Path(target).name, "registers", "fail", str(error))]
    return [case.outcome() for case in cases]


def checks(target: str | Path, **params: Any) -> list[Case]:
    """The laws that apply, not yet tried. Raises UserError where there is nothing to try."""
    return [
        Case(kind, subject, name)
        for kind, subject in ((k, _SUBJECTS[k](n, params)) for k, n in _found(target))
        for name in _in_order(LAWS[kind])
    ]


def _in_order(laws: Mapping[str, Law]) -> list[str]:
    """What a method says of itself comes first, then training, then evaluation."""
    places = {module.__name__: place for place, module in enumerate(_ORDER)}
    return sorted(laws, key=lambda name: places.get(laws[name].holds.__module__, 0))


def _found(target: str | Path) -> list[tuple[str, str]]:
    """Kind and name of what a file registers, or of the first thing with that name."""
    registry.load()
    if Path(target).suffix == ".py":
        found = registry.load_plugin(Path(target))
        if not found:
            raise UserError(f"{target} registers nothing: decorate a class with @register (or a "
                            "function with @metric, @dataset or @backbone)")  # fmt: skip
        return found
    for kind, known in registry.KINDS.items():
        if target in known:
            return [(kind, str(target))]
    registry.get("methods", str(target))  # raises, with the nearest name
    raise AssertionError


def failed(outcomes: Sequence[Outcome]) -> bool:
    """Whether any law is broken."""
    return any(outcome.status == "fail" for outcome in outcomes)


def render(outcomes: Sequence[Outcome], width: int = 100) -> str:
    """A table in plain text, a line a law, and a last line that sums up.

    Laws that wait for a broken one are only counted.
    """
    blocks = []
    for subject in dict.fromkeys(outcome.subject for outcome in outcomes):
        own = [outcome for outcome in outcomes if outcome.subject == subject]
        waiting = Counter(o.reason for o in own if o.reason.startswith(WAITING))
        lines = [_line(o.status, spoken(o.check), o.reason, width)
                 for o in own if o.reason not in waiting]  # fmt: skip
        lines += [_line("skip", f"{n} more laws", reason, width) for reason, n in waiting.items()]
        blocks.append("\n".join([subject, *lines]))
    count = Counter(outcome.status for outcome in outcomes)
    blocks.append(", ".join(f"{count[status]} {status}" for status in ("pass", "fail", "skip")))
    return "\n\n".join(blocks)


def _line(status: str, name: str, reason: str, width: int) -> str:
    head = f"  {status}  {name:{_WIDEST}}  "
    lines = textwrap.wrap(reason, max(width - len(head), 30), break_long_words=False)
    return ("\n" + " " * len(head)).join([(head + (lines or [""])[0]).rstrip(), *lines[1:]])
