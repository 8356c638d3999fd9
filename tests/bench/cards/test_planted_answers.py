"""Every metric of which a planted network fixes the value gives that value (law "known")."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from legible.bench.backbones import planted as networks
from legible.bench.cards.planted_answers import ANSWERS
from legible.bench.data.planted import planted
from legible.bench.plugins import registry
from legible.bench.scoring.probe import probe_network as probe
from legible.bench.scoring.score import score_metric as score
from legible.methods.base import Method
from legible.metrics.base import METRICS, Layer, Probe

registry.load()


@functools.cache
def probed(network: str, split: str) -> Probe:
    data = planted(Path(), **({"parts": 4, "noise": 16} if network == "blocks" else {}))
    build = getattr(networks, f"planted_{network}")
    built = build(data.image, len(data.class_names)).eval()
    found = probe(built, Method(), getattr(data, split), ["parts"])
    activation = found.layers["parts"].activation
    claimed = torch.arange(activation.shape[1]) // networks.MEMBERS
    return replace(found, layers={"parts": Layer("parts", activation, claimed)})


@pytest.mark.parametrize("name", ANSWERS)
def test_the_planted_answer(name):
    answer = ANSWERS[name]
    of = functools.partial(probed, answer.network)
    others = {"splits": lambda: of("train"), "seeds": lambda: of("test")}
    (found,) = score(METRICS[name], of("test"), others)
    assert not found.reason
    assert found.value == pytest.approx(answer.value, abs=answer.tolerance)
    assert "known" not in METRICS[name].breaks
