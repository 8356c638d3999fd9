"""Checks a plugin against all laws of its kind, on toy data and one CPU core.

    from legible import check

    for outcome in check("my_method.py"):
        print(outcome.status, outcome.law, outcome.reason)

In a test file:

    from legible import checks

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
    backbone_laws,
    dataset_laws,
    method_description,
    method_evaluation,
    method_steps,
    method_training,
    metric_laws,
)
from legible.bench.check.laws import LAWS, Case, Law, LawOutcome, spoken
from legible.bench.check.method_subject import MethodSubject
from legible.bench.errors import UserError
from legible.bench.plugins import registry
from legible.bench.plugins.faults import PluginFault
from legible.bench.plugins.limits import RunLimits
from legible.bench.plugins.own_process import apart

__all__ = ["Case", "LawOutcome", "check", "checks", "failed", "render"]

#: The modules with laws of methods, in the order in which their laws are checked.
METHOD_LAWS = (method_description, method_training, method_steps, method_evaluation)
SUBJECTS: dict[str, Callable[..., Any]] = {
    "methods": MethodSubject,
    "metrics": metric_laws.MetricSubject,
    "datasets": dataset_laws.DatasetSubject,
    "backbones": backbone_laws.BackboneSubject,
}
#: What checking a plugin may take, and what a single law may take.
ALL_LAWS, ONE_LAW = RunLimits(seconds=1800.0), RunLimits(seconds=600.0)
_LONGEST_NAME = max(len(name) for laws in LAWS.values() for name in laws)


def check(target: str | Path, **params: Any) -> list[LawOutcome]:
    """Checks all laws for everything that a plugin file registers, or for one registered name.

    ``params`` replace a method's defaults. A file that cannot be imported or registers nothing
    gives one failed outcome. Plugins are checked in a process of their own; a law in which it ends
    fails. Raises UserError for a name or file that does not exist.
    """
    try:
        cases = checks(target, **params)
    except UserError as error:
        if Path(target).suffix != ".py" or not Path(target).is_file():
            raise
        return [LawOutcome(Path(target).name, "registers", "fail", str(error))]
    if not any(registry.plugin_of(case.kind, case.subject.label.split()[-1]) for case in cases):
        return [case.outcome() for case in cases]
    try:
        return apart(lambda: [case.outcome() for case in cases], ALL_LAWS)
    except (PluginFault, ValueError):  # one of them ends the process
        return [_alone(case) for case in cases]


def _alone(case: Case) -> LawOutcome:
    """The outcome of a law that is checked in a process of its own."""
    try:
        outcome = apart(case.outcome, ONE_LAW)
    except (PluginFault, ValueError) as fault:
        outcome = LawOutcome(case.subject.label, case.name, "fail", str(fault))
    case.subject.outcomes[case.name] = outcome  # laws that depend on it are not checked
    return outcome


def checks(target: str | Path, **params: Any) -> list[Case]:
    """Returns the laws for a plugin file or a registered name as test cases, not yet checked.

    Raises UserError if there is nothing to check.
    """
    subjects = [(kind, SUBJECTS[kind](name, params)) for kind, name in _plugins(target)]
    return [Case(kind, subject, law) for kind, subject in subjects for law in _ordered(LAWS[kind])]


def _ordered(laws: Mapping[str, Law]) -> list[str]:
    """Names of laws: those of methods in the order of `METHOD_LAWS`, others as registered."""
    places = {module.__name__: place for place, module in enumerate(METHOD_LAWS)}
    return sorted(laws, key=lambda name: places.get(laws[name].check.__module__, 0))


def _plugins(target: str | Path) -> list[tuple[str, str]]:
    """Kind and name of all that a file registers, or of the plugin with that name."""
    registry.load()
    if Path(target).suffix == ".py":
        plugins = registry.load_plugin(Path(target))
        if not plugins:
            raise UserError(f"{target} registers nothing: decorate a class with @register (or a "
                            "function with @metric, @dataset or @backbone)")  # fmt: skip
        return plugins
    for kind, names in registry.KINDS.items():
        if target in names:
            return [(kind, str(target))]
    registry.get("methods", str(target))  # raises UserError, with the nearest name
    raise AssertionError


def failed(outcomes: Sequence[LawOutcome]) -> bool:
    """Whether any law fails."""
    return any(outcome.status == "fail" for outcome in outcomes)


def render(outcomes: Sequence[LawOutcome], width: int = 100) -> str:
    """Returns a plain-text table with one line per law, and a last line with counts.

    Laws that were not checked because another one failed share a line.
    """
    blocks = []
    for subject in dict.fromkeys(outcome.subject for outcome in outcomes):
        own = [outcome for outcome in outcomes if outcome.subject == subject]
        waiting = Counter(outcome.blocked_by for outcome in own if outcome.blocked_by)
        lines = [_line(outcome.status, spoken(outcome.law), _remark(outcome), width)
                 for outcome in own if not outcome.blocked_by]  # fmt: skip
        lines += [_line("skip", f"{count} more law{'s' if count > 1 else ''}",
                        f"(until `{spoken(law)}` passes)", width)
                  for law, count in waiting.items()]  # fmt: skip
        blocks.append("\n".join([subject, *lines]))
    counts = Counter(outcome.status for outcome in outcomes)
    blocks.append(", ".join(f"{counts[status]} {status}" for status in ("pass", "fail", "skip")))
    return "\n\n".join(blocks)


def _remark(outcome: LawOutcome) -> str:
    """The reason of an outcome, in brackets if the law passes."""
    is_remark = outcome.status == "pass" and outcome.reason
    return f"({outcome.reason})" if is_remark else outcome.reason


def _line(status: str, name: str, reason: str, width: int) -> str:
    head = f"  {status}  {name:{_LONGEST_NAME}}  "
    lines = textwrap.wrap(reason, max(width - len(head), 30), break_long_words=False)
    return ("\n" + " " * len(head)).join([(head + (lines or [""])[0]).rstrip(), *lines[1:]])
