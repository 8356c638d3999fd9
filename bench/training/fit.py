"""Builds a network with a method and trains it: the one way to a trained network.

The runner, tuning, `legible check` and the tests all call `build_network`, then `fit_network`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from legible.bench.backbones.taps import Network
from legible.bench.data.base import Dataset, Split
from legible.bench.seeds import stream
from legible.bench.training.checkpoint import State, restore, snapshot
from legible.bench.training.loop import train
from legible.bench.training.recipe import Recipe
from legible.methods.base import Method


def build_network(
    make_network: Callable[[], Network], method: Method, data: Split, seed: int
) -> Network:
    """Returns a freshly initialised network with the method attached, both on the data's device.

    ``data`` is the training split. The same seed gives the same weights.
    """
    device = data.labels.device
    network = initialise(make_network, seed, device)
    method.generator = torch.Generator(device).manual_seed(stream(seed, "method"))
    method.attach(network, data)
    method.to(device)
    return network


def initialise(
    make_network: Callable[[], Network], seed: int, device: torch.device | str
) -> Network:
    """Returns a network with random weights. torch's global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream(seed, "initialisation"))
        return make_network().to(device)


def fit_network(
    network: Network,
    method: Method,
    data: Dataset,
    recipe: Recipe,
    seed: int,
    *,
    parent: Callable[[], Mapping[str, Tensor]] | None = None,
    resume: State | None = None,
    after_epoch: Callable[[State], None] = lambda state: None,
) -> State:
    """Trains a network from `build_network` in place and returns the last training state.

    A method with a parent is not trained: it starts from the parent's trained network, whose
    `snapshot` ``parent`` returns. A method with ``trains = False`` keeps the initial weights.
    Both return an empty state. At the end, ``method.after_training`` edits the network, and
    network and method are in evaluation mode.

    parent: called once, and only for a method with a parent.
    resume: a state to continue from; on the CPU the result is bit-identical to an uninterrupted
        training.
    after_epoch: called with the state after each epoch.

    Raises Diverged, and ValueError if the method needs a parent and ``parent`` is None.
    """
    state = State(0, {}, [])
    if method.parent:
        if parent is None:
            raise ValueError(f"'{method.name}' edits a network of '{method.parent}': pass parent=")
        own = {k: v for k, v in snapshot(network, method).items() if k.startswith("method.")}
        weights = {k: v for k, v in parent().items() if k.startswith("network.")}
        restore({**weights, **own}, network, method)
    elif method.trains:
        state = train(network, method, data, recipe, seed, resume=resume, after_epoch=after_epoch)
    method.after_training(network, data.train)
    network.eval()
    method.eval()
    return state
