"""Null row: plain training on labels that say nothing of the images."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from legible.methods.base import Data, Method, register
from legible.metrics.network import NetworkLike


@register
class ShuffledLabels(Method):
    """Plain training after the training labels were permuted: what memorising alone gives.

    Equation: y_i <- y_pi(i), pi a random permutation of a share s of the training images, the
    same in every epoch; validation and test keep their labels.
    Paper: Zhang et al., "Understanding deep learning requires rethinking generalization",
    ICLR 2017 (their permuted labels).
    Repository: none. Differences: none.

    strength: the share s of images whose labels are permuted among themselves, at most 1.
    """

    kind = "null"
    seed: Tensor

    def __init__(self, strength: float = 1.0) -> None:
        super().__init__(strength)
        if strength > 1:
            raise ValueError(f"strength is a share of the images, at most 1, not {strength}")

    def attach(self, network: NetworkLike, data: Data) -> None:
        super().attach(network, data)
        device = data.labels.device
        # the permutation is asked for again at every resume: keep its seed, not the permutation
        drawn = torch.randint(2**62, (), generator=self.generator, device=device)
        self.register_buffer("seed", drawn)

    def training_data(self, data: Any) -> Any:
        generator = torch.Generator().manual_seed(int(self.seed))
        order = torch.randperm(len(data.labels), generator=generator)
        chosen = order[: round(self.strength * len(order))].to(data.labels.device)
        labels = data.labels.clone()
        labels[chosen.sort().values] = data.labels[chosen]
        return replace(data, labels=labels)
