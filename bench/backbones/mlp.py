"""A multilayer perceptron."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise
from math import prod

from torch import nn

from legible.bench.backbones.base import backbone
from legible.bench.backbones.taps import Network, Tap


@backbone
def mlp(image: tuple[int, int, int], classes: int, hidden: Sequence[int] = (256, 128)) -> Network:
    """Multilayer perceptron: flattened image, hidden layers with ReLU, logits.

    Taps after each ReLU: ``fc1``, ``fc2``, ...
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    sizes = [prod(image), *hidden]
    for i, (n_in, n_out) in enumerate(pairwise(sizes), start=1):
        layers[f"fc{i}"] = nn.Linear(n_in, n_out)
        layers[f"relu{i}"] = nn.ReLU()
        layers[f"tap{i}"] = Tap(f"fc{i}")
    layers["head"] = nn.Linear(sizes[-1], classes)
    network = nn.Sequential(layers)
    return Network(network, list(network), image)
