"""Networks that no machine could hold are refused before anything runs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from legible.bench.errors import UserError

MOST_WEIGHTS = 2**31  # eight gigabytes in float32, without gradients
MOST_TENSORS = 20_000
LARGEST_NUMBER = 10**6  # of a parameter that is no seed
IMAGE = (3, 64, 64)  # the number of weights hardly depends on the images
CLASSES = 10


class _TooLarge(Exception):
    """The network has more weights than `MOST_WEIGHTS`, or more tensors than `MOST_TENSORS`."""


def refuse_giant(name: str, build: Callable[..., Any], params: Mapping[str, Any]) -> None:
    """Raises UserError if a backbone with these parameters has far too many weights.

    The network is built without memory for its weights, and no further than to the limit. Whatever
    else the backbone refuses is not judged here.
    """
    for key, value in params.items():
        numbers = value if isinstance(value, list | tuple) else [value]
        whole = [number for number in numbers if isinstance(number, int)]
        if "seed" not in key and any(abs(number) > LARGEST_NUMBER for number in whole):
            raise UserError(f"backbone '{name}': {key} = {value} is larger than {LARGEST_NUMBER}")
    weights = tensors = 0

    def count(module: nn.Module, key: str, parameter: Any) -> None:
        nonlocal weights, tensors
        if parameter is not None:
            weights += parameter.numel()
            tensors += 1
        if weights > MOST_WEIGHTS or tensors > MOST_TENSORS:
            raise _TooLarge

    handle = register_module_parameter_registration_hook(count)
    try:
        with (
            warnings.catch_warnings(action="ignore"),
            torch.random.fork_rng(devices=[]),
            torch.device("meta"),
        ):
            build(IMAGE, CLASSES, **params)
    except (_TooLarge, OverflowError, MemoryError):
        given = ", ".join(f"{key} = {value}" for key, value in params.items())
        raise UserError(
            f"backbone '{name}' ({given}) has more than {MOST_WEIGHTS} weights or {MOST_TENSORS} "
            "tensors: choose fewer or narrower layers"
        ) from None
    except Exception:
        return  # not about size, or about images of another size: said when the data is known
    finally:
        handle.remove()
