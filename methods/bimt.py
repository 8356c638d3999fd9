"""BIMT: brain-inspired modular training, which penalises weights by their length."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from legible.methods.base import Data, Method, Step, TapChoice, Target, register
from legible.metrics.network import NetworkLike
from legible.metrics.weight_layers import Link, by_unit, effective_weight, links_to, sheet

#: Factor of the strength from a share of the training on, latest first.
SCHEDULES = {
    "constant": (),
    "mnist": ((0.5, 100.0), (0.25, 10.0)),
    "tasks": ((0.75, 1.0), (0.25, 10.0)),
}


def grid(height: int, width: int, device: torch.device | str = "cpu") -> Float[Tensor, "places 2"]:
    """Centres of the squares of a height x width grid on the unit square, row by row."""
    rows, columns = (
        (torch.arange(n, dtype=torch.float32, device=device) + 0.5) / n for n in (height, width)
    )
    return torch.cartesian_prod(rows, columns)


def lengths(
    first: Float[Tensor, "targets 2"], second: Float[Tensor, "sources 2"]
) -> Float[Tensor, "targets sources"]:
    """L1 distances between the places of two layers."""
    return (first[:, None] - second).abs().sum(-1)


def relocate(
    cost: Float[Tensor, "units places"],
    slot: Int[Tensor, "units"],
    order: Int[Tensor, "candidates"],
) -> Int[Tensor, "units"]:
    """Swaps each candidate in turn with the unit for which the swap is cheapest.

    cost: ``cost[u, p]`` is the cost of unit u's length at place p, the other layers unchanged.
    slot: ``slot[u]`` is the place of unit u.
    order: the candidates, in the order of their turns.

    Units of a layer are not connected to each other, so a swap changes the total by
    cost[i, p_j] + cost[j, p_i] - cost[i, p_i] - cost[j, p_j]. Returns the new places.
    """
    slot = slot.clone()
    here = torch.arange(len(slot), device=slot.device)
    for i in order.split(1):  # one after another: each swap changes the next one's costs
        at = slot[i]
        change = cost[i, slot] + cost[here, at] - cost[i, at] - cost[here, slot]
        pair = torch.cat([i, change.argmin()[None]])
        slot[pair] = slot[pair.flip(0)]
    return slot


@register
class Bimt(Method):
    """Places units on sheets, penalises weights by their length, and swaps units to shorten them.

    Equation: L = CE + s * sum over layers of [mean_ij |w_ij| (a d_ij + l0) + l0 mean_i |b_i|],
    d_ij the L1 distance between the places of unit i and its input j, both in the unit square;
    for the logits d = 0. Every few steps each of the k units of a layer with the most weight
    is swapped with the unit of its layer for which the cost falls most.
    Paper: Liu, Gan & Tegmark, "Seeing is believing: brain-inspired modular training for
    mechanistic interpretability", Entropy 2024 (arXiv 2305.08746).
    Repository: github.com/KindXiaoming/BIMT, commit 9a0ed34 (mnist_3.5.ipynb); written from its
    formula.
    Differences: **the convolutional form is an extension of this project.** A unit is a channel
    and |w_ij| the L1 norm of a kernel (summed over a map's positions where a layer flattens the
    map). A filter before a normalisation counts at unit norm times |gamma|, since rescaling would
    otherwise evade the cost; its bias is the normalisation's. Image channels have no place: a
    first convolution costs no length, a first dense layer reads pixels at their places. Places
    are swapped instead of weights, which is equivalent and keeps the optimiser's state with its
    unit. Swaps happen at epoch starts, minimise the trained cost (the notebook's swaps also count
    the logits' length) and compare all partners of a candidate at once. The logits do not move.
    Biases cost from the start, as in the MNIST notebook; in the small tasks only in the last
    quarter.
    Skip connections cost nothing.

    strength: s. The notebook's is 0.01 with 784-100-100-10, times 10 at 25 and 50 % of 40,000
        steps; 0.001 in the paper's small tasks.
    length: a, the cost of a unit of length; wire: l0, the cost of any weight. 2 and 0.5 on MNIST,
        1 and 0.1 in the small tasks (which sum instead of averaging).
    layout: "sheet", the most nearly square grid, or "line".
    swap_every: epochs between swaps (the notebook: 500 steps); 0 for no swaps.
    candidates: k.
    schedule: "constant", or the strength's factors of the notebooks: "mnist" (10 from 25 %, 100
        from 50 % of the training) or "tasks" (10 from 25 % to 75 %).
    batchnorm: "folded" (filters at unit norm times |gamma|) or "raw" (weights as they are).
    """

    acts_on = "all"
    claims = frozenset({"modularity", "weight_ncut"})
    target = Target("wire_size", "lower")
    search = {"strength": (0.01, 0.03, 0.1, 0.3, 1.0)}

    def __init__(
        self,
        strength: float = 0.1,
        length: float = 2.0,
        wire: float = 0.5,
        layout: Literal["sheet", "line"] = "sheet",
        swap_every: int = 1,
        candidates: int = 30,
        schedule: Literal["constant", "mnist", "tasks"] = "constant",
        batchnorm: Literal["folded", "raw"] = "folded",
        taps: TapChoice | None = None,
    ) -> None:
        super().__init__(strength, taps)
        if min(length, wire, swap_every, candidates) < 0:
            raise ValueError(
                f"length ({length}), wire ({wire}), swap_every ({swap_every}) and candidates "
                f"({candidates}) must be at least 0"
            )
        self.length, self.wire, self.layout = length, wire, layout
        self.swap_every, self.candidates = swap_every, candidates
        self.schedule, self.batchnorm = schedule, batchnorm

    def attach(self, network: NetworkLike, data: Data) -> None:
        super().attach(network, data)
        self.image: tuple[int, int, int] = tuple(data.images.shape[1:])  # type: ignore[assignment]
        for i, tap in enumerate(network.taps.values()):
            self.register_buffer(f"slot{i}", torch.arange(tap.units, device=data.labels.device))

    def idle(self, epochs: int) -> str:
        if 1 < epochs <= self.swap_every:
            return (
                f"swap_every={self.swap_every} swaps no units after the start of a training of "
                f"{epochs} epochs: use a smaller number, or 0 for no swaps"
            )
        return ""

    # ------------------------------------------------------------- cost

    def penalty(self, step: Step) -> dict[str, Tensor]:
        wires = biases = step.logits.new_zeros((), dtype=torch.float32)
        for link in links_to(step.network, self.taps):
            edges = self.edges(link, step.network)
            wires = wires + (edges * (self.length * self.distance(link, step.network)
                                      + self.wire)).mean()  # fmt: skip
            bias = link.layer.bias if link.layer.bias is not None else _bias(link.norm)
            if bias is not None:
                biases = biases + self.wire * bias.abs().mean()
        scale = self.strength * self.factor(step.progress)
        return {"wires": scale * wires, "biases": scale * biases}

    def factor(self, progress: float) -> float:
        """The schedule's factor of the strength at a share of the training."""
        return next((f for share, f in SCHEDULES[self.schedule] if progress >= share), 1.0)

    def edges(self, link: Link, network: NetworkLike) -> Float[Tensor, "targets sources"]:
        """|w_ij|: the weight between each pair of units."""
        weight = effective_weight(link) if self.batchnorm == "folded" else link.weight.float()
        units = network.taps[link.source].units if link.source else weight.shape[1]
        return by_unit(weight.abs(), units).sum(2)

    def distance(self, link: Link, network: NetworkLike) -> Float[Tensor, "targets sources"]:
        """d_ij: the length of each weight; 0 where one end has no place."""
        targets, sources = self.ends(link, network)
        if targets is None or sources is None:
            return torch.zeros(1, 1, device=link.weight.device)
        return lengths(targets, sources)

    def ends(self, link: Link, network: NetworkLike) -> tuple[Tensor | None, Tensor | None]:
        """The places of a link's targets and sources; None for logits and image channels."""
        targets = None if link.target is None else self.places(link.target, network)
        if link.source is not None:
            return targets, self.places(link.source, network)
        if isinstance(link.layer, nn.Linear):  # flattened pixels, channel after channel
            channels, height, width = self.image
            return targets, grid(height, width, link.weight.device).repeat(channels, 1)
        return targets, None

    def places(self, tap: str, network: NetworkLike) -> Float[Tensor, "units 2"]:
        """The place of each unit of a Tap."""
        slot = self.slot(tap, network)
        return self.sheet(len(slot), slot.device)[slot]

    def sheet(self, units: int, device: torch.device) -> Float[Tensor, "places 2"]:
        """The places of a layer with that many units."""
        return grid(*(sheet(units) if self.layout == "sheet" else (1, units)), device)

    def slot(self, tap: str, network: NetworkLike) -> Tensor:
        """The index of each unit's place on the sheet."""
        slot = getattr(self, f"slot{list(network.taps).index(tap)}")
        assert isinstance(slot, Tensor)
        return slot

    # ------------------------------------------------------------- swaps

    @torch.no_grad()
    def start_epoch(self, network: NetworkLike, data: Data, epoch: int) -> None:
        if self.swap_every and epoch % self.swap_every == 0:
            for tap in network.taps:
                cost, weight = self.place_costs(tap, network)
                slot = self.slot(tap, network)
                order = weight.argsort(descending=True, stable=True)[: self.candidates]
                slot.copy_(relocate(cost, slot, order))

    def place_costs(
        self, tap: str, network: NetworkLike
    ) -> tuple[Float[Tensor, "units places"], Float[Tensor, "units"]]:
        """The length cost of each unit at each place, and the total weight of each unit."""
        slot = self.slot(tap, network)
        places = self.sheet(len(slot), slot.device)
        cost = torch.zeros(len(slot), len(slot), device=slot.device)
        weight = torch.zeros(len(slot), device=slot.device)
        for link in links_to(network, self.taps):
            if tap not in (link.source, link.target):
                continue
            edges, (targets, sources) = self.edges(link, network), self.ends(link, network)
            own, far = (edges, sources) if tap == link.target else (edges.T, targets)
            weight += own.sum(1)
            if far is not None:
                cost += self.length * own @ lengths(far, places) / own.numel()
        return cost, weight


def _bias(norm: nn.Module | None) -> Tensor | None:
    return getattr(norm, "bias", None)
