"""Null row: the plain network with the class activation maps of its head as units."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from legible.methods.base import Data, Method, register
from legible.metrics.network import NetworkLike


@register
class PosthocClassMaps(Method):
    """The plain network with one unit for each class: where the head finds evidence for it.

    Equation: M_c(p) = max(0, sum_k w_ck a_k(p)), a the activation of the last Tap, w the weights of
    the head, without its bias.
    Paper: Zhou, Khosla, Lapedriza, Oliva & Torralba, "Learning deep features for discriminative
    localization", CVPR 2016.
    Repository: none; from the formula.
    Differences: rectified, since a unit's negative values mean nothing to metrics. The network
    computes what it did and does not read its maps. So it cannot be rerun from them: cells of
    lesions, attribution, efficiency and outgoing weights are empty.
    """

    kind = "null"
    parent = "plain"
    needs = frozenset({"class_maps"})
    acts_on = "last"
    fixed = "the network does not read its class maps"
    weight: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.passing: Tensor | None = None  # the activation, from before the Tap to after it

    def attach(self, network: NetworkLike, data: Data) -> None:
        super().attach(network, data)
        tap = network.taps[self.taps[0]]
        head = _head(network)
        if any(edge.weight is not head for edge in tap.outgoing):
            raise ValueError(f"class maps need a head that reads Tap '{tap.name}' itself")
        self.register_buffer("weight", head.weight.detach().clone())
        tap.install(self.maps, before=True)
        tap.install(self.pass_on)
        self.eval()
        network.wire()  # type: ignore[attr-defined]  # the Tap's number of units has changed
        self.train()
        tap.outgoing, tap.on_trunk = (), False  # type: ignore[misc]

    def maps(self, x: Float[Tensor, "images units *map"]) -> Float[Tensor, "images maps *map"]:
        """The rectified class maps; keeps the activation for the layers behind the Tap.

        Returns ``x`` itself in training mode, since the maps are those of a trained network.
        """
        if self.training:
            return x
        self.passing = x
        return torch.einsum("ck,bk...->bc...", self.weight.to(x.dtype), x).relu()

    def pass_on(self, x: Tensor) -> Tensor:
        """The activation that `maps` kept."""
        activation, self.passing = self.passing, None
        return x if activation is None else activation

    @torch.no_grad()
    def after_training(self, network: NetworkLike, data: Data) -> None:
        self.weight.copy_(_head(network).weight)


def _head(network: NetworkLike) -> nn.Linear:
    """The dense layer behind the last Tap: the last dense layer of all."""
    assert isinstance(network, nn.Module)
    return [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
