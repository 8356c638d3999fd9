"""Null row: the plain network's activations rotated to principal components."""

from __future__ import annotations

import torch
from torch import Tensor

from legible.methods._dictionary import Dictionary
from legible.methods.base import TapChoice, register


@register
class PosthocPca(Dictionary):
    """The plain network with principal components of its activations as units.

    Equation: code = C (a - m), a = C^T code + m: m the mean over positions of the training
    images, the rows of C the eigenvectors of the covariance, largest variance first.
    Paper: Hotelling 1933; on activations for example Raghu et al., "SVCCA", NeurIPS 2017.
    Repository: none.
    Differences: a component's sign is free; here its longer tail (positive third moment) is
    positive, since metrics read max(code, 0). All components are kept, so the network computes
    the same function, up to rounding.

    taps: the one Tap whose units are replaced.
    """

    components: Tensor
    mean: Tensor

    def __init__(self, taps: TapChoice | None = None) -> None:
        super().__init__(None, taps)

    def create(self, atoms: int, units: int) -> None:
        self.register_buffer("components", torch.eye(units))
        self.register_buffer("mean", torch.zeros(units))

    def fit(self, samples: Tensor) -> None:
        mean = samples.double().mean(0)
        centred = samples.double() - mean
        _, vectors = torch.linalg.eigh(centred.T @ centred / len(centred))
        components = vectors.flip(1).T
        tail = (centred @ components.T).pow(3).mean(0)
        components = components * torch.where(tail < 0, -1.0, 1.0)[:, None]
        self.components.copy_(components)
        self.mean.copy_(mean)

    def encode(self, x: Tensor) -> Tensor:
        return (x - self.mean) @ self.components.T

    def decode(self, code: Tensor) -> Tensor:
        return code @ self.components + self.mean
