"""An untrained twin: a network of the same architecture with fresh random weights."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import nn

from legible.bench.seeds import stream


def seeded(make: Callable[[], nn.Module], seed: int, name: str) -> nn.Module:
    """What ``make`` returns with random numbers of their own; the global generator stays as it was.

    The same seed and name give the same weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream(seed, name))
        return make()


@torch.no_grad()
def with_fresh_weights(model: nn.Module) -> nn.Module:
    """A copy of a model with new random weights; buffers of normalisations start anew.

    A module that has ``reset_parameters`` is initialised by it, as PyTorch's own modules are. Other
    parameters (a class token, position embeddings) are drawn from a normal distribution with their
    own mean and standard deviation.
    """
    twin = copy.deepcopy(model)
    for module in twin.modules():
        reset = getattr(module, "reset_parameters", None)
        reset = reset or getattr(module, "_reset_parameters", None)
        if callable(reset):
            reset()
            continue
        for parameter in module.parameters(recurse=False):
            spread = float(parameter.std()) if parameter.numel() > 1 else 0.0
            parameter.normal_(float(parameter.mean()), spread)
    return twin
