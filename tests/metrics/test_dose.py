"""Law 4 for every metric with a direction: corrupting planted structure makes it steadily worse.

Structure is shuffled: a share of each unit's positions, of the layer's outgoing weights, or of the
units' claimed modules changes places at random, so that all distributions stay as they are.
"""

from __future__ import annotations

import copy
import functools
import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from planted_probes import probe_planted
from torch import Tensor

from legible import metrics
from legible.bench.backbones import planted as networks
from legible.bench.data.planted import planted
from legible.bench.plugins import registry
from legible.bench.scoring.score import score_metric as score
from legible.metrics.base import METRICS, Layer, Metric, Probe

registry.load(["metrics"])
HERE = str(Path(metrics.__file__).parent)
#: Held to it elsewhere: test_task.py (read from the training's record), test_assemblies.py (of a
#: layer that feeds the classes).
ELSEWHERE = {
    "selected_accuracy",
    "outgoing_correlation_agreement",
    "outgoing_synchronization_agreement",
}
ASKED = sorted(
    name
    for name, item in METRICS.items()
    if item.origin.startswith(HERE) and item.better != "neither" and "dose" not in item.breaks
    if name not in ELSEWHERE
)
DOSES = (0.0, 0.2, 0.5, 1.0)
#: Corruptions that are averaged, and how far a value may fall back, as a share of the whole way.
DRAWS, SLACK = 3, 0.1
MODULES = ("structure", "consistency", "module semantics")
#: Metrics of the network's answers: its weights are corrupted, not a layer's activations.
WEIGHTS = ("task", "efficiency")
#: What the heads' weights are multiplied by, for answers that are sure.
CONFIDENT = 60

Corruption = Callable[[Probe, float, torch.Generator], Probe]


@functools.cache
def clean(network: str) -> Probe:
    """Units that detect a part each ("parts"), also with four channels of noise ("noisy"), or
    blocks of units; answers made confident."""
    parameters = {"blocks": {"parts": 4, "noise": 16}, "noisy": {"parts": 4, "noise": 4}}
    data = planted(Path(), **parameters.get(network, {}))
    build = getattr(networks, "planted_blocks" if network == "blocks" else "planted_parts")
    made = build(data.image, len(data.class_names))
    head = made.taps["parts"].outgoing[0].weight
    with torch.no_grad():
        head.weight.mul_(CONFIDENT)
    probe = probe_planted(made, data)
    activation = probe.layers["parts"].activation
    layer = Layer("parts", activation, torch.arange(activation.shape[1]) // 4)
    return replace(probe, layers={"parts": layer}, measurable=frozenset(["parts"]))


def shuffled(x: Tensor, dose: float, generator: torch.Generator) -> Tensor:
    """A share of the entries of each row, at random, in random order."""
    rows = []
    for row in x.flatten(1):
        pairs = (torch.rand(len(row), generator=generator) < dose).nonzero()[:, 0]
        row = row.clone()
        row[pairs] = row[pairs[torch.randperm(len(pairs), generator=generator)]]
        rows.append(row)
    return torch.stack(rows).view_as(x)


def shuffled_positions(probe: Probe, dose: float, generator: torch.Generator) -> Probe:
    layer = probe.layers["parts"]
    activation = shuffled(layer.activation.movedim(1, 0), dose, generator).movedim(0, 1)
    logits = probe.network.continue_from("parts", activation).detach()
    layers = {"parts": Layer("parts", activation.contiguous(), layer.claimed)}
    return replace(probe, layers=layers, logits=logits, memo={})


def shuffled_claims(probe: Probe, dose: float, generator: torch.Generator) -> Probe:
    layer = probe.layers["parts"]
    claimed = shuffled(layer.claimed[None], dose, generator)[0]
    return replace(probe, layers={"parts": Layer("parts", layer.activation, claimed)}, memo={})


def with_noise(probe: Probe, dose: float, generator: torch.Generator) -> Probe:
    """Activations with noise at all positions: shuffling positions would leave single peaks."""
    layer = probe.layers["parts"]
    noise = layer.activation.max() * torch.rand(layer.activation.shape, generator=generator)
    activation = (1 - dose) * layer.activation + dose * noise
    return replace(probe, layers={"parts": Layer("parts", activation)}, memo={})


def distracted(probe: Probe, dose: float, generator: torch.Generator) -> Probe:
    """Units read, besides their part, a channel of noise each: the network looks elsewhere."""
    network = copy.deepcopy(probe.network)
    first = network.taps["parts"].incoming
    with torch.no_grad():
        first.weight[:, 4:] = (
            0.8 * dose * torch.eye(4)[torch.randperm(4, generator=generator)][..., None, None]
        )
        out = network(probe.images)
    layers = {"parts": Layer("parts", out.activations["parts"])}
    return replace(probe, network=network, logits=out.logits, layers=layers, memo={})


def dealt_weights(probe: Probe, dose: float, generator: torch.Generator) -> Probe:
    network = copy.deepcopy(probe.network)
    weight = network.taps["parts"].outgoing[0].weight.weight
    with torch.no_grad():
        weight.copy_(shuffled(weight.reshape(1, -1), dose, generator).view_as(weight))
        logits = network(probe.images).logits
    layers = {"parts": Layer("parts", probe.layers["parts"].activation)}
    return replace(probe, network=network, logits=logits, layers=layers, memo={})


@functools.cache
def corrupted(corrupt: Corruption, network: str, dose: float, draw: int) -> Probe:
    """A corrupted probe; metrics share what they remember on it."""
    return corrupt(clean(network), dose, torch.Generator().manual_seed(draw))


def corruption(item: Metric) -> Corruption:
    if "claimed" in item.needs:
        return shuffled_claims
    if item.aspect == "attribution":
        return distracted
    if item.name.startswith("focus"):
        return with_noise
    return (
        dealt_weights if item.aspect in WEIGHTS or "weights" in item.needs else shuffled_positions
    )


def at(item: Metric, dose: float) -> float:
    """The metric's value at a dose, mean over draws; undefined counts as its null, or nothing."""
    corrupt = corruption(item)
    network = "noisy" if corrupt is distracted else "blocks" if item.aspect in MODULES else "parts"
    of = functools.partial(corrupted, corrupt, network, dose)
    values = []
    for draw in range(DRAWS):
        others = {"splits": lambda draw=draw: of(draw + 1), "seeds": lambda draw=draw: of(draw + 1)}
        (found,) = score(item, of(draw), others)
        null = item.null if isinstance(item.null, float) else np.nan
        values.append(found.value if np.isfinite(found.value) else null)
    return float(np.nanmean(values))


@pytest.mark.parametrize("name", ASKED)
def test_corruption_moves_it_steadily_to_its_null(name):
    item = METRICS[name]
    sign = 1 if item.better == "higher" else -1
    values = [sign * at(item, dose) for dose in DOSES]
    way = values[0] - values[-1]
    assert way > 0.02 * abs(values[0]), f"{name}: {values}"
    for before, after in itertools.pairwise(values):
        assert after <= before + SLACK * way, f"{name}: {values}"
