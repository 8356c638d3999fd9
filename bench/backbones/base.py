"""What a backbone is: a function from an image shape and a number of classes to a Network."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from legible.bench.backbones.taps import Network

BACKBONES: dict[str, Callable[..., Network]] = {}


def backbone(build: Callable[..., Network]) -> Callable[..., Network]:
    """Registers ``name(image: tuple[int, int, int], classes: int, **params) -> Network``."""
    origin = inspect.getsourcefile(build) or build.__module__
    known: Any = BACKBONES.get(build.__name__)
    if known is not None and inspect.getsourcefile(known) != origin:
        raise ValueError(
            f"backbone '{build.__name__}' is defined in {inspect.getsourcefile(known)} "
            f"and in {origin}"
        )
    BACKBONES[build.__name__] = build
    return build
