"""Toy data with concept masks and toy networks, which train in a tenth of a second."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from legible.bench.backbones.taps import Network
from legible.bench.data.base import Dataset, make_splits
from legible.bench.plugins import registry
from legible.bench.training.recipe import Recipe
from legible.metrics.network import Concepts

SIZE = 16
COUNTS = {"train": 64, "validation": 32, "test": 32}
SHAPES = torch.tensor([[2, 7], [7, 2], [4, 4]])  # height and width of each class's shape
NAMES = ("bar", "column", "square", "dot", "shade")

RECIPE = Recipe(epochs=3, batch=16, lr=2e-2)

#: Toy networks: backbone and parameters; a method is checked on the first that it can use.
NETWORKS: dict[str, tuple[str, dict[str, object]]] = {
    "vgg": ("vgg", {"width": 4, "depth": 1, "stages": 2}),
    "mlp": ("mlp", {"hidden": (16, 12)}),
    "lenet5": ("lenet5", {}),
    "resnet18": ("resnet18", {"width": 4, "stages": 1}),
}


@functools.cache
def toy_data(concepts: bool = True) -> Dataset:
    """Three classes of shapes at random places on noise; some images have a dot or a shade."""
    parts = {
        name: _split(count, 17 + i, concepts) for i, (name, count) in enumerate(COUNTS.items())
    }
    splits = make_splits(parts, len(SHAPES))
    return Dataset("toy", NAMES[:3], splits["train"], splits["validation"], splits["test"], shift=1)


def _split(count: int, seed: int, concepts: bool) -> tuple[Tensor, Tensor, Concepts | None]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % len(SHAPES)
    place = torch.rand(2, 2, count, generator=generator)
    shape = _rectangles(SHAPES[labels].T, place[0])
    dot = _rectangles(torch.full((2, count), 2), place[1])
    dot = dot & (torch.rand(count, 1, 1, generator=generator) < 0.5)
    shade = torch.arange(SIZE).expand(count, SIZE, SIZE) < SIZE // 2
    shade = shade & (torch.rand(count, 1, 1, generator=generator) < 0.3)
    noise = torch.randn(count, SIZE, SIZE, generator=generator)
    contrast = torch.tensor([40.0, 90.0, 160.0])[labels].view(-1, 1, 1)
    light = 60 + 8 * noise + contrast * shape + 60 * dot - 20 * shade
    images = light.clamp(0, 255).to(torch.uint8).unsqueeze(1)
    if not concepts:
        return images, labels, None
    own = shape.unsqueeze(1) & torch.nn.functional.one_hot(labels, 3).bool()[:, :, None, None]
    masks = torch.cat([own, dot.unsqueeze(1), shade.unsqueeze(1)], 1)
    kinds = ("shape",) * 3 + ("mark",) * 2
    concept_masks = Concepts.pack(masks, NAMES, kinds, (True,) * 4 + (False,), (0, 1, 2))
    return images, labels, concept_masks


def _rectangles(extent: Tensor, place: Tensor) -> Tensor:
    """Masks (count, SIZE, SIZE) of rectangles; ``extent`` and ``place`` are (2, count), places
    from 0 to 1."""
    start = (place * (SIZE + 1 - extent)).long().view(2, -1, 1, 1)
    end = start + extent.view(2, -1, 1, 1)
    rows, columns = torch.arange(SIZE).view(1, -1, 1), torch.arange(SIZE).view(1, 1, -1)
    inside = (rows >= start[0]) & (rows < end[0])
    return inside & (columns >= start[1]) & (columns < end[1])


def with_blanks(data: Dataset) -> Dataset:
    """The data with every fourth training image black."""
    images = data.train.images.clone()
    images[::4] = 0
    return replace(data, train=replace(data.train, images=images))


def builder(name: str, data: Dataset) -> Callable[[], Network]:
    """Returns a function that builds a toy network for the data."""
    backbone, params = NETWORKS[name]
    build = registry.get("backbones", backbone)
    return lambda: build(data.image, len(data.class_names), **params)


@torch.no_grad()
def flatten_units(network: Network) -> None:
    """Makes each Tap's first unit dead and its second unit constant, in the norm or weight layer
    before the Tap, if it has one."""
    for tap in network.taps.values():
        for module in (tap.norm, tap.incoming):
            weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
            if weight is not None and bias is not None:
                weight[:2] = 0.0
                bias[:2] = torch.tensor([-1.0, 1.0])
                break
