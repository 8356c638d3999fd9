"""Kanji: drawn characters, where the class is one component of the character."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from legible.bench.data.backgrounds import textured_background
from legible.bench.data.base import Dataset, dataset
from legible.bench.data.cache import CacheEntry, cached, restore_splits
from legible.bench.data.kanji_plan import CLASSES, SPLITS, Plan, plan_characters
from legible.bench.data.parameter_checks import at_least, between, fits_in_memory
from legible.bench.data.strokes import (
    distance,
    kanjivg_files,
    kanjivg_version,
    read_characters,
)
from legible.metrics.network import Concepts

ATTRIBUTION = "KanjiVG, (c) Ulrich Apel, CC BY-SA 3.0"
PIXELS = 2**16  # drawn at once
MOST_CONCEPTS = 60  # that all classes have together


class KanjiOptions(NamedTuple):
    """The parameters of `kanji`."""

    size: int
    classes: int
    channels: int
    train: int
    validation: int
    test: int
    warp: float
    clutter: int
    texture: float
    inverted: float
    seed: int


@dataset
def kanji(
    root: Path,
    size: int = 32,
    classes: int = 18,
    channels: int = 1,
    train: int = 6000,
    validation: int = 1000,
    test: int = 2000,
    warp: float = 0.8,
    clutter: int = 1,
    texture: float = 0.5,
    inverted: float = 0.0,
    seed: int = 0,
) -> Dataset:
    """Kanji from KanjiVG; the class is a component that the character contains exactly once.

    No character contains the components of two classes. The component may stand at the left,
    right, top or bottom, in the middle, or around the rest. Training, validation and test images
    show different characters, chosen so that the place of the component tells as little as
    possible about the class (see bench/data/kanji_plan.py). Affine map, stroke width, contrast and
    background vary. Concepts, with exact masks: components, stroke types, and the position of the
    class's component.

    ``warp`` scales the range of the affine map (0: none). ``clutter`` is the number of strokes of
    other characters in an image; they are fainter and have no mask. ``texture`` scales the
    contrast of the background. ``inverted`` is the share of images with dark ink.
    Raises DataMissing without the kanjivg package, ValueError for a parameter out of range.
    """
    options = KanjiOptions(
        size=size, classes=classes, channels=channels, train=train, validation=validation,
        test=test, warp=warp, clutter=clutter, texture=texture, inverted=inverted, seed=seed,
    )  # fmt: skip
    _check(options)
    files = kanjivg_files()
    key = {**options._asdict(), "kanjivg": kanjivg_version()}
    entry = cached(root, "kanji", key, __file__, lambda: _draw_all(files, options))
    names = tuple(entry.notes["names"][:classes])
    splits = restore_splits(entry, size, classes)
    return Dataset("kanji", names, *splits, shift=2, attribution=ATTRIBUTION)


def _check(options: KanjiOptions) -> None:
    between("size", options.size, 28, 512)
    between("classes", options.classes, 2, len(CLASSES))
    between("channels", options.channels, 1, 4)
    for split in SPLITS:
        at_least(split, getattr(options, split), options.classes)
    between("warp", options.warp, 0, 3)
    between("clutter", options.clutter, 0, 50)
    between("texture", options.texture, 0, 5)
    between("inverted", options.inverted, 0, 1)
    at_least("seed", options.seed, 0)
    count = options.train + options.validation + options.test
    fits_in_memory(count, options.size, options.channels + MOST_CONCEPTS / 8)


def _draw_all(files: tuple[Path, ...], options: KanjiOptions) -> CacheEntry:
    """Divides the characters among the splits and draws all images."""
    plan = plan_characters(read_characters(files), options.classes, options.seed)
    tensors: dict[str, Tensor] = {}
    for number, split in enumerate(SPLITS):
        generator = torch.Generator().manual_seed(options.seed * len(SPLITS) + number)
        images_of_split = getattr(options, split)
        which, labels = _choose(plan.members[split], plan.odds[split], images_of_split, generator)
        images, packed = _draw(plan, which, generator, options)
        tensors[f"{split}.images"], tensors[f"{split}.packed"] = images, packed
        tensors[f"{split}.labels"] = labels
    notes = {
        "names": plan.names,
        "categories": plan.categories,
        "landmark": plan.landmark,
        "of_class": list(range(options.classes)),
    }
    return CacheEntry(tensors, notes)


def _choose(
    members: list[list[int]], odds: list[list[float]], count: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """A character and a label for each image: classes equally often, characters by their odds."""
    labels = torch.arange(count) % len(members)
    labels = labels[torch.randperm(count, generator=generator)]
    which = torch.empty_like(labels)
    for label, (row, chances) in enumerate(zip(members, odds, strict=True)):
        mine = labels == label
        pick = torch.tensor(chances).multinomial(int(mine.sum()), True, generator=generator)
        which[mine] = torch.tensor(row)[pick]
    return which, labels


def _draw(
    plan: Plan, which: Tensor, generator: torch.Generator, options: KanjiOptions
) -> tuple[Tensor, Tensor]:
    """Images and packed concept masks of characters, by number."""
    strokes, chunk = _StrokeTable(plan), max(1, PIXELS // options.size**2)
    parts = [_draw_chunk(strokes, rows, generator, options) for rows in which.split(chunk)]
    return torch.cat([image for image, _ in parts]), torch.cat([packed for _, packed in parts])


class _StrokeTable:
    """The strokes of all characters in one tensor, with the first row of each character."""

    def __init__(self, plan: Plan) -> None:
        self.concepts = len(plan.names)
        self.points = torch.from_numpy(
            np.concatenate([c.points for c in plan.characters]).astype(np.float32)
        )
        counts = torch.tensor([len(c.types) for c in plan.characters])
        self.start, self.count = counts.cumsum(0) - counts, counts
        pairs = [pair for of_character in plan.belongs for pair in of_character]
        self.pairs = torch.tensor(pairs).reshape(-1, 2)  # stroke within character, concept
        self.pair_count = torch.tensor([len(of_character) for of_character in plan.belongs])
        self.pair_start = self.pair_count.cumsum(0) - self.pair_count
        strangers = torch.tensor(plan.strangers)
        self.foreign = _ranges(self.start[strangers], self.count[strangers])[0]


def _ranges(start: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """The concatenated ranges start .. start + count, and the range that each entry is from."""
    owner = torch.repeat_interleave(torch.arange(len(count)), count)
    first = count.cumsum(0) - count
    return torch.arange(len(owner)) - first[owner] + start[owner], owner


def _draw_chunk(
    strokes: _StrokeTable, which: Tensor, generator: torch.Generator, options: KanjiOptions
) -> tuple[Tensor, Tensor]:
    size = options.size
    rows, owner = _ranges(strokes.start[which], strokes.count[which])
    turn, move = _affine(len(which), options.warp, generator)
    radius = size / 32 * (0.6 + 0.5 * torch.rand(len(which), 1, 1, generator=generator))
    points = size * ((strokes.points[rows] - 0.5) @ turn[owner].mT + move[owner] + 0.5)
    away = distance(points, size)
    covered = away < radius[owner] + 0.25  # a quarter of full ink or more
    paint = _ink(away, owner, len(which), radius)
    if options.clutter:
        stray, stray_owner = _stray(strokes, len(which), options, turn, generator)
        strength = 0.2 + 0.4 * torch.rand(len(which), 1, 1, generator=generator)
        faint = _ink(distance(stray, size), stray_owner, len(which), radius)
        paint = torch.maximum(paint, strength * faint)
    return _compose(paint, options, generator), _masks(strokes, which, owner, covered)


def _affine(count: int, warp: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Matrices (rotation, scale, shear) and translations, in canvas sides."""
    draw = warp * (2 * torch.rand(6, count, generator=generator) - 1)
    angle, shear = 0.1 * draw[0], 0.08 * draw[1]
    wide, high = 0.84 + 0.08 * draw[2], 0.84 + 0.08 * draw[3]
    cos, sin = angle.cos(), angle.sin()
    turn = torch.stack([cos * wide, cos * shear - sin * high, sin * wide, sin * shear + cos * high])
    return turn.T.reshape(count, 2, 2), 0.025 * draw[4:].T.reshape(count, 1, 2)


def _stray(
    strokes: _StrokeTable,
    count: int,
    options: KanjiOptions,
    turn: Tensor,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Strokes of other characters, anywhere in the image, and the image of each."""
    owner = torch.arange(count).repeat_interleave(options.clutter)
    pick = torch.randint(len(strokes.foreign), (len(owner),), generator=generator)
    points = strokes.points[strokes.foreign[pick]]
    points = (points - points.mean(1, keepdim=True)) @ turn[owner].mT
    return options.size * (points + torch.rand(len(owner), 1, 2, generator=generator)), owner


def _ink(away: Tensor, owner: Tensor, count: int, radius: Tensor) -> Tensor:
    """Amount of ink on each pixel: 1 in a stroke, falling to 0 over one pixel at its edge."""
    index = owner.view(-1, 1, 1).expand_as(away)
    nearest = away.new_full((count, *away.shape[1:]), 1e9).scatter_reduce_(0, index, away, "amin")
    return (radius + 0.5 - nearest).clamp_(0, 1)


def _masks(strokes: _StrokeTable, which: Tensor, owner: Tensor, covered: Tensor) -> Tensor:
    """Packed masks: a concept's mask is the union of its strokes."""
    rows, image = _ranges(strokes.pair_start[which], strokes.pair_count[which])
    stroke, concept = strokes.pairs[rows].T
    first = strokes.count[which].cumsum(0) - strokes.count[which]
    concepts = strokes.concepts
    planes = torch.zeros(len(which) * concepts, *covered.shape[1:], dtype=torch.uint8)
    planes.index_add_(0, image * concepts + concept, covered[first[image] + stroke].byte())
    masks = planes.view(len(which), concepts, *covered.shape[1:]) > 0
    blank = [""] * concepts
    return Concepts.pack(masks, blank, blank, [False] * concepts).packed


def _compose(paint: Tensor, options: KanjiOptions, generator: torch.Generator) -> Tensor:
    """Ink, darker or lighter than a textured background, as uint8."""
    count, size = len(paint), paint.shape[-1]
    draw = torch.rand(3, count, options.channels, 1, 1, generator=generator)
    dark = torch.rand(count, 1, 1, 1, generator=generator) < options.inverted
    sign = torch.where(dark, -1.0, 1.0)
    level = 0.5 - sign * (0.05 + 0.15 * draw[0])
    background = textured_background(count, size, generator)
    background = options.texture * (0.016 + 0.024 * draw[1]) * background
    image = level + background + sign * (0.25 + 0.2 * draw[2]) * paint[:, None]
    return (255 * image.clamp(0.02, 1)).round().to(torch.uint8)
