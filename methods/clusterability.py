"""Clusterability: weights that form modules, with few connections between the modules."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from legible.methods.base import Data, Method, Step, TapChoice, Target, register
from legible.metrics.network import NetworkLike
from legible.metrics.weight_layers import Link, by_unit, effective_weight, links, links_to

TINY = 1e-12
#: Largest number of units for the eigenvalue form.
LARGEST = 1024


def blocks(units: int, count: int, device: torch.device | str = "cpu") -> Int[Tensor, "units"]:
    """The block of each unit: ``count`` contiguous blocks of (nearly) equal size."""
    return torch.arange(units, device=device) * min(count, units) // units


def share_within(strength: Float[Tensor, "targets sources"], count: int) -> Float[Tensor, ""]:
    """The share of the sum of all entries that joins blocks of the same number, in [0, 1]."""
    targets, sources = (blocks(n, count, strength.device) for n in strength.shape)
    within = targets[:, None] == sources
    return (strength * within).sum() / strength.sum().clamp(min=TINY)


def smallest_eigenvalues(adjacency: Float[Tensor, "nodes nodes"], count: int) -> Float[Tensor, ""]:
    """Sum of the ``count`` smallest eigenvalues of the normalised Laplacian after the first.

    The first is 0. A node without edges has the eigenvalue 1, so it is not among the smallest.
    """
    degree = adjacency.sum(1)
    connected = degree > TINY
    scale = torch.where(connected, torch.where(connected, degree, 1.0).rsqrt(), 0.0)
    eye = torch.eye(len(adjacency), dtype=adjacency.dtype, device=adjacency.device)
    laplacian = eye - scale[:, None] * adjacency * scale
    return torch.linalg.eigvalsh(laplacian)[1 : 1 + count].sum()


@register
class Clusterability(Method):
    """Trains the weights to form modules, with few connections between the modules.

    Equation: form "share": the units of every hidden layer stand in k contiguous blocks, and
    L = CE + s * mean over layers of [1 - sum_within w^2 / sum w^2], within: from block b to the
    next layer's block b. Form "eigenvalue": L = CE + s * sum of the m smallest eigenvalues but
    the first of I - D^-1/2 A D^-1/2, A the graph of all units with edges |w|, D its degrees.
    Paper: share: Golechha et al., "Training neural networks for modularity aids
    interpretability", 2024, of which only the abstract was read (the form is from memory);
    eigenvalue: Filan et al., "Clusterability in neural networks", 2021.
    Repository: share: none found; eigenvalue: github.com/dfilan/clusterability_in_neural_networks,
    commit 7260208; written from its formula.
    Differences: a filter before a normalisation counts at unit norm times |gamma|
    (``batchnorm="raw"``: as it is), and an edge between channels is its kernel's squared
    norm (share) or L1 norm (eigenvalue). In the share form the image and the logits have no
    blocks, so the first and last layers are free. The eigenvalue form uses autograd instead of
    the repository's own gradient, and takes the eigenvalues after the first as its "non-zero"
    ones, which differs only for a graph of several components. It solves an eigenproblem at every
    step: fast for a few hundred units on a CPU, cubic in their number, and a GPU waits for it.

    strength: 0.1 in the repository's eigenvalue form; 1 suits the share, which is at most 1.
    form: "share" or "eigenvalue" (networks of up to 1,024 units).
    k: number of blocks.
    m: number of eigenvalues, 3 in the repository.
    batchnorm: "folded" or "raw".
    """

    acts_on = "all"
    trains_on = frozenset({"weight_ncut", "weight_ncut_z"})
    claims = frozenset({"claimed_lesion_specificity_percentile", "weight_ncut"})
    target = Target("block_share", "higher")
    search = {"strength": (0.1, 0.3, 1.0, 3.0, 10.0)}

    def __init__(
        self,
        strength: float = 1.0,
        form: Literal["share", "eigenvalue"] = "share",
        k: int = 4,
        m: int = 3,
        batchnorm: Literal["folded", "raw"] = "folded",
        taps: TapChoice | None = None,
    ) -> None:
        super().__init__(strength, taps)
        if k < 2 or m < 1:
            raise ValueError(f"k must be at least 2, not {k}; m at least 1, not {m}")
        self.form, self.k, self.m, self.batchnorm = form, k, m, batchnorm
        if form == "eigenvalue":
            self.retarget(Target("weight_ncut", "lower"))
        elif k != 4:
            self.retarget(None, "has other blocks than the 4 of its metric")

    def attach(self, network: NetworkLike, data: Data) -> None:
        super().attach(network, data)
        if self.form == "share" and not self.inner(network):
            raise ValueError(
                'no weights between two hidden layers: use taps="all" or a deeper network'
            )
        nodes = sum(self.layers(network).values())
        if self.form == "eigenvalue" and nodes > LARGEST:
            raise ValueError(
                f'form="eigenvalue" is for {LARGEST} units at most, not {nodes}; use form="share"'
            )

    def penalty(self, step: Step) -> dict[str, Tensor]:
        if self.form == "eigenvalue":
            value = smallest_eigenvalues(self.graph(step.network), self.m)
            return {"eigenvalues": self.strength * value}
        shares = [
            share_within(self.edges(link, step.network).square().sum(2), self.k)
            for link in self.inner(step.network)
        ]
        return {"between": self.strength * (1 - torch.stack(shares).mean())}

    @torch.no_grad()
    def partition(self, network: NetworkLike) -> dict[str, Int[Tensor, "units"]]:
        """The blocks (share form only)."""
        if self.form == "eigenvalue":
            return {}
        taps = {name for link in self.inner(network) for name in (link.source, link.target)}
        device = links(network)[0].weight.device
        return {
            name: blocks(tap.units, self.k, device)
            for name, tap in network.taps.items()
            if name in taps
        }

    def inner(self, network: NetworkLike) -> list[Link]:
        """The weight layers between two hidden layers."""
        return [link for link in links_to(network, self.taps) if link.source and link.target]

    def edges(self, link: Link, network: NetworkLike) -> Float[Tensor, "targets sources entries"]:
        """The weights of a layer by target and source, effective (folded) or raw."""
        folded = self.batchnorm == "folded"
        weight = effective_weight(link) if folded else link.weight.float()
        units = network.taps[link.source].units if link.source else link.weight.shape[1]
        return by_unit(weight, units)

    def layers(self, network: NetworkLike) -> dict[str | None, int]:
        """The number of nodes for the image, each Tap and the logits, in order."""
        sizes: dict[str | None, int] = {"image": 0}
        sizes |= {name: tap.units for name, tap in network.taps.items()}
        for link in links(network):
            if link.source is None:
                sizes["image"] = link.weight.shape[1]
            if link.target is None:
                sizes["logits"] = len(link.weight)
        return sizes

    def graph(self, network: NetworkLike) -> Float[Tensor, "nodes nodes"]:
        """The adjacency matrix of all units; an edge is the L1 norm of the weights between them."""
        sizes = self.layers(network)
        ends = torch.tensor([0, *sizes.values()]).cumsum(0).tolist()
        start = dict(zip(sizes, ends, strict=False))
        total = links(network)[0].weight.new_zeros(ends[-1], ends[-1], dtype=torch.float32)
        for link in links(network):
            edges = self.edges(link, network).abs().sum(2)
            row, column = start[link.target or "logits"], start[link.source or "image"]
            below, right = ends[-1] - row - edges.shape[0], ends[-1] - column - edges.shape[1]
            total = total + nn.functional.pad(edges, (column, right, row, below))
        return total + total.T
