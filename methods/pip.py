"""PIP-Net's self-supervision: one channel at each position, equal in two views of an image."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from legible.methods.base import Data, Method, Step, TapChoice, Target, register
from legible.metrics.network import NetworkLike

#: Added inside the logarithms of the two terms, as in the repository.
ALIGN_TINY, TANH_TINY = 1e-12, 1e-8


def likeness(
    first: Float[Tensor, "batch units height width"],
    second: Float[Tensor, "batch units height width"],
    radius: int = 0,
) -> Float[Tensor, "batch height width"]:
    """The scalar product of the two distributions over channels, at each position of ``first``.

    The largest value over the positions of ``second`` that are at most ``radius`` away in each
    direction.
    """
    height, width = first.shape[2:]
    padded = functional.pad(second, [radius] * 4)
    shifts = range(2 * radius + 1)
    products = [
        (first * padded[:, :, dy : dy + height, dx : dx + width]).sum(1)
        for dy in shifts
        for dx in shifts
    ]
    return torch.stack(products).amax(0)


def align_loss(
    first: Float[Tensor, "batch units height width"],
    second: Float[Tensor, "batch units height width"],
    radius: int = 0,
    mirror: bool = False,
) -> Float[Tensor, ""]:
    """-mean log of the likeness of ``first`` to ``second``; ``second`` gets no gradient.

    With ``mirror``, an image may also match the mirror image, whichever is more alike.
    """
    views = [second.detach(), second.detach().flip(-1)][: 1 + mirror]
    logs = [(likeness(first, view, radius) + ALIGN_TINY).log().mean((1, 2)) for view in views]
    return -torch.stack(logs).amax(0).mean()


def tanh_loss(shares: Float[Tensor, "batch units height width"]) -> Float[Tensor, ""]:
    """-mean over units of log tanh of the unit's largest shares, summed over images."""
    presence = shares.flatten(2).amax(2).sum(0)
    return -(presence.tanh() + TANH_TINY).log().mean()


@register
class Pip(Method):
    """Makes one channel explain each position, the same in two views of an image (PIP-Net).

    Equation: p = softmax over channels of the map at each position; for two views of a batch
    L_align = -mean over positions of log <p, p'> (both ways, the target detached),
    L_tanh = -mean_d log tanh(sum over images of max over positions of p_d);
    L = CE + s (align L_align + tanh L_tanh).
    Paper: Nauta, Schlötterer, van Keulen & Seifert, "PIP-Net: patch-based intuitive prototypes
    for interpretable image classification", CVPR 2023.
    Repository: github.com/M-Nauta/PIPNet, commit 12c4da7; written from its formula.
    Differences: only the self-supervised terms. The network classifies with its own head on its
    own activations, not with non-negative weights on the pooled p, and there is no pretraining
    with these terms alone. The original's two views have the same geometry and differ in colour,
    so positions correspond; here views are shifted and perhaps mirrored, so a position is matched
    with the best one within ``radius``, of the image or of its mirror image (``radius=0,
    mirror=False``: the original's form). The second view costs a second forward and backward
    pass: two to two and a half times plain's step and memory.

    strength: s. At 1, the repository's ratio, small networks learned only these terms here.
    align, tanh: 5 and 2 with a cross-entropy weight of 2 in the repository: 2.5 and 1 here.
    radius: a distance in positions of the map; 1 suits shifts up to half a position in each view.
    mirror: whether mirrored views count; needed if the augmentation flips images.
    """

    needs = frozenset({"spatial"})
    claims = frozenset({"concept_purity", "part_interpretability"})
    target = Target("channel_uncertainty", "lower")
    search = {"strength": (0.01, 0.03, 0.1, 0.3, 1.0)}

    def __init__(
        self,
        strength: float = 0.1,
        align: float = 2.5,
        tanh: float = 1.0,
        radius: int = 1,
        mirror: bool = True,
        taps: TapChoice | None = None,
    ) -> None:
        super().__init__(strength, taps)
        if min(align, tanh, radius) < 0:
            raise ValueError(
                f"align ({align}), tanh ({tanh}) and radius ({radius}) must be at least 0"
            )
        self.align, self.tanh, self.radius, self.mirror = align, tanh, radius, mirror

    def attach(self, network: NetworkLike, data: Data) -> None:
        super().attach(network, data)
        for tap in self.taps:
            if not network.taps[tap].spatial:
                raise ValueError(f"Tap '{tap}' has no map; choose taps=\"spatial\"")

    def penalty(self, step: Step) -> dict[str, Tensor]:
        other = step.second_view().activations
        align = tanh = step.logits.new_zeros((), dtype=torch.float32)
        for tap in self.taps:
            first = step.activations[tap].float().softmax(1)
            second = other[tap].float().softmax(1)
            ways = ((first, second), (second, first))
            align = align + sum(align_loss(*way, self.radius, self.mirror) for way in ways) / 2
            tanh = tanh + (tanh_loss(first) + tanh_loss(second)) / 2
        return {
            "align": self.strength * self.align * align,
            "tanh": self.strength * self.tanh * tanh,
        }
