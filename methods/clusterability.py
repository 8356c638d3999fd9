"""Clusterability: weights gathered into blocks, each of which mostly talks to its own next one."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from legible.methods._wiring import Link, by_unit, chosen_links, effective_weight, links
from legible.methods.base import Data, Method, Step, TapChoice, register
from legible.metrics.network import NetworkLike

TINY = 1e-12
#: Largest number of units for the eigenvalue form.
LARGEST = 1024


def blocks(units: int, count: int, device: torch.device | str = "cpu") -> Int[Tensor, "units"]:
    """The block of each unit: ``count`` contiguous blocks of (nearly) equal size."""
    return torch.arange(units, device=device) * min(count, units) // units


def share_within(strength: Float[Tensor, "targets sources"], count: int) -> Float[Tensor, ""]:
    """Sum of the entries that join blocks of the same number, over the sum of all entries."""
    targets, sources = (blocks(n, count, strength.device) for n in strength.shape)
    within = targets[:, None] == sources
    return (strength * within).sum() / strength.sum().clamp(min=TINY)


def smallest_eigenvalues(adjacency: Float[Tensor, "nodes nodes"], count: int) -> Float[Tensor, ""]:
    """Sum of the ``count`` smallest eigenvalues of the normalised Laplacian after the first.

    The first is 0. A node without edges has the eigenvalue 1, which is not among the smallest.
    """
    degree = adjacency.sum(1)
    there = degree > TINY
    scale = torch.where(there, torch.where(there, degree, 1.0).rsqrt(), 0.0)
    laplacian = torch.eye(len(adjacency)).to(adjacency) - scale[:, None] * adjacency * scale
    return torch.linalg.eigvalsh(laplacian)[1 : 1 + count].sum()


@register
class Clusterability(Method):
    """Trains a network whose weights fall into modules.

    Equation: form "share": the units of every hidden layer stand in k contiguous blocks, and
    L = CE + s * mean over layers of [1 - sum_within w^2 / sum w^2], within: from block b to the
    next layer's block b. Form "eigenvalue": L = CE + s * sum of the m smallest eigenvalues but
    the first of I - D^-1/2 A D^-1/2, A the graph of all units with edges |w|, D its degrees.
    Paper: share: Golechha et al., "Training neural networks for modularity aids
    interpretability", 2024, of which only the abstract was read (the form is from memory);
    eigenvalue: Filan et al., "Clusterability in neural networks", 2021.
    Repository: share: none found; eigenvalue: github.com/dfilan/clusterability_in_neural_networks,
    commit 7260208; written from its formula.
    Differences: a filter counts behind a normalisation at unit norm times |gamma|
    (``batchnorm="raw"``: as it stands), and an edge between channels is its kernel's squared
    norm (share) or L1 norm (eigenvalue). In the share form the image and the logits have no
    blocks, so first and last layers are free. The eigenvalue form uses autograd for the
    repository's own gradient, and takes the eigenvalues after the first for its "non-zero"
    ones, which differs only for a graph in several pieces. It solves an eigenproblem at every
    step: cheap for a few hundred units on a CPU, cubic in their number, and a GPU waits for it.

    strength: 0.1 in the repository's eigenvalue form; 1 suits the share, which is at most 1.
    form: "share" or "eigenvalue" (networks of up to 1,024 units).
    k: number of blocks.
    m: number of eigenvalues, 3 in the repository.
    batchnorm: "folded" or "raw".
    """

    acts_on = "all"
    trains_on = frozenset({"weight_ncut", "weight_ncut_z"})
    claims = frozenset({"claimed_lesion_specificity_percentile", "weight_ncut"})
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

    def attach(self, network: NetworkLike, data: Data) -> None:
        super().attach(network, data)
        if self.form == "share" and not self.inner(network):
            raise ValueError("clusterability needs weights between two hidden layers")
        nodes = sum(self.layers(network).values())
        if self.form == "eigenvalue" and nodes > LARGEST:
            raise ValueError(f"the eigenvalue form is for {LARGEST} units at most, not {nodes}")

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
        named = {name for link in self.inner(network) for name in (link.source, link.target)}
        device = links(network)[0].weight.device
        return {
            name: blocks(tap.units, self.k, device)
            for name, tap in network.taps.items()
            if name in named
        }

    def inner(self, network: NetworkLike) -> list[Link]:
        """Weight layers from units to units."""
        chosen = chosen_links(network, self.taps)
        return [link for link in chosen if link.source is not None and link.target is not None]

    def edges(self, link: Link, network: NetworkLike) -> Float[Tensor, "targets sources cells"]:
        folded = self.batchnorm == "folded"
        weight = effective_weight(link) if folded else link.weight.float()
        units = network.taps[link.source].units if link.source else link.weight.shape[1]
        return by_unit(weight, units)

    def layers(self, network: NetworkLike) -> dict[str | None, int]:
        """How many nodes the graph has for the image, each Tap and the logits, in order."""
        found: dict[str | None, int] = {"image": 0}
        found |= {name: tap.units for name, tap in network.taps.items()}
        for link in links(network):
            if link.source is None:
                found["image"] = link.weight.shape[1]
            if link.target is None:
                found["logits"] = len(link.weight)
        return found

    def graph(self, network: NetworkLike) -> Float[Tensor, "nodes nodes"]:
        """Undirected edges between the units of all layers, each as its weights' L1 norm."""
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
