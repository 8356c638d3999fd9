"""Does a module stand for something? Its mean response against classes, its members' concepts."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from legible.metrics.base import Layer, Probe, metric, remember
from legible.metrics.modules import membership, layer_modules
from legible.metrics.semantics import best_concepts
from legible.metrics.selectivity import (
    best_information,
    class_entropy,
    class_means,
    mutual_information,
    selectivity_index,
)

DEALS = 100  # of the concept labels to the members of modules
NAN = float("nan")

# ----------------------------------------------------------------- classes


def module_responses(layer: Layer) -> Float[Tensor, "images modules"]:
    """Mean over a module's members of their spatial means, each divided by its mean over images,
    so that no member counts more for being larger."""
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
    """How far a module's favourite class stands out: (mu_max - mu_rest) / (mu_max + mu_rest).

    On class means of the module's mean response (members brought to the same mean first).
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
    """Share of a class's entropy that a module's mean response tells, the largest over classes.

    The estimate and the rule for ties are those of `class_information_share`.
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

    NaN for a module none of whose members has one.
    """
    one_hot = (labels[..., None] == torch.arange(concepts, device=labels.device)).double()
    counts = membership(partition).T @ one_hot
    share = counts / counts.sum(-1, keepdim=True)
    return torch.special.entr(share).sum(-1) / math.log(2)


def _entropy(layer: Layer, probe: Probe) -> tuple[Tensor, Tensor]:
    """Entropy of each module's concept labels as a share of the most that all concepts present
    could give, and its mean when the labels are dealt anew to the members of modules."""

    def compute() -> tuple[Tensor, Tensor]:
        assert probe.concepts is not None
        labels, partition = best_concepts(layer, probe)[1], layer_modules(layer)
        present = int((probe.concepts.packed != 0).any(-1).any(-1).any(0).sum())
        bits = math.log2(present) if present > 1 else NAN
        # in the order of the modules and sorted, so that the numbering of units does not matter
        members = partition.argsort(stable=True)
        members = members[(partition[members] >= 0) & (labels[members] >= 0)]
        pool = labels[members].sort().values
        generator = probe.generator("concept entropy")
        deals = torch.rand(DEALS, len(pool), generator=generator).argsort(1).to(pool.device)
        dealt = labels.repeat(DEALS, 1)
        dealt[:, members] = pool[deals]
        value, null = (
            label_entropy(given, partition, len(probe.concepts)) / bits for given in (labels, dealt)
        )
        return value, null.mean(0)

    return remember(layer, ("concept entropy", probe), compute)


@metric(
    aspect="module semantics", better="lower", per="module", null=1.0,
    needs={"spatial", "concepts", "measurable"}, title="concept entropy of modules",
    limits=(0.0, 1.0),
)  # fmt: skip
def concept_entropy(layer: Layer, probe: Probe) -> Float[Tensor, "modules"]:
    """Entropy of the members' concepts, in bits, divided by log2 of the concepts present.

    A unit's concept is that of its highest NetDissect IoU, however low. 0: all members have the
    same; small modules cannot reach 1, so read it with `concept_entropy_excess`.
    """
    value, _ = _entropy(layer, probe)
    return value if len(value) else value.new_full((1,), NAN)


@metric(
    aspect="module semantics", better="lower", per="module", null=0.0,
    needs={"spatial", "concepts", "measurable"}, title="concept entropy less that of random groups",
    limits=(-1.0, 1.0),
)  # fmt: skip
def concept_entropy_excess(layer: Layer, probe: Probe) -> Float[Tensor, "modules"]:
    """`concept_entropy` less its mean when the units' concepts are dealt to the modules anew.

    100 deals among the assigned units; below 0 where members share concepts more than chance has
    it. 0 for a single module.
    """
    value, null = _entropy(layer, probe)
    return value - null if len(value) else value.new_full((1,), NAN)
