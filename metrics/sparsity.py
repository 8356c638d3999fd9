"""How sparse can the network be? Accuracy after pruning its weights, and how many it uses."""

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
TOLERATED = 0.01  # loss of accuracy that counts as none
EFFECTIVE = 1e-2  # of the layer's largest weight
NAN = float("nan")

_SCALE = {"scale": "reads the size of weights, which is its subject"}
_FREE = {**_SCALE, "dose": "a network that knows little has little to lose: read it with accuracy"}
_efficiency = partial(metric, aspect="efficiency", breaks=_SCALE)
Which = Literal["dense", "all"]

# ----------------------------------------------------------------- pruning


@torch.no_grad()
def pruning_curve(
    network: NetworkLike, probe: Probe, which: Which, chunk: int = 250
) -> Float[Tensor, "sparsities"]:
    """Accuracy with the smallest 0, 50, 70, 80, 90, 95 and 98 % of the weights set to zero.

    Weights of linear ("dense") or also of convolutional layers ("all") are ranked by magnitude
    together; biases and norms stay. On a copy: the network is left as it is. NaN where a logit
    is not finite, and everywhere without such weights.
    """

    return remember(probe, ("pruning", which), lambda: _curve(network, probe, which, chunk))


def _curve(network: NetworkLike, probe: Probe, which: Which, chunk: int) -> Tensor:
    pruned = copy.deepcopy(network)
    weights = [layer.weight.data for layer in _layers(pruned, which)]
    if not weights or not len(probe.labels):
        return torch.full((1 + len(SPARSITIES),), NAN)
    order = torch.cat([weight.flatten() for weight in weights]).abs().argsort(stable=True)
    run, inputs = _way_on(pruned, probe, which)
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


def _way_on(
    network: NetworkLike, probe: Probe, which: Which
) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """How logits are computed, and from what: the images, or, for dense weights, the activation
    of a probed layer that no dense weight comes before."""
    for name, layer in probe.layers.items() if which == "dense" else ():
        if _untouched(network, layer, probe):
            return partial(network.continue_from, name), layer.activation
    return lambda images: network(images).logits, probe.images


def _untouched(network: NetworkLike, layer: Layer, probe: Probe) -> bool:
    """Whether a layer stays as it is without any dense weight, tried on a few images."""
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
    commonest = float(torch.bincount(probe.labels).max()) / len(probe.labels)
    if curve[0] <= commonest + TOLERATED:
        return NAN
    kept = (curve[1:] >= curve[0] - TOLERATED - 1e-9).cumprod(0)
    return (0.0, *SPARSITIES)[int(kept.sum())]


@_efficiency(
    better="higher", per="network", title="accuracy when dense layers pruned",
    limits=(0.0, 1.0),
)  # fmt: skip
def pruned_accuracy_dense(network: NetworkLike, probe: Probe) -> Float[Tensor, "sparsities"]:
    """Accuracy with the smallest 50, 70, 80, 90, 95, 98 % of linear layers' weights at zero.

    Global magnitude pruning, without training on. Not invariant to the scale of a unit against
    its outgoing weights: magnitude is what is pruned by.
    """
    return pruning_curve(network, probe, "dense")[1:]


@_efficiency(
    better="higher", per="network", title="accuracy when pruned",
    limits=(0.0, 1.0),
)  # fmt: skip
def pruned_accuracy(network: NetworkLike, probe: Probe) -> Float[Tensor, "sparsities"]:
    """The same for linear and convolutional layers' weights together."""
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

    The headline of its aspect: it means the same on every backbone (some have one small linear
    layer), has no threshold, and a network that never learnt gains nothing by losing nothing.
    """
    return _area(pruning_curve(network, probe, "all"))


@_efficiency(
    better="higher", per="network", title="sparsity at one point, dense",
    limits=(0.0, 1.0), breaks=_FREE,
)  # fmt: skip
def free_sparsity_dense(network: NetworkLike, probe: Probe) -> float:
    """Largest of the sparsities of linear layers up to which accuracy falls by a point at most.

    0 where already 50 % costs more; undefined for a network no better than the commonest class.
    """
    return _free(pruning_curve(network, probe, "dense"), probe)


@_efficiency(
    better="higher", per="network", title="sparsity at one point",
    limits=(0.0, 1.0), breaks=_FREE,
)  # fmt: skip
def free_sparsity(network: NetworkLike, probe: Probe) -> float:
    """The same for linear and convolutional layers' weights together."""
    return _free(pruning_curve(network, probe, "all"), probe)


# ----------------------------------------------------------------- what is used


@torch.no_grad()
def _large(layer: Layer, probe: Probe) -> tuple[Bool[Tensor, "units"], float]:
    """Which units have a weight above 1 % of the layer's largest; the share of such weights."""
    edges = [e for e in probe.network.taps[layer.name].outgoing if e.weight is not None]
    sizes = [(e.weight.weight.abs(), unit_of_input(layer, e)) for e in edges if e.weight is not None]
    floor = EFFECTIVE * max(float(size.max()) for size, _ in sizes)
    used = torch.zeros(layer.units, dtype=torch.bool, device=layer.activation.device)
    for size, behind in sizes:
        used[behind[(size > floor).movedim(1, 0).flatten(1).any(1)]] = True
    large = sum(int((size > floor).sum()) for size, _ in sizes)
    return used, large / sum(size.numel() for size, _ in sizes)


@_efficiency(
    better="neither", per="unit", null=0.0, needs={"weights"},
    limits=(0.0, 1.0),
)  # fmt: skip
def effective_units(layer: Layer, probe: Probe) -> Float[Tensor, "units"]:
    """1 for a unit with some |outgoing weight| above 1 % of the layer's largest, else 0."""
    return _large(layer, probe)[0].double()


@_efficiency(
    better="neither", per="layer", needs={"weights"}, limits=(0.0, 1.0)
)  # fmt: skip
def effective_weights(layer: Layer, probe: Probe) -> float:
    """Share of a layer's outgoing weights whose size is above 1 % of the largest."""
    return _large(layer, probe)[1]
