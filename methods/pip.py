"""PIP-Net's self-supervision: at each place one channel, the same in two views of the image."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from legible.methods.base import Data, Method, Step, TapChoice, register
from legible.metrics.network import NetworkLike

#: Inside the logarithms of the two terms, as in the repository.
ALIGN_TINY, TANH_TINY = 1e-12, 1e-8


def likeness(
    first: Float[Tensor, "batch units height width"],
    second: Float[Tensor, "batch units height width"],
    radius: int = 0,
) -> Float[Tensor, "batch height width"]:
    """Scalar product of the two distributions at each place of ``first``; the largest over the
    places of ``second`` at most ``radius`` cells away in each direction."""
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
    """-mean log of the likeness of ``first`` to ``second``, which gets no gradient.

    ``mirror``: an image may also be matched by its mirror image, whichever is more alike.
    """
    views = [second.detach(), second.detach().flip(-1)][: 1 + mirror]
    logs = [(likeness(first, view, radius) + ALIGN_TINY).log().mean((1, 2)) for view in views]
    return -torch.stack(logs).amax(0).mean()


def tanh_loss(shares: Float[Tensor, "batch units height width"]) -> Float[Tensor, ""]:
    """-mean over units of log tanh of the sum over images of the unit's highest share."""
    presence = shares.flatten(2).amax(2).sum(0)
    return -(presence.tanh() + TANH_TINY).log().mean()


@register
class Pip(Method):
    """One channel at each place, the same for two views of an image, and every channel in use.

    Equation: p = softmax over channels of the map at each place; for two views of a batch
    L_align = -mean over places of log <p, p'> (both ways, the target detached),
    L_tanh = -mean_d log tanh(sum over images of max over places of p_d);
    L = CE + s (align L_align + tanh L_tanh).
    Paper: Nauta, Schlötterer, van Keulen & Seifert, "PIP-Net: patch-based intuitive prototypes
    for interpretable image classification", CVPR 2023.
    Repository: github.com/M-Nauta/PIPNet, commit 12c4da7; written from its formula.
    Differences: only the self-supervised terms. The network classifies with its own head on its
    own activations, not with non-negative weights on the pooled p, and there is no pretraining
    with these terms alone. The original's two views share their geometry and differ in colour,
    so places correspond; here views are shifted and perhaps mirrored, so a place is matched with
    the best one within ``radius`` cells, of the image or of its mirror image (``radius=0,
    mirror=False``: the original's form). The second view costs a second forward and backward
    pass: two to two and a half times plain's step and memory.

    strength: s. Beside 1, the repository's ratio, small networks learned nothing else here.
    align, tanh: 5 and 2 beside a cross-entropy weighted by 2 in the repository: 2.5 and 1 here.
    radius: in cells of the map; 1 suits shifts up to half a cell in each view.
    mirror: whether mirrored views count; needed where the augmentation flips.
    """

    needs = frozenset({"spatial"})
    claims = frozenset({"concept_purity", "part_interpretability"})
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
            raise ValueError("align, tanh and radius must be at least 0")
        self.align, self.tanh, self.radius, self.mirror = align, tanh, radius, mirror

    def attach(self, network: NetworkLike, data: Data) -> None:
        super().attach(network, data)
        for tap in self.taps:
            if not network.taps[tap].spatial:
                raise ValueError(f"Tap '{tap}' has no map")

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
