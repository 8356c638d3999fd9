"""Control: training for class selectivity itself."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from legible.methods.base import Method, Step, TapChoice, Target, register

TINY = 1e-7  # in the denominator, as in Leavitt and Morcos


def selectivity(
    activation: Float[Tensor, "batch units *map"], labels: Int[Tensor, "batch"], classes: int
) -> Float[Tensor, "units"]:
    """(mu_max - mu_rest) / (mu_max + mu_rest + 1e-7) of each unit, from the batch's class means.

    mu is the mean of max(a, 0) over a class's images and positions, mu_max the largest mu of the
    classes in the batch, mu_rest the mean of the others. A dead unit has 0.
    """
    pooled = activation.clamp(min=0)
    pooled = pooled.flatten(2).mean(2) if pooled.ndim > 2 else pooled
    member = functional.one_hot(labels, classes).to(pooled)
    count = member.sum(0)
    means = member.T @ pooled / count.clamp(min=1)[:, None]  # 0 for absent classes
    top = means.amax(0)
    rest = (means.sum(0) - top) / ((count > 0).sum() - 1).clamp(min=1)
    return (top - rest) / (top + rest + TINY)


@register
class SelectivityReg(Method):
    """Rewards (or penalises) each unit's class selectivity index, which is itself a metric here.

    Equation: L = CE - s * mean over Taps of mean over units of SI,
    SI = (mu_max - mu_rest) / (mu_max + mu_rest + eps) of class-mean activations.
    Paper: Leavitt & Morcos, "Selectivity considered harmful: evaluating the causal impact of
    class selectivity in DNNs", 2020 (arXiv 2003.01262).
    Repository: none was read; the formula is the paper's, from memory.
    Differences: acts at the last Tap by default, which the benchmark scores, and not at every
    layer. Class means are of the batch: with few images per class they are noisy, and SI is biased
    upwards.

    direction: "more" selectivity, or "less" (the paper's main experiment).
    """

    kind = "control"
    acts_on = "last"
    trains_on = frozenset({"class_selectivity"})
    claims = frozenset({"class_selectivity"})
    target = Target("class_selectivity", "higher")
    search = {"strength": (0.1, 0.3, 1.0, 3.0, 10.0)}

    def __init__(
        self,
        strength: float = 1.0,
        direction: Literal["more", "less"] = "more",
        taps: TapChoice | None = None,
    ) -> None:
        super().__init__(strength, taps)
        self.direction = direction
        if direction == "less":
            self.retarget(Target("class_selectivity", "lower"))

    def penalty(self, step: Step) -> dict[str, Tensor]:
        classes = step.logits.shape[1]
        index = [selectivity(step.activations[t], step.labels, classes).mean() for t in self.taps]
        sign = -1 if self.direction == "more" else 1
        return {"selectivity": sign * self.strength * torch.stack(index).mean()}
