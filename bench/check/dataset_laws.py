"""Laws about datasets: three disjoint splits of uint8 images, equal at every load."""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Mapping
from typing import Any

import torch

from legible.bench.check.global_state import generator_states, used_generator
from legible.bench.check.laws import LawOutcome, NotApplicable, Violation, law
from legible.bench.data.base import DataMissing, Dataset, Split, data_root
from legible.bench.errors import UserError
from legible.bench.plugins import registry

SPLITS = ("train", "validation", "test")


class DatasetSubject:
    """A registered dataset, with ``params`` instead of its defaults, under check."""

    def __init__(self, name: str, params: Mapping[str, Any] | None = None) -> None:
        self.loader = registry.get("datasets", name)
        self.name, self.params = name, dict(params or {})
        self.label, self.origin = f"dataset {name}", registry.source_of(self.loader)
        self.outcomes: dict[str, LawOutcome] = {}

    def load(self) -> Dataset:
        """Loads the dataset. Raises NotApplicable if its data is not on this machine."""
        try:
            data: Dataset = self.loader(data_root(), **self.params)
        except DataMissing as error:
            raise NotApplicable(f"the data is missing: {error}") from error
        return data

    @functools.cached_property
    def data(self) -> Dataset:
        """The dataset, loaded once."""
        return self.load()


@law("datasets")
def parameters_are_checked(subject: DatasetSubject) -> None:
    """The loader has a docstring; parameters after the folder have defaults and types."""
    if not (subject.loader.__doc__ or "").strip():
        raise Violation("the loader has no docstring: say what the images show, and the licence")
    for item in list(inspect.signature(subject.loader).parameters.values())[1:]:
        if item.default is item.empty or item.annotation is item.empty:
            raise Violation(f"parameter '{item.name}' needs a type and a default")
    try:
        registry.parameters(subject.loader, {"no_such_parameter": 1}, skip=1)
    except UserError:
        return
    raise Violation("an unknown parameter is accepted: name every parameter")


@law("datasets", "parameters_are_checked")
def splits_have_images_and_labels(subject: DatasetSubject) -> str:
    """uint8 images of one shape, one class number per image, and every class in training."""
    data = subject.data
    if not isinstance(data, Dataset):
        raise Violation(f"returns a {type(data).__name__}: return a Dataset (from legible import "
                        "Dataset)")  # fmt: skip
    for name in SPLITS:
        _check_split(name, getattr(data, name), data)
    classes = len(data.class_names)
    missing = set(range(classes)) - set(data.train.labels.unique().tolist())
    if missing:
        raise Violation(f"train has no image of class '{data.class_names[min(missing)]}'")
    if data.name != subject.name:
        raise Violation(f"the Dataset's name is '{data.name}': use '{subject.name}'")
    counts = " + ".join(str(len(getattr(data, name))) for name in SPLITS)
    return f"{counts} images of {'x'.join(map(str, data.image))}, {classes} classes"


def _check_split(name: str, split: Split, data: Dataset) -> None:
    images, labels, classes = split.images, split.labels, len(data.class_names)
    if images.dtype != torch.uint8 or images.ndim != 4:
        raise Violation(f"{name}: images must be uint8 (images, channels, height, width), not "
                        f"{images.dtype} of {images.ndim} dimensions")  # fmt: skip
    if images.shape[1:] != data.train.images.shape[1:]:
        raise Violation(f"{name}: images have another shape than in train")
    if len(images) != len(labels) or not len(labels):
        raise Violation(f"{name}: there are {len(images)} images and {len(labels)} labels")
    if split.classes != classes:
        raise Violation(f"{name}: classes is {split.classes}, but there are {classes} class names")
    if int(labels.min()) < 0 or int(labels.max()) >= classes:
        raise Violation(f"{name}: labels must be from 0 to {classes - 1}")


@law("datasets", "splits_have_images_and_labels")
def splits_are_disjoint(subject: DatasetSubject) -> None:
    """No image is in two splits."""
    split_of: dict[str, str] = {}
    for name in SPLITS:
        images = getattr(subject.data, name).images.cpu().contiguous().numpy()
        hashes = {hashlib.sha256(image.tobytes()).hexdigest() for image in images}
        if duplicates := hashes & split_of.keys():
            raise Violation(
                f"{len(duplicates)} images of {name} are also in {split_of[min(duplicates)]}"
            )
        split_of |= dict.fromkeys(hashes, name)


@law("datasets", "splits_have_images_and_labels")
def splits_are_shuffled(subject: DatasetSubject) -> None:
    """The first validation and test images have all classes, since a probe takes only those."""
    for name in ("validation", "test"):
        labels = getattr(subject.data, name).labels
        first = labels[: 20 * len(subject.data.class_names)]
        if len(first.unique()) < 0.9 * len(labels.unique()):
            raise Violation(
                f"the first {len(first)} images of {name} have {len(first.unique())} of "
                f"{len(labels.unique())} classes: shuffle the images with a fixed seed"
            )


@law("datasets", "splits_have_images_and_labels")
def every_load_is_equal(subject: DatasetSubject) -> None:
    """Two loads have the same fingerprint and draw from no global generator."""
    before = generator_states()
    fingerprint = subject.load().fingerprint()
    if generator := used_generator(before, generator_states()):
        raise Violation(f"loading draws from {generator}'s global generator: use a torch.Generator "
                        "with a seed")  # fmt: skip
    if fingerprint != subject.load().fingerprint():
        raise Violation(
            "two loads differ: draw random numbers from a torch.Generator that is seeded by a "
            "parameter `seed`, and sort the files that you read"
        )


@law("datasets", "splits_have_images_and_labels")
def concepts_fit_the_images(subject: DatasetSubject) -> str:
    """Concept masks, if any, have the images' size, and the same names in every split."""
    data = subject.data
    if data.train.concepts is None:
        raise NotApplicable("no concept masks")
    names = data.train.concepts.names
    for name in SPLITS:
        split: Split = getattr(data, name)
        if split.concepts is None or split.concepts.names != names:
            raise Violation(f"{name}: the concepts differ from train's")
        height = split.concepts.packed.shape[2]
        if (len(split.concepts.packed), height, split.concepts.width) != (
            len(split), *data.image[1:],
        ):  # fmt: skip
            raise Violation(
                f"{name}: there are {len(split.concepts.packed)} masks of {height} x "
                f"{split.concepts.width} for {len(split)} images of {data.image[1]} x "
                f"{data.image[2]}"
            )
    return f"{len(names)} concepts"
