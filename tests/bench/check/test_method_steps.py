"""Laws about single training steps: each is broken by a method of its own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
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

from legible.bench.check import method_steps
from legible.bench.check.method_subject import plain_result
from legible.bench.training.fit import fit_network

#: Law -> name of a method -> the class's body, which breaks this law.
BROKEN: BrokenMethods = {
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
    "uses_no_global_random_numbers": {
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
    "trains_in_bfloat16": {
        "singular_values": ATTACH
        + "    self.install(network, self.taps[0],"
          " lambda x: x * (1 + torch.linalg.matrix_norm(x.flatten(1), 2).detach() * 0.01)"
          " if self.training else x)",
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
    others = {"avoids_device_synchronisation"}  # tested below
    assert set(BROKEN) | others == laws_in(method_steps)


def test_reading_a_number_is_remarked_with_its_line(write_method: Any) -> None:
    body = L1.replace("    return", "    step.logits.sum().item()\n    return")
    path = write_method("reads", body)
    line = next(i for i, text in enumerate(path.read_text().splitlines(), 1) if ".item()" in text)
    outcome = outcome_of("avoids_device_synchronisation", path)
    assert outcome.status == "pass"
    assert f"(line {line})" in outcome.reason


@pytest.mark.parametrize("name", ["plain_pruned", "plain_rotated"])
def test_a_method_with_a_parent_edits_a_trained_network(name: str, monkeypatch: Any) -> None:
    """The law about global random numbers passes the parent's trained weights on."""
    parents = []

    def record(network: Any, method: Any, *args: Any, **options: Any) -> Any:
        parents.append(options["parent"]())
        return fit_network(network, method, *args, **options)

    monkeypatch.setattr(method_steps, "fit_network", record)
    assert outcome_of("uses_no_global_random_numbers", name).status == "pass"
    trained = plain_result().weights
    assert all(torch.equal(parents[0][f"network.{k}"], v) for k, v in trained.items())
