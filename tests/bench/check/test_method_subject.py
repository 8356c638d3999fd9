"""A method under check is built and trained by `training.fit`, like a run."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from legible.bench.check import method_subject
from legible.bench.check.laws import NotApplicable
from legible.bench.check.method_subject import MethodSubject, plain_result, train_and_watch
from legible.bench.check.toy import RECIPE, builder, toy_data
from legible.bench.plugins import registry
from legible.bench.training.fit import build_network, fit_network

registry.load()


def test_the_result_is_what_fit_gives() -> None:
    data, method = toy_data(), registry.make_method("sync", {})
    network = build_network(builder("vgg", data), method, data.train, 0)
    state = fit_network(network, method, data, RECIPE, 0)
    result = MethodSubject("sync").train()
    assert all(torch.equal(v, result.weights[k]) for k, v in network.state_dict().items())
    assert state.history == result.state.history


def test_every_training_goes_through_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def record(network: Any, method: Any, *args: Any, **options: Any) -> Any:
        calls.append(method.name)
        return fit_network(network, method, *args, **options)

    monkeypatch.setattr(method_subject, "fit_network", record)
    MethodSubject("plain_rotated").train()
    assert calls == ["plain_rotated", "plain"]


def test_the_first_toy_network_that_has_what_a_method_needs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert MethodSubject("plain").net == "vgg"
    assert MethodSubject("concept_whitening").net == "vgg"
    stranger = MethodSubject("plain")
    monkeypatch.setattr(stranger, "unmet_need", lambda net, data: "" if net == "mlp" else "no")
    assert stranger.net == "mlp"
    monkeypatch.setattr(nowhere := MethodSubject("plain"), "unmet_need", lambda net, data: "no")
    with pytest.raises(NotApplicable, match="no toy network has what it needs"):
        _ = nowhere.net


def test_options_are_the_other_choices_of_parameters() -> None:
    options = MethodSubject("bean").options()
    assert ("distance", "absolute") in options
    assert "distance" not in dict(MethodSubject("bean", {"distance": "absolute"}).options())


@pytest.mark.parametrize(
    ("name", "reason"),
    [("untrained", "does not train"), ("plain_pruned", "edits a trained network")],
)
def test_methods_without_training(name: str, reason: str) -> None:
    subject = MethodSubject(name)
    assert not subject.trains
    with pytest.raises(NotApplicable, match=reason):
        subject.require_training()


def test_parent_tensors_are_those_of_the_trained_parent() -> None:
    tensors = MethodSubject("plain_rotated").parent_tensors()
    weights = plain_result().weights
    assert all(torch.equal(tensors[f"network.{k}"], v) for k, v in weights.items())
    assert MethodSubject("sync").parent_tensors() == {}


def test_every_step_is_watched_and_the_weights_are_the_same() -> None:
    epochs: list[int] = []
    result = train_and_watch(
        MethodSubject("sync"), lambda terms, step, method: epochs.append(step.epoch), epochs=3
    )
    assert epochs == [0] * 4 + [1] * 4 + [2] * 4  # four batches of 16
    weights = MethodSubject("sync").train().weights
    assert all(torch.equal(v, result.weights[k]) for k, v in weights.items())
