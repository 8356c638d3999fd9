"""Backbones: functions from an image shape and a number of classes to a Network."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from legible.bench.backbones.taps import Network

BACKBONES: dict[str, Callable[..., Network]] = {}


def backbone(build: Callable[..., Network]) -> Callable[..., Network]:
    """Registers a function ``name(image, classes, **params) -> Network`` as the backbone ``name``.

    ``image`` is the shape of one image: channels, height, width. Raises ValueError if another file
    has registered the name.
    """
    origin = _source(build)
    registered = BACKBONES.get(build.__name__)
    if registered is not None and (first := _source(registered)) != origin:
        raise ValueError(
            f"backbone '{build.__name__}' is defined in {first} and in {origin}: rename one"
        )
    BACKBONES[build.__name__] = build
    return build


def _source(function: Callable[..., Any]) -> str:
    function = inspect.unwrap(function)
    return inspect.getsourcefile(function) or function.__module__
