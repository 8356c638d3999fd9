"""CIFAR-10: small photographs of ten classes."""

from __future__ import annotations

from pathlib import Path

from legible.bench.data.base import Dataset, dataset
from legible.bench.data.image_sets import check_counts, image_dataset, read_torchvision, to_tensors

CREDIT = "CIFAR-10, A. Krizhevsky"
FOLDER = "cifar-10-batches-py"


@dataset
def cifar10(
    root: Path,
    validation: int | None = None,
    limit: int | None = None,
    shift: int = 4,
    flip: bool = True,
    seed: int = 0,
    download: bool = False,
) -> Dataset:
    """CIFAR-10: photographs, 32 x 32, without concepts (Krizhevsky 2009).

    50,000 training and 10,000 test images, read from ``root/cifar-10-batches-py`` by torchvision,
    which checks the files. ``validation`` training images (None: a tenth) are used for validation;
    ``limit`` of the rest (None: all) for training. Raises DataMissing if the data is not there,
    ValueError for a parameter out of range.
    """
    from torchvision.datasets import CIFAR10

    check_counts(validation, limit, seed)
    first, second = read_torchvision("cifar10", CIFAR10, root, FOLDER, download)
    train, test = (to_tensors(part.data, part.targets) for part in (first, second))
    return image_dataset(
        "cifar10", tuple(first.classes), train, test, validation=validation, limit=limit,
        seed=seed, shift=shift, flip=flip, attribution=CREDIT, drawn=False,
    )  # fmt: skip
