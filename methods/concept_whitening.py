"""Concept whitening: a layer's axes are decorrelated and rotated towards concepts."""

from __future__ import annotations

import hashlib
from typing import Any, Literal, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from legible.methods.base import (
    Data,
    Method,
    Step,
    TapChoice,
    Target,
    nearest,
    register,
    select_taps,
)
from legible.metrics.network import Concepts, NetworkLike

EPSILON = 1e-5  # added to the diagonal of the covariance
ARMIJO, WOLFE = 1e-4, 0.9  # constants of the line search's two conditions
FIRST_STEP, BISECTIONS = 1000.0, 40  # the line search's first step and number of bisections


# ----------------------------------------------------------------- the whitening layer


def inverse_root(
    covariance: Float[Tensor, "units units"],
    iterations: int = 20,
    form: Literal["coupled", "official"] = "coupled",
) -> Float[Tensor, "units units"]:
    """covariance^(-1/2), symmetric, by Newton-Schulz iterations on the normalised matrix.

    "coupled" iterates the root together with its inverse, which is stable. Directions whose
    variance is below about 2.25^-iterations of the Frobenius norm do not reach unit variance.
    "official" is the code's uncoupled iteration, P <- 3/2 P - 1/2 P^3 S, which diverges in float32
    for ill-conditioned matrices.
    """
    eye = torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
    if form == "official":
        scale = covariance.trace()
        inverse = eye
        for _ in range(iterations):
            inverse = 1.5 * inverse - 0.5 * inverse.matrix_power(3) @ (covariance / scale)
        return inverse * scale.rsqrt()
    scale = covariance.square().sum().sqrt()
    root, inverse = covariance / scale, eye
    for _ in range(iterations):
        factor = 1.5 * eye - 0.5 * inverse @ root
        root, inverse = root @ factor, factor @ inverse
    return inverse * scale.rsqrt()


class Whitening(nn.Module):
    """Whitens and rotates its input, in place of a normalisation layer.

    The output is norm(x) + strength (R W (x - mean) - norm(x)). In training, W whitens the batch;
    at evaluation, mean and W are running averages. The rotation R is set from outside. Computed
    in float32 or float64, without affine parameters.
    """

    is_norm = True  # for the Taps, which look for the norm before them

    def __init__(
        self, norm: nn.Module, units: int, strength: float, iterations: int,
        form: Literal["coupled", "official"], momentum: float,
    ) -> None:  # fmt: skip
        super().__init__()
        self.norm = norm
        self.strength, self.iterations, self.form = strength, iterations, form
        self.momentum = momentum
        self.register_buffer("mean", torch.zeros(units))
        self.register_buffer("whitening", torch.eye(units))
        self.register_buffer("rotation", torch.eye(units))

    mean: Tensor
    whitening: Tensor
    rotation: Tensor

    def forward(
        self, x: Float[Tensor, "batch units height width"]
    ) -> Float[Tensor, "batch units height width"]:
        plain = self.norm(x)
        with torch.autocast(x.device.type, enabled=False):
            wide = x if x.dtype == torch.float64 else x.float()
            mean, matrix = self.moments(wide) if self.training else (self.mean, self.whitening)
            out = affine(wide, mean, self.rotation.to(wide) @ matrix.to(wide))
        return plain + self.strength * (out.to(plain.dtype) - plain)

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The batch's mean and whitening matrix; also updates the running averages."""
        samples = x.movedim(1, 0).flatten(1)
        mean = samples.mean(1)
        centred = samples - mean[:, None]
        eye = torch.eye(len(mean), dtype=x.dtype, device=x.device)
        covariance = centred @ centred.T / centred.shape[1] + EPSILON * eye
        matrix = inverse_root(covariance, self.iterations, self.form)
        with torch.no_grad():
            self.mean.lerp_(mean.to(self.mean), self.momentum)
            self.whitening.lerp_(matrix.to(self.whitening), self.momentum)
        return mean, matrix

    def whitened(self, x: Tensor) -> Tensor:
        """W (x - mean) with the running averages, before the rotation."""
        return affine(x, self.mean.to(x), self.whitening.to(x))


def affine(x: Tensor, mean: Tensor, matrix: Tensor) -> Tensor:
    """matrix (x - mean) at every position."""
    mean, matrix = mean.to(x), matrix.to(x)
    return functional.conv2d(x, matrix[..., None, None], -matrix @ mean)


# ----------------------------------------------------------------- the rotation towards concepts


def concept_direction(
    whitened: Float[Tensor, "concepts images units height width"],
    rotation: Float[Tensor, "units units"],
    activation: Literal["pool_max", "max", "mean"] = "pool_max",
    selection: Literal["own", "official"] = "own",
) -> Float[Tensor, "concepts units"]:
    """For each concept, the mean whitened vector at selected positions, averaged over its images.

    "pool_max" selects the largest position of each 3x3 window (stride 3), "max" the largest of the
    map, "mean" all positions. With "own", the largest is that of the concept's own axis; with
    "official", as in the code, each component is taken where that component's axis is largest.
    """
    concepts, images, units, height, width = whitened.shape
    vectors = whitened.flatten(0, 1).flatten(2)
    if activation == "mean":
        return vectors.mean(2).unflatten(0, (concepts, images)).mean(1)
    if selection == "official":
        axes = torch.einsum("dc,ncp->ndp", rotation, vectors)
    else:
        axes = torch.einsum("jc,jmchw->jmhw", rotation[:concepts], whitened).flatten(0, 1)
        axes = axes.flatten(1).unsqueeze(1)
    window = (min(3, height), min(3, width)) if activation == "pool_max" else (height, width)
    maps = axes.unflatten(2, (height, width))
    _, peaks = functional.max_pool2d(maps, window, window, return_indices=True)
    at_peaks = vectors.gather(2, peaks.flatten(2).expand(-1, units, -1))
    return at_peaks.mean(2).unflatten(0, (concepts, images)).mean(1)


def cayley_step(
    rotation: Float[Tensor, "units units"], gradient: Float[Tensor, "units units"]
) -> Float[Tensor, "units units"]:
    """One descent step of <gradient, R> along (I + t A / 2)^-1 (I - t A / 2) R, A = G R^T - R G^T.

    The curve keeps R orthogonal. The step t is bisected, from 1000 on, until it meets the Armijo
    and Wolfe conditions, without waiting for the device.
    """
    r, g = rotation.double(), gradient.double()
    a, eye = g @ r.T - r @ g.T, torch.eye(len(r), dtype=r.dtype, device=r.device)

    def on_curve(t: Tensor) -> tuple[Tensor, Tensor]:
        inverse = torch.linalg.inv_ex(eye + t / 2 * a).inverse
        return inverse, inverse @ (eye - t / 2 * a) @ r

    start, slope = (g * r).sum(), -a.square().sum() / 2
    t, low, high = (r.new_full((), v) for v in (FIRST_STEP, 0.0, 1e8))
    for _ in range(BISECTIONS):
        inverse, candidate = on_curve(t)
        too_far = (g * candidate).sum() > start + ARMIJO * t * slope
        here = -(g.T @ inverse @ a @ (r + candidate) / 2).trace()
        too_near = ~too_far & (here < WOLFE * slope)
        high, low = torch.where(too_far, t, high), torch.where(too_near, t, low)
        t = torch.where(too_far | too_near, (low + high) / 2, t)
    return on_curve(t)[1].to(rotation)


def presence(concepts: Concepts) -> Bool[Tensor, "images concepts"]:
    """Whether each image shows each concept."""
    return (concepts.packed != 0).flatten(2).any(2)


def select_concepts(concepts: Concepts, choice: float | list[str], most: int) -> list[int]:
    """The indices of the named concepts, or of a share of the concepts, at most ``most``.

    A share is of the concepts that some, but not all, images show. It is chosen by a hash of the
    names, so that every seed has the same concepts. Raises ValueError for an unknown name.
    """
    if isinstance(choice, list):
        for name in choice:
            if name not in concepts.names:
                raise ValueError(f"no concept '{name}'{nearest(name, concepts.names)}")
        if len(choice) > most:
            raise ValueError(f"{len(choice)} concepts for {most} units: choose at most {most}")
        return [concepts.names.index(name) for name in choice]
    share = presence(concepts).float().mean(0)
    usable = ((share > 0) & (share < 1)).nonzero()[:, 0].tolist()
    count = min(max(round(choice * len(usable)), 1), most, len(usable))
    return sorted(sorted(usable, key=lambda k: _place(concepts.names[k]))[:count])


def _place(name: str) -> str:
    """A number by which names are put in an order that looks random."""
    return hashlib.sha256(f"training {name}".encode()).hexdigest()


# ----------------------------------------------------------------- the method


@register
class ConceptWhitening(Method):
    """Replaces a normalisation layer by whitening and rotates its axes towards concepts.

    Equation: y = R W (x - mean), W = (cov + eps I)^(-1/2) of the batch, R orthogonal. Every few
    steps, for each concept j, v_j = mean whitened vector of some of its images, at the positions
    where axis j peaks; G_j <- .95 G_j - .05 v_j; two Cayley steps of R down <G, R>.
    a <- norm(x) + s (y - norm(x)). L = CE.
    Paper: Chen, Bei & Rudin, "Concept whitening for interpretable image recognition", Nature
    Machine Intelligence 2, 2020.
    Repository: github.com/zhiCHEN96/ConceptWhitening, commit 2517fc3.
    Differences: a stable iteration instead of the code's (``iteration``); positions selected by
    the concept's own axis instead of each component's (``selection``). Concepts are those of the
    data's masks, in whole, unaugmented training images that also show other things; the code has
    image sets of single, often cropped, concepts. The code divides each row of G by the number of
    its updates since the last rotation + 0.001, which is 1.001 with one batch a concept; here it
    is 1. The line search has 40 bisections, not 500.
    Training is from scratch, not 3 epochs from a pretrained network. The original norm remains
    for s < 1; its own parameters get no gradient at s = 1.

    The method sees concept labels. So no row of a suite with it is scored on the concepts that it
    was trained on (``used_concepts``).

    concepts: a share of the concepts, the same for every seed, or a list of their names. 0 is
        whitening only, which needs no concepts. A larger share leaves fewer to score all rows on.
    images: images per concept, drawn again in every epoch.
    every: steps between two rotations, from the first step of an epoch on (the code: 30).
    activation: how a map becomes a concept's activation, "pool_max", "max" or "mean".
    selection: "own", or the code's "official".
    iteration, iterations: "coupled", or the code's "official" with its 10 iterations.
    momentum: factor of the running mean and whitening matrix.
    """

    needs = frozenset({"norm", "concepts"})
    replaces = "norm"
    trains_on = frozenset({"effective_rank"})
    claims = frozenset({"concept_purity"})
    target = Target("effective_rank", "higher")
    search = {"every": (10, 3, 30), "activation": ("pool_max", "mean")}
    gradient: Tensor
    concept_images: Tensor

    def __init__(
        self,
        strength: float = 1.0,
        concepts: float | list[str] = 0.25,
        images: int = 16,
        every: int = 10,
        activation: Literal["pool_max", "max", "mean"] = "pool_max",
        selection: Literal["own", "official"] = "own",
        iteration: Literal["coupled", "official"] = "coupled",
        iterations: int = 20,
        momentum: float = 0.05,
        taps: TapChoice | None = None,
    ) -> None:
        super().__init__(strength, taps)
        if not isinstance(concepts, list) and not 0 <= concepts <= 1:
            raise ValueError(f"concepts must be a share in [0, 1] or names, not {concepts}")
        for name, value in (("images", images), ("every", every), ("iterations", iterations)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        self.concepts, self.images, self.every = concepts, images, every
        self.activation, self.selection = activation, selection
        self.iteration, self.iterations, self.momentum = iteration, iterations, momentum
        self.concept_indices: list[int] = []
        self.concept_names: tuple[str, ...] = ()
        self.steps = 0  # of this epoch: start_epoch resets it
        if not concepts:
            self.needs = frozenset({"norm"})  # type: ignore[misc]

    def attach(self, network: NetworkLike, data: Data) -> None:
        super().attach(network, data)
        if self.choice == "last_spatial":
            self.taps = select_taps(network, "spatial")
            self.taps = [t for t in self.taps if network.taps[t].norm is not None][-1:]
        if len(self.taps) != 1 or network.taps[self.taps[0]].norm is None:
            raise ValueError("taps must name exactly one Tap with a normalisation before it")
        tap, device = network.taps[self.taps[0]], data.labels.device
        norm = cast(nn.Module, tap.norm)
        layer = Whitening(
            norm, tap.units, self.strength, self.iterations, self.iteration, self.momentum
        )
        cast(Any, network).replace(norm, layer.to(device))
        if self.concepts:
            if data.concepts is None:
                raise ValueError("the data have no concept masks: set concepts=0 (whitening only)")
            self.concept_indices = select_concepts(data.concepts, self.concepts, tap.units)
            self.concept_names = tuple(data.concepts.names[k] for k in self.concept_indices)
        self.register_buffer("gradient", torch.zeros(tap.units, tap.units, device=device))
        images = torch.zeros(
            len(self.concept_indices), self.images, *data.images.shape[1:], device=device
        )
        self.register_buffer("concept_images", images, persistent=False)

    def used_concepts(self) -> tuple[str, ...]:
        return self.concept_names

    @torch.no_grad()
    def start_epoch(self, network: NetworkLike, data: Data, epoch: int) -> None:
        """Draws images of each concept, with replacement."""
        self.steps = 0
        if self.concept_indices and data.concepts is not None:
            present = presence(data.concepts)[:, self.concept_indices]
            weights = present.T.float().to(self.generator.device)
            rows = torch.multinomial(weights, self.images, True, generator=self.generator)
            images = data.normalise(data.take(rows.flatten()))
            self.concept_images.copy_(images.view_as(self.concept_images))

    def after_step(self, step: Step) -> None:
        if self.concept_indices and self.steps % self.every == 0:
            self.rotate(step.network)
        self.steps += 1

    @torch.no_grad()
    def rotate(self, network: NetworkLike) -> None:
        """Updates the concepts' gradient from their images, then the rotation."""
        layer = cast(Whitening, network.taps[self.taps[0]].norm)
        inputs = self.inputs(cast(nn.Module, network), layer)
        whitened = layer.whitened(inputs).unflatten(0, (len(self.concept_indices), self.images))
        direction = concept_direction(
            whitened, layer.rotation.to(whitened), self.activation, self.selection
        )
        self.gradient[: len(self.concept_indices)].lerp_(-direction.to(self.gradient), 0.05)
        for _ in range(2):
            layer.rotation.copy_(cayley_step(layer.rotation, self.gradient))

    def inputs(self, network: nn.Module, layer: nn.Module) -> Float[Tensor, "images units *map"]:
        """The layer's input when the network, in evaluation mode, sees the concepts' images."""
        inputs: list[Tensor] = []
        handle = layer.register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
        training = network.training
        network.eval()
        try:
            network(self.concept_images.flatten(0, 1))
        finally:
            handle.remove()
            network.train(training)
        return inputs[0]
