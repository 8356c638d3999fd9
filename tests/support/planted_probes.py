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

#: Pixels along the side of one position of a map.
PIXELS_PER_POSITION = 4


def pooled_network(
    units: int, classes: int, map_size: tuple[int, ...], generator: torch.Generator
) -> Network:
    """A network that reads each unit's map off a channel: Tap "units", pooling, linear head."""
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


def to_pixels(maps: Tensor) -> Tensor:
    """Maps as images: each position becomes a square of equal pixels."""
    return maps.repeat_interleave(PIXELS_PER_POSITION, -2).repeat_interleave(
        PIXELS_PER_POSITION, -1
    )


def random_masks(
    images: int, concepts: int, size: int, generator: torch.Generator, least: int = 2
) -> Bool[Tensor, "images concepts size size"]:
    """A square at a random place for about two thirds of the images and concepts; its sides have
    from ``least`` to half of ``size`` pixels."""
    corner = torch.randint(0, size // 2, (images, concepts, 2, 1), generator=generator)
    side = torch.randint(least, size // 2, (images, concepts, 1, 1), generator=generator)
    line = torch.arange(size)
    inside = (line >= corner) & (line < corner + side)
    contains = torch.rand(images, concepts, 1, 1, generator=generator) < 0.67
    return inside[:, :, 0, :, None] & inside[:, :, 1, None, :] & contains


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
    """A layer "units" with this activation, and the probe of a network that reads it off images."""
    classes = int(labels.max()) + 1 if classes is None else classes
    generator = torch.Generator().manual_seed(seed)
    network = pooled_network(activation.shape[1], classes, tuple(activation.shape[2:]), generator)
    images = activation if activation.ndim == 4 else activation[:, :, None, None]
    images = to_pixels(images)
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
    """Sparse random maps, correlated with the labels, and random masks at four times their size."""
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
    """Images with several parts of different brightness; unit k detects part k only.

    Image n contains part n mod parts, which is its class, and ``others`` more. Each is a square of
    8 pixels at a random place in 32 x 32 pixels; the activation of its unit is coverage times
    brightness.
    """
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(images) % parts
    order = torch.rand(images, parts, generator=generator)
    order[torch.arange(images), labels] = 2.0
    contains = order >= order.topk(others + 1, dim=1).values[:, -1:]
    corner = torch.randint(25, (images, parts, 2, 1), generator=generator)
    line = torch.arange(32)
    inside = (line >= corner) & (line < corner + 8)
    masks = inside[:, :, 0, :, None] & inside[:, :, 1, None, :] & contains[:, :, None, None]
    brightness = 0.5 + torch.rand(images, parts, 1, 1, generator=generator)
    activation = (
        nn.functional.adaptive_avg_pool2d(masks.float(), 32 // PIXELS_PER_POSITION) * brightness
    )
    names = [f"part {k}" for k in range(parts)]
    concepts = Concepts.pack(masks, names, ["part"] * parts, [True] * parts, range(parts))
    return make_probe(activation, labels, concepts)


def probe_planted(network: Network, data: Dataset) -> Probe:
    """The probe of a planted network at all Taps, on the test images."""
    return probe(network.eval(), Method(), data.test, ["all"])
