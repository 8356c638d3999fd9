"""A layer that whitens its input and rotates it, in the place of a normalisation. Not a method."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

EPSILON = 1e-5  # added to the covariance's diagonal


def inverse_root(
    covariance: Float[Tensor, "units units"],
    iterations: int = 20,
    form: Literal["coupled", "official"] = "coupled",
) -> Float[Tensor, "units units"]:
    """covariance^(-1/2) (symmetric) by Newton-Schulz iterations on the normalised matrix.

    "coupled" keeps the root and its inverse, which is stable; directions whose variance is below
    about 2.25^-iterations of the Frobenius norm stay short. "official" is the code's uncoupled
    iteration, P <- 3/2 P - 1/2 P^3 S, which diverges in float32 for ill-conditioned matrices.
    """
    eye = torch.eye(len(covariance)).to(covariance)
    if form == "official":
        scale = covariance.trace()
        inverse = eye
        for _ in range(iterations):
            inverse = 1.5 * inverse - 0.5 * inverse.matrix_power(3) @ (covariance / scale)
        return inverse * scale.rsqrt()
    scale = covariance.square().sum().sqrt()
    root, inverse = covariance / scale, eye
    for _ in range(iterations):
        factor = 1.5 * eye - 0.5 * inverse @ root
        root, inverse = root @ factor, factor @ inverse
    return inverse * scale.rsqrt()


class Whitening(nn.Module):
    """norm(x) + strength (R W (x - mean) - norm(x)), in the place of a normalisation layer.

    W whitens the batch in training (its running mean, and that of the batch mean, at evaluation);
    the rotation R is set from outside. Computed in float32 at least, without affine parameters.
    """

    is_norm = True  # for the Taps, which look for the norm before them

    def __init__(
        self, norm: nn.Module, units: int, strength: float, iterations: int,
        form: Literal["coupled", "official"], momentum: float,
    ) -> None:  # fmt: skip
        super().__init__()
        self.norm = norm
        self.strength, self.iterations, self.form = strength, iterations, form
        self.momentum = momentum
        self.register_buffer("mean", torch.zeros(units))
        self.register_buffer("whitening", torch.eye(units))
        self.register_buffer("rotation", torch.eye(units))

    mean: Tensor
    whitening: Tensor
    rotation: Tensor

    def forward(
        self, x: Float[Tensor, "batch units height width"]
    ) -> Float[Tensor, "batch units height width"]:
        plain = self.norm(x)
        with torch.autocast(x.device.type, enabled=False):
            wide = x if x.dtype == torch.float64 else x.float()
            mean, matrix = self.moments(wide) if self.training else (self.mean, self.whitening)
            out = turned(wide, mean, self.rotation.to(wide) @ matrix.to(wide))
        return plain + self.strength * (out.to(plain.dtype) - plain)

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The batch's mean and whitening matrix; moves the running ones towards them."""
        samples = x.movedim(1, 0).flatten(1)
        mean = samples.mean(1)
        centred = samples - mean[:, None]
        eye = torch.eye(len(mean)).to(x)
        covariance = centred @ centred.T / centred.shape[1] + EPSILON * eye
        matrix = inverse_root(covariance, self.iterations, self.form)
        with torch.no_grad():
            self.mean.lerp_(mean.to(self.mean), self.momentum)
            self.whitening.lerp_(matrix.to(self.whitening), self.momentum)
        return mean, matrix

    def whitened(self, x: Tensor) -> Tensor:
        """W (x - mean) with the running statistics, before the rotation."""
        return turned(x, self.mean.to(x), self.whitening.to(x))


def turned(x: Tensor, mean: Tensor, matrix: Tensor) -> Tensor:
    """matrix (x - mean) at every position."""
    mean, matrix = mean.to(x), matrix.to(x)
    return functional.conv2d(x, matrix[..., None, None], -matrix @ mean)
