"""The one way to a trained network: build it, attach the method, train (or edit the parent's run).

The runner, `legible check`, tuning and the tests all call `build` and `fit`.
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


def build(
    make_network: Callable[[], Network],
    method: Method,
    data: Split,
    seed: int,
    device: torch.device | str | None = None,
) -> Network:
    """A freshly initialised network with the method attached, both on one device.

    ``data`` is the training split that the method's ``attach`` sees; ``device`` defaults to its
    device. The same seed gives the same weights.
    """
    network = initialise(make_network, seed, data.labels.device if device is None else device)
    attach(method, network, data, seed)
    return network


def initialise(
    make_network: Callable[[], Network], seed: int, device: torch.device | str
) -> Network:
    """A network whose weights are drawn from its own random stream; the global generator stays."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream(seed, "initialisation"))
        return make_network().to(device)


def attach(method: Method, network: Network, data: Split, seed: int) -> Method:
    """Gives the method its generator and the network, and moves it to the network's device."""
    device = data.labels.device
    method.generator = torch.Generator(device).manual_seed(stream(seed, "method"))
    method.attach(network, data)
    return method.to(device)


def fit(
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
    """Trains a network that `build` made, in place, and returns the last training state.

    A method with a parent is not trained: it edits the parent's finished network, whose tensors
    (a `snapshot`) ``parent`` returns. A method with ``trains = False`` keeps the initial weights.
    ``resume`` continues from a checkpoint, bit-identically on the CPU. ``after_epoch`` is called
    with each epoch's state. Raises Diverged, and ValueError where a needed parent is not given.
    """
    state = State(0, {}, [])
    if method.parent:
        if parent is None:
            raise ValueError(f"'{method.name}' edits a network of '{method.parent}': give parent=")
        own = {k: v for k, v in snapshot(network, method).items() if k.startswith("method.")}
        inherited = {k: v for k, v in parent().items() if k.startswith("network.")}
        restore({**inherited, **own}, network, method)
    elif method.trains:
        state = train(network, method, data, recipe, seed, resume=resume, after_epoch=after_epoch)
    method.after_training(network, data.train)
    network.eval()
    method.eval()
    return state
