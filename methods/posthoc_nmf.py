"""Null row: the plain network's activations factorised into non-negative atoms."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from legible.methods._dictionary import Dictionary
from legible.methods.base import TapChoice, register

TINY = 1e-12


def factorise(
    samples: Float[Tensor, "samples units"],
    atoms: int,
    steps: int,
    generator: torch.Generator,
) -> Float[Tensor, "atoms units"]:
    """Non-negative atoms D of unit norm that minimise |A - H D|_F^2 over H, D >= 0 (A >= 0).

    Uses Lee and Seung's multiplicative updates from random positive factors; the loss never rises.
    """
    target = samples.clamp(min=0)
    scale = (target.mean() / atoms).sqrt().clamp(min=TINY)
    shapes = ((len(target), atoms), (atoms, target.shape[1]))
    code, parts = (
        scale * (0.1 + torch.rand(shape, generator=generator, device=target.device)).to(target)
        for shape in shapes
    )
    for _ in range(steps):
        code = code * (target @ parts.T) / (code @ (parts @ parts.T) + TINY)
        parts = parts * (code.T @ target) / ((code.T @ code) @ parts + TINY)
    return parts / parts.norm(dim=1, keepdim=True).clamp(min=TINY)


def project(
    samples: Float[Tensor, "samples units"], parts: Float[Tensor, "atoms units"], steps: int
) -> Float[Tensor, "samples atoms"]:
    """The code H >= 0 that minimises |A - H D|_F^2 for fixed D.

    Uses Nesterov's accelerated projected gradient. The number of steps is fixed, so that the code
    does not depend on the batch.
    """
    gram, target = parts @ parts.T, samples @ parts.T
    rate = 1 / gram.abs().sum(1).max().clamp(min=TINY)  # at most 1 / largest eigenvalue
    code = previous = (rate * target).clamp(min=0)
    for step in range(1, steps):
        ahead = code + (step - 1) / (step + 2) * (code - previous)
        previous, code = code, (ahead + rate * (target - ahead @ gram)).clamp(min=0)
    return code


@register
class PosthocNmf(Dictionary):
    """The plain network with non-negative matrix factors of its activations as units.

    Equation: A ~ H D with H, D >= 0 of least squared error; the rows of A are the activation
    vectors at positions of training images, the rows of D the atoms, H their code. New vectors
    are coded by non-negative least squares with D fixed.
    Paper: Lee & Seung, "Learning the parts of objects by non-negative matrix factorization",
    Nature 1999; on activations Olah et al., "The building blocks of interpretability", 2018.
    Repository: none; multiplicative updates from the formula.
    Differences: the network runs on the reconstruction H D, so an incomplete reconstruction
    lowers the accuracy. Coding takes ``steps`` // 2 projected gradient steps per batch.

    atoms: number of atoms; by default half the units, since with as many atoms as units the
        units themselves are an exact solution.
    steps: updates of the factors; half as many for coding.
    taps: the one Tap whose units are replaced.
    """

    parts: Tensor

    def __init__(
        self, atoms: int | None = None, steps: int = 200, taps: TapChoice | None = None
    ) -> None:
        super().__init__(atoms, taps)
        if steps < 2:
            raise ValueError(f"steps must be at least 2, not {steps}")
        self.steps = steps

    def default_atoms(self, units: int) -> int:
        return max(1, units // 2)

    def create(self, atoms: int, units: int) -> None:
        self.register_buffer("parts", torch.eye(atoms, units))

    def fit(self, samples: Tensor) -> None:
        self.parts.copy_(factorise(samples, len(self.parts), self.steps, self.generator))

    def encode(self, x: Tensor) -> Tensor:
        return project(x, self.parts, self.steps // 2)

    def decode(self, code: Tensor) -> Tensor:
        return code @ self.parts
