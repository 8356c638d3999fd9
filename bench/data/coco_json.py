"""Reading of annotation files in COCO's format, as a stream, into a compact form.

The file is never in memory as a whole: a mask is held as run lengths or, where that is shorter, as
the corners of its polygons (8 bytes each), a box as 16 bytes, a point as 8. This is less than the
text in the file takes.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from legible.bench.data.image_files import shown_path
from legible.bench.data.regions import Region
from legible.bench.text import one_line

#: How each region begins: number of its concept, kind, and length of what follows.
_HEAD = struct.Struct("<HBI")
_KINDS = ("mask", "box", "point", "mask")
_POLYGONS = 3  # a mask that is held as polygons
#: Polygons may leave the image by this many times its size; further away they are refused.
_REACH = 20
INSTALL = "pip install 'legible-bench[photographs]'"


class CocoCategory(NamedTuple):
    """A category: its name, its supercategory, and the names of its keypoints."""

    name: str
    supercategory: str
    keypoints: tuple[str, ...]


class CocoImage(NamedTuple):
    """An image's file name, width and height."""

    file_name: str
    width: int
    height: int


@dataclass
class CocoFile:
    """The content of an annotation file.

    ``concepts`` holds name and category of each concept: first one for each of ``categories``, in
    their order, then one for each keypoint. ``regions`` holds packed regions by the image's id (see
    `unpack_regions`), ``areas`` by image and category the number of pixels.
    """

    images: dict[Any, CocoImage]
    categories: list[CocoCategory]
    concepts: list[tuple[str, str]]
    regions: dict[Any, bytearray] = field(default_factory=dict)
    areas: dict[Any, dict[int, float]] = field(default_factory=dict)
    orphans: int = 0  # annotations of images that the file does not list
    crowds: int = 0


def read_coco(file: Path, boxes: bool = True) -> CocoFile:
    """Reads an annotation file. ``boxes``: whether a box stands for a thing that has no mask.

    A crowd's mask counts as its category. Keypoints that are not labelled are left out. Raises
    ValueError with one line for a file that is not COCO's JSON, and for masks that do not fit their
    image.
    """
    try:
        return _read(file, boxes)
    except ImportError as error:
        raise ValueError(f"reading COCO annotations needs {error.name}: {INSTALL}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{shown_path(file)} is not in COCO's format: {type(error).__name__} {error}"
        ) from error
    except ValueError as error:
        raise ValueError(f"{shown_path(file)}: {one_line(error, 200)}") from error
    except OSError as error:
        raise ValueError(f"cannot read {shown_path(file)}: {error.strerror}") from error


def _read(file: Path, boxes: bool) -> CocoFile:
    images = {
        item["id"]: CocoImage(str(item["file_name"]), int(item["width"]), int(item["height"]))
        for item in _items(file, "images.item")
    }
    numbers: dict[Any, int] = {}
    categories: list[CocoCategory] = []
    for item in _items(file, "categories.item"):
        numbers[item["id"]] = len(categories)
        keypoints = tuple(map(str, item.get("keypoints") or ()))
        supercategory = str(item.get("supercategory") or "object")
        categories.append(CocoCategory(str(item["name"]), supercategory, keypoints))
    if not images or not categories:
        raise ValueError("it lists no images" if not images else "it lists no categories")
    concepts = [(category.name, category.supercategory) for category in categories]
    first_keypoint: list[int] = []
    for category in categories:
        first_keypoint.append(len(concepts))
        concepts += [(name.replace("_", " "), "keypoints") for name in category.keypoints]
    content = CocoFile(images, categories, concepts)
    for item in _items(file, "annotations.item"):
        image = images.get(item["image_id"])
        if image is None:
            content.orphans += 1
            continue
        if item["category_id"] not in numbers:
            raise ValueError(f"annotation {item.get('id')} has category {item['category_id']}, "
                             "which is not listed")  # fmt: skip
        number = numbers[item["category_id"]]
        try:
            _add(content, item, image, number, first_keypoint[number], boxes)
        except ValueError as error:
            raise ValueError(f"annotation {item.get('id')}: {error}") from error
    return content


def _items(file: Path, prefix: str) -> Iterator[Any]:
    import ijson

    with file.open("rb") as stream:
        try:
            yield from ijson.items(stream, prefix, use_float=True)
        except ijson.JSONError as error:
            raise ValueError(f"it is not JSON: {error}") from error


def _add(
    content: CocoFile, item: Any, image: CocoImage, number: int, first_keypoint: int, boxes: bool
) -> None:
    """Adds what one annotation shows."""
    packed = content.regions.setdefault(item["image_id"], bytearray())
    areas = content.areas.setdefault(item["image_id"], {})
    content.crowds += bool(item.get("iscrowd"))
    keypoints = item.get("keypoints")
    segmentation = item.get("segmentation")
    counts = _run_lengths(segmentation, image)
    if counts is not None:
        corners = b"" if isinstance(segmentation, dict) else _pack_polygons(segmentation)
        if corners and len(corners) < len(counts):
            _append(packed, number, _POLYGONS, corners)
        else:
            _append(packed, number, 0, counts)
        areas[number] = areas.get(number, 0) + _area(counts, image)
    elif boxes and not keypoints and item.get("bbox"):
        left, top, width, height = _finite(item["bbox"], 4)
        _append(packed, number, 1, struct.pack("<4f", left, top, left + width, top + height))
        areas[number] = areas.get(number, 0) + width * height
    values = keypoints or ()
    for place in range(0, len(values) - 2, 3):
        x, y, visible = _finite(values[place : place + 3], 3)
        if visible > 0:
            _append(packed, first_keypoint + place // 3, 2, struct.pack("<2f", x, y))
    if len(values) > 3 * len(content.categories[number].keypoints):
        raise ValueError(f"it has {len(values) // 3} keypoints, but its category names "
                         f"{len(content.categories[number].keypoints)}")  # fmt: skip


def _append(packed: bytearray, concept: int, kind: int, content: bytes) -> None:
    packed += _HEAD.pack(concept, kind, len(content))
    packed += content


def _finite(values: Sequence[Any], count: int) -> list[float]:
    numbers = [float(value) for value in values]
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise ValueError(f"{one_line(values, 60)} must be {count} finite numbers")
    return numbers


def _run_lengths(segmentation: Any, image: CocoImage) -> bytes | None:
    """A segmentation's mask as compressed run lengths; None if there is no segmentation."""
    from pycocotools import mask

    if not segmentation:
        return None
    height, width = image.height, image.width
    if isinstance(segmentation, dict):
        size = [int(side) for side in segmentation["size"]]
        if size != [height, width]:
            raise ValueError(
                f"its mask is {size[1]} x {size[0]} pixels, but its image is {width} x {height}"
            )
        counts = segmentation["counts"]
        if isinstance(counts, str):
            code = counts.encode("ascii", "replace")
            total = _total(code)
        else:
            total = sum(counts)
            code = b"" if total != height * width or min(counts) < 0 else (
                mask.frPyObjects({"size": size, "counts": counts}, height, width)["counts"]
            )  # fmt: skip
        if total != height * width:
            raise ValueError(f"its run lengths are of {total} pixels, but its image has "
                             f"{height * width}")  # fmt: skip
        return code
    polygons = [_polygon(polygon, image) for polygon in segmentation]
    code = mask.merge(mask.frPyObjects(polygons, height, width))["counts"]
    if _area(code, image):
        return code
    return _one_pixel(polygons, image) or code


def _polygon(values: Sequence[Any], image: CocoImage) -> list[float]:
    """The corners of a polygon, in single precision."""
    numbers = _finite(values, len(values) // 2 * 2)
    if len(numbers) < 6:
        raise ValueError(f"a polygon has {len(numbers) // 2} corners")
    if (farthest := max(map(abs, numbers))) > _REACH * max(image.width, image.height):
        raise ValueError(f"a polygon reaches {farthest:.0f} pixels from the image's corner")
    single: list[float] = np.array(numbers, np.float32).astype(float).tolist()
    return single


def _pack_polygons(polygons: Sequence[Sequence[float]]) -> bytes:
    """Each polygon's number of values and its values in single precision."""
    return b"".join(
        struct.pack(f"<I{len(polygon)}f", len(polygon), *polygon) for polygon in polygons
    )


def _unpack_polygons(content: bytes) -> list[list[float]]:
    polygons, place = [], 0
    while place < len(content):
        (length,) = struct.unpack_from("<I", content, place)
        polygons.append(list(struct.unpack_from(f"<{length}f", content, place + 4)))
        place += 4 + 4 * length
    return polygons


def _one_pixel(polygons: Sequence[Sequence[float]], image: CocoImage) -> bytes | None:
    """The pixel at the centre of polygons that are too thin to hold a pixel's centre; None if it
    lies outside the image."""
    from pycocotools import mask

    points = np.concatenate([np.reshape(polygon, (-1, 2)) for polygon in polygons])
    x, y = np.floor((points.min(0) + points.max(0)) / 2).astype(int).tolist()
    if not (0 <= x < image.width and 0 <= y < image.height):
        return None
    before = x * image.height + y  # masks run down the columns
    counts = [before, 1, image.width * image.height - before - 1]
    code: bytes = mask.frPyObjects(
        {"size": [image.height, image.width], "counts": counts}, image.height, image.width
    )["counts"]
    return code


def _total(code: bytes) -> int:
    """The number of pixels of compressed run lengths, as pycocotools writes them; -1 if they are
    not such. Each number is in groups of five bits and, from the third on, a difference."""
    counts: list[int] = []
    value = shift = 0
    for byte in code:
        bits = byte - 48
        if not 0 <= bits < 64:
            return -1
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (1 << shift) if bits & 16 else 0
            counts.append(value + counts[-2] if len(counts) > 2 else value)
            value = shift = 0
    return sum(counts) if counts and not shift and min(counts) >= 0 else -1


def _area(code: bytes, image: CocoImage) -> int:
    from pycocotools import mask

    return int(mask.area({"size": [image.height, image.width], "counts": code}))


def unpack_regions(packed: bytes | bytearray, size: tuple[int, int]) -> list[Region]:
    """The regions of an image of that width and height, from their packed form."""
    from pycocotools import mask

    regions = []
    for concept, kind, content in _walk(packed):
        if _KINDS[kind] == "mask":
            width, height = size
            if kind == _POLYGONS:
                runs = mask.frPyObjects(_unpack_polygons(content), height, width)
                content = mask.merge(runs)["counts"]
            shape = mask.decode({"size": [height, width], "counts": content}).astype(bool)
        else:
            shape = np.frombuffer(content, "<f4").astype(np.float64)
        regions.append(Region(concept, _KINDS[kind], shape))
    return regions


def concepts_of(packed: bytes | bytearray) -> set[int]:
    """The numbers of the concepts of packed regions."""
    return {concept for concept, _, _ in _walk(packed)}


def _walk(packed: bytes | bytearray) -> Iterator[tuple[int, int, bytes]]:
    place = 0
    while place < len(packed):
        concept, kind, length = _HEAD.unpack_from(packed, place)
        place += _HEAD.size
        yield concept, kind, bytes(packed[place : place + length])
        place += length
