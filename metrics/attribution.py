"""Attribution: do attributions lie on the evidence, and do they predict what the network does?

Each of Captum's algorithms (`ALGORITHMS`) explains a sample of images once, for the logit of the
label, and all metrics here read these maps. A metric gives a value for each algorithm, in that
order; NaN for an algorithm that fails its audit on this network or has no defined value, so means
leave it out. An image whose map says nothing counts as chance. These metrics rerun the network
thousands of times: quick suites leave them out.
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
    Explanations,
    Images,
    Labels,
    Model,
    explain,
    explanations,
    guarded,
    quiet,
)
from legible.metrics.maps import images_per_chunk
from legible.metrics.network import NetworkLike
from legible.metrics.relevance import PerImage

#: Images of the sample that are perturbed and explained again, for sensitivity.
AGAIN = 16
#: Perturbed copies of each image: for infidelity, and for sensitivity.
DRAWS, NUDGES = 16, 3
#: Size of the perturbations, in standard deviations of the training pixels.
NOISE, RADIUS = 0.2, 0.02
#: Steps of the deletion and insertion curves.
CURVE = 8
NAN = float("nan")
#: Relative change between two unrelated maps of one size.
UNRELATED = 2**0.5

Values = Float[Tensor, "algorithms"]
_attribution = partial(metric, aspect="attribution", per="network")
_ANSWERS = {"dose": "asks what the network reads, and how smoothly, whether evidence or not"}


def by_algorithm(
    probe: Probe, of: Callable[[Explanations, str], Tensor | float], evidence: bool = False
) -> Values:
    """The mean over images of ``of`` for each algorithm; NaN for those that fail the audit.

    ``evidence``: whether ``of`` needs concepts that define the classes; NaN without them.
    """
    sample = explanations(probe)
    values = torch.full((len(ALGORITHMS),), NAN, dtype=torch.float64)
    if evidence and sample.evidence is None:
        return values
    for position, name in enumerate(ALGORITHMS):
        if name in sample.attributions:
            values[position] = torch.as_tensor(of(sample, name)).double().nanmean().item()
    return values


def _on_evidence(
    probe: Probe, score: Callable[[relevance.Maps, Bool[Tensor, "images height width"]], PerImage]
) -> Values:
    def of(sample: Explanations, name: str) -> PerImage:
        assert sample.evidence is not None
        return score(relevance.positive(sample.attributions[name]), sample.evidence)

    return by_algorithm(probe, of, evidence=True)


# ----------------------------------------------------------------- audit


@_attribution(better="neither", title="algorithms that pass the audit", limits=(0.0, 1.0))
def attribution_audit(network: NetworkLike, probe: Probe) -> Values:
    """1 for each attribution algorithm that passes its audit on this network, 0 for the others."""
    faults = explanations(probe).faults
    return torch.tensor([float(name not in faults) for name in ALGORITHMS], dtype=torch.float64)


@_attribution(better="neither", title="silent attributions", limits=(0.0, 1.0))
def silent_attributions(network: NetworkLike, probe: Probe) -> Values:
    """Share of images on which an algorithm's map says nothing: no positive relevance.

    They count as chance in the other metrics of attributions.
    """
    return by_algorithm(
        probe, lambda sample, name: relevance.silent(relevance.positive(sample.attributions[name]))
    )


# ----------------------------------------------------------------- where


@_attribution(better="higher", needs={"concepts"}, title="pointing game", limits=(0.0, 1.0))
def pointing_game(network: NetworkLike, probe: Probe) -> Values:
    """Share of images whose most relevant pixel lies in the concept that defines the class."""
    return _on_evidence(probe, relevance.hits)


@_attribution(
    better="higher", needs={"concepts"}, headline=True, title="relevance mass", limits=(0.0, 1.0)
)
def relevance_mass(network: NetworkLike, probe: Probe) -> Values:
    """Share of the positive relevance that lies in the concept that defines the class.

    The headline of its aspect: unlike the pointing game it uses the whole map and not one pixel,
    and it needs no perturbed images, on which no network was trained. Compare it with
    `relevance_chance` and `relevance_mass_edges`.
    """
    return _on_evidence(probe, relevance.mass)


@_attribution(better="higher", needs={"concepts"}, title="relevance rank", limits=(0.0, 1.0))
def relevance_rank(network: NetworkLike, probe: Probe) -> Values:
    """Share of the K most relevant pixels that lie in the concept of the class, K its size."""
    return _on_evidence(probe, relevance.rank)


@_attribution(better="neither", needs={"concepts"}, title="relevance, chance", limits=(0.0, 1.0))
def relevance_chance(network: NetworkLike, probe: Probe) -> float:
    """Score of a random map in the pointing game, relevance mass and rank: the concept's area.

    Mean over images of the share of pixels in the concept that defines the class.
    """
    evidence = explanations(probe).evidence
    return NAN if evidence is None else evidence.double().mean().item()


def _of_edges(probe: Probe, score: Callable[[Tensor, Tensor], PerImage]) -> float:
    sample = explanations(probe)
    if sample.evidence is None:
        return NAN
    return score(relevance.edges(sample.images), sample.evidence).nanmean().item()


@_attribution(better="neither", needs={"concepts"}, title="pointing game, edges", limits=(0.0, 1.0))
def pointing_game_edges(network: NetworkLike, probe: Probe) -> float:
    """Pointing game of an edge detector (Sobel), which does not use the network."""
    return _of_edges(probe, relevance.hits)


@_attribution(
    better="neither", needs={"concepts"}, title="relevance mass, edges", limits=(0.0, 1.0)
)
def relevance_mass_edges(network: NetworkLike, probe: Probe) -> float:
    """Relevance mass of an edge detector (Sobel), which does not use the network."""
    return _of_edges(probe, relevance.mass)


@_attribution(better="neither", title="attribution sparseness (Gini)", limits=(0.0, 1.0))
def attribution_sparseness(network: NetworkLike, probe: Probe) -> Values:
    """Gini index of the positive relevance over pixels: 0 for a flat map, 1 for one pixel."""
    return by_algorithm(
        probe, lambda sample, name: relevance.gini(relevance.positive(sample.attributions[name]))
    )


# ----------------------------------------------------------------- what the network does


def _answers(model: Model, labels: Labels, images: Images, probability: bool) -> PerImage:
    """Logit of each image's label, or its probability."""
    with torch.no_grad():
        logits = torch.cat([model.logits(x) for x in images.split(BATCH)])
        values = logits.softmax(1) if probability else logits
    return values.gather(1, labels[:, None])[:, 0]


def _curves(probe: Probe, insert: bool) -> Values:
    def of(sample: Explanations, name: str) -> PerImage:
        answer = partial(_answers, sample.model, sample.labels, probability=True)
        maps = relevance.positive(sample.attributions[name])
        return relevance.curve(sample.images, maps, lambda x: answer(images=x), CURVE, insert)

    return by_algorithm(probe, of)


@_attribution(better="lower", title="deletion", limits=(0.0, 1.0), breaks=_ANSWERS)
def deletion(network: NetworkLike, probe: Probe) -> Values:
    """Area under the label's probability while pixels are blanked, the most relevant first.

    Low if the answer needs the relevant pixels. Blank pixels have the mean value of the training
    images. Eight steps.
    """
    return _curves(probe, insert=False)


@_attribution(better="higher", title="insertion", limits=(0.0, 1.0), breaks=_ANSWERS)
def insertion(network: NetworkLike, probe: Probe) -> Values:
    """Area under the label's probability while pixels are added, the most relevant first.

    High if the relevant pixels are enough for the answer. It starts with a blank image, the mean of
    the training images, and takes eight steps.
    """
    return _curves(probe, insert=True)


def _changes(probe: Probe) -> tuple[list[Tensor], Float[Tensor, "draws images"]]:
    """Perturbations of the sample, and how much each lowers the label's logit; computed once."""

    def compute() -> tuple[list[Tensor], Tensor]:
        sample = explanations(probe)
        generator = probe.generator("infidelity")
        noise = [
            NOISE * torch.randn(sample.images.shape, generator=generator) for _ in range(DRAWS)
        ]
        noise = [n.to(sample.images.device) for n in noise]
        logit = partial(_answers, sample.model, sample.labels, probability=False)
        before = logit(images=sample.images)
        return noise, torch.stack([before - logit(images=sample.images - n) for n in noise])

    return remember(probe, "perturbed answers", compute)


@_attribution(better="lower", title="infidelity", limits=(0.0, 1.0), breaks=_ANSWERS)
def infidelity(network: NetworkLike, probe: Probe) -> Values:
    """Share of the logit's change under noise that the attribution does not predict.

    Captum's normalised infidelity divided by the mean squared change: min over b >= 0 of
    E (b I.A - (f(x) - f(x - I)))^2 / E (f(x) - f(x - I))^2 over 16 draws of noise I with 0.2
    standard deviations. Attributions that contain the input as a factor are divided by it first.
    0 for the gradient of a linear network, 1 for a useless attribution; a random one predicts
    1 / 32 by chance.
    """
    noise, change = _changes(probe)

    def of(sample: Explanations, name: str) -> PerImage:
        slope = sample.attributions[name]
        if name in TIMES_INPUT:
            slope = torch.where(sample.images.abs() > 1e-6, slope / sample.images, 0.0)
        predicted = torch.stack([(n * slope).flatten(1).sum(1) for n in noise])
        return relevance.unexplained_share(predicted, change)

    return by_algorithm(probe, of)


@_attribution(better="lower", title="sensitivity", limits=(0.0, float("inf")), breaks=_ANSWERS)
def sensitivity_max(network: NetworkLike, probe: Probe) -> Values:
    """Largest relative change of an attribution under a tiny change of the image.

    max |A(x + e) - A(x)| / |A(x)| over three e, uniform within 0.02 standard deviations, on 16
    images (Yeh et al.). Unlike in Captum, every run has the same random e. An image whose map is
    all zero counts as the square root of 2, the change between two unrelated maps of one size.
    """

    def of(sample: Explanations, name: str) -> PerImage | float:
        generator = probe.generator("sensitivity")
        images, labels = sample.images[:AGAIN], sample.labels[:AGAIN]
        before = sample.attributions[name][:AGAIN].flatten(1)
        changes = []
        for _ in range(NUDGES):
            nudge = RADIUS * (2 * torch.rand(images.shape, generator=generator) - 1)
            nudged = images + nudge.to(images.device)
            after = guarded(partial(explain, name, sample.model, nudged, labels), sample.model)
            if isinstance(after, str):  # it raises on these images
                return NAN
            changes.append((after.flatten(1) - before).norm(dim=1))
        size = before.norm(dim=1)
        return (torch.stack(changes).amax(0) / size).masked_fill(size == 0, UNRELATED)

    return by_algorithm(probe, of)


# ----------------------------------------------------------------- units


@metric(
    aspect="attribution",
    better="higher",
    per="layer",
    needs={"trunk"},
    title="conductance against lesions",
    limits=(-1.0, 1.0),
    breaks={"dose": "before a linear head both agree, whatever it reads"},
)
def conductance_agreement(layer: Layer, probe: Probe) -> float:
    """Rank correlation over units between a unit's conductance and the effect of silencing it.

    Both are means over the sample, for the label's logit: Captum's LayerConductance from the mean
    image, summed over positions, and the drop of the logit when this unit is set to 0.
    """
    sample = explanations(probe)
    tap: Any = probe.network.taps[layer.name]
    method = captum.LayerConductance(sample.model.logits, tap.point)
    with quiet():
        conductance = method.attribute(
            sample.images, target=sample.labels, n_steps=STEPS, internal_batch_size=BATCH
        )
    own = conductance.detach().reshape(*conductance.shape[:2], -1).sum(2).mean(0)
    return relevance.spearman(own, _lesions(layer, probe, sample))


@torch.no_grad()
def _lesions(layer: Layer, probe: Probe, sample: Explanations) -> Float[Tensor, "units"]:
    """Mean drop of the label's logit when each unit is silenced."""
    activation = sample.model.logits.network(sample.images).activations[layer.name]
    keep = 1 - torch.eye(layer.units, device=activation.device)
    keep = torch.cat([torch.ones_like(keep[:1]), keep])
    keep = keep.reshape(*keep.shape, *[1] * (activation.ndim - 2))
    chunk = max(1, images_per_chunk(activation[0].numel() * len(keep)))
    drops = []
    for x, y in zip(activation.split(chunk), sample.labels.split(chunk), strict=True):
        logits = probe.network.continue_from(layer.name, (x[:, None] * keep).flatten(0, 1))
        logits = logits.unflatten(0, (len(x), len(keep)))
        own = logits.gather(2, y[:, None, None].expand(-1, len(keep), 1))[..., 0]
        drops.append(own[:, :1] - own[:, 1:])
    return torch.cat(drops).double().mean(0)
