"""Null row: plain training, then pruning of the smallest weights."""

from __future__ import annotations

import torch
from torch import nn

from legible.methods.base import Data, Method, register
from legible.metrics.network import NetworkLike
from legible.metrics.weight_layers import links


@register
class PlainPruned(Method):
    """The plain network with its smallest weights set to zero.

    Equation: w <- w [|w| > t], t such that a share s p of all weights of convolutions and dense
    layers falls below it (one threshold for the whole network).
    Paper: Han et al., "Learning both weights and connections", NeurIPS 2015, without its
    retraining; global magnitude as in Blalock et al., "What is the state of neural network
    pruning?", MLSys 2020.
    Repository: none.
    Differences: weights are not retrained. BatchNorm's statistics are recomputed on training
    images without labels; at high sparsity the network is otherwise far from its best.

    strength: s, a factor of the sparsity.
    sparsity: the share p of weights that become zero.
    recalibrate: whether BatchNorm's running statistics are recomputed after pruning.
    """

    kind = "null"
    parent = "plain"

    def __init__(
        self, strength: float = 1.0, sparsity: float = 0.9, recalibrate: bool = True
    ) -> None:
        super().__init__(strength)
        if not 0 <= sparsity < 1 or strength > 1:
            raise ValueError(
                f"sparsity ({sparsity}) must be in [0, 1), strength ({strength}) at most 1"
            )
        self.sparsity, self.recalibrate = sparsity, recalibrate

    @torch.no_grad()
    def after_training(self, network: NetworkLike, data: Data) -> None:
        weights = [link.weight for link in links(network)]
        if not weights:
            raise ValueError("has no weights between two Taps to prune")
        values = torch.cat([weight.flatten() for weight in weights])
        count = round(self.strength * self.sparsity * len(values))
        if count == 0:
            return
        values[values.abs().argsort(stable=True)[:count]] = 0
        parts = values.split([weight.numel() for weight in weights])
        for weight, part in zip(weights, parts, strict=True):
            weight.copy_(part.view(weight.shape))
        if self.recalibrate:
            recalibrate(network, data)


@torch.no_grad()
def recalibrate(network: NetworkLike, data: Data) -> None:
    """Sets BatchNorm's running statistics to their average over batches of training images."""
    assert isinstance(network, nn.Module)
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average
    network.eval()  # dropout, for one, does not act
    for norm in norms:
        norm.train()
    for _, images in data.batches(256):
        network(images)
    network.eval()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
