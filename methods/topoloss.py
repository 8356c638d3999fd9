"""TopoLoss: neighbours on a sheet of units get similar weights."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from legible.methods.base import Method, Step, TapChoice, Target, register
from legible.metrics.weight_layers import TINY, links_to, sheet


def resampling(
    size: int, new: int, step: float, device: torch.device | str = "cpu"
) -> Float[Tensor, "new size"]:
    """The matrix of linear interpolation of ``size`` values at ``new`` places, ``step`` apart.

    Values are at half integers; edges are repeated.
    """
    index = torch.arange(max(size, new), dtype=torch.float64, device=device)
    places = ((index[:new] + 0.5) * step - 0.5).clamp(0, size - 1)
    return (1 - (places[:, None] - index[:size]).abs()).clamp(min=0)


def blurring(
    size: int, factor: float, device: torch.device | str = "cpu"
) -> Float[Tensor, "size size"]:
    """The matrix that shrinks a side by ``factor`` (to one value at least) and grows it back."""
    factor = min(factor, float(size))
    small = int(size / factor)
    grow = resampling(small, size, small / size, device)
    return grow @ resampling(size, small, factor, device)


def topo_loss(weight: Float[Tensor, "units *inputs"], factor: float) -> Float[Tensor, ""]:
    """1 - mean cosine between each unit's weights and those of the blurred sheet, in [0, 2].

    Units stand row by row on the most nearly square grid; blurring is bilinear. A zero filter
    counts as cosine 0, without gradient through its own direction.
    """
    filters = weight.flatten(1)
    sides = sheet(len(filters))
    down, across = (blurring(side, factor, filters.device).to(filters) for side in sides)
    blurred = torch.einsum("ij,jkd,lk->ild", down, filters.unflatten(0, sides), across)
    return 1 - cosine(filters, blurred.flatten(0, 1)).mean()


def cosine(a: Float[Tensor, "n d"], b: Float[Tensor, "n d"]) -> Float[Tensor, "n"]:
    """The cosine of corresponding rows; 0, without gradient, where one of them is zero."""
    powers = a.square().sum(1), b.square().sum(1)
    live = (powers[0].detach() > TINY) & (powers[1].detach() > TINY)
    first, second = (torch.where(live, power, 1.0).rsqrt() for power in powers)
    return torch.where(live, (a * b).sum(1), 0.0) * first * second


@register
class Topoloss(Method):
    """Makes incoming weights vary smoothly over a two-dimensional sheet of units.

    Equation: L = CE + s * mean over layers of [1 - mean_i cos(w_i, blur(w)_i)], w_i the weights
    of unit i, flattened; blur: bilinear shrinking of the sheet by a factor, and growing back.
    Paper: Deb, Deb & Murty, "TopoNets: high performing vision and language models with
    brain-like topography", ICLR 2025.
    Repository: github.com/toponets/topoloss, commit 9220f46; written from its formula.
    Differences: a zero filter gets no gradient (the cosine's epsilon gives it gradients of
    order 1e6); a side shorter than the factor shrinks to 1, where the code fails; one factor for
    both sides of the sheet; every layer that makes units at the chosen Taps, not layers by name.
    As in the code, a filter's norm does not matter at its own place, but it does for its
    neighbours.

    strength: the code's scale (1 in its example).
    factor: how much the sheet shrinks, at least 1. The example's 8 is for sheets of some 30 x 30;
        2 suits the 4 x 4 to 8 x 8 of small networks.
    """

    acts_on = "all"
    target = Target("sheet_smoothness", "higher")
    search = {"strength": (0.1, 0.3, 1.0, 3.0, 10.0)}

    def __init__(
        self, strength: float = 1.0, factor: float = 2.0, taps: TapChoice | None = None
    ) -> None:
        super().__init__(strength, taps)
        if factor < 1:
            raise ValueError(f"factor must be at least 1, not {factor}")
        self.factor = factor

    def penalty(self, step: Step) -> dict[str, Tensor]:
        layers = [link for link in links_to(step.network, self.taps) if link.target]
        if not layers:
            raise ValueError("no Tap has units that one layer makes")
        losses = [topo_loss(link.weight.float(), self.factor) for link in layers]
        return {"topography": self.strength * torch.stack(losses).mean()}
