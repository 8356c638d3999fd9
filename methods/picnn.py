"""PICNN: a second pathway that classifies with the filters of a sampled class only."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from legible.methods.base import Data, Method, Step, TapChoice, Target, register
from legible.metrics.network import NetworkLike


def straight_through(value: Tensor, slope: Tensor) -> Tensor:
    """``value`` in the forward pass, with the gradient of ``slope`` in the backward pass."""
    return slope + (value - slope).detach()


def draw_class(
    probabilities: Float[Tensor, "batch classes"], generator: torch.Generator
) -> Int[Tensor, "batch"]:
    """Draws a class for each image with the given probabilities (the argmax of p / exponential)."""
    noise = torch.empty_like(probabilities).exponential_(generator=generator)
    return (probabilities.detach() / noise.clamp(min=torch.finfo(noise.dtype).tiny)).argmax(1)


def filter_mask(
    probabilities: Float[Tensor, "batch classes"],
    classes: Int[Tensor, "batch"],
    share: Float[Tensor, "classes units"],
    uniform: Float[Tensor, "batch units"],
) -> Float[Tensor, "batch units"]:
    """The filters of each image's drawn class: 1 where ``uniform`` < share[class], else 0.

    The gradient is that of one_hot(class) @ share; the gradient into the network uses the softmax
    in place of the one-hot vector.
    """
    one_hot = functional.one_hot(classes, len(share)).to(share)
    keep = straight_through(one_hot, probabilities) @ share
    return straight_through((uniform < keep.detach()).to(keep), keep)


@register
class PICNN(Method):
    """Assigns filters to classes and trains the filters of the predicted class to classify alone.

    Equation: P = softmax over classes of Q (classes x units). For each image draw a class c from
    softmax(logits) and a mask m ~ Bernoulli(P[c]); both straight-through. L = CE + s times the
    mean, over the images whose drawn class is right, of CE(head(m * a), y).
    Paper: Guo et al., "PICNN: a pathway towards interpretable convolutional neural networks",
    AAAI 2024 (arXiv 2312.12068).
    Repository: github.com/spdj2271/PICNN, commit c76f1e1.
    Differences: acts on the last Tap as it is; the code first adds a 3x3 convolution (512 -> 64,
    without ReLU). Q has its own learning rate, since training here is some 400 steps and not
    80,000. The label only selects images; it never enters the network.

    strength: the code's lambda is 2, over 200 epochs; in 10 epochs that costs accuracy.
    matrix_lr: Q's learning rate (the code has 1e-3 for everything).
    matrix_decay: Q's weight decay, as in the code.
    """

    acts_on = "last"
    trains_on = frozenset({"accuracy_own_units"})
    claims = frozenset({"accuracy_other_units", "accuracy_own_units", "class_information"})
    target = Target("accuracy_own_units", "higher")
    search = {"strength": (0.125, 0.25, 0.5, 1.0, 2.0)}

    def __init__(
        self,
        strength: float = 0.5,
        matrix_lr: float = 0.05,
        matrix_decay: float = 1e-4,
        taps: TapChoice | None = None,
    ) -> None:
        super().__init__(strength, taps)
        if matrix_lr <= 0:
            raise ValueError(f"matrix_lr must be above 0, not {matrix_lr}")
        self.matrix_lr, self.matrix_decay = matrix_lr, matrix_decay

    def attach(self, network: NetworkLike, data: Data) -> None:
        super().attach(network, data)
        if self.taps != list(network.taps)[-1:]:
            raise ValueError('picnn acts at the last Tap only: set taps to "last"')
        shape = (data.classes, network.taps[self.taps[0]].units)
        start = torch.rand(shape, generator=self.generator, device=data.labels.device)
        self.matrix = nn.Parameter(start.softmax(0))

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [{"params": [self.matrix], "lr": self.matrix_lr, "weight_decay": self.matrix_decay}]

    def penalty(self, step: Step) -> dict[str, Tensor]:
        activation = step.activations[self.taps[0]]
        probabilities = step.logits.softmax(1)
        classes = draw_class(probabilities, self.generator)
        uniform = torch.rand(
            activation.shape[:2], generator=self.generator, device=activation.device
        )
        mask = filter_mask(probabilities, classes, self.matrix.float().softmax(0), uniform)
        logits = step.rerun(activation * mask.view(*mask.shape, *[1] * (activation.ndim - 2)))
        loss = functional.cross_entropy(logits, step.labels, reduction="none")
        correct = (classes == step.labels).to(loss)
        return {"pathway": self.strength * (loss * correct).sum() / correct.sum().clamp(min=1)}

    @torch.no_grad()
    def partition(self, network: NetworkLike) -> dict[str, Int[Tensor, "units"]]:
        """The class to which each unit belongs with the highest probability."""
        return {self.taps[0]: self.matrix.argmax(0)}
