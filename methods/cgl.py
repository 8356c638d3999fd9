"""CGL: concept groups, contiguous channels that are active in the same image regions."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from legible.methods.base import Data, Method, Step, TapChoice, Target, register
from legible.metrics.network import NetworkLike
from legible.metrics.weight_layers import Link, effective_weight

TINY = 1e-12
#: Added to the mass of a field in the spatial loss, as in the code.
MASS = 1e-4


def receptive_field(
    activation: Float[Tensor, "batch units *map"],
    form: Literal["halved", "sigmoid"] = "halved",
    epsilon: float = 5e-3,
) -> Float[Tensor, "batch units *map"]:
    """psi, the soft receptive field: a sigmoid of a / (the unit's standard deviation + epsilon).

    The standard deviation is over images and positions (N - 1). "halved" is 2 sigmoid - 1, which
    is 0 where a rectified unit is silent; "sigmoid" is 0.5 there.
    """
    units = activation.movedim(1, 0).flatten(1)
    power = (units - units.mean(1, keepdim=True)).square().sum(1) / max(units.shape[1] - 1, 1)
    std = torch.where(power > TINY, torch.where(power > TINY, power, 1.0).sqrt(), 0.0)
    psi = (activation / (std + epsilon).view(-1, *[1] * (activation.ndim - 2))).sigmoid()
    return 2 * psi - 1 if form == "halved" else psi


def group_distance(
    psi: Float[Tensor, "batch units height width"],
    pairs: Int[Tensor, "groups pairs 2"],
) -> Float[Tensor, ""]:
    """Sum over groups of the mean soft Jaccard distance over images and pairs of units.

    The distance 2 |p - q|_1 / (|p|_1 + |q|_1 + |p - q|_1) is 0 for equal fields, 1 for disjoint
    ones and 0 where both are silent.
    """
    first, second = psi[:, pairs[..., 0]].flatten(3), psi[:, pairs[..., 1]].flatten(3)
    gap = (first - second).abs().sum(3)
    mass = first.abs().sum(3) + second.abs().sum(3) + gap
    nonzero = mass > TINY
    return (2 * gap / torch.where(nonzero, mass, 1.0) * nonzero).mean((0, 2)).sum()


def spatial_spread(psi: Float[Tensor, "batch units height width"]) -> Float[Tensor, ""]:
    """Mean over images and units of the distance to the centroid, weighted by psi.

    Distances are counted in positions of the map. The centroid and the mean distance are divided
    by the mass plus 1e-4, as in the code. A silent map has spread 0.
    """
    height, width = psi.shape[-2:]
    y = torch.arange(height, device=psi.device, dtype=psi.dtype).view(-1, 1)
    x = torch.arange(width, device=psi.device, dtype=psi.dtype)
    mass = psi.sum((2, 3)) + MASS
    cy, cx = (((psi * line).sum((2, 3)) / mass)[..., None, None] for line in (y, x))
    distance = ((y - cy).square() + (x - cx).square() + TINY).sqrt()
    return ((psi * distance).sum((2, 3)) / mass).mean()


def block_norm(
    weight: Float[Tensor, "units inputs *kernel"], groups: int, size: int
) -> Float[Tensor, ""]:
    """Sum of the Frobenius norms of ``groups`` groups of ``size`` filters each.

    The filters after the last group are left out, as in the code.
    """
    members = weight[: groups * size].reshape(groups, -1)
    return (members.square().sum(1) + TINY).sqrt().sum()


@register
class CGL(Method):
    """Makes the channels of a group active in the same, compact image regions.

    Equation: psi = a unit's soft receptive field (a sigmoid of its activation over its standard
    deviation); d(p, q) = 2 |p - q|_1 / (|p|_1 + |q|_1 + |p - q|_1).
    L = CE + s (L_group + l L_spatial + b L_block): L_group = sum over groups of the mean of d over
    random pairs of the group, three times as many as its units; L_spatial = mean over images and
    units of the mean distance of psi to its centroid, sum psi d / (sum psi + 1e-4);
    L_block = sum over groups of ||W_group||_2.
    Paper: Varshneya et al., "Learning interpretable concept groups in CNNs", IJCAI 2021.
    Repository: github.com/srb-cv/cgl, commit f07e8c4.
    Differences: psi is of the rectified activation, rescaled so that silence is 0 (the code reads
    convolutions before the ReLU, where silence is below a half, and with BatchNorm uses the last
    layer's statistics for every layer). Before a normalisation a filter's own norm has no effect,
    so the block norm is of the filters' effective weights. Acts on the last map by default; a
    layer that ends in a residual sum has no block norm. Terms of several layers are added (the
    code averages the first two over layers). The optional orthogonality is left out.

    strength: the code's flags are all 0 by default; its example has 0.005 for the block norm.
    groups: number of contiguous groups of equal size, of at least two units; the remaining units
        belong to no group.
    spatial: l. The distance is counted in positions of the map.
    block: b.
    field: "halved", or the code's "sigmoid".
    """

    needs = frozenset({"spatial"})
    trains_on = frozenset({"focus_distance", "focus_spread", "focus_dispersion"})
    claims = frozenset({"netdissect_iou", "unique_detectors"})
    target = Target("contiguous_group_distance", "lower")
    search = {"strength": (0.003, 0.01, 0.03, 0.1, 0.3)}

    def __init__(
        self,
        strength: float = 0.03,
        groups: int = 5,
        spatial: float = 0.3,
        block: float = 0.01,
        field: Literal["halved", "sigmoid"] = "halved",
        taps: TapChoice | None = None,
    ) -> None:
        super().__init__(strength, taps)
        if groups < 1:
            raise ValueError(f"groups must be at least 1, not {groups}")
        for name, value in (("spatial", spatial), ("block", block)):
            if value < 0:
                raise ValueError(f"{name} must be at least 0, not {value}")
        self.groups, self.spatial, self.block, self.field = groups, spatial, block, field
        if groups != 5:
            self.retarget(None, "has other groups than the 5 of its metric")

    def attach(self, network: NetworkLike, data: Data) -> None:
        super().attach(network, data)
        for tap in self.taps:
            if not network.taps[tap].spatial:
                raise ValueError(f"Tap '{tap}' has no map; choose taps=\"spatial\"")

    def layout(self, units: int) -> tuple[int, int]:
        """The number of groups and the number of units in each."""
        size = min(max(units // self.groups, 2), units)
        return min(self.groups, units // size), size

    def pairs(self, units: int, device: torch.device) -> Int[Tensor, "groups pairs 2"]:
        """Random pairs of different units of a group; the same pairs within every group."""
        groups, size = self.layout(units)
        shape = (3 * size,)
        first = torch.randint(size, shape, generator=self.generator, device=device)
        ahead = torch.randint(1, max(size, 2), shape, generator=self.generator, device=device)
        offsets = torch.stack([first, (first + ahead) % size], 1)
        return torch.arange(groups, device=device).view(-1, 1, 1) * size + offsets

    def penalty(self, step: Step) -> dict[str, Tensor]:
        group = spatial = block = step.logits.new_zeros((), dtype=torch.float32)
        for tap in self.taps:
            psi = receptive_field(step.activations[tap], self.field)
            group = group + group_distance(psi, self.pairs(psi.shape[1], psi.device))
            spatial = spatial + spatial_spread(psi)
            block = block + self.block_norm(step.network, tap)
        return {
            "group": self.strength * group,
            "spatial": self.strength * self.spatial * spatial,
            "block": self.strength * self.block * block,
        }

    def block_norm(self, network: NetworkLike, name: str) -> Tensor | float:
        """The block norm of the layer that makes a Tap's units; 0 after a residual sum."""
        tap = network.taps[name]
        if tap.incoming is None:
            return 0.0
        weight = effective_weight(Link(tap.incoming, tap.norm, None, name))
        return block_norm(weight, *self.layout(tap.units))

    def partition(self, network: NetworkLike) -> dict[str, Int[Tensor, "units"]]:
        """The contiguous groups; -1 for the remaining units."""
        labels = {}
        for tap in self.taps:
            units = network.taps[tap].units
            groups, size = self.layout(units)
            label = torch.arange(units, device=self.generator.device) // size
            labels[tap] = torch.where(label < groups, label, -1)
        return labels
