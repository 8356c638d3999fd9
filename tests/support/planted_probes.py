"""Small probes with hand-set or random activations, for tests of metrics."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from legible.bench.backbones.taps import Network, Tap
from legible.bench.data.base import Dataset
from legible.bench.scoring.probe import probe_network as probe
from legible.methods.base import Method
from legible.metrics.base import Layer, Probe
from legible.metrics.network import Concepts

#: Pixels along the side of one cell of a map.
PIXELS_PER_POSITION = 4


def pooled_network(
    units: int, classes: int, map_size: tuple[int, ...], generator: torch.Generator
) -> Network:
    """Images that show each unit's map in a channel -> Tap "units" -> pooling -> linear head."""
    head = nn.Linear(units, classes)
    with torch.no_grad():
        head.weight.normal_(generator=generator)
        head.bias.zero_()
    flat = len(map_size) == 0
    pool: list[nn.Module] = [] if flat else [nn.AdaptiveAvgPool2d(1)]
    start = [nn.AvgPool2d(PIXELS_PER_POSITION), *([nn.Flatten()] if flat else [])]
    modules = nn.Sequential(*start, nn.ReLU(), Tap("units"), *pool, nn.Flatten(), head)
    image = (units, *(PIXELS_PER_POSITION * side for side in map_size or (1, 1)))
    return Network(modules, list(modules), image).eval()


def random_masks(
    images: int, concepts: int, size: int, generator: torch.Generator
) -> Bool[Tensor, "images concepts size size"]:
    """A filled square somewhere for about two thirds of the images and concepts."""
    corner = torch.randint(0, size // 2, (images, concepts, 2, 1), generator=generator)
    side = torch.randint(2, size // 2, (images, concepts, 1, 1), generator=generator)
    line = torch.arange(size)
    inside = (line >= corner) & (line < corner + side)
    present = torch.rand(images, concepts, 1, 1, generator=generator) < 0.67
    return inside[:, :, 0, :, None] & inside[:, :, 1, None, :] & present


def make_concepts(
    masks: Bool[Tensor, "images concepts height width"], categories: Sequence[str] = ()
) -> Concepts:
    """Concepts "0", "1", ... of one category, all of them landmarks."""
    count = masks.shape[1]
    names = [str(k) for k in range(count)]
    return Concepts.pack(masks, names, categories or ["part"] * count, [True] * count)


def make_probe(
    activation: Float[Tensor, "images units *map"],
    labels: Int[Tensor, "images"],
    concepts: Concepts | None = None,
    classes: int | None = None,
    claimed: Int[Tensor, "units"] | None = None,
    seed: int = 0,
) -> tuple[Layer, Probe]:
    """A layer "units" with that activation, on a network that reads it off the images."""
    classes = int(labels.max()) + 1 if classes is None else classes
    generator = torch.Generator().manual_seed(seed)
    network = pooled_network(activation.shape[1], classes, tuple(activation.shape[2:]), generator)
    images = activation if activation.ndim == 4 else activation[:, :, None, None]
    images = images.repeat_interleave(PIXELS_PER_POSITION, 2).repeat_interleave(
        PIXELS_PER_POSITION, 3
    )
    with torch.no_grad():
        logits = network(images).logits
    layer = Layer("units", activation, claimed)
    measurable = frozenset(["units"]) if concepts is not None else frozenset()
    return layer, Probe(
        network, images, labels, logits, {"units": layer}, concepts, measurable, seed
    )


def random_probe(
    images: int = 60,
    units: int = 10,
    classes: int = 3,
    size: int = 6,
    concepts: int = 4,
    seed: int = 0,
) -> tuple[Layer, Probe]:
    """Sparse random maps, related to the labels, with random masks at four times their size."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(images) % classes
    activation = torch.randn(images, units, size, size, generator=generator)
    favourite = torch.arange(units) % classes
    activation += (labels[:, None] == favourite)[:, :, None, None] * 0.8
    masks = random_masks(images, concepts, PIXELS_PER_POSITION * size, generator)
    claimed = torch.arange(units) % 3 - (torch.arange(units) == units - 1).long()
    return make_probe(activation.relu(), labels, make_concepts(masks), classes, claimed, seed)


def scenes(
    images: int = 480, parts: int = 24, others: int = 3, seed: int = 0
) -> tuple[Layer, Probe]:
    """Images of several parts, of uneven brightness; unit k detects part k and nothing else.

    Image n shows part n mod parts, its class, and ``others`` more, each an 8-pixel square
    anywhere in 32 pixels; a unit's activation is its part's coverage times its brightness.
    """
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(images) % parts
    order = torch.rand(images, parts, generator=generator)
    order[torch.arange(images), labels] = 2.0
    shown = order >= order.topk(others + 1, dim=1).values[:, -1:]
    corner = torch.randint(25, (images, parts, 2, 1), generator=generator)
    line = torch.arange(32)
    inside = (line >= corner) & (line < corner + 8)
    masks = inside[:, :, 0, :, None] & inside[:, :, 1, None, :] & shown[:, :, None, None]
    brightness = 0.5 + torch.rand(images, parts, 1, 1, generator=generator)
    activation = (
        nn.functional.adaptive_avg_pool2d(masks.float(), 32 // PIXELS_PER_POSITION) * brightness
    )
    names = [f"part {k}" for k in range(parts)]
    concepts = Concepts.pack(masks, names, ["part"] * parts, [True] * parts, range(parts))
    return make_probe(activation, labels, concepts)


def probe_planted(network: Network, data: Dataset) -> Probe:
    """A planted network probed, at every Tap, on its data's test images."""
    return probe(network.eval(), Method(), data.test, ["all"])
