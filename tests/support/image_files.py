"""Small image files in the formats of MNIST and CIFAR-10, for tests of datasets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

#: Number of images by the beginning of the file's name.
COUNTS = {"train": 200, "t10k": 40}


def idx_bytes(array: np.ndarray) -> bytes:
    """An array of bytes in the format of MNIST's files."""
    head = bytes([0, 0, 8, array.ndim])
    return head + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()


def write_digits(folder: Path, compress: Callable[[bytes], bytes] | None = None) -> None:
    """Writes images whose first pixel is their number and whose second pixel is their label.

    200 training and 40 test images, 28 x 28; with ``compress`` as files that end in ".gz".
    """
    folder.mkdir(parents=True)
    for part, count in COUNTS.items():
        images = np.zeros((count, 28, 28), np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        images[:, 0, 0], images[:, 0, 1] = np.arange(count), labels
        for name, array in (("images-idx3", images), ("labels-idx1", labels)):
            data = idx_bytes(array)
            if compress:
                (folder / f"{part}-{name}-ubyte.gz").write_bytes(compress(data))
            else:
                (folder / f"{part}-{name}-ubyte").write_bytes(data)


def assert_one_line(error: pytest.ExceptionInfo, *words: str) -> None:
    """Checks that the message of an error is one line and contains some words."""
    text = str(error.value)
    assert "\n" not in text
    assert all(word in text for word in words), text
