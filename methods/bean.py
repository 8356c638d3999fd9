"""BEAN: biologically enhanced artificial neuronal assembly regularisation."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from legible.methods.base import Method, Step, TapChoice, Target, register
from legible.metrics.network import Edge, NetworkLike


def bean_penalty(
    activation: Float[Tensor, "batch units"],
    weight: Float[Tensor, "targets units"],
    gamma: float = 1.0,
    order: Literal[1, 2] = 1,
    distance: Literal["squared", "absolute"] = "squared",
) -> Float[Tensor, ""]:
    """(1 / N^2) sum_ij M_ij mean_b |h_bi - h_bj|^p with p = 2 ("squared") or 1 ("absolute").

    Needs less memory than the N x N x B tensor of all differences would.
    """
    gate = (gamma * weight).tanh().abs()  # (targets, units): A transposed
    function = laplacian_penalty if distance == "squared" else pairwise_penalty
    return function(activation, gate, order)


def laplacian_penalty(
    activation: Float[Tensor, "batch units"], gate: Float[Tensor, "targets units"], order: int
) -> Float[Tensor, ""]:
    """The penalty with squared differences, as the energy of a graph Laplacian.

    It is (2 / N^2) mean_b h (diag(M 1) - M) h. Each sample's mean over units is subtracted first.
    That does not change the differences and keeps float32 accurate where units are nearly equal.
    """
    h = activation - activation.mean(1, keepdim=True)
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


def pairwise_penalty(
    activation: Float[Tensor, "batch units"], gate: Float[Tensor, "targets units"], order: int
) -> Float[Tensor, ""]:
    """The penalty with absolute differences, which have no Laplacian form.

    Each pair is computed once; `torch.pdist` sums over the batch.
    """
    batch, units = activation.shape
    i, j = torch.triu_indices(units, units, 1, device=activation.device)
    correlation = (gate.T @ gate)[i, j]
    differences = torch.pdist(activation.T.contiguous(), p=1)
    return 2 / units**2 / batch * (correlation.pow(order) @ differences)


def layer_input(edge: Edge, activation: Tensor) -> Float[Tensor, "batch units"]:
    """For each unit, the value that the next weight layer receives.

    Before a convolution this is the channel's mean.
    """
    bridged = edge.bridge(activation)
    return bridged.flatten(2).mean(2) if bridged.ndim > 2 else bridged


def synapses(edge: Edge) -> Float[Tensor, "targets units"]:
    """The outgoing weights by target and unit; for a convolution, the L1 norm of each kernel."""
    assert edge.weight is not None
    weight = edge.weight.weight.float()
    return weight.abs().flatten(2).sum(2) if weight.ndim > 2 else weight


@register
class Bean(Method):
    """Makes units that drive the same targets respond alike.

    Equation: for a layer with activations h (B x N) and weights W (K x N) to the next layer,
    A = |tanh(gamma W^T)|, M = A A^T (order 1) or its elementwise square (order 2),
    L = CE + s * sum over layers of (1 / N^2) sum_ij M_ij mean_b (h_bi - h_bj)^2; with
    ``distance = "absolute"``, |h_bi - h_bj| (a line that is commented out in the code).
    Paper: Gao, Ascoli & Zhao, "BEAN: interpretable and efficient learning with biologically
    enhanced artificial neuronal assembly regularization", Frontiers in Neurorobotics 15, 2021.
    Repository: github.com/YuyangGao/BEAN, commit 8eede03; written from its formulas (the
    paper's own text was not available).
    Differences: the squared sum is computed in its exact Laplacian form. We multiply by gamma
    once in every layer. The authors' main file multiplies twice in one layer and never in
    another. With gamma = 1, their value, there is no difference. The units are the inputs of the
    next dense layer: LeNet's 400 pooled values, not its 16 channels. ``convolutions`` is an
    extension of this project.

    strength: the code's alpha (3 for order 1 with full data; 100 for order 2 with 10 shots).
        The loss grows with the square of the activations and with the next layer's width, so
        alpha does not carry over between architectures or orders.
    gamma: steepness of the gate.
    order: 1 counts common targets, 2 counts weighted cycles of length 4.
    distance: "squared" or "absolute" difference of two units' activations.
    convolutions: acts also before convolutions; the units are then channels (their spatial
        means) and the gate uses the L1 norms of the kernels.
    """

    needs = frozenset({"dense"})
    acts_on = "dense"
    claims = frozenset({"pruning_area_dense", "effective_weights"})
    target = Target("assembly_disparity", "lower")
    search = {"strength": (0.3, 1.0, 3.0, 10.0, 30.0), "order": (1, 2)}

    def __init__(
        self,
        strength: float = 3.0,
        gamma: float = 1.0,
        order: Literal[1, 2] = 1,
        distance: Literal["squared", "absolute"] = "squared",
        convolutions: bool = False,
        taps: TapChoice | None = None,
    ) -> None:
        super().__init__(strength, "all" if convolutions and taps is None else taps)
        if gamma <= 0:
            raise ValueError(f"gamma must be above 0, not {gamma}")
        self.gamma, self.order, self.distance = gamma, order, distance
        self.kinds = (nn.Linear, nn.Conv2d) if convolutions else (nn.Linear,)
        if convolutions:
            self.needs = frozenset()  # type: ignore[misc]
        if order == 2:
            self.retarget(Target("assembly_disparity_cycles", "lower"))

    def penalty(self, step: Step) -> dict[str, Tensor]:
        total = step.logits.new_zeros((), dtype=torch.float32)
        for tap in self.taps:
            for edge in step.network.taps[tap].outgoing:
                if isinstance(edge.weight, self.kinds):
                    total = total + bean_penalty(
                        layer_input(edge, step.activations[tap]), synapses(edge),
                        self.gamma, self.order, self.distance,
                    )  # fmt: skip
        return {"bean": self.strength * total}

    @torch.no_grad()
    def partition(self, network: NetworkLike) -> dict[str, Int[Tensor, "units"]]:
        """Groups units by the target to which their weight has the largest absolute value."""
        groups = {}
        for tap in self.taps:
            edges = [e for e in network.taps[tap].outgoing if isinstance(e.weight, self.kinds)]
            strength = synapses(edges[0]).abs() if edges else torch.zeros(0, 0)
            if strength.shape[1] == network.taps[tap].units:
                groups[tap] = strength.argmax(0)
        return groups
