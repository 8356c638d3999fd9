"""Laws on datasets: three disjoint splits of uint8 images, the same each time."""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Mapping
from typing import Any

import torch

from legible.bench.check.law import Broken, Outcome, Skip, law, moved_generator, random_state
from legible.bench.data.base import DataMissing, Dataset, Split, data_root
from legible.bench.errors import UserError
from legible.bench.plugins import registry

SPLITS = ("train", "validation", "test")


class DatasetSubject:
    """A registered dataset, held to the laws of datasets."""

    def __init__(self, name: str, params: Mapping[str, Any] | None = None) -> None:
        self.loader = registry.get("datasets", name)
        self.name, self.params = name, dict(params or {})
        self.label, self.origin = f"dataset {name}", registry.source_of(self.loader)
        self.outcomes: dict[str, Outcome] = {}

    def load(self) -> Dataset:
        """The dataset; Skip where its data is not on this machine."""
        try:
            data: Dataset = self.loader(data_root(), **self.params)
        except DataMissing as error:
            raise Skip(f"the data is not here: {error}") from error
        return data

    @functools.cached_property
    def loaded(self) -> Dataset:
        return self.load()


@law("datasets")
def parameters_are_checked(subject: DatasetSubject) -> None:
    """The folder first, then parameters with defaults and types; a docstring."""
    if not (subject.loader.__doc__ or "").strip():
        raise Broken("the loader has no docstring: say what the images show, and the licence")
    for item in list(inspect.signature(subject.loader).parameters.values())[1:]:
        if item.default is item.empty or item.annotation is item.empty:
            raise Broken(f"parameter '{item.name}' needs a type and a default")
    try:
        registry.parameters(subject.loader, {"no_such_parameter": 1}, skip=1)
    except UserError:
        return
    raise Broken("an unknown parameter is accepted: name every parameter")


@law("datasets", "parameters_are_checked")
def splits_hold_images_and_labels(subject: DatasetSubject) -> str:
    """uint8 images of one shape, a class number for each, every class in training."""
    data = subject.loaded
    if not isinstance(data, Dataset):
        raise Broken(f"returns a {type(data).__name__}: return a bench.data.base.Dataset")
    classes = len(data.class_names)
    for name in SPLITS:
        split: Split = getattr(data, name)
        if split.images.dtype != torch.uint8 or split.images.ndim != 4:
            raise Broken(f"{name}: images must be uint8 (images, channels, height, width), not "
                         f"{split.images.dtype} of {split.images.ndim} dimensions")  # fmt: skip
        if split.images.shape[1:] != data.train.images.shape[1:]:
            raise Broken(f"{name}: images have another shape than in train")
        if len(split.images) != len(split.labels) or not len(split.labels):
            raise Broken(f"{name}: {len(split.images)} images and {len(split.labels)} labels")
        if split.classes != classes:
            raise Broken(f"{name}: classes is {split.classes}, but there are {classes} names")
        if int(split.labels.min()) < 0 or int(split.labels.max()) >= classes:
            raise Broken(f"{name}: labels must run from 0 to {classes - 1}")
    missing = set(range(classes)) - set(data.train.labels.unique().tolist())
    if missing:
        raise Broken(f"train has no image of class '{data.class_names[min(missing)]}'")
    if data.name != subject.name:
        raise Broken(f"the Dataset is called '{data.name}': use '{subject.name}'")
    counts = " + ".join(str(len(getattr(data, name))) for name in SPLITS)
    return f"{counts} images of {'x'.join(map(str, data.image))}, {classes} classes"


@law("datasets", "splits_hold_images_and_labels")
def splits_are_disjoint(subject: DatasetSubject) -> None:
    """No image of validation or test also stands in another split."""
    seen: dict[str, str] = {}
    for name in SPLITS:
        images = getattr(subject.loaded, name).images.cpu().contiguous().numpy()
        own = {hashlib.sha256(image.tobytes()).hexdigest() for image in images}
        if shared := own & seen.keys():
            raise Broken(f"{len(shared)} images of {name} also stand in {seen[min(shared)]}")
        seen |= dict.fromkeys(own, name)


@law("datasets", "splits_hold_images_and_labels")
def splits_are_mixed(subject: DatasetSubject) -> None:
    """The first images of validation and test show all classes: a probe takes only the first."""
    for name in ("validation", "test"):
        labels = getattr(subject.loaded, name).labels
        first = labels[: 20 * len(subject.loaded.class_names)]
        if len(first.unique()) < 0.9 * len(labels.unique()):
            raise Broken(f"the first {len(first)} images of {name} are of {len(first.unique())} of "
                         f"{len(labels.unique())} classes: mix them in a seeded order")  # fmt: skip


@law("datasets", "splits_hold_images_and_labels")
def same_data_each_time(subject: DatasetSubject) -> None:
    """Loaded twice it has one fingerprint, and no global random number is drawn."""
    before = random_state()
    fingerprint = subject.load().fingerprint()
    if moved := moved_generator(before, random_state()):
        raise Broken(f"loading draws from {moved}'s global generator: seed one of your own")
    if fingerprint != subject.load().fingerprint():
        raise Broken("two loads differ: draw random numbers from a torch.Generator seeded by a "
                     "parameter `seed`, and sort what you read from disk")  # fmt: skip


@law("datasets", "splits_hold_images_and_labels")
def concepts_fit_the_images(subject: DatasetSubject) -> str:
    """Masks, where there are any, have the images' size and the same names in every split."""
    data = subject.loaded
    if data.train.concepts is None:
        raise Skip("no concept masks")
    names = data.train.concepts.names
    for name in SPLITS:
        split: Split = getattr(data, name)
        if split.concepts is None or split.concepts.names != names:
            raise Broken(f"{name}: concepts differ from train's")
        height = split.concepts.packed.shape[2]
        if (len(split.concepts.packed), height, split.concepts.width) != (
            len(split), *data.image[1:],
        ):  # fmt: skip
            raise Broken(f"{name}: masks are {len(split.concepts.packed)} of {height} x "
                         f"{split.concepts.width}, images {len(split)} of {data.image[1]} x "
                         f"{data.image[2]}")  # fmt: skip
    return f"{len(names)} concepts"
