"""Null row: plain training on labels that carry no information about the images."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from legible.methods.base import Data, Method, Target, register
from legible.metrics.network import NetworkLike


@register
class ShuffledLabels(Method):
    """Plain training on permuted training labels: the scores that memorising alone reaches.

    Equation: y_i <- y_pi(i), pi a random permutation of a share s of the training images, the
    same in every epoch; validation and test images keep their labels.
    Paper: Zhang et al., "Understanding deep learning requires rethinking generalization",
    ICLR 2017 (their permuted labels).
    Repository: none. Differences: none.

    strength: the share s of images whose labels are permuted among themselves, at most 1.
    """

    kind = "null"
    target = Target("accuracy", "lower")
    seed: Tensor

    def __init__(self, strength: float = 1.0) -> None:
        super().__init__(strength)
        if strength > 1:
            raise ValueError(f"strength is a share of the images, at most 1, not {strength}")

    def attach(self, network: NetworkLike, data: Data) -> None:
        super().attach(network, data)
        device = data.labels.device
        # training_data runs again at every resume: store the seed, not the permutation
        seed = torch.randint(2**62, (), generator=self.generator, device=device)
        self.register_buffer("seed", seed)

    def training_data(self, data: Any) -> Any:
        generator = torch.Generator().manual_seed(int(self.seed))
        order = torch.randperm(len(data.labels), generator=generator)
        rows = order[: round(self.strength * len(order))].to(data.labels.device)
        labels = data.labels.clone()
        labels[rows.sort().values] = data.labels[rows]
        return replace(data, labels=labels)
