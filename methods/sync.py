"""sync: the synchronization-inspired network, reconstructed from its abstract."""

from __future__ import annotations

from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from legible.methods.base import Data, Method, Step, TapChoice, Target, register
from legible.metrics.network import NetworkLike

TINY = 1e-8


def focus_penalty(
    activation: Float[Tensor, "batch units height width"],
    centre: Literal["argmax", "centroid"] = "argmax",
) -> Float[Tensor, ""]:
    """Mean over live (image, unit) of sum_p a_p |p - p*|^2 / sum_p a_p, p in [-1, 1]^2.

    p* is the unit's strongest position in that image ("argmax") or its centre of mass
    ("centroid"). Computed from the map's moments, so that the activation is read once, in a matrix
    product.
    Dead maps do not count.
    """
    height, width = activation.shape[-2:]
    rows = torch.linspace(-1, 1, height, device=activation.device)
    columns = torch.linspace(-1, 1, width, device=activation.device)
    y, x = (grid.flatten() for grid in torch.meshgrid(rows, columns, indexing="ij"))
    moments = torch.stack([torch.ones_like(x), y, x, y.square() + x.square()])
    maps = activation.flatten(2).mT  # positions before units, the memory order of channels_last
    mass, along_y, along_x, spread = (moments @ maps).unbind(1)
    live = (mass > TINY).detach()
    mass = torch.where(live, mass, 1.0)
    if centre == "argmax":
        peak = maps.detach().max(1).indices  # faster than argmax
        cy, cx = y[peak], x[peak]
    else:
        cy, cx = along_y / mass, along_x / mass
    dispersion = (spread - 2 * (cy * along_y + cx * along_x)) / mass + cy.square() + cx.square()
    return (dispersion * live).sum() / live.sum().clamp(min=1)


class _Moments(torch.autograd.Function):
    """Mean and second moment over samples, with one matrix product in the backward pass."""

    @staticmethod
    def forward(ctx: Any, samples: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(samples)
        return samples.mean(0), samples.T @ samples / len(samples)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (samples,) = ctx.saved_tensors
        of_mean, of_gram = (grad / len(samples) for grad in grads)
        return torch.addmm(of_mean, samples, of_gram + of_gram.T)


def unit_correlation(
    activation: Float[Tensor, "batch units *map"],
) -> tuple[Float[Tensor, "units units"], Bool[Tensor, "units"]]:
    """Pearson's correlation of units over batch and positions, and which units vary at all.

    The same values as `legible.metrics.similarity.correlation`, computed from moments in fewer
    passes. Units whose spread is below 1e-3 of their mean count as constant here.
    """
    mean, gram = _Moments.apply(activation.movedim(1, -1).flatten(0, -2))
    covariance = gram - mean[:, None] * mean
    power, variance = gram.diagonal().detach(), covariance.diagonal()
    live = (variance > 1e-6 * power) & (power > TINY**2)
    scale = torch.where(live, torch.where(live, variance, 1.0).rsqrt(), 0.0)
    return covariance * scale[:, None] * scale, live


def neighbourhood(
    similarity: Float[Tensor, "units units"],
    live: Bool[Tensor, "units"],
    kind: Literal["local", "global", "random"] = "local",
    k: int = 3,
    epsilon: float | None = None,
    priority: Float[Tensor, "units units"] | None = None,
) -> Float[Tensor, "units units"]:
    """A matrix whose row i holds 1 / |N_i| at the neighbours of unit i, and 0 elsewhere.

    "local": units whose signatures are within the radius epsilon (rho >= 1 - epsilon^2 / 2);
    without an epsilon, it is the mean distance of a live unit to its k nearest. "global": all live
    units. "random": the k units with the highest ``priority``. A unit without neighbours has a
    row of zeros.
    """
    units = len(similarity)
    pairs = live[:, None] & live & ~torch.eye(units, dtype=torch.bool, device=live.device)
    if kind == "random":
        if priority is None:
            raise ValueError("random neighbours need a priority")
        draw = torch.where(pairs, priority, -1.0)
        least = draw.topk(min(k, units), dim=1).values[:, -1:]
        pairs = pairs & (draw >= least)
    elif kind == "local":
        distance = (2 - 2 * similarity).clamp(min=0).sqrt()
        if epsilon is None:
            nearest = torch.where(pairs, distance, 2.0).topk(min(k, units), 1, largest=False)
            weight = live.float()
            radius = (nearest.values.mean(1) * weight).sum() / weight.sum().clamp(min=1)
        else:
            radius = torch.as_tensor(epsilon, device=live.device)
        pairs = pairs & (distance <= radius)
    neighbours = pairs.float()
    return neighbours / neighbours.sum(1, keepdim=True).clamp(min=1)


def coupling(
    rho: Float[Tensor, "units units"], kind: Literal["sine", "linear"] = "sine"
) -> Float[Tensor, "units units"]:
    """The potential of two units at the phase difference theta = arccos(rho).

    "sine": 1 - cos(theta), whose force is Kuramoto's sin(theta). "linear": theta^2 / 2.
    """
    if kind == "sine":
        return 1 - rho
    return rho.clamp(-1 + 1e-6, 1 - 1e-6).arccos().square() / 2


@register
class Sync(Method):
    """Focuses each unit on one image position and synchronises similar units during training.

    Equation: L = CE + s (f L_focus + g L_sync). With a the activation map of a unit,
    L_focus = mean over images and units of sum_p a_p |p - p*|^2 / sum_p a_p. With rho the
    correlation of two units' signatures (responses over batch and positions) and N_i the
    units near unit i, L_sync = mean_i (1 / |N_i|) sum_{j in N_i} (1 - rho_ij): the Kuramoto
    potential in the angle between signatures.
    Paper: Han et al., "Synchronization-inspired interpretable neural networks", TNNLS 35(11),
    2024. Repository: none published.
    Differences: a reconstruction. Only the abstract was available: that maps are drawn to
    their focus within a sample, that similar neurons interact locally and synchronise
    adaptively during training. Every formula and default is this project's choice. A Tap
    without a map (a dense layer) is synchronised and has no focus term.

    focus: f. Each map is normalised by its mass, so smaller activations do not lower it. On a
        narrow batch-normalised VGG (shapes, 8 epochs, seed 0) training accuracy was .86 without it,
        .84 at 0.03, .75 at 0.1 and .15 at 0.3, where the features collapse before they are learned.
    synchronization: g. At 0.1 modules agreed better between data halves; larger values merge units.
    centre: "argmax" reads "focus position" literally; "centroid" is the ICNN code's choice.
    neighbours: "local" as the abstract says; "global" and "random" test that claim.
    k: if epsilon is not given, the radius is the mean distance of a unit to its k nearest units;
        Sync's choices use about 3.
    epsilon: a fixed radius; if not given, the radius is computed from the units' distances
        ("adaptively").
    coupling: "sine" as in Kuramoto's model, or "linear".
    state: a unit's "activation" signature, which the first author's companion paper (arXiv
        2211.07647) favours, or its incoming "weight" vector.
    decay: factor of the running mean of the similarity that defines neighbours (no gradient).
    """

    label = "sync (reconstruction)"
    trains_on = frozenset({"focus_dispersion", "within_between", "order_parameter"})
    claims = frozenset({"netdissect_iou", "ari", "concept_entropy_excess"})
    target = Target("neighbour_synchrony", "higher")
    search = {"strength": (0.1, 0.3, 1.0, 3.0, 10.0)}

    def __init__(
        self,
        strength: float = 1.0,
        focus: float = 0.03,
        synchronization: float = 0.1,
        centre: Literal["argmax", "centroid"] = "argmax",
        neighbours: Literal["local", "global", "random"] = "local",
        k: int = 3,
        epsilon: float | None = None,
        coupling: Literal["sine", "linear"] = "sine",
        state: Literal["activation", "weight"] = "activation",
        decay: float = 0.9,
        taps: TapChoice | None = None,
    ) -> None:
        super().__init__(strength, taps)
        for name, value in (("focus", focus), ("synchronization", synchronization)):
            if value < 0:
                raise ValueError(f"{name} must be at least 0, not {value}")
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k}")
        if epsilon is not None and epsilon <= 0:
            raise ValueError(f"epsilon must be above 0, not {epsilon}")
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be in [0, 1), not {decay}")
        self.focus, self.synchronization, self.centre = focus, synchronization, centre
        self.neighbours, self.k, self.epsilon = neighbours, k, epsilon
        self.coupling, self.state, self.decay = coupling, state, decay
        if synchronization == 0:
            self.retarget(Target("focus_dispersion", "lower"))
        elif state == "weight":
            self.retarget(None, "synchronises incoming weights, which no metric compares")
        elif neighbours != "local":
            self.retarget(Target("global_synchrony", "higher"))

    def attach(self, network: NetworkLike, data: Data) -> None:
        super().attach(network, data)
        for i, tap in enumerate(self.taps):
            units = network.taps[tap].units
            self.register_buffer(f"similarity{i}", torch.zeros(units, units))
            self.register_buffer(f"steps{i}", torch.zeros(()))
            priority = torch.rand(units, units, generator=self.generator, device=data.labels.device)
            self.register_buffer(f"priority{i}", priority)
            if self.state == "weight" and network.taps[tap].incoming is None:
                raise ValueError(
                    f"Tap '{tap}' has no weight layer of its own: use state='activation'"
                )

    def penalty(self, step: Step) -> dict[str, Tensor]:
        focus = synchronization = step.logits.new_zeros((), dtype=torch.float32)
        for i, tap in enumerate(self.taps):
            activation = step.activations[tap]
            if activation.ndim == 4:
                focus = focus + focus_penalty(activation, self.centre)
            synchronization = synchronization + self.synchronize(step, i, activation)
        return {
            "focus": self.strength * self.focus * focus,
            "synchronization": self.strength * self.synchronization * synchronization,
        }

    def synchronize(self, step: Step, i: int, activation: Tensor) -> Float[Tensor, ""]:
        """The synchronization term of one Tap; also updates the running similarity."""
        rho, live = unit_correlation(self.signature_source(step, i, activation))
        with torch.no_grad():
            count = getattr(self, f"steps{i}")
            running = getattr(self, f"similarity{i}")
            weight = torch.where(count > 0, self.decay, 0.0)
            running.lerp_(rho, 1 - weight)
            count += 1
            near = neighbourhood(
                running,
                live,
                self.neighbours,
                self.k,
                self.epsilon,
                getattr(self, f"priority{i}"),
            )
        return (near * coupling(rho, self.coupling)).sum() / live.sum().clamp(min=1)

    def signature_source(self, step: Step, i: int, activation: Tensor) -> Tensor:
        """The samples by which units are compared: responses, or incoming weights."""
        if self.state == "activation":
            return activation
        incoming = step.network.taps[self.taps[i]].incoming
        assert incoming is not None
        return incoming.weight.flatten(1).T
