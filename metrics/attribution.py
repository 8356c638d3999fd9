"""Do attributions land where the evidence is, and does the network do what they say?

A sample of images is explained once by each of Captum's algorithms (`ALGORITHMS`), for the logit
of the label, and every metric here reads those maps. Each metric gives a value for each algorithm
in that order; one that fails its audit on this network, or has nothing to go by, is NaN there,
and so never averaged in. All of it reruns the network thousands of times: a suite that has to
be quick leaves the aspect out.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from captum import attr as captum
from jaxtyping import Bool, Float
from torch import Tensor

from legible.metrics import relevance
from legible.metrics.base import Layer, Probe, metric, remember
from legible.metrics.explainers import (
    ALGORITHMS,
    BATCH,
    STEPS,
    TIMES_INPUT,
    Explained,
    Images,
    Labels,
    Model,
    explain,
    explained,
    quiet,
)
from legible.metrics.maps import images_per_chunk
from legible.metrics.network import NetworkLike
from legible.metrics.relevance import PerImage

#: Images of the sample that are explained again, perturbed, for sensitivity.
AGAIN = 16
#: Perturbed copies of an image: for infidelity, and for sensitivity.
DRAWS, NUDGES = 16, 3
#: Size of the perturbations, in standard deviations of the training pixels.
NOISE, RADIUS = 0.2, 0.02
#: Steps of the deletion and insertion curves.
CURVE = 8
NAN = float("nan")

Values = Float[Tensor, "algorithms"]
_attribution = partial(metric, aspect="attribution", per="network")
_ANSWERS = {"dose": "asks what the network reads, and how smoothly, evidence or not"}


def by_algorithm(
    probe: Probe, of: Callable[[Explained, str], PerImage | float], evidence: bool = False
) -> Values:
    """The mean over images that ``of`` gives for each algorithm; NaN where it failed the audit.

    ``evidence``: NaN everywhere when no concept defines the classes.
    """
    known = explained(probe)
    values = torch.full((len(ALGORITHMS),), NAN, dtype=torch.float64)
    if evidence and known.evidence is None:
        return values
    for position, name in enumerate(ALGORITHMS):
        if name in known.found:
            values[position] = torch.as_tensor(of(known, name)).double().nanmean().item()
    return values


def _on_evidence(
    probe: Probe, score: Callable[[relevance.Maps, Bool[Tensor, "images height width"]], PerImage]
) -> Values:
    def of(known: Explained, name: str) -> PerImage:
        assert known.evidence is not None
        return score(relevance.positive(known.found[name]), known.evidence)

    return by_algorithm(probe, of, evidence=True)


# ----------------------------------------------------------------- audit


@_attribution(better="neither", title="algorithms that pass the audit", limits=(0.0, 1.0))
def attribution_audit(network: NetworkLike, probe: Probe) -> Values:
    """1 for each algorithm that passes its audit on this network, 0 for each that fails."""
    faults = explained(probe).faults
    return torch.tensor([float(name not in faults) for name in ALGORITHMS], dtype=torch.float64)


# ----------------------------------------------------------------- where


@_attribution(better="higher", needs={"concepts"}, title="pointing game", limits=(0.0, 1.0))
def pointing_game(network: NetworkLike, probe: Probe) -> Values:
    """Share of the images whose most relevant pixel lies in the concept that defines the class."""
    return _on_evidence(probe, relevance.hits)


@_attribution(
    better="higher", needs={"concepts"}, headline=True, title="relevance mass", limits=(0.0, 1.0)
)
def relevance_mass(network: NetworkLike, probe: Probe) -> Values:
    """Share of the positive relevance that lies in the concept that defines the class.

    The headline of its aspect: it weighs the whole map, where the pointing game looks at one
    pixel, and needs no perturbed images, which no network was trained on. Read it beside
    `relevance_chance` and `relevance_mass_edges`.
    """
    return _on_evidence(probe, relevance.mass)


@_attribution(better="higher", needs={"concepts"}, title="relevance rank", limits=(0.0, 1.0))
def relevance_rank(network: NetworkLike, probe: Probe) -> Values:
    """Share of the K most relevant pixels in the concept that defines the class, K its size."""
    return _on_evidence(probe, relevance.rank)


@_attribution(better="neither", needs={"concepts"}, title="relevance, chance", limits=(0.0, 1.0))
def relevance_chance(network: NetworkLike, probe: Probe) -> float:
    """What a map of noise scores in the pointing game, mass and rank: the concept's area."""
    evidence = explained(probe).evidence
    return NAN if evidence is None else evidence.double().mean().item()


def _of_edges(probe: Probe, score: Callable[[Tensor, Tensor], PerImage]) -> float:
    known = explained(probe)
    if known.evidence is None:
        return NAN
    return score(relevance.edges(known.images), known.evidence).nanmean().item()


@_attribution(better="neither", needs={"concepts"}, title="pointing game, edges", limits=(0.0, 1.0))
def pointing_game_edges(network: NetworkLike, probe: Probe) -> float:
    """The pointing game of an edge detector, which knows no network."""
    return _of_edges(probe, relevance.hits)


@_attribution(
    better="neither", needs={"concepts"}, title="relevance mass, edges", limits=(0.0, 1.0)
)
def relevance_mass_edges(network: NetworkLike, probe: Probe) -> float:
    """The relevance mass of an edge detector, which knows no network."""
    return _of_edges(probe, relevance.mass)


@_attribution(better="neither", title="attribution sparseness (Gini)", limits=(0.0, 1.0))
def attribution_sparseness(network: NetworkLike, probe: Probe) -> Values:
    """Gini index of the positive relevance over pixels: 0 for a flat map, 1 for one pixel."""
    return by_algorithm(
        probe, lambda known, name: relevance.gini(relevance.positive(known.found[name]))
    )


# ----------------------------------------------------------------- what the network does


def _answers(model: Model, labels: Labels, images: Images, probability: bool) -> PerImage:
    """Logit, or probability, of each image's label."""
    with torch.no_grad():
        logits = torch.cat([model.logits(x) for x in images.split(BATCH)])
        values = logits.softmax(1) if probability else logits
    return values.gather(1, labels[:, None])[:, 0]


def _curves(probe: Probe, insert: bool) -> Values:
    def of(known: Explained, name: str) -> PerImage:
        answer = partial(_answers, known.model, known.labels, probability=True)
        maps = relevance.positive(known.found[name])
        return relevance.curve(known.images, maps, lambda x: answer(images=x), CURVE, insert)

    return by_algorithm(probe, of)


@_attribution(better="lower", title="deletion", limits=(0.0, 1.0), breaks=_ANSWERS)
def deletion(network: NetworkLike, probe: Probe) -> Values:
    """Area under the label's probability as pixels are blanked, the most relevant first.

    Low where the relevant pixels are what the answer needs. Blank pixels are the mean of the
    training images; in eight steps.
    """
    return _curves(probe, insert=False)


@_attribution(better="higher", title="insertion", limits=(0.0, 1.0), breaks=_ANSWERS)
def insertion(network: NetworkLike, probe: Probe) -> Values:
    """Area under the label's probability as a blank image is given its pixels, the most relevant
    first."""
    return _curves(probe, insert=True)


def _changes(probe: Probe) -> tuple[list[Tensor], Float[Tensor, "draws images"]]:
    """Perturbations of the sample and how much each lowers the label's logit; remembered."""

    def compute() -> tuple[list[Tensor], Tensor]:
        known = explained(probe)
        generator = probe.generator("infidelity")
        noise = [NOISE * torch.randn(known.images.shape, generator=generator) for _ in range(DRAWS)]
        noise = [n.to(known.images.device) for n in noise]
        logit = partial(_answers, known.model, known.labels, probability=False)
        before = logit(images=known.images)
        return noise, torch.stack([before - logit(images=known.images - n) for n in noise])

    return remember(probe, "perturbed answers", compute)


@_attribution(better="lower", title="infidelity", limits=(0.0, 1.0), breaks=_ANSWERS)
def infidelity(network: NetworkLike, probe: Probe) -> Values:
    """Share of the logit's change under noise that the attribution does not foretell.

    Captum's infidelity with its normalisation, divided by the mean squared change: min over b >= 0
    of E (b I.A - (f(x) - f(x - I)))^2 / E (f(x) - f(x - I))^2 over 16 draws of noise I of 0.2
    standard deviations; what an algorithm multiplied by the input is divided by it first. 0 for
    the gradient of a linear network, 1 for an attribution of no use; a random one foretells 1 / 32
    by luck.
    """
    noise, change = _changes(probe)

    def of(known: Explained, name: str) -> PerImage:
        slope = known.found[name]
        if name in TIMES_INPUT:
            slope = torch.where(known.images.abs() > 1e-6, slope / known.images, 0.0)
        told = torch.stack([(n * slope).flatten(1).sum(1) for n in noise])
        return relevance.unexplained(told, change)

    return by_algorithm(probe, of)


@_attribution(better="lower", title="sensitivity", limits=(0.0, float("inf")), breaks=_ANSWERS)
def sensitivity_max(network: NetworkLike, probe: Probe) -> Values:
    """How far an imperceptible change of the image moves its attribution, at most.

    max |A(x + e) - A(x)| / |A(x)| over three e, uniform within 0.02 standard deviations, on 16
    images (Yeh et al.; Captum draws from the global generator, here every run draws the same).
    """

    def of(known: Explained, name: str) -> PerImage:
        generator = probe.generator("sensitivity")
        images, labels = known.images[:AGAIN], known.labels[:AGAIN]
        before = known.found[name][:AGAIN].flatten(1)
        moved = []
        for _ in range(NUDGES):
            nudge = RADIUS * (2 * torch.rand(images.shape, generator=generator) - 1)
            after = explain(name, known.model, images + nudge.to(images.device), labels)
            moved.append((after.flatten(1) - before).norm(dim=1))
        size = before.norm(dim=1)
        return (torch.stack(moved).amax(0) / size).masked_fill(size == 0, NAN)

    return by_algorithm(probe, of)


# ----------------------------------------------------------------- units


@metric(
    aspect="attribution",
    better="higher",
    per="layer",
    needs={"trunk"},
    title="conductance against lesions",
    limits=(-1.0, 1.0),
    breaks={"dose": "both agree behind a linear head, whatever it reads"},
)
def conductance_agreement(layer: Layer, probe: Probe) -> float:
    """Rank correlation over units of a unit's conductance with what silencing it costs.

    Both for the label's logit, mean over the sample: Captum's LayerConductance from the mean
    image, summed over positions, and the logit's fall when the unit alone is set to 0.
    """
    known = explained(probe)
    tap: Any = probe.network.taps[layer.name]
    method = captum.LayerConductance(known.model.logits, tap.point)
    with quiet():
        conductance = method.attribute(
            known.images, target=known.labels, n_steps=STEPS, internal_batch_size=BATCH
        )
    own = conductance.detach().reshape(*conductance.shape[:2], -1).sum(2).mean(0)
    return relevance.spearman(own, _lesions(layer, probe, known))


@torch.no_grad()
def _lesions(layer: Layer, probe: Probe, known: Explained) -> Float[Tensor, "units"]:
    """Mean fall of the label's logit when each unit is silenced."""
    activation = known.model.logits.network(known.images).activations[layer.name]
    keep = 1 - torch.eye(layer.units, device=activation.device)
    keep = torch.cat([torch.ones_like(keep[:1]), keep])
    keep = keep.reshape(*keep.shape, *[1] * (activation.ndim - 2))
    chunk = max(1, images_per_chunk(activation[0].numel() * len(keep)))
    falls = []
    for x, y in zip(activation.split(chunk), known.labels.split(chunk), strict=True):
        logits = probe.network.continue_from(layer.name, (x[:, None] * keep).flatten(0, 1))
        logits = logits.unflatten(0, (len(x), len(keep)))
        own = logits.gather(2, y[:, None, None].expand(-1, len(keep), 1))[..., 0]
        falls.append(own[:, :1] - own[:, 1:])
    return torch.cat(falls).double().mean(0)
