"""Checks of dataset parameters, with messages of one line."""

from __future__ import annotations

import os
from collections.abc import Collection

#: The share of the machine's memory that the images of a dataset may take. Copies are made of them.
MEMORY_SHARE = 0.25
#: The environment variable that says where images lie: "auto", "memory" or "file".
IMAGES = "LEGIBLE_IMAGES"


def between(name: str, value: int | float, low: int | float, high: int | float) -> None:
    """Raises ValueError with the parameter's name and range unless low <= value <= high."""
    if not low <= value <= high:
        raise ValueError(f"{name} must be between {low} and {high}, not {value}")


def at_least(name: str, value: int | float, low: int | float) -> None:
    """Raises ValueError with the parameter's name and limit unless low <= value."""
    if not value >= low:
        raise ValueError(f"{name} must be at least {low}, not {value}")


def memory_limit() -> float:
    """The largest size of a dataset in bytes, by the machine's memory."""
    return MEMORY_SHARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def too_large(images: int, size: int, bytes_per_pixel: float | int = 3) -> bool:
    """Whether images of ``size`` pixels a side are to be read from a file instead of memory.

    ``$LEGIBLE_IMAGES`` decides: "memory", "file", or "auto", by the size. Raises ValueError for
    another word.
    """
    choice = os.environ.get(IMAGES, "auto")
    one_of(f"${IMAGES}", choice, ("auto", "file", "memory"))
    return choice == "file" or (
        choice == "auto" and images * float(size) ** 2 * bytes_per_pixel > memory_limit()
    )


def fits_in_memory(images: int, size: int, bytes_per_pixel: float | int) -> None:
    """Raises ValueError, with the estimate and the limit, for more images of ``size`` pixels a side
    than memory can hold."""
    need, limit = images * float(size) ** 2 * bytes_per_pixel, memory_limit()
    if need > limit:
        raise ValueError(
            f"{images} images of {size} x {size} pixels need about {need / 2**30:.4g} GiB, more "
            f"than {limit / 2**30:.4g} GiB, a quarter of this machine's memory: choose fewer or "
            "smaller images"
        )


def one_of(name: str, value: str, choices: Collection[str]) -> None:
    """Raises ValueError with the parameter's name and the choices unless value is one of them."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(sorted(choices))}, not '{value}'")
