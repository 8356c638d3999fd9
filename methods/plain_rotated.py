"""Null row: plain training, then the last units are mixed without changing the function."""

from __future__ import annotations

import torch
from torch import Tensor

from legible.methods.base import Data, Method, register
from legible.metrics.network import NetworkLike


def random_rotation(units: int, generator: torch.Generator) -> Tensor:
    """A random orthogonal matrix (Haar distribution), float32 on the CPU."""
    gaussian = torch.randn(units, units, generator=generator, device=generator.device)
    q, r = torch.linalg.qr(gaussian.cpu().double())
    return (q * r.diagonal().sign()).float()


@register
class PlainRotated(Method):
    """The plain network with the units of its last Tap rotated, and the head rotated back.

    Equation: a' = Q a, W' = W Q^T with a random orthogonal Q. The network computes the same
    function of the image, but with entangled units: a metric of single units must score lower here.
    Paper: after Morcos et al. 2018 and Bau et al. 2017 (NetDissect, section 4.2), who rotate
    a layer to ask whether its axes mean anything.
    Repository: none.
    Differences: needs a last Tap that is linear up to the head (pooling, flattening, one
    dense layer), where the rotation back is exact.
    """

    kind = "null"
    parent = "plain"
    acts_on = "last"
    needs = frozenset({"linear_head"})
    rotation: Tensor

    def attach(self, network: NetworkLike, data: Data) -> None:
        super().attach(network, data)
        tap = network.taps[self.taps[0]]
        self.register_buffer("rotation", torch.eye(tap.units, device=data.labels.device))
        tap.install(self.rotate, before=True)

    def rotate(self, x: Tensor) -> Tensor:
        """Multiplies the units at every position by the rotation."""
        return torch.einsum("ij,bj...->bi...", self.rotation.to(x.dtype), x)

    @torch.no_grad()
    def after_training(self, network: NetworkLike, data: Data) -> None:
        tap = network.taps[self.taps[0]]
        self.rotation.copy_(random_rotation(tap.units, self.generator).to(self.rotation))
        for edge in tap.outgoing:
            if edge.weight is not None:
                edge.weight.weight.copy_(edge.weight.weight @ self.rotation.T)
