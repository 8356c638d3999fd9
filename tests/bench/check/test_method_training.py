"""Laws about training: each is broken by a method of its own."""

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

from legible.bench.check import method_training

#: Law -> name of a method -> the class's body, which breaks this law.
BROKEN: BrokenMethods = {
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
    "used_concepts_are_named": {
        "unsaid": L1 + "needs = frozenset({'concepts'})",
        "unknown": L1 + "needs = frozenset({'concepts'})\n"
        "def used_concepts(self): return ('no such concept',)",
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
    assert set(BROKEN) == laws_in(method_training)


def test_an_error_is_reported_with_the_plugins_line(write_method: Any) -> None:
    outcome = outcome_of("trains", write_method("typing_error", BROKEN["trains"]["typo"]))
    assert "has no attribute 'activation'" in outcome.reason
    assert "(line " in outcome.reason
