"""Runs a trained network on held-out images and returns the Probe that metrics read."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from legible.bench.backbones.taps import Network
from legible.bench.data.base import Split
from legible.bench.scoring.oracle import measurability
from legible.methods.base import Method, select_taps
from legible.metrics.base import Layer, Probe
from legible.metrics.network import Concepts


@torch.no_grad()
def probe_network(
    network: Network,
    method: Method,
    split: Split,
    layers: Sequence[str],
    seed: int = 0,
    chunk: int = 250,
) -> Probe:
    """The raw activations of some Taps, and the logits, on the images of a split.

    One pass in evaluation mode and float32, ``chunk`` images at a time. ``layers`` holds Tap names
    or choices ("last_spatial", "last", "spatial", "dense", "all"). ``seed`` is that of the
    metrics' random numbers.
    """
    network.eval()
    method.eval()
    names = resolve(network, layers)
    images: list[Tensor] = []
    logits: list[Tensor] = []
    activations: dict[str, list[Tensor]] = {name: [] for name in names}
    for _, batch in split.batches(chunk):
        out = network(batch)
        images.append(batch)
        logits.append(out.logits)
        for name in names:
            activations[name].append(out.activations[name].contiguous())
    claimed = method.partition(network)
    concepts = unused_concepts(split.concepts, method)
    return Probe(
        network=network,
        images=torch.cat(images),
        labels=split.labels,
        logits=torch.cat(logits),
        layers={n: Layer(n, torch.cat(activations[n]), claimed.get(n)) for n in names},
        concepts=concepts,
        measurable=measurable_layers(network, concepts, names),
        seed=seed,
        fixed=method.fixed,
    )


def resolve(network: Network, layers: Sequence[str]) -> list[str]:
    """Tap names for a list of names and choices: in the network's order, each once."""
    choices = ("last_spatial", "last", "spatial", "dense", "all")
    selected: set[str] = set()
    for layer in layers:
        selected |= set(select_taps(network, layer if layer in choices else [layer]))  # type: ignore[arg-type]
    return [name for name in network.taps if name in selected]


def unused_concepts(concepts: Concepts | None, method: Method) -> Concepts | None:
    """The concepts that a method was not trained on; it is scored on these alone."""
    trained_on = set(method.used_concepts())
    if concepts is None or not trained_on:
        return concepts
    return concepts.select([k for k, name in enumerate(concepts.names) if name not in trained_on])


def measurable_layers(
    network: Network, concepts: Concepts | None, names: Sequence[str]
) -> frozenset[str]:
    """The layers whose maps are fine enough for the concept masks (see `measurability`)."""
    if concepts is None:
        return frozenset()
    passes = {
        map_size: measurability(concepts, map_size).passes
        for map_size in {
            network.taps[name].shape[1:] for name in names if network.taps[name].spatial
        }
    }
    return frozenset(name for name in names if passes.get(network.taps[name].shape[1:], False))
