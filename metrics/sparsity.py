"""Sparsity: accuracy after pruning weights, and the share of weights and units in use."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from legible.metrics.base import Layer, Probe, metric, remember
from legible.metrics.network import NetworkLike
from legible.metrics.wiring import unit_of_input

SPARSITIES = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98)
TOLERANCE = 0.01  # a smaller loss of accuracy counts as none
EFFECTIVE = 1e-2  # smallest effective weight, as a share of the layer's largest
NAN = float("nan")

_SCALE = {"scale": "it is about the size of weights"}
_FREE = {
    **_SCALE,
    "dose": "a network with low accuracy has little to lose: read it together with accuracy",
}
_efficiency = partial(metric, aspect="efficiency", breaks=_SCALE)
Which = Literal["dense", "all"]

# ----------------------------------------------------------------- pruning


@torch.no_grad()
def pruning_curve(
    network: NetworkLike, probe: Probe, which: Which, chunk: int = 250
) -> Float[Tensor, "sparsities"]:
    """Accuracy with the smallest 0, 50, 70, 80, 90, 95 and 98 % of the weights set to zero.

    The weights of all linear layers ("dense"), or of all linear and convolutional layers ("all"),
    are ranked by magnitude; biases and norms are not pruned. The network itself is not changed.
    NaN if a logit is not finite, or without such weights.
    """
    return remember(probe, ("pruning", which), lambda: _curve(network, probe, which, chunk))


def _curve(network: NetworkLike, probe: Probe, which: Which, chunk: int) -> Tensor:
    pruned = copy.deepcopy(network)
    weights = [layer.weight.data for layer in _layers(pruned, which)]
    if not weights or not len(probe.labels):
        return torch.full((1 + len(SPARSITIES),), NAN)
    order = torch.cat([weight.flatten() for weight in weights]).abs().argsort(stable=True)
    run, inputs = _forward(pruned, probe, which)
    accuracies = [_accuracy([probe.logits], probe)]
    for sparsity in SPARSITIES:
        gone = torch.zeros_like(order, dtype=torch.bool)
        gone[order[: round(sparsity * len(order))]] = True
        parts = gone.split([weight.numel() for weight in weights])
        for weight, part in zip(weights, parts, strict=True):
            weight.masked_fill_(part.view_as(weight), 0.0)
        accuracies.append(_accuracy([run(part) for part in inputs.split(chunk)], probe))
    return torch.tensor(accuracies)


def _layers(network: NetworkLike, which: Which) -> Iterator[nn.Linear | nn.Conv2d]:
    kinds = nn.Linear if which == "dense" else (nn.Linear, nn.Conv2d)
    assert isinstance(network, nn.Module)
    return (module for module in network.modules() if isinstance(module, kinds))


def _accuracy(logits: list[Tensor], probe: Probe) -> float:
    answers = torch.cat(logits)
    if not answers.isfinite().all():
        return NAN
    return float((answers.argmax(1) == probe.labels).double().mean())


def _forward(
    network: NetworkLike, probe: Probe, which: Which
) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """The function that computes logits, and its inputs.

    The inputs are the images or, for dense weights, the activation of a layer before all of them.
    """
    for name, layer in probe.layers.items() if which == "dense" else ():
        if _before_dense(network, layer, probe):
            return partial(network.continue_from, name), layer.activation
    return lambda images: network(images).logits, probe.images


def _before_dense(network: NetworkLike, layer: Layer, probe: Probe) -> bool:
    """Whether a layer is before all dense weights: on a few images it is the same without them."""
    without = copy.deepcopy(network)
    for dense in _layers(without, "dense"):
        dense.weight.data.zero_()
    few = without(probe.images[:8]).activations[layer.name]
    on_trunk = getattr(network.taps[layer.name], "on_trunk", False)
    return on_trunk and torch.allclose(few, layer.activation[:8], rtol=1e-4, atol=1e-5)


def _area(curve: Float[Tensor, "sparsities"]) -> float:
    points = torch.tensor(SPARSITIES)
    return float(torch.trapezoid(curve[1:], points) / (points[-1] - points[0]))


def _free(curve: Float[Tensor, "sparsities"], probe: Probe) -> float:
    if curve[0].isnan():
        return NAN
    most_frequent = float(torch.bincount(probe.labels).max()) / len(probe.labels)
    if curve[0] <= most_frequent + TOLERANCE:
        return NAN
    within = (curve[1:] >= curve[0] - TOLERANCE - 1e-9).cumprod(0)
    return (0.0, *SPARSITIES)[int(within.sum())]


@_efficiency(
    better="higher", per="network", title="accuracy when dense layers pruned",
    limits=(0.0, 1.0),
)  # fmt: skip
def pruned_accuracy_dense(network: NetworkLike, probe: Probe) -> Float[Tensor, "sparsities"]:
    """Accuracy with the smallest 50, 70, 80, 90, 95, 98 % of linear layers' weights at zero.

    Global magnitude pruning, without further training. It depends on magnitudes, so it is not
    invariant to scaling a unit against its outgoing weights.
    """
    return pruning_curve(network, probe, "dense")[1:]


@_efficiency(
    better="higher", per="network", title="accuracy when pruned",
    limits=(0.0, 1.0),
)  # fmt: skip
def pruned_accuracy(network: NetworkLike, probe: Probe) -> Float[Tensor, "sparsities"]:
    """Accuracy with the smallest 50, 70, 80, 90, 95, 98 % of all layers' weights at zero.

    Like `pruned_accuracy_dense`, for linear and convolutional layers together.
    """
    return pruning_curve(network, probe, "all")[1:]


@_efficiency(
    better="higher", per="network", title="area under pruning curve, dense",
    limits=(0.0, 1.0),
)  # fmt: skip
def pruning_area_dense(network: NetworkLike, probe: Probe) -> float:
    """Mean accuracy over sparsities from 50 to 98 % of linear layers' weights (trapezoids)."""
    return _area(pruning_curve(network, probe, "dense"))


@_efficiency(
    better="higher", per="network", headline=True,
    title="area under pruning curve", limits=(0.0, 1.0),
)  # fmt: skip
def pruning_area(network: NetworkLike, probe: Probe) -> float:
    """Mean accuracy over sparsities from 50 to 98 % of all layers' weights (trapezoids).

    The headline of its aspect: it has the same meaning on every backbone (some have only one small
    linear layer), needs no threshold, and does not reward an untrained network, which has no
    accuracy to lose.
    """
    return _area(pruning_curve(network, probe, "all"))


@_efficiency(
    better="higher", per="network", title="sparsity at one point, dense",
    limits=(0.0, 1.0), breaks=_FREE,
)  # fmt: skip
def free_sparsity_dense(network: NetworkLike, probe: Probe) -> float:
    """Largest sparsity of linear layers that costs at most one point of accuracy.

    At smaller sparsities the loss must be as small. 0 if 50 % costs more. Undefined for a network
    that is not better than always answering the most frequent class.
    """
    return _free(pruning_curve(network, probe, "dense"), probe)


@_efficiency(
    better="higher", per="network", title="sparsity at one point",
    limits=(0.0, 1.0), breaks=_FREE,
)  # fmt: skip
def free_sparsity(network: NetworkLike, probe: Probe) -> float:
    """Largest sparsity of all layers that costs at most one point of accuracy.

    Like `free_sparsity_dense`, for linear and convolutional layers together.
    """
    return _free(pruning_curve(network, probe, "all"), probe)


# ----------------------------------------------------------------- effective units and weights


@torch.no_grad()
def _large(layer: Layer, probe: Probe) -> tuple[Bool[Tensor, "units"], float]:
    """Whether each unit has a weight above 1 % of the layer's largest, and the weights' share."""
    edges = [e for e in probe.network.taps[layer.name].outgoing if e.weight is not None]
    sizes = [
        (e.weight.weight.abs(), unit_of_input(layer, e)) for e in edges if e.weight is not None
    ]
    floor = EFFECTIVE * max(float(size.max()) for size, _ in sizes)
    effective = torch.zeros(layer.units, dtype=torch.bool, device=layer.activation.device)
    for size, behind in sizes:
        effective[behind[(size > floor).movedim(1, 0).flatten(1).any(1)]] = True
    large = sum(int((size > floor).sum()) for size, _ in sizes)
    return effective, large / sum(size.numel() for size, _ in sizes)


@_efficiency(
    better="neither", per="unit", null=0.0, needs={"weights"},
    limits=(0.0, 1.0),
)  # fmt: skip
def effective_units(layer: Layer, probe: Probe) -> Float[Tensor, "units"]:
    """1 for a unit with an |outgoing weight| above 1 % of the layer's largest, else 0."""
    return _large(layer, probe)[0].double()


@_efficiency(
    better="neither", per="layer", needs={"weights"}, limits=(0.0, 1.0)
)  # fmt: skip
def effective_weights(layer: Layer, probe: Probe) -> float:
    """Share of a layer's outgoing weights whose absolute value is above 1 % of the largest."""
    return _large(layer, probe)[1]
