"""Checks of what a dataset's loader returns, before anything is trained on it."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from legible.bench import errors
from legible.bench.data.base import DataMissing, Dataset, Split
from legible.bench.text import one_line
from legible.metrics.network import Concepts

SPLITS = ("train", "validation", "test")
#: Longest name of a class or concept, in characters.
LONGEST_NAME = 100
#: Longest error message of a loader that is passed on, in characters.
LONGEST_MESSAGE = 400


def load_dataset(name: str, load: Callable[[], Any]) -> Dataset:
    """What a dataset's loader returns, if it is fit to train on.

    Raises DataMissing if the loader does, and UserError, in one line that names the dataset, for
    any other error of the loader and for data that `refuse_dataset` refuses. Only
    KeyboardInterrupt passes unchanged.
    """
    try:
        data: Dataset = load()
        refuse_dataset(name, data)
    except KeyboardInterrupt:
        raise
    except DataMissing as error:  # its message may be of several lines
        raise DataMissing(_text(error)) from error
    except BaseException as error:  # a plugin's loader may even call sys.exit
        text, start = _text(error), f"dataset '{name}': "
        raise errors.UserError(text if text.startswith(start) else start + text) from error
    return data


def refuse_dataset(name: str, data: Any) -> None:
    """Raises ValueError, in one line that names the dataset, if ``data`` is not a sound Dataset.

    Checked are types, shapes and numbers of images, labels, normalisation and concept masks in
    all splits, the range of labels, and names. Whether the splits are disjoint and two loads are
    equal is checked by ``legible check``, which takes longer.
    """
    try:
        _check_dataset(data)
    except Exception as error:  # a plugin's objects may raise anything
        raise ValueError(f"dataset '{name}': {_text(error)}") from error


def unprintable(name: str) -> bool:
    """Whether a name holds line breaks, control characters or halves of characters."""
    return any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in name)


def _check_dataset(data: Any) -> None:
    _require(isinstance(data, Dataset), f"returns a {type(data).__name__}, not a Dataset")
    _check_names("class", data.class_names)
    _require(len(data.class_names) > 1, "there must be at least two classes")
    for field, value in (("name", data.name), ("attribution", data.attribution)):
        _require(
            isinstance(value, str) and not unprintable(value), f"{field} must be a line of text"
        )
    for field, value in (("flip", data.flip), ("drawn", data.drawn)):
        _require(isinstance(value, bool), f"{field} must be True or False")
    for split in SPLITS:
        _check_split(split, getattr(data, split), len(data.class_names))
    for split in SPLITS:
        _check_agreement(split, getattr(data, split), data.train)
    _require(
        _whole(data.shift) and 0 <= data.shift < min(data.image[1:]),
        f"shift must be a whole number from 0 to {min(data.image[1:]) - 1}",
    )
    counts = torch.bincount(data.train.labels.cpu(), minlength=len(data.class_names))
    absent = int(counts.argmin())
    _require(int(counts[absent]) > 0, f"train has no image of class '{data.class_names[absent]}'")


def _check_split(name: str, split: Any, classes: int) -> None:
    """Checks one split without its concepts."""
    _require(isinstance(split, Split), f"{name} is a {type(split).__name__}, not a Split")
    images, labels = split.images, split.labels
    _check_tensor(f"{name}: images", images, torch.uint8, "images, channels, height, width")
    _check_tensor(f"{name}: labels", labels, torch.int64, "images")
    _require(
        len(images) == len(labels), f"{name} has {len(images)} images but {len(labels)} labels"
    )
    _require(len(images) > 0, f"{name} has no images")
    _require(images[0].numel() > 0, f"{name}: images of shape {_shape(images[0])} have no pixels")
    _require(
        _whole(split.classes) and split.classes == classes,
        f"{name}: classes is {split.classes!r}, but there are {classes} class names",
    )
    low, high = int(labels.min()), int(labels.max())
    _require(
        low >= 0 and high < classes,
        f"{name}: labels are from {low} to {high}, but must be from 0 to {classes - 1}",
    )
    for field, value in (("mean", split.mean), ("std", split.std)):
        _check_tensor(f"{name}: {field}", value, torch.float32, "channels")
        _require(
            len(value) == images.shape[1],
            f"{name}: {field} has {len(value)} values for {images.shape[1]} channels",
        )
        _require(bool(value.isfinite().all()), f"{name}: {field} is not finite")
    _require(bool((split.std > 0).all()), f"{name}: std must be above 0")
    if split.concepts is not None:
        _check_concepts(name, split.concepts, images, classes)


def _check_concepts(name: str, concepts: Any, images: Tensor, classes: int) -> None:
    kind = type(concepts).__name__
    _require(isinstance(concepts, Concepts), f"{name}: concepts is a {kind}, not a Concepts")
    _check_names(f"{name}: concept", concepts.names)
    packed, width = concepts.packed, concepts.width
    _check_tensor(f"{name}: concept masks", packed, torch.uint8, "images, concepts, height, bytes")
    count = packed.shape[1]
    for field in ("names", "categories", "landmark"):
        value = getattr(concepts, field)
        _require(isinstance(value, (tuple, list)), f"{name}: concepts.{field} must be a tuple")
        _require(len(value) == count, f"{name}: {count} concept masks but {len(value)} {field}")
    _require(count > 0, f"{name}: `concepts` holds no masks: set it to None")
    _require(
        all(isinstance(c, str) and not unprintable(c) for c in concepts.categories),
        f"{name}: concepts.categories must be text",
    )
    _require(
        all(isinstance(value, bool) for value in concepts.landmark),
        f"{name}: concepts.landmark must be True or False for each concept",
    )
    _require(
        len(packed) == len(images),
        f"{name} has concept masks of {len(packed)} images but {len(images)} images",
    )
    height = packed.shape[2]
    _require(
        _whole(width) and (height, width) == tuple(images.shape[2:]),
        f"{name}: concept masks of {height} x {width} pixels for images of "
        f"{' x '.join(map(str, images.shape[2:]))}",
    )
    _require(
        packed.shape[3] == -(-width // 8),
        f"{name}: concept masks have {packed.shape[3]} bytes a line, not {-(-width // 8)}: use "
        "Concepts.pack",
    )
    of_class = concepts.of_class
    _require(
        isinstance(of_class, (tuple, list)) and len(of_class) in (0, classes),
        f"{name}: concepts.of_class must be empty or have {classes} entries, one for each class",
    )
    _require(
        all(_whole(k) and -1 <= k < count for k in of_class),
        f"{name}: concepts.of_class must hold numbers from -1 to {count - 1}",
    )


def _check_agreement(name: str, split: Split, train: Split) -> None:
    """Checks that a split is like the training images."""
    shape, expected = split.images.shape[1:], train.images.shape[1:]
    _require(
        shape == expected,
        f"images of {name} are {' x '.join(map(str, shape))}, those of train "
        f"{' x '.join(map(str, expected))}",
    )
    for field in ("mean", "std"):
        first, other = (getattr(s, field).cpu() for s in (train, split))
        _require(torch.equal(first, other), f"{field} of {name} differs from that of train")
    own, first_concepts = split.concepts, train.concepts
    _require(
        (own is None) == (first_concepts is None),
        f"{name} has {'no ' if own is None else ''}concepts, unlike train",
    )
    if own and first_concepts:
        for field in ("names", "categories", "landmark", "of_class"):
            same = tuple(getattr(own, field)) == tuple(getattr(first_concepts, field))
            _require(same, f"concepts.{field} of {name} differ from those of train")


def _check_tensor(what: str, value: Any, dtype: torch.dtype, axes: str) -> None:
    _require(isinstance(value, Tensor), f"{what} are a {type(value).__name__}, not a tensor")
    _require(
        value.dtype == dtype and value.ndim == axes.count(",") + 1,
        f"{what} must be {_name(dtype)} of shape ({axes}), not {_name(value.dtype)} of shape "
        f"{_shape(value)}",
    )
    _require(
        value.layout == torch.strided and value.device.type != "meta",
        f"{what} must be a dense tensor with data",
    )


def _check_names(kind: str, names: Any) -> None:
    """Checks that names are different lines of text that are not too long."""
    _require(isinstance(names, (tuple, list)), f"{kind} names must be a tuple of text")
    for name in names:
        _require(isinstance(name, str), f"{kind} name {_cut(name)} is not text")
        _require(
            bool(name.strip()) and not unprintable(name) and len(name) <= LONGEST_NAME,
            f"{kind} name {_cut(name)} must be one line of 1 to {LONGEST_NAME} characters",
        )
    twice = _duplicate(names)
    _require(twice is None, f"{kind} name '{twice}' occurs twice")


def _duplicate(names: Iterable[str]) -> str | None:
    before: set[str] = set()
    for name in names:
        if name in before:
            return name
        before.add(name)
    return None


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ValueError(message)


def _whole(value: Any) -> bool:
    """Whether a value is a whole number, and not True or False."""
    return isinstance(value, int) and not isinstance(value, bool)


def _shape(value: Tensor) -> str:
    return f"({', '.join(map(str, value.shape))})"


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _cut(value: Any) -> str:
    return one_line(ascii(value), 60)


def _text(error: BaseException) -> str:
    """An error in one line: its message if that is meant for users, else its kind and message."""
    text = errors.one_line(error)
    if isinstance(error, (ValueError, DataMissing, errors.UserError)):
        text = text.removeprefix(f"{type(error).__name__}: ")
    return errors.shortened(text, LONGEST_MESSAGE)
