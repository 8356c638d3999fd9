"""BEAN: biologically enhanced artificial neuronal assembly regularisation."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from methods.base import Method, Step, TapChoice, register
from metrics.network import NetworkLike


def bean_penalty(
    activation: Float[Tensor, "batch units"],
    weight: Float[Tensor, "targets units"],
    gamma: float = 1.0,
    order: Literal[1, 2] = 1,
) -> Float[Tensor, ""]:
    """(1 / N^2) sum_ij M_ij mean_b (h_bi - h_bj)^2 without the N x N x B tensor.

    The sum is a graph-Laplacian energy, (2 / N^2) mean_b h (diag(M 1) - M) h. Every sample's
    mean over units is subtracted first: differences do not change, and the two terms then do
    not cancel where units have become nearly equal, which float32 would not survive.
    """
    h = activation - activation.mean(1, keepdim=True)
    gate = (gamma * weight).tanh().abs()  # (targets, units): A transposed
    batch, units = h.shape
    power = h.square().mean(0)
    if order == 1:
        degree = gate.sum(1) @ gate
        shared = (h @ gate.T).square().sum() / batch
    else:
        correlation = (gate.T @ gate).square()
        degree = correlation.sum(1)
        shared = ((h @ correlation) * h).sum() / batch
    return 2 / units**2 * (power @ degree - shared)


@register
class Bean(Method):
    """Pulls together the activations of units that drive the same targets.

    Equation: for a layer with activations h (B x N) and weights W (K x N) to the next layer,
    A = |tanh(gamma W^T)|, M = A A^T (order 1) or its elementwise square (order 2),
    L = CE + s * sum over layers of (1 / N^2) sum_ij M_ij mean_b (h_bi - h_bj)^2.
    Paper: Gao, Ascoli & Zhao, "BEAN: interpretable and efficient learning with biologically
    enhanced artificial neuronal assembly regularization", Frontiers in Neurorobotics 15, 2021.
    Repository: github.com/YuyangGao/BEAN, commit 8eede03; written from its formulas (the
    paper's own text was not available).
    Differences: the pairwise sum is computed in its exact Laplacian form; gamma enters every
    layer's gate alike (the code's main file has it twice in one layer and not at all in
    another, which is the same at its gamma of 1). Units are those the next dense layer sees:
    LeNet's 400 pooled units, not its 16 channels.

    strength: the code's alpha (3 for order 1 with full data; 100 for order 2 with 10 shots).
    The loss grows with the square of the activations and with the next layer's width, so
    alpha does not carry over between architectures or orders.
    gamma: steepness of the gate.
    order: 1 counts common targets, 2 counts weighted 4-cycles.
    """

    needs = frozenset({"dense"})
    acts_on = "dense"
    search = {"strength": (0.03, 0.3, 3.0, 30.0)}

    def __init__(
        self,
        strength: float = 3.0,
        gamma: float = 1.0,
        order: Literal[1, 2] = 1,
        taps: TapChoice | None = None,
    ) -> None:
        super().__init__(strength, taps)
        if gamma <= 0:
            raise ValueError(f"gamma must be above 0, not {gamma}")
        self.gamma, self.order = gamma, order

    def penalty(self, step: Step) -> dict[str, Tensor]:
        total = step.logits.new_zeros((), dtype=torch.float32)
        for tap in self.taps:
            for edge in step.network.taps[tap].outgoing:
                if isinstance(edge.weight, nn.Linear):
                    units = edge.bridge(step.activations[tap])
                    total = total + bean_penalty(units, edge.weight.weight, self.gamma, self.order)
        return {"bean": self.strength * total}

    @torch.no_grad()
    def partition(self, network: NetworkLike) -> dict[str, Int[Tensor, "units"]]:
        """Groups of units by the target they drive most strongly (signed effects apart)."""
        claimed = {}
        for tap in self.taps:
            weight = network.taps[tap].outgoing[0].weight
            if weight is not None and not network.taps[tap].spatial:
                claimed[tap] = weight.weight.abs().argmax(0)
        return claimed
