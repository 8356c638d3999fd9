"""Module semantics: does a module stand for a class or a concept?"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from legible.metrics.base import Layer, Probe, metric, remember
from legible.metrics.modules import layer_modules, membership
from legible.metrics.selectivity import (
    best_information,
    class_entropy,
    class_means,
    mutual_information,
    selectivity_index,
)
from legible.metrics.semantics import best_concepts

PERMUTATIONS = 100  # of the concept labels of modules' members
NAN = float("nan")

# ----------------------------------------------------------------- classes


def module_responses(layer: Layer) -> Float[Tensor, "images modules"]:
    """Mean over a module's members of their spatial means.

    Each is first divided by its mean over images, so that all members have the same weight.
    """
    pooled = torch.where(layer.dead, 0.0, layer.pooled).double()
    level = pooled.mean(0)
    scaled = pooled / torch.where(level > 0, level, 1.0)
    member = membership(layer_modules(layer))
    return scaled @ member / member.sum(0)


@metric(
    aspect="module semantics", better="higher", per="module", null=0.0,
    title="class selectivity of modules", limits=(0.0, 1.0),
)  # fmt: skip
def module_selectivity(layer: Layer, probe: Probe) -> Float[Tensor, "modules"]:
    """Class selectivity index of a module's mean response: (mu_max - mu_rest) / (mu_max + mu_rest).

    mu are class means; all members of the module are first scaled to the same mean.
    """
    responses = module_responses(layer)
    if not responses.shape[1]:
        return responses.new_full((1,), NAN)
    return selectivity_index(class_means(responses, probe.labels, probe.classes))


@metric(
    aspect="module semantics", better="higher", per="module", null=0.0,
    title="mutual information / entropy of modules", limits=(0.0, 1.0),
)  # fmt: skip
def module_information_share(layer: Layer, probe: Probe) -> Float[Tensor, "modules"]:
    """Mutual information of a module's mean response with a class, as a share of class entropy.

    The largest over classes. Estimate and rule for ties as in `class_information_share`.
    """
    responses = module_responses(layer)
    if not responses.shape[1]:
        return responses.new_full((1,), NAN)
    information = mutual_information(responses, probe.labels, probe.classes)
    entropy = class_entropy(probe.labels, probe.classes)
    return best_information((information / entropy).clamp(max=1))


# ----------------------------------------------------------------- concepts


def label_entropy(
    labels: Int[Tensor, "*draws units"], partition: Int[Tensor, "units"], concepts: int
) -> Float[Tensor, "*draws modules"]:
    """Entropy, in bits, of the concept labels of each module's members; -1 is no label.

    NaN for a module without any label.
    """
    one_hot = (labels[..., None] == torch.arange(concepts, device=labels.device)).double()
    counts = membership(partition).T @ one_hot
    share = counts / counts.sum(-1, keepdim=True)
    return torch.special.entr(share).sum(-1) / math.log(2)


def _entropy(layer: Layer, probe: Probe) -> tuple[Tensor, Tensor]:
    """Normalised entropy of each module's concept labels, and its mean under permutations.

    Normalised by the largest possible entropy, that of all concepts in the images. Permutations
    assign the labels to the members of modules at random.
    """

    def compute() -> tuple[Tensor, Tensor]:
        assert probe.concepts is not None
        labels, partition = best_concepts(layer, probe)[1], layer_modules(layer)
        count = int((probe.concepts.packed != 0).any(-1).any(-1).any(0).sum())
        bits = math.log2(count) if count > 1 else NAN
        # members in the order of modules and labels sorted: the order of units does not matter
        members = partition.argsort(stable=True)
        members = members[(partition[members] >= 0) & (labels[members] >= 0)]
        pool = labels[members].sort().values
        generator = probe.generator("concept entropy")
        orders = torch.rand(PERMUTATIONS, len(pool), generator=generator).argsort(1).to(pool.device)
        permuted = labels.repeat(PERMUTATIONS, 1)
        permuted[:, members] = pool[orders]
        value, null = (
            label_entropy(x, partition, len(probe.concepts)) / bits for x in (labels, permuted)
        )
        return value, null.mean(0)

    return remember(layer, ("concept entropy", probe), compute)


@metric(
    aspect="module semantics", better="lower", per="module", null=1.0,
    needs={"spatial", "concepts", "measurable"}, title="concept entropy of modules",
    limits=(0.0, 1.0),
)  # fmt: skip
def concept_entropy(layer: Layer, probe: Probe) -> Float[Tensor, "modules"]:
    """Entropy of the concepts of a module's members, divided by log2 of the number of concepts.

    A unit's concept is that of its highest NetDissect IoU, however low; concepts count if an image
    contains them. 0: all members have the same concept. Small modules cannot reach 1, so read it
    together with `concept_entropy_excess`.
    """
    value, _ = _entropy(layer, probe)
    return value if len(value) else value.new_full((1,), NAN)


@metric(
    aspect="module semantics", better="lower", per="module", null=0.0,
    needs={"spatial", "concepts", "measurable"}, title="concept entropy less that of random groups",
    limits=(-1.0, 1.0),
)  # fmt: skip
def concept_entropy_excess(layer: Layer, probe: Probe) -> Float[Tensor, "modules"]:
    """`concept_entropy` minus its mean when concepts are assigned to units at random.

    100 permutations among the units in modules. Below 0 if members share concepts more than by
    chance; 0 for a single module.
    """
    value, null = _entropy(layer, probe)
    return value - null if len(value) else value.new_full((1,), NAN)
