"""Concept whitening: a layer's axes are decorrelated and turned towards chosen concepts."""

from __future__ import annotations

from typing import Any, Literal, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from legible.methods._whitening import Whitening
from legible.methods.base import Data, Method, Step, TapChoice, nearest, register, select_taps
from legible.metrics.network import Concepts, NetworkLike

ARMIJO, WOLFE = 1e-4, 0.9  # of the line search
LONGEST, TRIES = 1000.0, 40  # its first step, and how often the step is halved or doubled at most


# ----------------------------------------------------------------- turning axes towards concepts


def concept_direction(
    whitened: Float[Tensor, "concepts images units height width"],
    rotation: Float[Tensor, "units units"],
    activation: Literal["pool_max", "max", "mean"] = "pool_max",
    selection: Literal["own", "official"] = "own",
) -> Float[Tensor, "concepts units"]:
    """By concept, the mean over its images of the mean whitened vector at selected positions.

    "pool_max" selects the largest of each 3x3 window (stride 3), "max" the largest of the map,
    "mean" all positions. The largest is that of the concept's own axis, or, as in the code
    ("official"), for each component that of the component's axis.
    """
    concepts, images, units, height, width = whitened.shape
    cells = whitened.flatten(0, 1).flatten(2)
    if activation == "mean":
        return cells.mean(2).unflatten(0, (concepts, images)).mean(1)
    if selection == "official":
        axes = torch.einsum("dc,ncp->ndp", rotation, cells)
    else:
        axes = torch.einsum("jc,jmchw->jmhw", rotation[:concepts], whitened).flatten(0, 1)
        axes = axes.flatten(1).unsqueeze(1)
    window = (min(3, height), min(3, width)) if activation == "pool_max" else (height, width)
    maps = axes.unflatten(2, (height, width))
    _, places = functional.max_pool2d(maps, window, window, return_indices=True)
    chosen = cells.gather(2, places.flatten(2).expand(-1, units, -1))
    return chosen.mean(2).unflatten(0, (concepts, images)).mean(1)


def cayley_step(
    rotation: Float[Tensor, "units units"], gradient: Float[Tensor, "units units"]
) -> Float[Tensor, "units units"]:
    """One step down <gradient, R> along (I + t A / 2)^-1 (I - t A / 2) R, A = G R^T - R G^T.

    The curve stays orthogonal; t is found by bisection from 1000 until it meets Armijo's and
    Wolfe's conditions, without asking the host.
    """
    r, g = rotation.double(), gradient.double()
    a, eye = g @ r.T - r @ g.T, torch.eye(len(r)).to(r)

    def reached(t: Tensor) -> tuple[Tensor, Tensor]:
        inverse = torch.linalg.inv_ex(eye + t / 2 * a).inverse
        return inverse, inverse @ (eye - t / 2 * a) @ r

    start, slope = (g * r).sum(), -a.square().sum() / 2
    t, low, high = (torch.tensor(v).to(r) for v in (LONGEST, 0.0, 1e8))
    for _ in range(TRIES):
        inverse, turned = reached(t)
        too_far = (g * turned).sum() > start + ARMIJO * t * slope
        here = -(g.T @ inverse @ a @ (r + turned) / 2).trace()
        too_near = ~too_far & (here < WOLFE * slope)
        high, low = torch.where(too_far, t, high), torch.where(too_near, t, low)
        t = torch.where(too_far | too_near, (low + high) / 2, t)
    return reached(t)[1].to(rotation)


def present(concepts: Concepts) -> Bool[Tensor, "images concepts"]:
    """Which images show which concepts."""
    return (concepts.packed != 0).flatten(2).any(2)


def chosen_concepts(
    concepts: Concepts, wanted: float | list[str], most: int, generator: torch.Generator
) -> list[int]:
    """Indices of the concepts named, or of a random share of those that only some images show,
    at most ``most``. Raises ValueError for an unknown name."""
    if isinstance(wanted, list):
        for name in wanted:
            if name not in concepts.names:
                raise ValueError(f"no concept '{name}'{nearest(name, concepts.names)}")
        if len(wanted) > most:
            raise ValueError(f"{len(wanted)} concepts for {most} units")
        return [concepts.names.index(name) for name in wanted]
    share = present(concepts).float().mean(0)
    usable = ((share > 0) & (share < 1)).nonzero()[:, 0].cpu()
    count = min(max(round(wanted * len(usable)), 1), most, len(usable))
    order = torch.randperm(len(usable), generator=generator, device=generator.device)
    return sorted(usable[order[:count].cpu()].tolist())


# ----------------------------------------------------------------- the method


@register
class ConceptWhitening(Method):
    """Replaces a normalisation by whitening, and turns the first axes towards given concepts.

    Equation: y = R W (x - mean), W = (cov + eps I)^(-1/2) of the batch, R orthogonal. Every few
    steps, for each concept j, v_j = mean whitened vector of some of its images, at the places
    where axis j peaks; G_j <- .95 G_j - .05 v_j; two Cayley steps of R down <G, R>.
    a <- norm(x) + s (y - norm(x)). L = CE.
    Paper: Chen, Bei & Rudin, "Concept whitening for interpretable image recognition", Nature
    Machine Intelligence 2, 2020.
    Repository: github.com/zhiCHEN96/ConceptWhitening, commit 2517fc3.
    Differences: a stable iteration in place of the code's (``iteration``), positions chosen by
    the concept's own axis in place of each component's (``selection``). Concepts are those of the
    data's masks, in whole, unaugmented training images that also show other things; the code has
    image sets of single, often cropped, concepts. The line search has 40 tries, not 500. Trained
    from scratch, not 3 epochs from a pretrained network. The original norm stays for s < 1; its
    own parameters get no gradient at s = 1.

    It sees concept labels, and must not be scored on the concepts it used: ``used_concepts``.

    concepts: a share of the concepts, drawn by the run's seed, or a list of their names. 0 is
        whitening alone, which needs no concepts.
    images: of each concept, drawn anew in every epoch.
    every: steps between two rotations, from the first step of an epoch on (the code: 30).
    activation: how a map becomes a concept's activation, "pool_max", "max" or "mean".
    selection: "own", or the code's "official".
    iteration, iterations: "coupled", or the code's "official" with its 10 iterations.
    momentum: of the running mean and whitening matrix.
    """

    needs = frozenset({"norm", "concepts"})
    replaces = "norm"
    trains_on = frozenset({"effective_rank"})
    claims = frozenset({"concept_purity"})
    search = {"concepts": (0.0, 0.25, 0.5)}
    gradient: Tensor
    concept_images: Tensor

    def __init__(
        self,
        strength: float = 1.0,
        concepts: float | list[str] = 0.5,
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
        self.used: list[int] = []
        self.used_names: tuple[str, ...] = ()
        self.steps = 0  # of this epoch: set anew by start_epoch
        if not concepts:
            self.needs = frozenset({"norm"})  # type: ignore[misc]

    def attach(self, network: NetworkLike, data: Data) -> None:
        super().attach(network, data)
        if self.choice == "last_spatial":
            self.taps = select_taps(network, "spatial")
            self.taps = [t for t in self.taps if network.taps[t].norm is not None][-1:]
        if len(self.taps) != 1 or network.taps[self.taps[0]].norm is None:
            raise ValueError("whitening needs exactly one Tap with a normalisation before it")
        tap, device = network.taps[self.taps[0]], data.labels.device
        norm = cast(nn.Module, tap.norm)
        layer = Whitening(
            norm, tap.units, self.strength, self.iterations, self.iteration, self.momentum
        )
        cast(Any, network).replace(norm, layer.to(device))
        if self.concepts:
            if data.concepts is None:
                raise ValueError("needs concept masks; concepts = 0 is whitening alone")
            self.used = chosen_concepts(data.concepts, self.concepts, tap.units, self.generator)
            self.used_names = tuple(data.concepts.names[k] for k in self.used)
        self.register_buffer("gradient", torch.zeros(tap.units, tap.units, device=device))
        images = torch.zeros(len(self.used), self.images, *data.images.shape[1:], device=device)
        self.register_buffer("concept_images", images, persistent=False)

    def used_concepts(self) -> tuple[str, ...]:
        return self.used_names

    @torch.no_grad()
    def start_epoch(self, network: NetworkLike, data: Data, epoch: int) -> None:
        """Draws images of each concept, with replacement."""
        self.steps = 0
        if self.used and data.concepts is not None:
            shown = present(data.concepts)[:, self.used].T.float()
            rows = torch.multinomial(shown, self.images, True, generator=self.generator)
            drawn = data.normalise(data.images[rows.flatten()])
            self.concept_images.copy_(drawn.view_as(self.concept_images))

    def after_step(self, step: Step) -> None:
        if self.used and self.steps % self.every == 0:
            self.rotate(step.network)
        self.steps += 1

    @torch.no_grad()
    def rotate(self, network: NetworkLike) -> None:
        """Moves the concepts' gradient, then the rotation, by the concepts' images."""
        layer = cast(Whitening, network.taps[self.taps[0]].norm)
        inputs = self.inputs(cast(nn.Module, network), layer)
        whitened = layer.whitened(inputs).unflatten(0, (len(self.used), self.images))
        direction = concept_direction(
            whitened, layer.rotation.to(whitened), self.activation, self.selection
        )
        self.gradient[: len(self.used)].lerp_(-direction.to(self.gradient), 0.05)
        for _ in range(2):
            layer.rotation.copy_(cayley_step(layer.rotation, self.gradient))

    def inputs(self, network: nn.Module, layer: nn.Module) -> Float[Tensor, "images units *map"]:
        """What enters the layer when the network sees the concepts' images, at evaluation."""
        kept: list[Tensor] = []
        handle = layer.register_forward_pre_hook(lambda module, args: kept.append(args[0]))
        training = network.training
        network.eval()
        try:
            network(self.concept_images.flatten(0, 1))
        finally:
            handle.remove()
            network.train(training)
        return kept[0]
