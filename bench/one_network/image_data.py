"""The labelled images on which a network is scored, from any of the forms in which one has them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from legible.bench.data.base import Dataset, Split, data_root
from legible.bench.data.dataset_checks import load_dataset
from legible.bench.data.photographs import data_notes
from legible.bench.errors import UserError, nearest, one_line, shortened
from legible.bench.plugins import registry
from legible.bench.plugins.limits import RunLimits
from legible.bench.plugins.own_process import apart
from legible.bench.seeds import stream
from legible.bench.suites.run_spec import label
from legible.bench.text import visible
from legible.metrics.network import Concepts

SPLITS = ("test", "validation", "train")
#: ``NAME``, ``NAME:PATH``, ``NAME(key=value,...)`` or both.
_NAME = re.compile(r"(\w+)(?::(.*?))?(?:\((\w+\s*=.*)\))?$", re.DOTALL)


class Normalisation(NamedTuple):
    """What is subtracted from pixels from 0 to 1, and what they are then divided by, by channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class ImageData:
    """Images with their labels, the names of the classes and, where there are any, concept masks.

    uint8 images are scaled to 0 to 1 and normalised; float images are normalised if there is a
    ``normalisation``, else they are what the network gets.
    """

    label: str
    images: Tensor
    labels: Int[Tensor, "images"]
    class_names: tuple[str, ...]
    normalisation: Normalisation | None = None
    concepts: Concepts | None = None
    notes: tuple[str, ...] = ()  # what must be said of the images and concepts

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def image(self) -> tuple[int, int, int]:
        """Shape of one image: channels, height, width."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    def batch(self, rows: slice) -> Float[Tensor, "batch channels height width"]:
        """Some of the images as the network gets them."""
        images = self.images[rows]
        scaled = images.float() / 255 if images.dtype == torch.uint8 else images.float()
        if self.normalisation is None:
            return scaled
        mean, std = (torch.tensor(values, device=images.device).view(-1, 1, 1)
                     for values in self.normalisation)  # fmt: skip
        return (scaled - mean) / std

    def to(self, device: str) -> ImageData:
        """The same data on another device."""
        concepts = self.concepts.to(device) if self.concepts else None
        return replace(self, images=self.images.to(device), labels=self.labels.to(device),
                       concepts=concepts)  # fmt: skip


def normalised(data: ImageData, normalisation: Normalisation | None) -> ImageData:
    """The data with another normalisation; as it is, if that is None.

    Raises UserError for uint8 images without any, and for one of another number of channels.
    """
    data = data if normalisation is None else replace(data, normalisation=normalisation)
    channels = data.image[0]
    if data.normalisation is None:
        if data.images.dtype == torch.uint8:
            raise UserError("images of uint8 need mean and std: give one value for each channel")
        return data
    for name, values in data.normalisation._asdict().items():
        if len(values) != channels:
            raise UserError(f"{name} has {len(values)} values, but images have {channels} channels")
    if not min(data.normalisation.std) > 0:
        raise UserError("std must be above 0")
    return data


# ----------------------------------------------------------------- forms of data


def load_images(
    data: Any,
    *,
    split: str = "test",
    most: int = 1000,
    class_names: Sequence[str] = (),
    concepts: Concepts | None = None,
    root: Path | None = None,
) -> ImageData:
    """At most ``most`` images of a dataset, given in any of these forms.

    The name of a registered dataset, with parameters: ``kanji``, ``imagefolder:photos``,
    ``imagefolder:photos(size=224)``; a `Dataset`; a torch Dataset of pairs (image, label); or a
    pair (images, labels) of tensors or arrays. ``split`` is that of a dataset of Legible.
    ``class_names`` and ``concepts`` belong to the last two forms. Raises UserError, and DataMissing
    as the dataset does.
    """
    if most < 2:
        raise UserError(f"the number of images must be at least 2, not {most}")
    if split not in SPLITS:
        raise UserError(f"no split '{split}'{nearest(split, SPLITS)}: use {', '.join(SPLITS)}")
    if isinstance(data, str | Path):
        name, loaded = named_dataset(str(data), root)
        return _of_split(name, loaded, split, most)
    if isinstance(data, Dataset):
        return _of_split(data.name, data, split, most)
    if isinstance(data, tuple | list) and len(data) == 2:
        images, labels = data
        name = "images"
    else:
        name, rows = type(data).__name__, _some_rows(data, most)
        images, labels = _items(data, rows)
        class_names = class_names or tuple(map(str, getattr(data, "classes", ())))
        if concepts:
            concepts = _as_many(concepts, len(data)).images(torch.tensor(rows))
    return _of_tensors(name, images, labels, class_names, concepts, most)


def named_dataset(text: str, root: Path | None = None) -> tuple[str, Dataset]:
    """The label and the data of a registered dataset with parameters, given as text."""
    name, params = parse_name(text)
    load = registry.get("datasets", name)
    params = registry.parameters(load, params, skip=1)
    place = data_root(root)

    def read() -> Dataset:
        return load_dataset(name, lambda: load(place, **params))

    is_plugin = registry.plugin_of("datasets", name) is not None
    arguments = {key: Path(value).name if key == "path" else value for key, value in params.items()}
    return label("datasets", name, arguments), apart(read, RunLimits()) if is_plugin else read()


def parse_name(text: str) -> tuple[str, dict[str, Any]]:
    """The name and the parameters in ``NAME:PATH(key=value,...)``, as far as they are given.

    PATH is the parameter ``path``; one that exists from the working folder becomes absolute.
    """
    match = _NAME.fullmatch(text.strip())
    if match is None:
        raise UserError(f"'{text}' is no name of data: {_how_to_name(text)}")
    name, path, inside = match.groups()
    params: dict[str, Any] = {}
    for pair in re.split(r",(?![^\[]*\])", inside or "") if inside else ():
        key, equals, value = (part.strip() for part in pair.partition("="))
        if not equals:
            raise UserError(f"'{text}': '{pair.strip()}' is no parameter: write key=value")
        params[key] = _parsed(value)
    if path is not None:
        params["path"] = path
    if params.get("path") and (place := Path(str(params["path"])).expanduser()).exists():
        params["path"] = str(place.resolve())
    return name, params


def _how_to_name(text: str) -> str:
    if text.count("(") != text.count(")"):
        return "it needs a ')' for each '('"
    if Path(text).is_dir():
        return f"for a folder of images write 'imagefolder:{text}'"
    return "write NAME, NAME:PATH or NAME(key=value)"


def _parsed(value: str) -> str | list[str] | None:
    """A parameter's value: None, a list ``[a,b]``, or text, which the loader's types convert."""
    if value.startswith("[") and value.endswith("]"):
        return [part.strip(" '\"") for part in value[1:-1].split(",") if part.strip()]
    return None if value == "None" else value


def _of_split(name: str, data: Dataset, split: str, most: int) -> ImageData:
    images: Split = getattr(data, split)
    rows = torch.arange(min(most, len(images)), device=images.labels.device)
    part = images.subset(rows)
    own = Normalisation(tuple(part.mean.tolist()), tuple(part.std.tolist()))
    notes = tuple(data_notes(data))
    return ImageData(name, part.images, part.labels, data.class_names, own, part.concepts, notes)


def _some_rows(data: Any, most: int) -> list[int]:
    """The rows of a random part of a torch Dataset, always the same."""
    if not (hasattr(data, "__getitem__") and hasattr(data, "__len__")):
        raise UserError(
            f"data is a {type(data).__name__}: give the name of a dataset, a torch Dataset with a "
            "length, or a pair (images, labels)"
        )
    generator = torch.Generator().manual_seed(stream(0, "images"))
    return torch.randperm(len(data), generator=generator)[:most].sort().values.tolist()


def _items(data: Any, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The images and labels of some rows of a torch Dataset."""
    pairs = [_item(data, row) for row in rows]
    images = [image for image, _ in pairs]
    for row, image in zip(rows, images, strict=True):
        if image.shape != images[0].shape:
            shapes = [" x ".join(map(str, shape)) for shape in (image.shape, images[0].shape)]
            raise UserError(f"image {row} is {shapes[0]}, image {rows[0]} {shapes[1]}: resize them")
    return torch.stack(images), torch.tensor([label for _, label in pairs])


def _item(data: Any, row: int) -> tuple[Tensor, int]:
    """The pixels and the label of one item of a torch Dataset."""
    try:
        item = data[row]
    except Exception as error:
        what = one_line(error)
        raise UserError(f"item {row} of the torch Dataset cannot be read: {what}") from error
    if not isinstance(item, tuple | list) or len(item) < 2:
        raise UserError("the torch Dataset must give pairs (image, label)")
    try:
        label = int(item[1])
    except (TypeError, ValueError, RuntimeError):
        what = shortened(visible(repr(item[1])), 60)
        raise UserError(f"the label of item {row} is {what}: give a class number") from None
    try:
        return _pixels(item[0]), label
    except (TypeError, ValueError, OSError) as error:
        raise UserError(f"the image of item {row} cannot be read: {one_line(error)}") from error


def _pixels(image: Any) -> Tensor:
    """One image with channels first: a tensor as it is; an array or a picture of Pillow, whose
    channels come last, as uint8."""
    if isinstance(image, Tensor):
        return image
    pixels = torch.from_numpy(np.array(image))
    return pixels[None] if pixels.ndim == 2 else pixels.movedim(-1, 0)


def _as_many(concepts: Concepts, images: int) -> Concepts:
    """The concepts, after checking that each image has its masks."""
    if len(concepts.packed) != images:
        raise UserError(
            f"concepts hold the masks of {len(concepts.packed)} images, and there are {images} "
            "images: give masks for each image"
        )
    return concepts


def _of_tensors(
    name: str,
    images: Any,
    labels: Any,
    class_names: Sequence[str],
    concepts: Concepts | None,
    most: int,
) -> ImageData:
    try:
        pixels, answers = torch.as_tensor(images)[:most], torch.as_tensor(labels)[:most]
    except Exception as error:
        raise UserError(f"data: images and labels must be tensors: {one_line(error)}") from error
    if pixels.ndim != 4 or not (pixels.dtype == torch.uint8 or pixels.is_floating_point()):
        raise UserError(
            f"images are {pixels.dtype} of shape {tuple(pixels.shape)}: give uint8 or floats of "
            "shape (images, channels, height, width)"
        )
    if answers.ndim != 1 or answers.is_floating_point() or len(answers) != len(pixels):
        raise UserError(f"labels must be {len(pixels)} whole numbers, one for each image")
    if not len(answers) or int(answers.min()) < 0:
        raise UserError("labels must be class numbers from 0")
    names = tuple(class_names) or tuple(map(str, range(int(answers.max()) + 1)))
    if int(answers.max()) >= len(names):
        raise UserError(f"label {int(answers.max())} has no class name: there are {len(names)}")
    masks = _as_many(concepts, len(images)).images(slice(len(pixels))) if concepts else None
    return ImageData(name, pixels, answers.long(), names, None, masks)
