"""A trained network and held-out images -> the Probe that every metric reads."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from legible.bench.backbones.taps import Network
from legible.bench.data.base import Split
from legible.bench.scoring.oracle import measurable
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
    """One pass in evaluation mode and float32, keeping raw activations of some Taps.

    ``layers`` holds Tap names or choices ("last_spatial", "last", "all", ...).
    """
    network.eval()
    method.eval()
    names = resolve(network, layers)
    images: list[Tensor] = []
    logits: list[Tensor] = []
    kept: dict[str, list[Tensor]] = {name: [] for name in names}
    for _, batch in split.batches(chunk):
        out = network(batch)
        images.append(batch)
        logits.append(out.logits)
        for name in names:
            kept[name].append(out.activations[name].contiguous())
    claimed = method.partition(network)
    concepts = unused_concepts(split.concepts, method)
    probed = {name: Layer(name, torch.cat(kept[name]), claimed.get(name)) for name in names}
    return Probe(
        network, torch.cat(images), split.labels, torch.cat(logits), probed,
        concepts, gate(network, concepts, names), seed,
    )  # fmt: skip


def resolve(network: Network, layers: Sequence[str]) -> list[str]:
    """Tap names for names and choices, in running order, each once."""
    choices = ("last_spatial", "last", "spatial", "dense", "all")
    chosen: set[str] = set()
    for layer in layers:
        chosen |= set(select_taps(network, layer if layer in choices else [layer]))  # type: ignore[arg-type]
    return [name for name in network.taps if name in chosen]


def unused_concepts(concepts: Concepts | None, method: Method) -> Concepts | None:
    """The concepts a method was not trained on: no method is scored on what it was given."""
    used = set(method.used_concepts())
    if concepts is None or not used:
        return concepts
    return concepts.select([k for k, name in enumerate(concepts.names) if name not in used])


def gate(network: Network, concepts: Concepts | None, names: Sequence[str]) -> frozenset[str]:
    """The layers whose maps are fine enough for these concept masks: those an oracle passes."""
    if concepts is None:
        return frozenset()
    passed = {
        shape: measurable(concepts, shape)[0]
        for shape in {network.taps[name].shape[1:] for name in names if network.taps[name].spatial}
    }
    return frozenset(name for name in names if passed.get(network.taps[name].shape[1:], False))
