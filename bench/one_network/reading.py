"""Reads a network on labelled images: the probe that metrics score."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from legible.bench.backbones.hooked import HookedNetwork
from legible.bench.backbones.taps import Network
from legible.bench.data.parameter_checks import memory_limit
from legible.bench.one_network.image_data import ImageData
from legible.bench.scoring.oracle import measurability
from legible.metrics.base import Layer, Probe
from legible.metrics.large_tensors import empty_tensor

#: Images in one forward pass.
CHUNK = 50


@dataclass(eq=False)
class UnjoinedProbe(Probe):
    """A probe whose labels are not outputs of the network: ``label_classes`` classes of the data.

    Metrics that compare answers with labels must not be asked.
    """

    label_classes: int = 0

    @property
    def classes(self) -> int:
        return self.label_classes


@torch.no_grad()
def read_network(
    network: Network | HookedNetwork,
    layers: Sequence[str],
    data: ImageData,
    is_joined: bool = True,
    seed: int = 0,
) -> Probe:
    """The raw activations of some layers, and the logits, on all images, in evaluation mode.

    Activations and images that would take more than a quarter of the memory are kept in temporary
    files. Layers whose maps are too coarse for the concept masks are not ``measurable``.
    """
    network.eval()
    device = data.labels.device
    on_disk = is_large(network, layers, data)
    images = empty_tensor((len(data), *data.image), device=device, in_file=on_disk)
    activations = {
        name: empty_tensor((len(data), *network.taps[name].shape), device=device, in_file=on_disk)
        for name in layers
    }
    logits = []
    for start in range(0, len(data), CHUNK):
        rows = slice(start, start + CHUNK)
        images[rows] = data.batch(rows)
        output = network(images[rows])
        logits.append(output.logits.float())
        for name in layers:
            activations[name][rows] = output.activations[name]
    parts = {name: Layer(name, values) for name, values in activations.items()}
    sizes = {n: tuple(p.activation.shape[2:]) for n, p in parts.items() if p.spatial}
    concepts = data.concepts
    fine = [n for n, size in sizes.items() if concepts and measurability(concepts, size).passes]
    fixed = f"the network {network.reason}" if isinstance(network, HookedNetwork) else ""
    about = {"seed": seed, "fixed": fixed, "measurable": frozenset(fine)}
    parts_of_probe = (network, images, data.labels, torch.cat(logits), parts, concepts)
    if is_joined:
        return Probe(*parts_of_probe, **about)  # type: ignore[arg-type]
    return UnjoinedProbe(*parts_of_probe, **about, label_classes=len(data.class_names))  # type: ignore[arg-type]


def is_large(network: Network | HookedNetwork, layers: Sequence[str], data: ImageData) -> bool:
    """Whether activations and images are kept in temporary files instead of in memory."""
    values = math.prod(data.image) + sum(math.prod(network.taps[name].shape) for name in layers)
    return 4 * len(data) * values > memory_limit()
