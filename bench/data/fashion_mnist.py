"""Fashion-MNIST: photographs of clothes, as large as the digits of MNIST."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from legible.bench.data.base import Dataset, dataset
from legible.bench.data.image_sets import (
    as_data_missing,
    check_counts,
    image_dataset,
    read_torchvision,
    to_tensors,
)

CREDIT = "Fashion-MNIST, (c) Zalando SE, MIT"
DEBIAN = Path("/usr/share/datasets/fashion-mnist")  # of Debian's package dataset-fashion-mnist
HINT = ", or install Debian's package dataset-fashion-mnist"
FOLDER = "FashionMNIST/raw"
CLASSES = (
    "T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag",
    "ankle boot",
)  # fmt: skip


@dataset
def fashion_mnist(
    root: Path,
    validation: int | None = None,
    limit: int | None = None,
    shift: int = 2,
    flip: bool = False,
    seed: int = 0,
    standardise: bool = True,
    download: bool = False,
) -> Dataset:
    """Fashion-MNIST: clothes, 28 x 28, without concepts (Xiao, Rasul and Vollgraf 2017).

    60,000 training and 10,000 test images, read by torchvision from ``root/FashionMNIST/raw`` or,
    if that folder does not exist, from Debian's package dataset-fashion-mnist. ``validation``
    training images (None: a tenth) are used for validation; ``limit`` of the rest (None: all) for
    training. With ``standardise=False`` a network gets pixels in [0, 1]. Raises DataMissing if the
    data is not there, ValueError for a parameter out of range.
    """
    check_counts(validation, limit, seed)
    first, second = _read(root, download)
    with as_data_missing("fashion_mnist", root / FOLDER):
        train, test = (to_tensors(part.data, part.targets) for part in (first, second))
    return image_dataset(
        "fashion_mnist", CLASSES, train, test, validation=validation, limit=limit, seed=seed,
        standardise=standardise, shift=shift, flip=flip, attribution=CREDIT, drawn=False,
    )  # fmt: skip


def _read(root: Path, download: bool) -> tuple[Any, Any]:
    from torchvision.datasets import FashionMNIST
    from torchvision.datasets.utils import extract_archive

    archives = sorted(DEBIAN.glob("*-ubyte.gz"))
    if (root / FOLDER).is_dir() or not archives:
        return read_torchvision("fashion_mnist", FashionMNIST, root, FOLDER, download, HINT)
    with TemporaryDirectory() as folder, as_data_missing("fashion_mnist", DEBIAN):
        (Path(folder) / FOLDER).mkdir(parents=True)
        for archive in archives:
            extract_archive(archive, Path(folder) / FOLDER)
        return read_torchvision("fashion_mnist", FashionMNIST, Path(folder), FOLDER, download=False)
