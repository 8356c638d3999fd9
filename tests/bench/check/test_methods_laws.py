"""Methods that break one law each: the check must name that law, and no other."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent, indent
from typing import Any
from unittest import SkipTest

import numpy as np
import pytest
import torch

from legible.bench.check.conformance import check, checks, failed, render
from legible.bench.check.law import LAWS, Outcome
from legible.bench.errors import UserError

HEAD = '''
import random
import typing
import numpy as np
import torch
from torch import nn
from legible import Method, register

SEEN = []

@register
class Broken(Method):
    """Breaks one law.

    Equation: L = CE + s * mean |a|.
    Paper: none. Repository: none. Differences: none.
    """

    acts_on = "last"
'''

L1 = """
def penalty(self, step):
    return {"l1": self.strength * step.activations[self.taps[0]].abs().mean()}
"""

ATTACH = "def attach(self, network, data):\n    super().attach(network, data)\n"

#: The law that breaks -> the ways in which it is broken here, as the class's body.
BROKEN: dict[str, dict[str, str]] = {
    "declarations_hold": {
        "unknown_need": L1 + "needs = frozenset({'maps'})",
        "refused_search": L1 + "search = {'strength': (1.0, -1.0)}",
    },
    "parameters_are_checked": {
        "negative_strength": """
            def __init__(self, strength: float = 1.0):
                super().__init__(1.0)
                self.strength = strength

            def penalty(self, step):
                return {"l1": self.strength * step.activations[self.taps[0]].abs().mean()}
        """,
        "any_parameter": """
            def __init__(self, strength: float = 1.0, **rest):
                super().__init__(strength)
        """,
        "untyped": """
            def __init__(self, strength: float = 1.0, gamma=2):
                super().__init__(strength)
        """,
    },
    "attaches": {
        "holds_the_head": ATTACH + "    self.head = network.taps[self.taps[0]].outgoing[0].weight",
    },
    "trains": {
        "infinite": 'def penalty(self, step): return {"inf": step.logits.sum() * float("inf")}',
        "no_dict": "def penalty(self, step): return self.strength * step.logits.mean()",
        "no_scalar": 'def penalty(self, step): return {"x": self.strength * step.logits}',
        "hides": 'def penalty(self, step): return {"cross_entropy": step.logits.mean()}',
        "typo": 'def penalty(self, step): return {"x": step.activation.mean()}',
    },
    "needs_are_declared": {
        "maps_unsaid": """
            acts_on = "last_spatial"

            def penalty(self, step):
                maps = step.activations[self.taps[0]].mean((2, 3))
                return {"mean": 0.1 * self.strength * maps.mean()}
        """,
        "concepts_unsaid": L1 + ATTACH + "    len(data.concepts)",
    },
    "strength_0_is_plain": {
        "unscaled": 'def penalty(self, step): return {"l1": step.activations[self.taps[0]].mean()}',

        "nan_at_zero": """
            def penalty(self, step):
                s = torch.tensor(self.strength)
                return {"x": s * (s.log() - 1).abs() * step.activations[self.taps[0]].mean()
                        if self.taps else s * step.logits.mean()}
        """,
        "extra_forward": L1 + ATTACH + "    pass\n" + """
def start_epoch(self, network, data, epoch):
    network(next(data.batches())[1])
        """,
    },
    "tiny_strength_is_near_plain": {
        "short_cut": """
            def penalty(self, step):
                on = float(self.strength > 0)
                return {"l1": on * step.activations[self.taps[0]].mean()}
        """,
    },
    "same_seed_same_weights": {
        "own_seed": L1 + """
def start_epoch(self, network, data, epoch):
    self.generator.seed()

def after_step(self, step):
    for p in step.network.parameters():
        p.add_(self.strength * 1e-3 * torch.rand((), generator=self.generator))
        """,
    },
    "resume_is_exact": {
        "plain_attribute": """
            seen = 0.0
            def penalty(self, step):
                self.seen = self.seen + 1.0
                l1 = step.activations[self.taps[0]].abs().mean()
                return {"l1": self.strength * self.seen * l1}
        """,
    },
    "training_lowers_the_loss": {
        "wrong_sign": """
            def penalty(self, step):
                wrong = nn.functional.cross_entropy(step.logits, step.labels)
                return {"anti": -3 * self.strength * wrong.clamp(max=10)}
        """,
    },
    "gradient_reaches_the_network": {
        "detached": """
            def penalty(self, step):
                return {"l1": self.strength * step.activations[self.taps[0]].detach().mean()}
        """,
        "no_effect": ATTACH
                     + "    self.install(network, self.taps[0], lambda x: x)",
    },
    "dead_and_constant_units_stay_finite": {
        "root_of_zero": """
            def penalty(self, step):
                a = step.activations[self.taps[0]].flatten(1)
                return {"std": self.strength * (a - a.mean(0)).square().sum(0).sqrt().mean()}
        """,
    },
    "draws_no_global_random_number": {
        "global_noise": """
            def penalty(self, step):
                a = step.activations[self.taps[0]]
                return {"noise": self.strength * (a * torch.rand(len(a)).view(
                    -1, *[1] * (a.ndim - 1))).mean()}
        """,
        "global_numpy": L1.replace("self.strength *", "self.strength * np.random.rand() *"),
        "global_attach": L1 + ATTACH + '    self.register_buffer("noise", torch.rand(3))',
    },
    "changes_nothing_in_place": {
        "halves_activations": L1.replace(
            "    return", "    step.activations[self.taps[0]].data.mul_(0.5)\n    return"
        ).replace("l1\": ", "l1\": 0.01 * "),
        "halves_at_evaluation": L1 + ATTACH
        + "    network.taps[self.taps[0]].install(lambda x: x if self.training else x.mul_(0.5))",
        "clamps_in_penalty": """
            def penalty(self, step):
                for p in step.network.parameters():
                    p.data.mul_(1 - 1e-3 * self.strength)
                return {"x": self.strength * step.logits.square().mean()}
        """,
    },
    "bf16_works": {
        "singular_values": ATTACH
        + "    self.install(network, self.taps[0],"
          " lambda x: x * (1 + torch.linalg.matrix_norm(x.flatten(1), 2).detach() * 0.01)"
          " if self.training else x)",
    },
    "evaluation_reads_no_label": {
        "last_labels": L1.replace("    return", "    self.labels = step.labels\n    return")
        + ATTACH + "    self.labels = None\n"
        + "    self.install(network, list(network.taps)[-1], self.mark)\n"
        + """
def mark(self, x):
    return x if self.training or self.labels is None else x + 0 * self.labels.sum()
        """,
    },
    "evaluation_sees_one_image_at_a_time": {
        "batch_mean": ATTACH
        + "    self.install(network, self.taps[0], lambda x: x - 0.5 * x.mean(0, keepdim=True))",
    },
    "evaluation_changes_nothing": {
        "counts": ATTACH + """
    self.register_buffer("seen", torch.zeros(()))
    self.install(network, self.taps[0], self.count)

def count(self, x):
    if not self.training:
        self.seen += 1
    return 0.5 * x
        """,
        "draws": L1 + """
def partition(self, network):
    torch.rand(3, generator=self.generator)
    return {}
        """,
    },
    "saved_and_loaded_is_the_same": {
        "plain_tensor": L1 + ATTACH + """
    self.scale = 1.0
    network.taps[self.taps[0]].install(lambda x: self.scale * x)

def after_training(self, network, data):
    self.scale = 2.0
        """,
        "grows": L1 + """
def after_training(self, network, data):
    self.register_buffer("late", torch.zeros(3))
        """,
    },
    "moves_to_other_dtypes_and_devices": {
        "constant": ATTACH + """
    self.mix = torch.eye(network.taps[self.taps[0]].units) * 0.5
    self.install(network, self.taps[0],
                 lambda x: torch.einsum("ij,bj...->bi...", self.mix, x))
        """,
    },
    "leaves_no_hook": {
        "forward_hook": L1 + ATTACH
        + "    network.taps[self.taps[-1]].point.register_forward_hook(lambda *a: None)"
          " if self.taps else None",
        "gradient_hook": L1 + ATTACH
        + "    next(network.parameters()).register_hook(lambda grad: grad)",
    },
    "every_option_trains": {
        "misspelt_choice": """
            def __init__(self, strength: float = 1.0, kind: typing.Literal["l1", "l2"] = "l1"):
                super().__init__(strength)
                self.kind = kind

            def penalty(self, step):
                a = step.activations[self.taps[0]]
                return {"x": self.strength * {"l1": a.abs(), "l3": a.square()}[self.kind].mean()}
        """,
        "unscaled_choice": """
            def __init__(self, strength: float = 1.0, fixed: bool = False):
                super().__init__(strength)
                self.fixed = fixed

            def penalty(self, step):
                strength = 0.5 if self.fixed else self.strength
                return {"x": strength * step.activations[self.taps[0]].abs().mean()}
        """,
    },
    "names_the_concepts_it_used": {
        "unsaid": L1 + "needs = frozenset({'concepts'})",
        "unknown": L1 + "needs = frozenset({'concepts'})\n"
        "def used_concepts(self): return ('no such concept',)",
    },
    "claimed_modules_are_a_partition": {
        "too_few": L1 + "def partition(self, network): return {'conv2': torch.zeros(3).long()}",
        "no_tap": L1 + "def partition(self, network): return {'conv9': torch.zeros(8).long()}",
        "fractions": L1 + "def partition(self, network): return {'conv2': torch.zeros(8)}",
        "below": L1 + "def partition(self, network): return {'conv2': torch.full((8,), -2)}",
    },
}  # fmt: skip


@pytest.fixture
def write(tmp_path: Path, kept_registry: None) -> Callable[[str, str], Path]:
    """Writes a method's file from its class body."""

    def method(name: str, body: str, head: str = HEAD) -> Path:
        path = tmp_path / f"{name}.py"
        path.write_text(head + indent(dedent(body), "    "))
        return path

    return method


def broken(outcomes: list[Outcome]) -> dict[str, str]:
    return {o.check: o.reason for o in outcomes if o.status == "fail"}


@pytest.mark.slow
@pytest.mark.parametrize("law", BROKEN)
def test_each_law_can_be_broken_alone(law: str, write: Any) -> None:
    name = next(iter(BROKEN[law]))
    outcomes = check(write(name, BROKEN[law][name]))
    found = broken(outcomes)
    assert set(found) == {law}, found
    assert failed(outcomes)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("law", "name"), [(law, name) for law, ways in BROKEN.items() for name in list(ways)[1:]]
)
def test_a_law_sees_other_ways_to_break_it(law: str, name: str, write: Any) -> None:
    (case,) = (case for case in checks(write(name, BROKEN[law][name])) if case.name == law)
    outcome = case.outcome()
    assert outcome.status == "fail"
    assert len(outcome.reason) > 20  # says what to do
    with pytest.raises(AssertionError, match=f"method {name}, "):
        case()


def test_every_law_of_methods_is_broken_once() -> None:
    """But for those that only remark, and those on the file as a whole (below)."""
    others = {"waits_for_no_device", "integrated_gradients_add_up", "registers",
              "docstring_says_what_it_is"}  # fmt: skip
    assert set(BROKEN) | others == set(LAWS["methods"])


# ----------------------------------------------------------------- the file as a whole


def test_a_file_that_cannot_be_imported_fails_with_the_reason(write: Any) -> None:
    (outcome,) = check(write("not_there", "import no_such_module"))
    assert (outcome.check, outcome.status) == ("registers", "fail")
    assert "No module named 'no_such_module'" in outcome.reason


def test_a_file_that_registers_nothing_fails(write: Any) -> None:
    (outcome,) = check(write("nothing", "", "x = 1\n"))
    assert outcome.status == "fail"
    assert "registers nothing: decorate a class with @register" in outcome.reason


def test_two_methods_in_one_file_are_refused(write: Any) -> None:
    second = HEAD.replace("class Broken", "class Second")
    (case,) = (c for c in checks(write("two", L1, HEAD + second)) if c.name == "registers")
    assert case.outcome().status == "fail"
    assert "Broken, Second are registered in one file" in case.outcome().reason


@pytest.mark.parametrize("part", ["Equation", "Paper", "Repository", "Differences"])
def test_the_docstring_needs_every_part(part: str, write: Any) -> None:
    path = write(f"without_{part.lower()}", L1, HEAD.replace(f"{part}:", "Something:"))
    (case,) = (c for c in checks(path) if c.name == "docstring_says_what_it_is")
    assert f"lacks '{part}: ...'" in case.outcome().reason


def test_a_method_without_docstring_is_told_so(write: Any) -> None:
    path = write("silent", "", "from legible import Method, register\n@register\n"
                 "class Silent(Method):\n    pass\n")  # fmt: skip
    (case,) = (c for c in checks(path) if c.name == "docstring_says_what_it_is")
    assert "no docstring" in case.outcome().reason


def test_unknown_names_and_files_are_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no method 'snyc'; did you mean 'sync'"):
        check("snyc")
    with pytest.raises(UserError, match="no plugin file"):
        check(tmp_path / "none.py")


# ----------------------------------------------------------------- remarks, and what a check leaves


def test_reading_a_number_back_is_remarked_with_its_line(write: Any) -> None:
    path = write("reads", L1.replace("    return", "    step.logits.sum().item()\n    return"))
    (case,) = (c for c in checks(path) if c.name == "waits_for_no_device")
    line = next(i for i, text in enumerate(path.read_text().splitlines(), 1) if ".item()" in text)
    assert case.outcome().status == "pass"
    assert f"(line {line})" in case.outcome().reason


def test_a_mask_that_jumps_is_remarked(write: Any) -> None:
    """Where a mask switches whole maps off, Integrated Gradients cannot add up."""
    body = (
        ATTACH
        + "    self.install(network, self.taps[0], self.gate)\n"
        + """
def gate(self, x):
    rest = (1,) * (x.ndim - 2)
    strong = x.flatten(1).mean(1).detach() > 0.2
    return x * strong.view(-1, 1, *rest) + 5 * strong.float().view(-1, 1, *rest)
    """
    )
    (case,) = (c for c in checks(write("jumps", body)) if c.name == "integrated_gradients_add_up")
    assert case.outcome().status == "pass"
    assert case.outcome().reason.startswith("flag: ")


def test_what_builds_on_a_broken_law_is_skipped(write: Any) -> None:
    outcomes = check(write("typo_again", BROKEN["trains"]["typo"]))
    later = {o.check: o for o in outcomes}["resume_is_exact"]
    assert (later.status, later.reason) == ("skip", "first mend: trains")
    (first,) = (o for o in outcomes if o.check == "trains")
    assert "has no attribute 'activation'" in first.reason
    assert "(line " in first.reason


def test_a_check_leaves_the_callers_random_state_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    check("untrained")
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002


def test_parameters_can_be_chosen() -> None:
    outcomes = check("dropout", p=2.0)
    assert "p must be in [0, 1)" in broken(outcomes)["parameters_are_checked"]


def test_a_law_that_does_not_apply_skips_the_test() -> None:
    (case,) = (c for c in checks("plain") if c.name == "gradient_reaches_the_network")
    with pytest.raises(SkipTest, match="adds no penalty"):
        case()


def test_the_table() -> None:
    outcomes = [
        Outcome("method m", "trains", "pass", "loss 1.0 to 0.5"),
        Outcome("method m", "same_seed_same_weights", "fail", "use self.generator " * 4),
        Outcome("method m", "resume_is_exact", "skip", "first mend: same seed same weights"),
        Outcome("method m", "bf16_works", "skip", "first mend: same seed same weights"),
        Outcome("metric n", "changes_nothing", "skip"),
    ]
    assert (
        render(outcomes, 96)
        == """\
method m
  pass  trains                                      loss 1.0 to 0.5
  fail  same seed same weights                      use self.generator use self.generator use
                                                    self.generator use self.generator
  skip  2 more laws                                 first mend: same seed same weights

metric n
  skip  changes nothing

1 pass, 1 fail, 3 skip"""
    )
    assert failed(outcomes)
    assert not failed(outcomes[:1])


@pytest.mark.slow
def test_a_whole_check_takes_well_under_a_minute() -> None:
    start = time.process_time()
    assert not failed(check("sync"))
    assert time.process_time() - start < 40
