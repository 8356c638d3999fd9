"""CSG: class-specific gates, which differentiate the filters of the last layer by class."""

from __future__ import annotations

from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from legible.methods.base import Data, Method, Step, TapChoice, Target, register
from legible.metrics.network import NetworkLike

TINY = 1e-6


def apply_gate(
    activation: Float[Tensor, "batch units *map"],
    gate: Float[Tensor, "units classes"],
    labels: Int[Tensor, "batch"],
) -> Float[Tensor, "batch units *map"]:
    """Multiplies each image's units by the gate's column of the image's class."""
    column = gate.T[labels]
    return activation * column.view(*column.shape, *[1] * (activation.ndim - 2))


def excess(gate: Float[Tensor, "units classes"], density: float) -> Float[Tensor, ""]:
    """How much the gate's L1 norm exceeds ``density`` times the number of entries; at least 0."""
    return (gate.abs().sum() - density * gate.numel()).relu()


def project(gate: Float[Tensor, "units classes"]) -> Float[Tensor, "units classes"]:
    """Divides each row by its largest entry and clips the entries to [0, 1].

    A row without a positive entry becomes zero (the code divides by zero, or by a negative value).
    """
    return (gate / gate.amax(1, keepdim=True).clamp(min=TINY)).clamp(0, 1)


@register
class CSG(Method):
    """Makes the last layer's filters specific to classes by a learned gate.

    In some epochs the network must also classify each image with only the filters that the gate
    opens for its label.

    Equation: with a gate G in [0, 1]^(units x classes), max_c G[k, c] = 1, in gate epochs
    L = CE + s (CE(head(a * G[:, y]), y) + lambda max(0, ||G||_1 - d K C)), else L = CE; after
    each gate step G <- clip(G / max_c G, 0, 1). The gate is not used at evaluation.
    Paper: Liang et al., "Training interpretable convolutional neural networks by
    differentiating class-specific filters", ECCV 2020.
    Repository: github.com/hyliang96/CSGCNN, commit 34c403b (its VOC-Part experiment).
    Differences: both paths are summed, as in the paper's objective; the code's gate epochs
    train the gated path alone, with an optimiser and learning rate (100 times larger) of their
    own and fewer frozen layers than its baseline. Here all rows share layers and schedule, and
    only the gate has its own learning rate. Rows without a positive entry become zero. The
    original fine-tunes a ResNet-152 trained on ImageNet; here training is from scratch.
    The gate contains the label, so a filter can become class-specific without detecting anything
    in the image: ``assignment="random"`` is the control for that.

    regulariser: lambda.
    density: d, above which the gate is penalised; hard-coded in the code.
    start: the share of the training after which the gate may open: 10 of 150 epochs in the code.
    period, first: gate epochs are those whose number, counted from 0, modulo ``period`` is at least
        ``first`` (the code: 3, and 1 or 2).
    gate_lr: the gate's learning rate (the code's whole gated path has 1e-3).
    assignment: "learned", or "random": each unit belongs to a random class, the classes balanced.
    """

    acts_on = "last"
    trains_on = frozenset({"accuracy_own_units"})
    claims = frozenset({"class_information"})
    target = Target("accuracy_own_units", "higher")
    search = {"strength": (0.1, 0.3, 1.0, 3.0, 10.0)}
    gate: Tensor

    def __init__(
        self,
        strength: float = 1.0,
        regulariser: float = 1e-3,
        density: float = 0.2,
        start: float = 10 / 150,
        period: int = 3,
        first: int = 1,
        gate_lr: float = 0.02,
        assignment: Literal["learned", "random"] = "learned",
        taps: TapChoice | None = None,
    ) -> None:
        super().__init__(strength, taps)
        if not 0 <= first < period:
            raise ValueError(f"first must be in [0, period), not {first} of {period}")
        if not 0 <= start < 1:
            raise ValueError(f"start is a share of the training, in [0, 1), not {start}")
        for name, value in (("regulariser", regulariser), ("density", density)):
            if value < 0:
                raise ValueError(f"{name} must be at least 0, not {value}")
        self.regulariser, self.density = regulariser, density
        self.start, self.period, self.first = start, period, first
        self.gate_lr, self.assignment = gate_lr, assignment

    def attach(self, network: NetworkLike, data: Data) -> None:
        super().attach(network, data)
        if self.taps != list(network.taps)[-1:]:
            raise ValueError('csg acts at the last Tap only: set taps to "last"')
        device, units = data.labels.device, network.taps[self.taps[0]].units
        if self.assignment == "learned":
            self.gate = nn.Parameter(torch.full((units, data.classes), 0.5, device=device))
        else:
            order = torch.randperm(units, generator=self.generator, device=device)
            one_hot = functional.one_hot(order % data.classes, data.classes)
            self.register_buffer("gate", one_hot.float())

    def parameter_groups(self) -> list[dict[str, Any]]:
        own = list(self.parameters())
        return [{"params": own, "lr": self.gate_lr, "weight_decay": 0.0}] if own else []

    def is_open(self, epoch: int, progress: float) -> bool:
        """Whether a step in this epoch, at this share of the training, trains the gated path."""
        return progress >= self.start and epoch % self.period >= self.first

    def idle(self, epochs: int) -> str:
        if any(self.is_open(epoch, epoch / epochs) for epoch in range(epochs)):
            return ""
        return (
            f"the gate (start={self.start:.3g}, period={self.period}, first={self.first}) is open "
            f"in none of {epochs} epochs: lower start or first"
        )

    def penalty(self, step: Step) -> dict[str, Tensor]:
        if not self.is_open(step.epoch, step.progress):
            return {}
        activation = step.activations[self.taps[0]]
        logits = step.rerun(apply_gate(activation, self.gate.float(), step.labels))
        return {
            "gated": self.strength * functional.cross_entropy(logits, step.labels),
            "gate": self.strength * self.regulariser * excess(self.gate, self.density),
        }

    def after_step(self, step: Step) -> None:
        if self.is_open(step.epoch, step.progress) and self.assignment == "learned":
            self.gate.copy_(project(self.gate))

    @torch.no_grad()
    def partition(self, network: NetworkLike) -> dict[str, Int[Tensor, "units"]]:
        """The class of each unit with the largest gate; -1 if its gate is equal for all classes."""
        low, high = self.gate.aminmax(dim=1)
        return {self.taps[0]: torch.where(high > low, self.gate.argmax(1), -1)}
