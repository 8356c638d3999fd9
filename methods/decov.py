"""DeCov: a penalty on the covariance between units."""

from __future__ import annotations

from typing import Literal

from jaxtyping import Float
from torch import Tensor

from legible.methods.base import Method, Step, TapChoice, Target, register
from legible.metrics.similarity import correlation


def covariance(responses: Float[Tensor, "samples units"]) -> Float[Tensor, "units units"]:
    """The biased covariance of the units over the samples (divided by N, not N - 1)."""
    centred = responses - responses.mean(0)
    return centred.T @ centred / len(responses)


def off_diagonal_energy(matrix: Float[Tensor, "units units"]) -> Float[Tensor, ""]:
    """Half the sum of the squared off-diagonal entries."""
    return (matrix - matrix.diagonal().diag()).square().sum() / 2


@register
class DeCov(Method):
    """Penalises the covariance between the units of a layer.

    Equation: with h the units' responses to N samples and C = (h - mean)^T (h - mean) / N,
    L = CE + s sum over Taps of (||C||_F^2 - ||diag C||_2^2) / 2.
    Paper: Cogswell et al., "Reducing overfitting in deep networks by decorrelating
    representations", ICLR 2016.
    Repository: no official one was found; the biased 1 / N as in Chainer's ``decov`` function.
    Differences: at a Tap with a map, a sample is an image (the unit's mean over positions), or
    every position of every image; the paper's layers are dense. With fewer samples than units
    much of C is noise. Smaller activations lower the loss; ``scale="correlation"``, an extension
    of this project, prevents that.

    strength: the usual weight is said to be 0.1; it scales with the fourth power of the
        activations, so it does not carry over between layers.
    samples: "pooled" (one sample per image) or "positions".
    scale: "covariance" as in the paper, or "correlation".
    """

    acts_on = "last"
    trains_on = frozenset({"effective_rank"})
    claims = frozenset({"accuracy"})
    target = Target("covariance_energy", "lower")
    search = {"strength": (0.01, 0.03, 0.1, 0.3, 1.0)}

    def __init__(
        self,
        strength: float = 0.1,
        samples: Literal["pooled", "positions"] = "pooled",
        scale: Literal["covariance", "correlation"] = "covariance",
        taps: TapChoice | None = None,
    ) -> None:
        super().__init__(strength, taps)
        self.samples, self.scale = samples, scale
        if scale == "correlation":
            self.retarget(Target("effective_rank", "higher"))

    def penalty(self, step: Step) -> dict[str, Tensor]:
        terms = [self.redundancy(step.activations[tap]) for tap in self.taps]
        return {"decov": self.strength * sum(terms, step.logits.new_zeros(()))}

    def redundancy(self, activation: Float[Tensor, "batch units *map"]) -> Float[Tensor, ""]:
        """Half the sum of the squared covariances (or correlations) between units of one Tap."""
        maps = activation.flatten(2) if activation.ndim > 2 else activation.unsqueeze(2)
        responses = maps.mean(2) if self.samples == "pooled" else maps.movedim(1, 2).flatten(0, 1)
        if self.scale == "correlation":
            return off_diagonal_energy(correlation(responses))
        return off_diagonal_energy(covariance(responses))
