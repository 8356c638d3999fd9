"""Datasets of photographs: what their loaders plan, decoding into squares, and what is declared."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from legible.bench.data.base import CHUNK, DataMissing, Dataset, make_splits
from legible.bench.data.cache import CacheEntry, cached, restore_splits
from legible.bench.data.file_fingerprint import FileFingerprint
from legible.bench.data.framing import Sizing, frame_of, framed_image
from legible.bench.data.image_files import (
    ORIENTATION,
    read_each,
    read_rgb,
    reading_threads,
    shown_path,
)
from legible.bench.data.image_sets import check_counts, hold_out
from legible.bench.data.mapped_arrays import Allocate, cached_in_files, in_memory
from legible.bench.data.parameter_checks import IMAGES, fits_in_memory, too_large
from legible.bench.data.regions import EXTENTS, Region, drawn_region, turned
from legible.bench.text import one_line

SPLITS = ("train", "validation", "test")
#: The smallest share of its images in which a landmark occurs once.
SINGLE = 0.95


@dataclass(frozen=True, eq=False)
class Photographs(Dataset):
    """A dataset of photographs, with what its concepts rest on and what may be done with it.

    ``extents[k]`` says what concept k is in the data: "mask", "box", "point" or "image", or several
    of these, as "mask+box". ``licence`` is that of the images in one line, and ``publishable`` says
    whether pictures of them may be published. ``notes`` are lines on what was left out and why.
    ``files`` is a hash of the files that the data was read from (see `FileFingerprint`).
    """

    drawn: bool = False
    extents: tuple[str, ...] = ()
    licence: str = ""
    publishable: bool = False
    notes: tuple[str, ...] = ()
    files: str = ""


def pictures_allowed(data: Dataset) -> bool:
    """Whether pictures of a dataset's images may be published: drawn ones, and photographs whose
    dataset says so."""
    return data.drawn or (isinstance(data, Photographs) and data.publishable)


def inexact_concepts(data: Dataset) -> dict[str, list[str]]:
    """By "box", "point" and "image": the concepts of which some regions have no pixel mask."""
    if not isinstance(data, Photographs) or data.test.concepts is None:
        return {}
    pairs = list(zip(data.test.concepts.names, data.extents, strict=True))
    kinds = {kind: [n for n, e in pairs if kind in e.split("+")] for kind in EXTENTS[1:]}
    return {kind: names for kind, names in kinds.items() if names}


def extent_notes(data: Dataset) -> list[str]:
    """Lines that say what metrics which need pixel masks do with boxes, points and whole images."""
    treatment = {
        "box": "only a box, in some images or in all; metrics take the filled box as the mask",
        "point": "a point; metrics take a small disc around it as the mask",
        "image": "known of the whole image only; metrics take the whole image as the mask",
    }
    return [
        f"{len(names)} concept{'s are' if len(names) > 1 else ' is'} {treatment[kind]}: "
        f"{_listed(names)}"
        for kind, names in inexact_concepts(data).items()
    ]


def data_notes(data: Dataset) -> list[str]:
    """All that must be said of a dataset of photographs: `extent_notes`, what was left out, and the
    images' licence."""
    if not isinstance(data, Photographs):
        return []
    licence = [f"licence: {data.licence}"] if data.licence else []
    return [*extent_notes(data), *data.notes, *licence]


class Photograph(NamedTuple):
    """One image file, its class, and a function that reads its regions.

    ``size`` is width and height that the annotation gives; None if only masks give them. The image
    is ``scale`` times as large.
    """

    file: Path
    label: int
    regions: Callable[[], Sequence[Region]] = tuple
    size: tuple[int, int] | None = None
    scale: int = 1


@dataclass(frozen=True)
class PhotographPlan:
    """What a loader reads from its annotations: classes, concepts, and the images of each split.

    ``concepts`` holds name and category of each. ``of_class[c]`` is the concept that defines class
    c, or -1. ``instances``: each region is one thing, so that a concept with one region in nearly
    every image in which it occurs is a landmark (see `SINGLE`).
    """

    class_names: tuple[str, ...]
    splits: Mapping[str, Sequence[Photograph]]
    concepts: tuple[tuple[str, str], ...] = ()
    of_class: tuple[int, ...] = ()
    instances: bool = True
    notes: tuple[str, ...] = ()


class TooLarge(ValueError):
    """Images and masks that do not fit in memory; the message has the estimate and the limit."""


@dataclass(frozen=True)
class Sources:
    """The files of a dataset: its folder, image files, and annotation files."""

    place: Path
    images: Sequence[Path]
    annotations: Sequence[Path] = ()


def load_photographs(
    name: str,
    root: Path,
    code: str,
    sources: Sources,
    sizing: Sizing,
    parameters: Mapping[str, Any],
    plan: Callable[[], PhotographPlan],
    **about: Any,
) -> Photographs:
    """The dataset of a plan, decoded once and cached.

    ``code`` is the loader's file; its code, the files (see `FileFingerprint`), ``sizing`` and
    ``parameters`` are the cache's key. ``about`` are further fields of `Photographs`. Raises
    ValueError with one line for files that cannot be read, annotations that do not fit their
    images, and images that do not fit in memory where they must.
    """
    fingerprint = FileFingerprint(sources.place, sources.images, sources.annotations)
    key = {"files": fingerprint.here, "sizing": sizing.key(), "parameters": dict(parameters)}
    streamed = too_large(len(sources.images), sizing.size)
    if not streamed:
        try:
            entry = cached(root, name, key, code, lambda: decode(plan(), sizing))
        except TooLarge:  # with the masks, which the plan alone counts
            streamed = os.environ.get(IMAGES) != "memory"
            if not streamed:
                raise
    if streamed:
        entry = cached_in_files(
            root, name, key, code, lambda allocate: decode(plan(), sizing, allocate)
        )
    notes = entry.notes
    classes = tuple(notes["class_names"])
    if notes["names"]:
        splits = restore_splits(entry, sizing.size, len(classes))
    else:
        parts: dict[str, tuple[Tensor, Tensor, None]] = {
            split: (entry.tensors[f"{split}.images"], entry.tensors[f"{split}.labels"], None)
            for split in SPLITS
        }
        splits = tuple(make_splits(parts, len(classes)).values())  # type: ignore[assignment]
    if streamed:
        splits = tuple(replace(split, streamed=True) for split in splits)  # type: ignore[assignment]
    return Photographs(
        name, classes, *splits, extents=tuple(notes["extents"]), notes=tuple(notes["notes"]),
        files=fingerprint.content, **about,
    )  # fmt: skip


def arrange(
    train: Sequence[Photograph],
    test: Sequence[Photograph],
    separate: Sequence[Photograph] | None = None,
    *,
    validation: int | None,
    limit: int | None,
    seed: int,
) -> dict[str, list[Photograph]]:
    """The images of each split in a random order, as `image_dataset` makes them.

    Without a ``separate`` validation set, ``validation`` training images (None: a tenth, at least
    one) are held out, but never the last one of a class; ``limit`` of the rest are the training
    images.
    """
    check_counts(validation, limit, seed)
    labels = torch.tensor([photograph.label for photograph in train], dtype=torch.int64)
    room = len(labels) - len(labels.unique())
    count = min(max(1, len(labels) // 10), room) if validation is None else validation
    count = count if separate is None else 0
    if count > room:
        raise ValueError(f"validation must be at most {room}, not {count}")
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    first, rest = hold_out(order, labels, count)
    held = [train[row] for row in first.tolist()] if separate is None else _shuffled(separate, seed)
    rows = rest[:limit].tolist()
    return {"train": [train[r] for r in rows], "validation": held, "test": _shuffled(test, seed)}


def _shuffled(photographs: Sequence[Photograph], seed: int) -> list[Photograph]:
    generator = torch.Generator().manual_seed(seed + 2)
    return [photographs[r] for r in torch.randperm(len(photographs), generator=generator).tolist()]


def random_parts(
    photographs: Sequence[Photograph], seed: int, share: float = 0.2
) -> tuple[list[Photograph], list[Photograph]]:
    """Training and test images of data without a split: a fifth, drawn at random, is for the test.

    The last image of each class stays in training.
    """
    labels = torch.tensor([photograph.label for photograph in photographs], dtype=torch.int64)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed + 1))
    room = len(labels) - len(labels.unique())
    test, train = hold_out(order, labels, min(int(share * len(labels)), room))
    return [photographs[r] for r in train.tolist()], [photographs[r] for r in test.tolist()]


# ----------------------------------------------------------------- decoding


@dataclass
class _Tally:
    """What regions there were, over all splits, by concept."""

    present: np.ndarray  # images with a region
    single: np.ndarray  # images with one region
    extents: np.ndarray  # number of drawn regions of each extent
    outside: int = 0
    bare: int = 0  # images without regions


class _Decoded(NamedTuple):
    pixels: np.ndarray
    packed: np.ndarray
    counts: np.ndarray  # regions by concept
    extents: np.ndarray  # drawn regions by concept and extent
    outside: int  # regions outside the frame
    regions: int


def decode(plan: PhotographPlan, sizing: Sizing, allocate: Allocate | None = None) -> CacheEntry:
    """Images, labels and packed masks of all splits, without concepts that have no pixels.

    ``allocate`` makes the arrays of images and masks; without it they lie in memory. Raises
    TooLarge if they do not fit there.
    """
    size, concepts = sizing.size, len(plan.concepts)
    for split in SPLITS:
        if not plan.splits[split]:
            raise ValueError(f"there are no {split} images")
    if allocate is None:
        allocate = in_memory
        try:
            fits_in_memory(sum(map(len, plan.splits.values())), size, 3 + concepts / 8)
        except ValueError as error:
            raise TooLarge(str(error)) from None
    tally = _Tally(
        np.zeros(concepts, int), np.zeros(concepts, int), np.zeros((concepts, len(EXTENTS)), int)
    )
    tensors: dict[str, Tensor] = {}
    with reading_threads() as pool:
        for split in SPLITS:
            photographs = {photograph.file: photograph for photograph in plan.splits[split]}
            count, width = len(photographs), -(-size // 8)
            pixels = allocate(f"{split}.images", (count, 3, size, size))
            packed = allocate(f"{split}.packed", (count, concepts, size, width))
            read = partial(_decode_file, photographs, concepts, sizing)
            results = read_each(pool, read, [*photographs])
            for row, decoded in enumerate(results):
                pixels[row], packed[row] = decoded.pixels, decoded.packed
                _count(tally, decoded)
            tensors[f"{split}.images"] = torch.from_numpy(pixels)
            tensors[f"{split}.packed"] = torch.from_numpy(packed)
            labels = [photograph.label for photograph in photographs.values()]
            tensors[f"{split}.labels"] = torch.tensor(labels, dtype=torch.int64)
    return _without_empty(plan, tensors, tally, allocate)


def _count(tally: _Tally, decoded: _Decoded) -> None:
    tally.present += decoded.counts > 0
    tally.single += decoded.counts == 1
    tally.extents += decoded.extents
    tally.outside += decoded.outside
    tally.bare += not decoded.regions


def _decode_file(
    photographs: Mapping[Path, Photograph], concepts: int, sizing: Sizing, file: Path
) -> _Decoded:
    return _decode(photographs[file], concepts, sizing)


def _decode(photograph: Photograph, concepts: int, sizing: Sizing) -> _Decoded:
    """One image and its masks. Raises ValueError with the reason if they cannot be read."""
    image = read_rgb(photograph.file, sizing.background)
    regions = _fitting(photograph, photograph.regions(), image)
    frame = frame_of(*image.size, sizing)
    masks = np.zeros((concepts, sizing.size, sizing.size), bool)
    counts, extents, outside = np.zeros(concepts, int), np.zeros((concepts, len(EXTENTS)), int), 0
    for region in regions:
        mask = drawn_region(region, frame, photograph.scale, sizing)
        if not mask.any():
            outside += 1
            continue
        masks[region.concept] |= mask
        counts[region.concept] += 1
        extents[region.concept, EXTENTS.index(region.extent)] += 1
    packed = np.packbits(masks, axis=-1)
    pixels = framed_image(image, frame, sizing)
    return _Decoded(pixels, packed, counts, extents, outside, len(regions))


def _fitting(
    photograph: Photograph, regions: Sequence[Region], image: Image.Image
) -> Sequence[Region]:
    """The regions, turned upright with the image if they were made for it as it is stored.

    Raises ValueError if a mask, or the size that the annotation gives, is not the image's.
    """
    sizes = {r.shape.shape[::-1] for r in regions if r.extent == "mask"}
    sizes |= {photograph.size} if photograph.size else set()
    expected = tuple(side // photograph.scale for side in image.size)
    different = sorted(size for size in sizes if size != expected)
    if not different:
        return regions
    width, height = different[0]
    with Image.open(photograph.file) as stored:
        orientation = stored.getexif().get(ORIENTATION, 1)
    if sizes == {expected[::-1]} and orientation in (5, 6, 7, 8):
        return [turned(region, orientation, width, height) for region in regions]
    raise ValueError(
        f"the image is {image.size[0]} x {image.size[1]} pixels, but its annotation is for "
        f"{width * photograph.scale} x {height * photograph.scale}"
    )


def _without_empty(
    plan: PhotographPlan, tensors: dict[str, Tensor], tally: _Tally, allocate: Allocate
) -> CacheEntry:
    """The cache's entry, without concepts that have no pixels."""
    present = [k for k, count in enumerate(tally.extents.sum(1)) if count]
    absent = [plan.concepts[k][0] for k in range(len(plan.concepts)) if k not in present]
    if absent:
        for split in SPLITS:
            masks = tensors[f"{split}.packed"]
            masks_of_present = allocate(
                f"{split}.present", (len(masks), len(present), *masks.shape[2:])
            )
            for start in range(0, len(masks), CHUNK):
                part = slice(start, start + CHUNK)
                masks_of_present[part] = masks[part][:, present].numpy()
            tensors[f"{split}.packed"] = torch.from_numpy(masks_of_present)
    place = {k: new for new, k in enumerate(present)}
    names = unique_names([plan.concepts[k] for k in present])
    notes = [*plan.notes, *_notes(plan, absent, tally)]
    if not present:
        tensors = {key: tensor for key, tensor in tensors.items() if not key.endswith("packed")}
    return CacheEntry(tensors, {
        "class_names": list(plan.class_names),
        "names": names,
        "categories": [plan.concepts[k][1] for k in present],
        "landmark": [plan.instances and _is_landmark(tally, k) for k in present],
        "of_class": [place.get(k, -1) for k in plan.of_class],
        "extents": ["+".join(np.array(EXTENTS)[tally.extents[k] > 0]) for k in present],
        "notes": notes,
    })  # fmt: skip


def _is_landmark(tally: _Tally, concept: int) -> bool:
    """Whether a concept has a place of its own: one region in nearly all images in which it occurs.
    In the other images its centre is that of all its regions together."""
    placed = tally.extents[concept].sum() > tally.extents[concept, EXTENTS.index("image")]
    return bool(placed and tally.single[concept] >= SINGLE * tally.present[concept])


def _notes(plan: PhotographPlan, absent: Sequence[str], tally: _Tally) -> list[str]:
    lines = []
    if absent:
        lines.append(f"concepts without pixels, left out: {_listed(absent)}")
    if plan.concepts and tally.bare:
        images = sum(map(len, plan.splits.values()))
        lines.append(f"{tally.bare} of {images} images have no annotation; all concepts count as "
                     "absent there")  # fmt: skip
    if tally.outside:
        lines.append(f"{tally.outside} regions lie outside their image or its crop and are left "
                     "out")  # fmt: skip
    return lines


# ----------------------------------------------------------------- shared by loaders


def unique_names(concepts: Iterable[tuple[str, str]]) -> list[str]:
    """A name for each concept in one line; one that occurs twice gets its category in brackets,
    and a number if that is not enough."""
    pairs = [
        (one_line(name, 80) or "unnamed", one_line(category, 80)) for name, category in concepts
    ]
    occurrences = Counter(name for name, _ in pairs)
    names: list[str] = []
    for name, category in pairs:
        base = one_line(f"{name} ({category})", 95) if occurrences[name] > 1 else name
        number, unique = 2, base
        while unique in names:
            number, unique = number + 1, f"{base} {number}"
        names.append(unique)
    return names


def find_place(name: str, root: Path, path: str, parts: Sequence[str], source: str) -> Path:
    """The folder of a dataset: ``path``, from the data root if it is relative.

    Raises DataMissing, naming the first of ``parts`` (files and folders in it) that is missing and
    where the data comes from.
    """
    place = root / Path(path).expanduser()
    for part in ["", *parts]:
        if not (place / part).exists():
            raise missing(name, place / part, source)
    return place


def missing(name: str, file: Path, source: str) -> DataMissing:
    """The error for a file or folder of a dataset that is not there."""
    return DataMissing(
        f"{name}: {shown_path(file)} is missing; it comes from {source}; set path to the folder of "
        "the dataset, or LEGIBLE_DATA to the folder above it"
    )


def check_number(name: str, what: str, number: int, expected: int, verify: bool) -> None:
    """Raises DataMissing if a number is not the published one, unless ``verify`` is False."""
    if verify and number != expected:
        raise DataMissing(
            f"{name} has {number} {what} instead of {expected}: the copy is not complete; fetch it "
            "again, or set verify = false for a part of the data"
        )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return ", ".join(names[:8]) + more
