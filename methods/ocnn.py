"""OCNN: convolutions that are orthogonal operators."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from legible.methods.base import Method, Step, TapChoice, Target, register
from legible.metrics.weight_layers import Link, links_to

#: Added under the root, so that the gradient is finite where the weight is orthogonal.
TINY = 1e-12


def kernel_orthogonality(
    kernel: Float[Tensor, "units inputs height width"],
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int] | None = None,
) -> Float[Tensor, ""]:
    """|conv(K, K) - I_0|_F: how far the kernels are from orthonormal at every shift.

    Compares the scalar products of all kernels, at all shifts by multiples of the stride, with 1
    for a kernel and itself without shift, and 0 otherwise. ``padding`` is the largest shift; by
    default all shifts at which kernels overlap.
    """
    shifts = padding or [(k - 1) // s * s for k, s in zip(kernel.shape[2:], stride, strict=True)]
    product = functional.conv2d(kernel, kernel, stride=stride, padding=shifts)
    target = torch.zeros_like(product)
    row, column = (size // 2 for size in product.shape[2:])
    target[:, :, row, column] = torch.eye(len(kernel), dtype=kernel.dtype, device=kernel.device)
    return ((product - target).square().sum() + TINY).sqrt()


def matrix_orthogonality(weight: Float[Tensor, "units *inputs"]) -> Float[Tensor, ""]:
    """|w w^T - I|_F or |w^T w - I|_F, for the smaller of the two matrices."""
    w = weight.flatten(1)
    gram = w @ w.T if len(w) < w.shape[1] else w.T @ w
    target = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    return ((gram - target).square().sum() + TINY).sqrt()


@register
class Ocnn(Method):
    """Makes each convolution an orthogonal operator: filters orthonormal at every shift.

    Equation: L = CE + s * sum over layers of |conv(K, K; padding, stride) - I_0|_F, I_0 the
    identity at shift zero; for 1 x 1 convolutions and dense layers |w w^T - I|_F (or w^T w,
    whichever is smaller).
    Paper: Wang, Chen, Chakraborty & Yu, "Orthogonal convolutional neural networks", CVPR 2020.
    Repository: github.com/samaonline/Orthogonal-Convolutional-Neural-Networks, commit 5cd1c7e;
    written from its formula.
    Differences: the padding is the kernel's size - 1, rounded down to a multiple of the stride,
    so that every overlapping shift counts and shift zero is in the middle. The repository's is
    1 (``padding="script"``): it ignores shifts beyond one, and with stride 2 it has no shift zero
    at all, so that a shifted product is compared with the identity. Acts on every convolution but
    the first (which destabilises, as the authors note) and every dense layer but the head. The
    repository lists its layers by name: in ResNet-18 and 34 the first convolution of each residual
    block, in ResNet-50 all three, and in all of them the 1 x 1 convolutions of the shortcuts.

    strength: 0.5 in the repository's command; that costs small networks accuracy.
    padding: "centred" or "script".
    """

    acts_on = "all"
    claims = frozenset({"accuracy"})
    target = Target("convolution_orthogonality", "lower")
    search = {"strength": (0.01, 0.03, 0.1, 0.3, 1.0)}

    def __init__(
        self,
        strength: float = 0.1,
        padding: Literal["centred", "script"] = "centred",
        taps: TapChoice | None = None,
    ) -> None:
        super().__init__(strength, taps)
        self.padding = padding

    def penalty(self, step: Step) -> dict[str, Tensor]:
        total = step.logits.new_zeros((), dtype=torch.float32)
        for link in links_to(step.network, self.taps):
            if link.source is not None and link.target is not None:
                total = total + self.measure(link)
        return {"orthogonality": self.strength * total}

    def measure(self, link: Link) -> Float[Tensor, ""]:
        """How far one layer's weight is from orthogonal."""
        weight, layer = link.weight.float(), link.layer
        if isinstance(layer, nn.Linear) or layer.kernel_size == (1, 1):
            return matrix_orthogonality(weight)
        padding = (1, 1) if self.padding == "script" else None
        return kernel_orthogonality(weight, layer.stride, padding)  # type: ignore[arg-type]
