"""Real characters: the class is a component, wherever in the character it stands."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from legible.bench.data import characters as selection
from legible.bench.data import strokes as drawing
from legible.bench.data import texture as backgrounds
from legible.bench.data.base import Dataset, dataset
from legible.bench.data.cache import Made, cached, restore
from legible.bench.data.kanji_plan import CLASSES, SPLITS, Plan, plan_characters
from legible.bench.data.parameter_checks import at_least, between
from legible.bench.data.strokes import distance, kanjivg_files, read_characters
from legible.bench.data.backgrounds import textured_background
from legible.metrics.network import Concepts

ATTRIBUTION = "KanjiVG, (c) Ulrich Apel, CC BY-SA 3.0"
PIXELS = 2**16  # drawn at once


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
    """Characters of KanjiVG, drawn with varied affine map, stroke width, contrast and background.

    A class is a component that a character holds exactly once, with none of the other classes'
    components, and that stands left, right, top, bottom, in the middle or around. Train,
    validation and test hold different characters, drawn so that its place says as little as can be
    about the class (see `bench/data/kanji_plan.py`). Concepts, with exact masks: components,
    stroke types and the position of the class's component.

    ``warp`` scales the range of the affine map (0: none), ``clutter`` is the number of foreign
    strokes an image, which are fainter and have no mask, ``texture`` scales the contrast of the
    background and ``inverted`` is the share of images with dark ink.
    Raises DataMissing without the kanjivg package, ValueError for a parameter out of range.
    """
    options = {k: v for k, v in locals().items() if k != "root"}
    _check(**options)
    files = kanjivg_files()
    sources = [selection, drawing, backgrounds, sys.modules[__name__]]
    key = {**options, "kanjivg": drawing.kanjivg_version()}
    made = cached(root, "kanji", key, sources, lambda: _make(files, **options))
    names = tuple(made[1]["names"][:classes])
    splits = restore(made, size, classes)
    return Dataset("kanji", names, *splits, shift=2, attribution=ATTRIBUTION)


def _check(**options: Any) -> None:
    between("size", options["size"], 28, 512)
    between("classes", options["classes"], 2, len(CLASSES))
    between("channels", options["channels"], 1, 4)
    for split in SPLITS:
        at_least(split, options[split], options["classes"])
    between("warp", options["warp"], 0, 3)
    between("clutter", options["clutter"], 0, 50)
    between("texture", options["texture"], 0, 5)
    between("inverted", options["inverted"], 0, 1)
    at_least("seed", options["seed"], 0)


def _make(files: tuple[Path, ...], **options: Any) -> Made:
    """Deals the characters to the splits and draws all images."""
    plan = plan_characters(read_characters(files), options["classes"], options["seed"])
    tensors: dict[str, Tensor] = {}
    for number, split in enumerate(SPLITS):
        generator = torch.Generator().manual_seed(options["seed"] * len(SPLITS) + number)
        which, labels = _deal(plan.members[split], plan.odds[split], options[split], generator)
        images, packed = _draw(plan, which, generator, options)
        tensors[f"{split}.images"], tensors[f"{split}.packed"] = images, packed
        tensors[f"{split}.labels"] = labels
    notes = {
        "names": plan.names,
        "categories": plan.categories,
        "landmark": plan.landmark,
        "of_class": list(range(options["classes"])),
    }
    return tensors, notes


def _deal(
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
    plan: Plan, which: Tensor, generator: torch.Generator, options: dict[str, Any]
) -> tuple[Tensor, Tensor]:
    """Images and packed concept masks of the given characters."""
    ink, chunk = _Ink(plan), max(1, PIXELS // options["size"] ** 2)
    drawn = [_draw_chunk(ink, rows, generator, **options) for rows in which.split(chunk)]
    return torch.cat([image for image, _ in drawn]), torch.cat([packed for _, packed in drawn])


class _Ink:
    """All characters' strokes in one table, with where each character's begin."""

    def __init__(self, plan: Plan) -> None:
        self.concepts = len(plan.names)
        self.points = torch.from_numpy(
            np.concatenate([c.points for c in plan.characters]).astype(np.float32)
        )
        counts = torch.tensor([len(c.types) for c in plan.characters])
        self.start, self.count = counts.cumsum(0) - counts, counts
        pairs = [p for held in plan.belongs for p in held]
        self.pairs = torch.tensor(pairs).reshape(-1, 2)  # stroke within character, concept
        self.pair_count = torch.tensor([len(held) for held in plan.belongs])
        self.pair_start = self.pair_count.cumsum(0) - self.pair_count
        strangers = torch.tensor(plan.strangers)
        self.foreign = _ranges(self.start[strangers], self.count[strangers])[0]


def _ranges(start: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """Concatenates start .. start + count, and says which range each entry is of."""
    owner = torch.repeat_interleave(torch.arange(len(count)), count)
    first = count.cumsum(0) - count
    return torch.arange(len(owner)) - first[owner] + start[owner], owner


def _draw_chunk(
    ink: _Ink,
    which: Tensor,
    generator: torch.Generator,
    *,
    size: int,
    channels: int,
    warp: float,
    clutter: int,
    texture: float,
    inverted: float,
    **_: Any,
) -> tuple[Tensor, Tensor]:
    rows, owner = _ranges(ink.start[which], ink.count[which])
    turn, move = _affine(len(which), warp, generator)
    radius = size / 32 * (0.6 + 0.5 * torch.rand(len(which), 1, 1, generator=generator))
    points = size * ((ink.points[rows] - 0.5) @ turn[owner].mT + move[owner] + 0.5)
    away = distance(points, size)
    touched = away < radius[owner] + 0.25  # a quarter of full ink or more
    paint = _nearest(away, owner, len(which), radius)
    if clutter:
        stray, stray_owner = _stray(ink, len(which), clutter, turn, size, generator)
        strength = 0.2 + 0.4 * torch.rand(len(which), 1, 1, generator=generator)
        loose = _nearest(distance(stray, size), stray_owner, len(which), radius)
        paint = torch.maximum(paint, strength * loose)
    images = _compose(paint, channels, texture, inverted, generator)
    return images, _masks(ink, which, owner, touched)


def _affine(count: int, warp: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Matrices (rotation, scale, shear) and translations, in canvas sides."""
    draw = warp * (2 * torch.rand(6, count, generator=generator) - 1)
    angle, shear = 0.1 * draw[0], 0.08 * draw[1]
    wide, high = 0.84 + 0.08 * draw[2], 0.84 + 0.08 * draw[3]
    cos, sin = angle.cos(), angle.sin()
    turn = torch.stack([cos * wide, cos * shear - sin * high, sin * wide, sin * shear + cos * high])
    return turn.T.reshape(count, 2, 2), 0.025 * draw[4:].T.reshape(count, 1, 2)


def _stray(
    ink: _Ink, count: int, clutter: int, turn: Tensor, size: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Strokes of other characters, anywhere in the image."""
    owner = torch.arange(count).repeat_interleave(clutter)
    pick = torch.randint(len(ink.foreign), (len(owner),), generator=generator)
    points = ink.points[ink.foreign[pick]]
    points = (points - points.mean(1, keepdim=True)) @ turn[owner].mT
    return size * (points + torch.rand(len(owner), 1, 2, generator=generator)), owner


def _nearest(away: Tensor, owner: Tensor, count: int, radius: Tensor) -> Tensor:
    """How much ink lies on each pixel: 1 within the stroke, falling to 0 over a pixel."""
    index = owner.view(-1, 1, 1).expand_as(away)
    nearest = away.new_full((count, *away.shape[1:]), 1e9).scatter_reduce_(0, index, away, "amin")
    return (radius + 0.5 - nearest).clamp_(0, 1)


def _masks(ink: _Ink, which: Tensor, owner: Tensor, touched: Tensor) -> Tensor:
    """Packed masks: a concept lies where one of its strokes does."""
    rows, image = _ranges(ink.pair_start[which], ink.pair_count[which])
    stroke, concept = ink.pairs[rows].T
    first = ink.count[which].cumsum(0) - ink.count[which]
    planes = torch.zeros(len(which) * ink.concepts, *touched.shape[1:], dtype=torch.uint8)
    planes.index_add_(0, image * ink.concepts + concept, touched[first[image] + stroke].byte())
    masks = planes.view(len(which), ink.concepts, *touched.shape[1:]) > 0
    blank = [""] * ink.concepts
    return Concepts.pack(masks, blank, blank, [False] * ink.concepts).packed


def _compose(
    paint: Tensor, channels: int, texture: float, inverted: float, generator: torch.Generator
) -> Tensor:
    """Ink, darker or lighter than a textured ground, as uint8."""
    count, size = len(paint), paint.shape[-1]
    draw = torch.rand(3, count, channels, 1, 1, generator=generator)
    sign = torch.where(torch.rand(count, 1, 1, 1, generator=generator) < inverted, -1.0, 1.0)
    level = 0.5 - sign * (0.05 + 0.15 * draw[0])
    ground = texture * (0.016 + 0.024 * draw[1]) * textured_background(count, size, generator)
    image = level + ground + sign * (0.25 + 0.2 * draw[2]) * paint[:, None]
    return (255 * image.clamp(0.02, 1)).round().to(torch.uint8)
