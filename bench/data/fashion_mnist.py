"""Fashion-MNIST: photographs of clothes at the size of MNIST."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from legible.bench.data.base import Dataset, dataset
from legible.bench.data.published import check_counts, explained, pictures, published, read

CREDIT = "Fashion-MNIST, (c) Zalando SE, MIT"
DEBIAN = Path("/usr/share/datasets/fashion-mnist")  # of the package dataset-fashion-mnist
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
    """Clothes, 28 x 28, 60,000 + 10,000 (Xiao, Rasul and Vollgraf 2017), without concepts.

    Read by torchvision from ``root/FashionMNIST/raw``, else from Debian's package
    dataset-fashion-mnist where it is installed. ``validation`` images (None: a tenth) are split
    off the training images, of which ``limit`` are used; without ``standardise`` pixels stay in
    [0, 1]. Raises DataMissing where the data is not there, ValueError for a parameter out of range.
    """
    check_counts(validation, limit, seed)
    first, second = _read(root, download)
    with explained("fashion_mnist", root / FOLDER):
        train, test = (pictures(part.data, part.targets) for part in (first, second))
    return published(
        "fashion_mnist", CLASSES, train, test, validation=validation, limit=limit, seed=seed,
        standardise=standardise, shift=shift, flip=flip, attribution=CREDIT, drawn=False,
    )  # fmt: skip


def _read(root: Path, download: bool) -> tuple[Any, Any]:
    from torchvision.datasets import FashionMNIST
    from torchvision.datasets.utils import extract_archive

    archives = sorted(DEBIAN.glob("*-ubyte.gz"))
    if (root / FOLDER).is_dir() or not archives:
        return read("fashion_mnist", FashionMNIST, root, FOLDER, download, HINT)
    with TemporaryDirectory() as unpacked, explained("fashion_mnist", DEBIAN):
        (Path(unpacked) / FOLDER).mkdir(parents=True)
        for archive in archives:
            extract_archive(archive, Path(unpacked) / FOLDER)
        return read("fashion_mnist", FashionMNIST, Path(unpacked), FOLDER, download=False)
