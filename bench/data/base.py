"""Datasets: three splits of uint8 images with labels and, for some datasets, concept masks."""

from __future__ import annotations

import hashlib
import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from legible.bench.seeds import stream
from legible.metrics.network import Concepts

#: Images that are read at a time where all are read.
CHUNK = 1024
#: Bytes of a tensor above which a sample of its rows is hashed.
HASHED = 4 * 2**30


class DataMissing(Exception):
    """The data is not on this machine. The message, one line, says how to get it."""


@dataclass(frozen=True, eq=False)
class Split:
    """Images of one split with their labels and concept masks, all on one device.

    Labels are class numbers from 0 to ``classes`` - 1. ``mean`` and ``std`` are those of the
    training images by channel, on pixels from 0 to 1; the same in all splits of a dataset.
    ``concepts`` is None for a dataset without concepts. Of a ``streamed`` split, images and masks
    are too large for memory: they stay in files that are mapped into the host's memory, and `take`
    brings those that are needed to the device.
    """

    images: UInt8[Tensor, "images channels height width"]
    labels: Int[Tensor, "images"]
    classes: int
    mean: Float[Tensor, "channels"]
    std: Float[Tensor, "channels"]
    concepts: Concepts | None = None
    streamed: bool = False

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: Int[Tensor, "batch"]) -> UInt8[Tensor, "batch channels height width"]:
        """The images with these indices, on the device."""
        if self.streamed:
            return self.images[rows.cpu()].to(self.labels.device)
        return self.images[rows]

    def normalise(self, images: Tensor) -> Float[Tensor, "batch channels height width"]:
        """Images as the network gets them, from uint8: (x / 255 - mean) / std by channel."""
        scale = (1 / (255 * self.std)).view(-1, 1, 1)
        shift = (self.mean / self.std).view(-1, 1, 1)
        return images.to(torch.float32) * scale - shift

    def batches(
        self, size: int = 256
    ) -> Iterator[tuple[Int[Tensor, "batch"], Float[Tensor, "batch channels height width"]]]:
        """Yields indices and normalised images in the split's order, without augmentation."""
        for rows in torch.arange(len(self), device=self.labels.device).split(size):
            yield rows, self.normalise(self.take(rows))

    def subset(self, rows: Tensor) -> Split:
        """A split of the images with these indices, in the order of ``rows``, in memory."""
        concepts = self.concepts
        if concepts:
            device = self.labels.device
            concepts = concepts.images(rows.to(concepts.packed.device)).to(device)
        images, labels = self.take(rows), self.labels[rows]
        return replace(self, images=images, labels=labels, concepts=concepts, streamed=False)

    def to(self, device: torch.device | str) -> Split:
        """The same split on another device."""
        moved = replace(
            self, labels=self.labels.to(device), mean=self.mean.to(device), std=self.std.to(device)
        )
        if self.streamed:
            return moved
        concepts = self.concepts.to(device) if self.concepts else None
        return replace(moved, images=self.images.to(device), concepts=concepts)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A dataset: three disjoint splits, and the properties that training and reports need."""

    name: str
    class_names: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    shift: int = 0  # augmentation: random translation by up to this many pixels
    flip: bool = False  # augmentation: random horizontal flip
    attribution: str = ""  # the credit that must stand beside published images
    drawn: bool = True  # False for photographs

    @property
    def image(self) -> tuple[int, int, int]:
        """Shape of one image: channels, height, width."""
        return tuple(self.train.images.shape[1:])  # type: ignore[return-value]

    def to(self, device: torch.device | str) -> Dataset:
        """The same data on another device."""
        splits = {s: getattr(self, s).to(device) for s in ("train", "validation", "test")}
        return replace(self, **splits)

    def few(self, shots: int, seed: int) -> Dataset:
        """The same data with ``shots`` random training images of each class.

        With one seed, a smaller number of shots gives a subset of a larger one. Images are
        normalised as in the whole dataset. Raises ValueError if a class has too few images.
        """
        labels = self.train.labels.cpu()
        counts = torch.bincount(labels, minlength=len(self.class_names))
        least = int(counts.argmin())
        if counts[least] < shots:
            raise ValueError(
                f"class '{self.class_names[least]}' has {counts[least]} training images, "
                f"fewer than {shots} shots: choose at most {counts[least]} shots"
            )
        generator = torch.Generator().manual_seed(stream(seed, "shots"))
        order = torch.randperm(len(labels), generator=generator)
        by_class = order[labels[order].argsort(stable=True)]
        starts = counts.cumsum(0) - counts
        rows = by_class[(starts[:, None] + torch.arange(shots)).flatten()]
        return replace(self, train=self.train.subset(rows.to(self.train.labels.device)))

    def fingerprint(self) -> str:
        """A hash of every image, label and mask, and of the settings of augmentation.

        Of a tensor above `HASHED` bytes, 1,000 rows at equal distances are hashed.
        """
        digest = hashlib.sha256()
        for split in (self.train, self.validation, self.test):
            parts = [split.images, split.labels]
            if split.concepts:
                digest.update(repr((split.concepts.names, split.concepts.landmark)).encode())
                parts.append(split.concepts.packed)
            for tensor in parts:
                digest.update(str(tuple(tensor.shape)).encode())
                for part in _hashed_rows(tensor).split(CHUNK):
                    rows = tensor[part.to(tensor.device)]
                    digest.update(rows.cpu().contiguous().numpy().tobytes())
        digest.update(repr((self.class_names, self.shift, self.flip)).encode())
        return digest.hexdigest()[:16]


def _hashed_rows(tensor: Tensor) -> Tensor:
    """The rows of a tensor that stand for its content."""
    if tensor.nbytes <= HASHED:
        return torch.arange(len(tensor))
    return torch.linspace(0, len(tensor) - 1, 1000, dtype=torch.float64).long().unique()


def make_splits(
    parts: Mapping[str, tuple[Tensor, Tensor, Concepts | None]], classes: int
) -> dict[str, Split]:
    """Splits by name, from images, labels and concepts by name; "train" must be among them.

    All are normalised by the mean and standard deviation, by channel, of the training images.
    """
    mean, std = _moments(parts["train"][0])
    return {
        name: Split(images, labels.long(), classes, mean, std, concepts)
        for name, (images, labels, concepts) in parts.items()
    }


def _moments(
    images: UInt8[Tensor, "images channels height width"],
) -> tuple[Float[Tensor, "channels"], Float[Tensor, "channels"]]:
    """Mean and standard deviation of x / 255 by channel.

    Computed from counts of the 256 values, which is exact and needs no copy of all images in
    floating point.
    """
    counts = torch.zeros(images.shape[1], 256, dtype=torch.int64)
    for part in images.split(CHUNK):
        counts += torch.stack(
            [channel.reshape(-1).bincount(minlength=256) for channel in part.unbind(1)]
        ).cpu()
    share = counts.double() / counts.sum(1, keepdim=True)
    values = torch.arange(256, dtype=torch.float64) / 255
    mean = share @ values
    variance = (share * (values - mean[:, None]).square()).sum(1)
    return mean.float(), variance.sqrt().clamp(min=1e-3).float()


def data_root(root: Path | str | None = None) -> Path:
    """The folder of all data: the argument, else LEGIBLE_DATA, else ~/.cache/legible."""
    folder = root or os.environ.get("LEGIBLE_DATA") or Path.home() / ".cache" / "legible"
    return Path(folder).expanduser()


DATASETS: dict[str, Callable[..., Dataset]] = {}


def dataset(load: Callable[..., Dataset]) -> Callable[..., Dataset]:
    """Registers a function ``name(root: Path, **params) -> Dataset`` as the dataset ``name``.

    The function raises DataMissing if the data is not on this machine, with one line that says
    how to get it. Raises ValueError if another file has registered the name.
    """
    origin = _source(load)
    registered = DATASETS.get(load.__name__)
    if registered is not None and (first := _source(registered)) != origin:
        raise ValueError(
            f"dataset '{load.__name__}' is defined in {first} and in {origin}: rename one"
        )
    DATASETS[load.__name__] = load
    return load


def _source(function: Callable[..., Any]) -> str:
    function = inspect.unwrap(function)
    return inspect.getsourcefile(function) or function.__module__
