"""Impostors: layers that a good metric must not reward, built from a plain network's probe.

An impostor has the form of a trained layer without its substance. Each metric that reads
activations scores them (`reads_activations`), and the metric's card shows the scores. A metric may
head an aspect only if the impostors that are cheats of that aspect (`CHEATS`) score worse than
trained networks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch

from legible.bench.scoring.oracle import common, oracle_layer
from legible.metrics.base import Layer, Metric, Probe, scope

#: Share of the units that the impostor "copies" keeps.
KEPT_UNITS = 0.1
#: Share of its positions that a unit of the impostor "noise" keeps.
KEPT_POSITIONS = 0.01


def label_units(layer: Layer, probe: Probe) -> Layer | None:
    """Units that know the label alone: unit u is 1 everywhere on images of class u mod K."""
    own = torch.arange(layer.units, device=probe.labels.device) % probe.classes
    active = (probe.labels[:, None] == own).to(layer.activation.dtype)
    flat = active.reshape(*active.shape, *[1] * (layer.activation.ndim - 2))
    return Layer(layer.name, flat.expand_as(layer.activation).contiguous())


def energy_units(layer: Layer, probe: Probe) -> Layer | None:
    """Units that all have the same map, the sum of the layer's activations max(a, 0)."""
    energy = layer.activation.clamp(min=0).sum(1, keepdim=True)
    return Layer(layer.name, energy.expand_as(layer.activation).contiguous())


def copied_units(layer: Layer, probe: Probe) -> Layer | None:
    """A tenth of the units, chosen at random, each about ten times."""
    generator = probe.generator(f"copies of {layer.name}")
    picked = torch.randperm(layer.units, generator=generator)[: -(-layer.units // 10)]
    index = picked[torch.arange(layer.units) % len(picked)].to(layer.activation.device)
    return Layer(layer.name, layer.activation[:, index])


def two_concept_units(layer: Layer, probe: Probe) -> Layer | None:
    """Units that each answer equally to two concepts: the oracle's units, merged in pairs.

    Concepts of one category are paired in their order; the last of an odd number pairs with the
    first. None without concepts, or for a layer without a map.
    """
    concepts = None if probe.concepts is None else common(probe.concepts)
    if concepts is None or not len(concepts) or not layer.spatial:
        return None
    units = oracle_layer(concepts, layer.activation.shape[2:]).activation
    pairs = []
    for kind in sorted(set(concepts.categories)):
        own = [k for k, category in enumerate(concepts.categories) if category == kind]
        own += own[: len(own) % 2]
        pairs += [(own[k], own[k + 1]) for k in range(0, len(own), 2)]
    first, second = torch.tensor(pairs, device=units.device).T
    return Layer(layer.name, torch.maximum(units[:, first], units[:, second]))


def noise_units(layer: Layer, probe: Probe) -> Layer | None:
    """The units with a random hundredth of their positions; all other positions are 0."""
    generator = probe.generator(f"noise of {layer.name}")
    picked = torch.rand(layer.activation.shape, generator=generator) < KEPT_POSITIONS
    return Layer(layer.name, layer.activation * picked.to(layer.activation.device))


#: The impostors: name, and the function that builds one in place of a layer.
IMPOSTORS: Mapping[str, Callable[[Layer, Probe], Layer | None]] = {
    "label": label_units,
    "energy": energy_units,
    "copies": copied_units,
    "two concepts": two_concept_units,
    "noise": noise_units,
}

#: The impostors that are cheats of an aspect, or of the part of it that a headline stands for.
CHEATS: Mapping[str, tuple[str, ...]] = {
    "focus": ("label", "energy", "noise"),
    "localisation": ("label", "energy", "noise"),
    "exclusivity": ("label", "energy", "two concepts", "noise"),
    "coverage": ("label", "energy", "copies", "noise"),
    "class specificity": ("energy", "copies", "noise"),
    "structure": ("label", "energy", "copies"),
    "consistency": ("label", "energy", "copies"),
    "module semantics": ("label", "copies"),
}

#: Needs of metrics that read weights, rerun the network, or ask what its method claims.
_OF_THE_NETWORK = frozenset({"trunk", "weights", "claimed", "validations"})


def reads_activations(item: Metric) -> bool:
    """Whether a metric reads activations alone, so that an impostor can be scored with it."""
    return scope(item.function) != "network" and not item.needs & _OF_THE_NETWORK


def impostor_probe(name: str, probe: Probe) -> Probe | None:
    """The probe with every layer replaced by an impostor; None if no layer has this impostor."""
    built = {key: IMPOSTORS[name](layer, probe) for key, layer in probe.layers.items()}
    layers = {key: layer for key, layer in built.items() if layer is not None}
    return replace(probe, layers=layers, memo={}) if layers else None
