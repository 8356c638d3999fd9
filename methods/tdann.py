"""TDANN's spatial loss: units that are close on a sheet respond alike."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from legible.methods.base import Method, Step, TapChoice, Target, register
from legible.metrics.similarity import correlation, live_units
from legible.metrics.weight_layers import sheet

#: Variance over pairs below which similarities count as constant.
TINY = 1e-10


def distances(units: int, device: torch.device | str = "cpu") -> Float[Tensor, "units units"]:
    """Distances between units in grid steps, row by row on the most nearly square grid."""
    height, width = sheet(units)
    rows = torch.arange(height, dtype=torch.float32, device=device)
    columns = torch.arange(width, dtype=torch.float32, device=device)
    places = torch.cartesian_prod(rows, columns)
    return (places[:, None] - places).square().sum(-1).sqrt()


def alignment(
    similarity: Float[Tensor, "units units"],
    nearness: Float[Tensor, "units units"],
    live: Bool[Tensor, "units"],
) -> Float[Tensor, ""]:
    """Pearson's correlation of two similarities over all pairs of different live units.

    0, without gradient, where one of them is constant.
    """
    pairs = (live[:, None] & live).float().tril(-1)
    count = pairs.sum().clamp(min=1)
    x, y = ((values - (values * pairs).sum() / count) * pairs for values in (similarity, nearness))
    spreads = x.square().sum() / count, y.square().sum() / count
    varies = (spreads[0].detach() > TINY) & (spreads[1] > TINY)
    scale = torch.where(varies, spreads[0] * spreads[1], 1.0).rsqrt()
    return torch.where(varies, (x * y).sum() / count, 0.0) * scale


@register
class Tdann(Method):
    """Makes units that are close on a two-dimensional sheet respond alike.

    Equation: L = CE + s * sum over layers of (1 - r) / 2, r Pearson's correlation over pairs
    (i, j) of a neighbourhood between rho_ij, the correlation of their responses, and
    1 / (d_ij + 1), d their distance on the sheet.
    Paper: Margalit et al., "A unifying framework for functional organization in early and higher
    ventral visual cortex", Neuron 2024.
    Repository: github.com/neuroailab/TDANN, commit 80c585d; written from its formula.
    Differences: each channel has one place, on a square grid. The original gives every position of
    every channel its own place (retinotopic, in millimetres, rearranged after pretraining), so the
    sheet here orders channels only. Its random neighbourhoods of the tissue become the channels
    nearest to a random one or, by default, the whole small sheet. Pairs with a unit that does not
    respond are left out (the original counts them as uncorrelated). The cross-entropy is the
    task's loss, not the paper's contrastive loss. Acts on the last map by default; the original
    has several layers (``taps="spatial"``: three times plain's step, for large first maps).

    strength: the same for every layer; the original sets it by layer, in its configuration.
    responses: a unit's responses at all "positions" of the batch, or "pooled", its means.
    spacing: distance of neighbours on the sheet.
    neighbourhood: number of channels of a random neighbourhood, at least 3; all by default.
    """

    needs = frozenset({"spatial"})
    claims = frozenset({"modularity", "within_between"})
    target = Target("sheet_alignment", "higher")
    search = {"strength": (0.03, 0.1, 0.3, 1.0, 3.0)}

    def __init__(
        self,
        strength: float = 0.3,
        responses: Literal["positions", "pooled"] = "positions",
        spacing: float = 1.0,
        neighbourhood: int | None = None,
        taps: TapChoice | None = None,
    ) -> None:
        super().__init__(strength, taps)
        if spacing <= 0:
            raise ValueError(f"spacing must be above 0, not {spacing}")
        if neighbourhood is not None and neighbourhood < 3:
            raise ValueError(f"neighbourhood must be at least 3, not {neighbourhood}")
        self.responses, self.spacing, self.neighbourhood = responses, spacing, neighbourhood

    def penalty(self, step: Step) -> dict[str, Tensor]:
        terms = [self.misalignment(step.activations[tap]) for tap in self.taps]
        return {"spatial": self.strength * torch.stack(terms).sum()}

    def misalignment(self, activation: Tensor) -> Float[Tensor, ""]:
        """(1 - r) / 2 for one layer, in [0, 1]."""
        distance = self.spacing * distances(activation.shape[1], activation.device)
        if self.neighbourhood is not None and self.neighbourhood < len(distance):
            units = self.around(distance, self.neighbourhood)
            activation = activation.index_select(1, units)
            distance = distance.index_select(0, units).index_select(1, units)
        if self.responses == "pooled" and activation.ndim > 2:
            activation = activation.flatten(2).mean(2)
        rho = correlation(activation)
        return (1 - alignment(rho, 1 / (distance + 1), live_units(rho))) / 2

    def around(self, distance: Tensor, size: int) -> Int[Tensor, "units"]:
        """The units nearest to a random unit, which is included."""
        centre = torch.randint(
            len(distance), (1,), generator=self.generator, device=distance.device
        )
        return distance.index_select(0, centre)[0].topk(size, largest=False).indices
