"""SRIP: near-orthogonal weights by the spectral norm of their restricted isometry."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from legible.methods.base import Method, Step, TapChoice, Target, register
from legible.metrics.weight_layers import links_to

#: Squarings of M^2 in the power iteration, which give its 4096th power.
SQUARINGS = 12
#: The repository's schedule: the factor after a share of the training (of 200 epochs).
DECAY = ((0.6, 0.0), (0.35, 1e-6), (0.25, 1e-4), (0.1, 1e-3))


def deviation(weight: Float[Tensor, "units *inputs"]) -> Float[Tensor, "side side"]:
    """w w^T - I or w^T w - I, whichever is smaller, with w the weight as units x inputs."""
    w = weight.flatten(1)
    gram = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
    return gram - torch.eye(len(gram), dtype=gram.dtype, device=gram.device)


def spectral(matrix: Float[Tensor, "side side"]) -> Float[Tensor, ""]:
    """The largest squared eigenvalue of a symmetric matrix, with its exact gradient.

    Finds the top eigenvector v by repeated squaring, without gradient; the derivative of |M v|^2 at
    v is that of the eigenvalue. Unlike an eigensolver it does not wait for the GPU.
    """
    with torch.no_grad():
        power = matrix @ matrix
        for _ in range(SQUARINGS):
            power = functional.normalize(power.flatten(), dim=0).view_as(power)
            power = power @ power
        column = power.diagonal().argmax()[None]
        top = functional.normalize(power.index_select(1, column), dim=0)
    return (matrix @ top).square().sum()


def one_step(
    matrix: Float[Tensor, "side side"], start: Float[Tensor, "side 1"]
) -> Float[Tensor, ""]:
    """The repository's estimate of `spectral`: one power step from a random start; biased low."""
    return (matrix @ functional.normalize(matrix @ start, dim=0)).square().sum()


@register
class Srip(Method):
    """Keeps every weight matrix close to orthogonal (spectral restricted isometry).

    Equation: for each layer's weight w (units x inputs), M = w w^T - I if units <= inputs, else
    w^T w - I; L = CE + s * sum over layers of |M|_2^2 (SRIP) or of |M|_F^2 (soft
    orthogonality, SO).
    Paper: Bansal, Chen & Wang, "Can we gain more from orthogonality regularizations in training
    deep CNNs?", NeurIPS 2018.
    Repository: github.com/VITA-Group/Orthogonality-in-CNNs, commit 99897ee; written from its
    formula.
    Differences: the spectral norm is exact. The repository takes one power step from a random
    vector, which gives 28.6 instead of 50.6 on a random 16 x 27 weight (``form="one_step"``). It
    divides the weight of the penalty by 1000 after a tenth of the training
    (``schedule="official"``). Its Wide-ResNet script also contains a schedule of weight decay, but
    does not call it: weight decay is constant there, as here. Its ImageNet script takes w^T w for
    wide layers too, which cannot be I; that is left out.

    strength: 0.01 in the CIFAR scripts, 1e-6 in the ImageNet one.
    form: "spectral", "soft" (Frobenius) or "one_step".
    schedule: "constant", or "official": 1e-3, 1e-4, 1e-6 of the strength after 10, 25, 35 % of
        the training, nothing after 60 %.
    """

    acts_on = "all"
    claims = frozenset({"accuracy"})
    target = Target("matrix_orthogonality", "lower")
    search = {"strength": (0.003, 0.01, 0.03, 0.1, 0.3)}

    def __init__(
        self,
        strength: float = 0.01,
        form: Literal["spectral", "soft", "one_step"] = "spectral",
        schedule: Literal["constant", "official"] = "constant",
        taps: TapChoice | None = None,
    ) -> None:
        super().__init__(strength, taps)
        self.form, self.schedule = form, schedule

    def penalty(self, step: Step) -> dict[str, Tensor]:
        weights = [link.weight.float() for link in links_to(step.network, self.taps)]
        if not weights:
            raise ValueError("no Tap has units that one layer makes")
        terms = torch.stack([self.measure(deviation(weight)) for weight in weights])
        return {"orthogonality": self.strength * self.decay(step.progress) * terms.sum()}

    def measure(self, matrix: Tensor) -> Float[Tensor, ""]:
        """The norm of one layer's deviation, by ``form``."""
        if self.form == "soft":
            return matrix.square().sum()
        if self.form == "spectral":
            return spectral(matrix)
        start = torch.rand(len(matrix), 1, generator=self.generator, device=matrix.device)
        return one_step(matrix, start.to(matrix))

    def decay(self, progress: float) -> float:
        """The schedule's factor at a share of the training."""
        if self.schedule == "constant":
            return 1.0
        return next((factor for share, factor in DECAY if progress > share), 1.0)
