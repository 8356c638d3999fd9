"""Short trainings on the toy dataset, through `training.fit`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn

from legible.bench.backbones.taps import Network
from legible.bench.backbones.vgg import vgg
from legible.bench.data.base import Dataset
from legible.bench.plugins import registry
from legible.bench.training.checkpoint import State
from legible.bench.training.fit import build_network, fit_network
from legible.bench.training.recipe import Recipe
from legible.methods.base import Method

RECIPE = Recipe(epochs=3, batch=16, lr=5e-3)


class Fit(NamedTuple):
    """A trained network, its method and the last state."""

    network: Network
    method: Method
    state: State


def small_vgg(data: Dataset) -> Callable[[], Network]:
    """Builds a network of two stages for the data."""
    return lambda: vgg(data.image, len(data.class_names), width=4, stages=2)


def fit_toy(
    data: Dataset,
    method: str | Method = "plain",
    recipe: Recipe = RECIPE,
    seed: int = 0,
    make_network: Callable[[], Network] | None = None,
    **options: Any,
) -> Fit:
    """Builds and fits a small network; ``options`` go to `fit_network`."""
    if isinstance(method, str):
        method = registry.make_method(method, {})
    network = build_network(make_network or small_vgg(data), method, data.train, seed)
    return Fit(network, method, fit_network(network, method, data, recipe, seed, **options))


def same_weights(first: nn.Module, second: nn.Module) -> bool:
    """Whether two networks are equal bit for bit."""
    one, two = first.state_dict(), second.state_dict()
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)
