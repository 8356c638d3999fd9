"""Laws about a trained method: each is broken by a method of its own."""

from __future__ import annotations

from typing import Any

import pytest
from broken_plugins import (
    ATTACH,
    L1,
    BrokenMethods,
    all_others,
    failures,
    first_of_each,
    laws_in,
    outcome_of,
)

from legible.bench.check import method_evaluation

#: Law -> name of a method -> the class's body, which breaks this law.
BROKEN: BrokenMethods = {
    "evaluation_uses_no_labels": {
        "last_labels": L1.replace("    return", "    self.labels = step.labels\n    return")
        + ATTACH + "    self.labels = None\n"
        + "    self.install(network, list(network.taps)[-1], self.mark)\n"
        + """
def mark(self, x):
    return x if self.training or self.labels is None else x + 0 * self.labels.sum()
        """,
    },
    "evaluation_is_independent_of_the_batch": {
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
    "target_is_defined": {
        "claims_nothing": L1 + "target = Target('claimed_modularity', 'higher')",
    },
    "loading_gives_the_same_outputs": {
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
    "leaves_no_hooks": {
        "forward_hook": L1 + ATTACH
        + "    network.taps[self.taps[-1]].point.register_forward_hook(lambda *a: None)"
          " if self.taps else None",
        "gradient_hook": L1 + ATTACH
        + "    next(network.parameters()).register_hook(lambda grad: grad)",
    },
    "claimed_modules_are_valid": {
        "too_few": L1 + "def partition(self, network): return {'conv2': torch.zeros(3).long()}",
        "no_tap": L1 + "def partition(self, network): return {'conv9': torch.zeros(8).long()}",
        "fractions": L1 + "def partition(self, network): return {'conv2': torch.zeros(8)}",
        "below": L1 + "def partition(self, network): return {'conv2': torch.full((8,), -2)}",
    },
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("law", "name"), first_of_each(BROKEN))
def test_only_the_broken_law_fails(law: str, name: str, write_method: Any) -> None:
    reasons = failures(write_method(name, BROKEN[law][name]))
    assert set(reasons) == {law}, reasons


@pytest.mark.slow
@pytest.mark.parametrize(("law", "name"), all_others(BROKEN))
def test_the_law_fails_when_broken_in_other_ways(law: str, name: str, write_method: Any) -> None:
    outcome = outcome_of(law, write_method(name, BROKEN[law][name]))
    assert outcome.status == "fail"
    assert len(outcome.reason) > 20  # says what to do


def test_every_law_is_broken_by_a_method() -> None:
    others = {"integrated_gradients_are_complete"}  # tested below
    assert set(BROKEN) | others == laws_in(method_evaluation)


def test_a_mask_that_jumps_is_remarked(write_method: Any) -> None:
    """Where a mask switches whole maps off, Integrated Gradients are not complete."""
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
    outcome = outcome_of("integrated_gradients_are_complete", write_method("jumps", body))
    assert outcome.status == "pass"
    assert outcome.reason.startswith("flag: ")
