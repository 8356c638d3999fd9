"""Interpretable CNN: each filter is masked around one position and assigned to one class."""

from __future__ import annotations

import math
from functools import partial
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from legible.methods.base import Data, Method, Step, TapChoice, Target, register
from legible.metrics.network import NetworkLike

TINY = 1e-9  # smallest mass of a map, as in the code
ALPHA = 0.5  # temperature of both log-mean-exps, as in the code
SMALLEST, LARGEST, REACH = 1.5, 3.0, 3.0  # beta = REACH / spread, clipped to the other two
DECAY = 0.9  # of the running mean of a filter's peaks by class
LEAST_PEAK = 0.1  # the smallest value at which that mean starts


class Template(NamedTuple):
    """A filter's mask on an image, and the spread of its activation around the centre."""

    mask: Float[Tensor, "batch units height width"]  # in [-1, 1], 1 at the centre
    spread: Float[Tensor, "batch units"]  # in positions of the map


@torch.no_grad()
def template(
    activation: Float[Tensor, "batch units height width"],
    beta: Float[Tensor, "units"],
    centre: Literal["centroid", "argmax"] = "centroid",
) -> Template:
    """The mask max(1 - beta (|y - mu_y| + |x - mu_x|), -1) and the spread, y and x in [-1, 1].

    The centre mu is a position: the activation's centroid, rounded, or its largest position; the
    first position for a silent map. spread^2 is the mean squared distance from mu, weighted by
    the activation, in positions.
    """
    height, width = activation.shape[-2:]
    y = torch.arange(height, device=activation.device, dtype=activation.dtype).view(-1, 1)
    x = torch.arange(width, device=activation.device, dtype=activation.dtype)
    mass = activation.sum((2, 3), keepdim=True).clamp(min=TINY)
    if centre == "argmax":
        peak = activation.flatten(2).argmax(2)[..., None, None]
        mu_y, mu_x = (peak // width).to(y), (peak % width).to(x)
    else:
        mu_y = ((activation * y).sum((2, 3), keepdim=True) / mass).round()
        mu_x = ((activation * x).sum((2, 3), keepdim=True) / mass).round()
    away = 2 * (y - mu_y).abs() / max(height - 1, 1) + 2 * (x - mu_x).abs() / max(width - 1, 1)
    mask = (1 - beta.view(-1, 1, 1) * away).clamp(min=-1)
    squared = (y - mu_y).square() + (x - mu_x).square()
    spread = ((activation * squared).sum((2, 3)) / mass[..., 0, 0]).sqrt()
    return Template(mask, spread)


def apply_mask(
    activation: Float[Tensor, "batch units height width"],
    mask: Float[Tensor, "batch units height width"],
) -> Float[Tensor, "batch units height width"]:
    """max(x m, 0) of a rectified x; the mask passes no gradient to its centre."""
    return activation * mask.clamp(min=0)


# ----------------------------------------------------------------- the class of a filter


@torch.no_grad()
def update_peaks(
    peaks: Float[Tensor, "units classes"],
    activation: Float[Tensor, "batch units height width"],
    labels: Int[Tensor, "batch"],
) -> Float[Tensor, "units classes"]:
    """Updates the running mean of each filter's largest activation by class.

    Classes that are not in the batch stay as they are.
    """
    member = functional.one_hot(labels, peaks.shape[1]).to(peaks)
    count = member.sum(0)
    mean = activation.amax((2, 3)).to(peaks).T @ member / count.clamp(min=1)
    has_peak = peaks.sum(0) > 0
    new = torch.where(has_peak, DECAY * peaks + (1 - DECAY) * mean, mean.clamp(min=LEAST_PEAK))
    return torch.where(count > 0, new, peaks)


# ----------------------------------------------------------------- the injected gradient


def image_weights(
    score: Float[Tensor, "batch units"],
    log_partition: Float[Tensor, "units"],
    members: Bool[Tensor, "batch units"],
) -> Float[Tensor, "batch units"]:
    """q = exp(S / alpha) (S - log Z + alpha), divided by its mean over the members; 0 for others.

    The largest exponential is divided out first, since it cancels and could overflow.
    """
    largest = torch.where(members, score, -torch.inf).amax(0)
    largest = torch.where(largest.isfinite(), largest, 0.0)
    shifted = torch.where(members, (score - largest) / ALPHA, 0.0)
    q = torch.where(members, shifted.exp() * (score - log_partition + ALPHA), 0.0)
    mean = q.sum(0) / members.sum(0).clamp(min=1)
    usable = mean.abs() > TINY
    return torch.where(usable, q / torch.where(usable, mean, 1.0), 0.0)


def log_mean_exp(score: Float[Tensor, "batch units"]) -> Float[Tensor, "units"]:
    """alpha log mean over images of exp(S / alpha)."""
    return ALPHA * ((score / ALPHA).logsumexp(0) - math.log(len(score)))


@torch.no_grad()
def filter_gradient(
    activation: Float[Tensor, "batch units height width"],
    mask: Float[Tensor, "batch units height width"],
    positive: Bool[Tensor, "batch units"],
    density: Float[Tensor, "units"],
) -> Float[Tensor, "batch units height width"]:
    """The gradient of the filter loss on the activation, up to the factor 1e-5 mag / epoch.

    Images of the filter's class (``positive``) are pulled towards their template, with weight
    1 / (2 density); all others are pushed down at every position, with weight
    1 / (2 (1 - density)). ``density`` is the class's share of the training images. As in the
    code, the "other" templates in log Z+ are those of the opposite filter and image in the batch.
    """
    score = (activation * mask).mean((2, 3))
    other = (activation * mask.flip(0, 1)).mean((2, 3))
    fit = image_weights(score, log_mean_exp(other), positive)
    absent = -activation.mean((2, 3))
    off = image_weights(absent, log_mean_exp(absent), ~positive)
    pull = (fit * 0.5 / density)[..., None, None] * mask
    push = (off * 0.5 / (1 - density))[..., None, None]
    return (push - pull).nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)


@torch.no_grad()
def beta_target(
    activation: Float[Tensor, "batch units height width"],
    shape: Template,
    positive: Bool[Tensor, "batch units"],
    beta: Float[Tensor, "units"],
) -> Float[Tensor, "units"]:
    """clip(3 / mean spread, 1.5, 3), the mean over positive images weighted by S = mean x m.

    A filter without a positive image, or without a score, keeps its beta.
    """
    score = (activation * shape.mask).mean((2, 3)) * positive
    total = score.sum(0)
    usable = total.abs() > TINY
    mean = (score * shape.spread).sum(0) / torch.where(usable, total, 1.0)
    target = torch.where(mean != 0, REACH / torch.where(mean != 0, mean, 1.0), LARGEST)
    return torch.where(usable, target.clamp(SMALLEST, LARGEST), beta)


# ----------------------------------------------------------------- the method


@register
class ICNN(Method):
    """Makes each filter of the last map, and of a layer added after it, detect a part of one class.

    Equation: with a filter's map x and its template m = max(1 - beta |p - mu|_1, -1) around the
    map's centre mu, out = relu(conv(max(x m, 0))) and its own maps masked likewise;
    a <- a + s (out - a). Added to the gradient on both layers' maps of each image, over B:
    - c / t w+ m q+ on images of the filter's class, + c / t w- q- on all others, in epoch t, with
    q = exp(S / alpha) (S - log Z + alpha), normalised to mean 1, S = mean_p x m (or - x).
    Paper: Zhang, Wu & Zhu, "Interpretable convolutional neural networks", CVPR 2018 (and TPAMI
    2020).
    Repository: github.com/zqs1022/interpretableCNN, commit 6d7d1a6 (MATLAB); checked against the
    port github.com/ada-shen/ICNN, commit 1012f6c, for one class.
    Differences: written after the code, which differs from the paper: beta is learned, mu is the
    centroid, a class is assigned by running peaks. Softmax loss; class densities at any number
    of classes; negatives are all images that are not of the filter's class (the port takes wrong
    ones for several classes). Trained from scratch with BatchNorm below, so the added convolution
    is 3x3 with He initialisation (the code: N(0, 0.01) on a pretrained VGG; it also masks the
    input of its first dense layer). beta moves towards its target by a fixed share per step,
    instead of by a hand-made gradient with a learning rate. exp cannot overflow.
    ``plain_deeper`` has the added layer alone.

    The reported loss terms are sum g x for an injected gradient g: their values have no meaning.
    A step has one more convolution than plain's, computed twice: for the output and for its loss.

    strength: 1 is the method; between 0 and 1 the masked path is mixed with the plain one.
    loss: c, per image. The code's 1e-5 x 0.1 is tied to VGG activations on 224 pixels (softmax
        divides it by 5, or by 50 above ten classes); 0 is the ablation with masks only.
    beta: its initial value; the width of a mask is about 1 / beta of half a map.
    beta_rate: the share of the way to its target that beta moves in a step; 0 keeps it fixed.
    centre: "centroid" as in the code, "argmax" as in the paper.
    """

    needs = frozenset({"spatial"})
    trains_on = frozenset({"focus_spread", "focus_dispersion", "focus_distance"})
    claims = frozenset({"location_instability", "part_interpretability"})
    target = Target("focus_spread", "lower")
    search = {"strength": (0.01, 0.03, 0.1, 0.3, 1.0), "loss": (1e-5, 0.0, 1e-6, 1e-4)}
    density: Tensor

    def __init__(
        self,
        strength: float = 1.0,
        loss: float = 1e-5,
        beta: float = 2.0,
        beta_rate: float = 0.02,
        centre: Literal["centroid", "argmax"] = "centroid",
        taps: TapChoice | None = None,
    ) -> None:
        super().__init__(strength, taps)
        if loss < 0:
            raise ValueError(f"loss must be at least 0, not {loss}")
        if beta <= 0:
            raise ValueError(f"beta must be above 0, not {beta}")
        if not 0 <= beta_rate <= 1:
            raise ValueError(f"beta_rate must be in [0, 1], not {beta_rate}")
        self.loss, self.beta, self.beta_rate, self.centre = loss, beta, beta_rate, centre

    def attach(self, network: NetworkLike, data: Data) -> None:
        super().attach(network, data)
        device = data.labels.device
        count = torch.bincount(data.labels, minlength=data.classes).float()
        self.register_buffer("density", (count / count.sum()).clamp(0.5 / len(data.labels), 0.999))
        for i, tap in enumerate(self.taps):
            units = network.taps[tap].units
            kernel = torch.randn(units, units, 3, 3, generator=self.generator, device=device)
            self.register_parameter(f"kernel{i}", nn.Parameter(kernel * math.sqrt(2 / (9 * units))))
            self.register_parameter(f"bias{i}", nn.Parameter(torch.zeros(units, device=device)))
            for layer in ("lower", "upper"):
                start = torch.full((units,), self.beta, device=device)
                self.register_buffer(f"{layer}_beta{i}", start)
                peaks = torch.zeros(units, data.classes, device=device)
                self.register_buffer(f"{layer}_peaks{i}", peaks)
            relu = self.expose(network, tap, nn.ReLU())
            self.install(network, tap, partial(self.forward_tap, i=i, relu=relu))

    def template(self, activation: Tensor, layer: str, i: int) -> Template:
        """The template of a layer's maps with its current beta; negative activations count as 0."""
        rectified = activation.float().clamp(min=0)  # for Taps that are not behind a ReLU
        return template(rectified, getattr(self, f"{layer}_beta{i}").float(), self.centre)

    def upper(self, x: Tensor, mask: Tensor, i: int) -> Tensor:
        """The added layer, before its ReLU, on the masked maps below it."""
        kernel, bias = getattr(self, f"kernel{i}"), getattr(self, f"bias{i}")
        below = apply_mask(x, mask.to(x.dtype))
        return functional.conv2d(below, kernel.to(x.dtype), bias.to(x.dtype), padding=1)

    def forward_tap(self, x: Tensor, i: int, relu: nn.Module) -> Tensor:
        """The Tap's output: mask, convolution, ReLU, mask."""
        above = relu(self.upper(x, self.template(x, "lower", i).mask, i))
        return apply_mask(above, self.template(above, "upper", i).mask.to(above.dtype)).to(x.dtype)

    def penalty(self, step: Step) -> dict[str, Tensor]:
        lower = upper = step.logits.new_zeros((), dtype=torch.float32)
        for i, tap in enumerate(self.taps):
            x = step.activations[tap]
            shape = self.template(x, "lower", i)
            lower = lower + self.surrogate(step, x, shape, "lower", i)
            above = self.upper(x, shape.mask, i).relu()
            shape = self.template(above, "upper", i)
            upper = upper + self.surrogate(step, above, shape, "upper", i)
        scale = self.strength * self.loss / (step.epoch + 1) / len(step.labels)
        return {"lower": scale * lower, "upper": scale * upper}

    def surrogate(
        self, step: Step, x: Tensor, shape: Template, layer: str, i: int
    ) -> Float[Tensor, ""]:
        """A scalar whose gradient on x is that of the filter loss.

        Also updates the filters' classes and beta.
        """
        peaks, beta = getattr(self, f"{layer}_peaks{i}"), getattr(self, f"{layer}_beta{i}")
        with torch.no_grad():
            peaks.copy_(update_peaks(peaks, x, step.labels))
            own = peaks.argmax(1)
            positive = step.labels[:, None] == own
            beta.lerp_(beta_target(x, shape, positive, beta).to(beta), self.beta_rate)
            gradient = filter_gradient(x, shape.mask, positive, self.density[own])
        return (gradient * x).sum()

    @torch.no_grad()
    def partition(self, network: NetworkLike) -> dict[str, Int[Tensor, "units"]]:
        """The class of each filter; -1 before any training."""
        classes = {}
        for i, tap in enumerate(self.taps):
            peaks = getattr(self, f"lower_peaks{i}")
            classes[tap] = torch.where(peaks.sum(1) > 0, peaks.argmax(1), -1)
        return classes
