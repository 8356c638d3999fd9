"""CIFAR-10: small photographs of ten kinds of things."""

from __future__ import annotations

from pathlib import Path

from legible.bench.data.base import Dataset, dataset
from legible.bench.data.published import check_counts, pictures, published, read

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
    """Photographs, 32 x 32, 50,000 + 10,000 (Krizhevsky 2009), without concepts.

    Read by torchvision, which checks the files, from ``root/cifar-10-batches-py``.
    ``validation`` images (None: a tenth) are split off the training images, of which ``limit``
    are used. Raises DataMissing where the data is not there, ValueError for a parameter out of
    range.
    """
    from torchvision.datasets import CIFAR10

    check_counts(validation, limit, seed)
    first, second = read("cifar10", CIFAR10, root, FOLDER, download)
    train, test = (pictures(part.data, part.targets) for part in (first, second))
    return published(
        "cifar10", tuple(first.classes), train, test, validation=validation, limit=limit,
        seed=seed, shift=shift, flip=flip, attribution=CREDIT, drawn=False,
    )  # fmt: skip
