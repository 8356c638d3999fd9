"""Groups of units that drive one target: do they respond together, and what do they do?

A group consists of the units whose strongest outgoing connection leads to the same target, for the
last layer to the same class. In a network trained with BEAN these are its assemblies. Weights are
compared with the thresholds in a description of a published BEAN checkpoint (LeNet-5, MNIST): 91 %
of the weights of its last layer are below 1e-3; of its 84 penultimate units, 65 have a weight above
1e-2 to exactly one class, and 14 to no class.
"""

from __future__ import annotations

from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from legible.metrics.base import Layer, Probe, metric, remember
from legible.metrics.lesion import lesion_start
from legible.metrics.modules import layer_modules, membership, numbered, spectral_modules
from legible.metrics.partition_agreement import adjusted_rand, contingency
from legible.metrics.wiring import outgoing_strength, unit_of_input

SMALL, LINKED = 1e-3, 1e-2
NAN = float("nan")
BUDGET = 2**23  # largest number of values in memory at once

_sizes = partial(
    metric, aspect="efficiency", better="neither", needs={"weights"},
    breaks={"scale": "it is about the size of weights"},
)  # fmt: skip

# ----------------------------------------------------------------- sizes of weights


@torch.no_grad()
def largest_weights(layer: Layer, probe: Probe) -> Float[Tensor, "targets units"]:
    """The largest |weight| from each unit to each target.

    Over the positions of a kernel, and over those of a flattened map. The targets of all outgoing
    edges are concatenated.
    """
    parts = []
    for edge in probe.network.taps[layer.name].outgoing:
        if edge.weight is not None:
            size = edge.weight.weight.abs()
            size = size.flatten(2).amax(2) if size.ndim > 2 else size
            largest = size.new_zeros(len(size), layer.units)
            behind = unit_of_input(layer, edge).expand_as(size)
            parts.append(largest.scatter_reduce(1, behind, size, "amax"))
    return torch.cat(parts)


@torch.no_grad()
def share_below(layer: Layer, probe: Probe, threshold: float) -> float:
    """Share of a layer's outgoing weights whose absolute value is below a threshold."""
    edges = probe.network.taps[layer.name].outgoing
    sizes = torch.cat([e.weight.weight.abs().flatten() for e in edges if e.weight is not None])
    return float((sizes < threshold).double().mean())


@_sizes(per="layer", title="outgoing weights under 1e-3", limits=(0.0, 1.0))
def weights_under_thousandth(layer: Layer, probe: Probe) -> float:
    """Share of a layer's outgoing weights with an absolute value below 1e-3.

    A published BEAN checkpoint (LeNet-5, MNIST): .26, .83 and .91 from its first to its last dense
    weights. Random weights of LeNet's last layer, uniform up to 1 / sqrt(84): .009. Compare it only
    with plain on the same backbone.
    """
    return share_below(layer, probe, SMALL)


@_sizes(per="layer", title="outgoing weights under 1e-2", limits=(0.0, 1.0))
def weights_under_hundredth(layer: Layer, probe: Probe) -> float:
    """Share of a layer's outgoing weights with an absolute value below 1e-2.

    The published BEAN checkpoint: .50, .89 and .91. Uniform random weights of LeNet's last layer:
    .09.
    """
    return share_below(layer, probe, LINKED)


def target_counts(layer: Layer, probe: Probe) -> Int[Tensor, "units"]:
    """Number of targets to which each unit has a |weight| above 1e-2."""
    return (largest_weights(layer, probe) > LINKED).sum(0)


@_sizes(per="unit", null=0.0, title="output-dead units", limits=(0.0, 1.0))
def output_dead_units(layer: Layer, probe: Probe) -> Float[Tensor, "units"]:
    """1 for a unit without any outgoing |weight| above 1e-2, else 0.

    The published BEAN checkpoint: 14 of its 84 penultimate units. Null: no unit.
    """
    return (target_counts(layer, probe) == 0).double()


@_sizes(
    per="unit", null=lambda layer, probe: float(len(largest_weights(layer, probe))),
    title="targets of a unit", limits=(0.0, float("inf")),
)  # fmt: skip
def targets_of_a_unit(layer: Layer, probe: Probe) -> Float[Tensor, "units"]:
    """Number of targets to which a unit has a |weight| above 1e-2; at the last layer, of classes.

    Null: all targets, as in a dense layer of large weights.
    """
    return target_counts(layer, probe).double()


@_sizes(per="unit", null=0.0, title="units with one target", limits=(0.0, 1.0))
def single_target_units(layer: Layer, probe: Probe) -> Float[Tensor, "units"]:
    """1 for a unit with a |weight| above 1e-2 to exactly one target, else 0.

    The published BEAN checkpoint: 65 of its 84 penultimate units. Null: no unit.
    """
    return (target_counts(layer, probe) == 1).double()


# ----------------------------------------------------------------- groups of one target


def main_target(layer: Layer, probe: Probe) -> Int[Tensor, "units"]:
    """The target that each unit drives most; -1 for a unit that drives no target.

    The drive is `outgoing_strength` times the standard deviation over images of the unit's mean
    response, which does not depend on the unit's scale. Below 1 % of the layer's largest drive, a
    unit drives no target.
    """
    spread = layer.pooled.double().std(0, correction=0).nan_to_num(0.0, 0.0, 0.0)
    drive = outgoing_strength(layer, probe) * spread
    strongest, target = drive.max(0)
    return torch.where(strongest > 1e-2 * drive.max(), target, -1)


def outgoing_modules(layer: Layer, probe: Probe) -> Int[Tensor, "units"]:
    """`main_target` as a partition, with modules numbered by size."""
    return remember(layer, ("outgoing", probe), lambda: numbered(main_target(layer, probe)))


def rand_index(first: Int[Tensor, "units"], second: Int[Tensor, "units"]) -> float:
    """Adjusted Rand index on the units that are in a module in both; NaN with fewer than two."""
    both = (first >= 0) & (second >= 0)
    if int(both.sum()) < 2:
        return NAN
    return float(adjusted_rand(contingency(numbered(first[both]), numbered(second[both]))))


_agreement = partial(
    metric, aspect="structure", better="higher", per="layer", null=0.0, limits=(-1.0, 1.0)
)


@_agreement(needs={"weights"}, title="agreement: outgoing weights, correlation")
def outgoing_correlation_agreement(layer: Layer, probe: Probe) -> float:
    """ARI of the groups of units with one target and spectral clusters of correlated units.

    There are as many clusters as groups. 1: the units that drive one target respond alike; 0: by
    chance.
    """
    groups = outgoing_modules(layer, probe)
    count = int(groups.max()) + 1
    return rand_index(groups, spectral_modules(layer, count)) if count > 1 else NAN


@_agreement(needs={"weights"}, title="agreement: outgoing weights, synchronization")
def outgoing_synchronization_agreement(layer: Layer, probe: Probe) -> float:
    """ARI of the groups of units with one target and modules by synchronization; 0 by chance."""
    return rand_index(outgoing_modules(layer, probe), layer_modules(layer))


@_agreement(title="agreement: correlation, synchronization")
def correlation_synchronization_agreement(layer: Layer, probe: Probe) -> float:
    """ARI of spectral clusters and modules by synchronization, from the same correlations.

    Shows how much the modules depend on the algorithm; 0 by chance.
    """
    return rand_index(spectral_modules(layer), layer_modules(layer))


# ----------------------------------------------------------------- lesions of groups


@torch.no_grad()
def own_class_changes(layer: Layer, probe: Probe) -> Float[Tensor, "two classes"]:
    """Effects of silencing the group of each class on the class's predictions and accuracy.

    First row: change of the share of images for which the class is predicted. Second row: change
    of the accuracy on images of the class. NaN for a class without a group (second row: or without
    images), and for all classes if the layer's targets are not the classes.
    """
    edges = probe.network.taps[layer.name].outgoing
    head = edges[0].weight if len(edges) == 1 else None
    result = torch.full((2, probe.classes), NAN, dtype=torch.float64, device=probe.labels.device)
    if not (isinstance(head, nn.Linear) and head.out_features == probe.classes):
        return result
    target = main_target(layer, probe)
    member = membership(target).T.bool()
    keep = ~torch.cat([member.new_zeros(1, layer.units), member])
    start = lesion_start(layer, probe)
    labels = start.labels
    chunk = max(1, BUDGET // (len(keep) * start.values[0].numel()))
    rows = torch.arange(len(labels), device=labels.device).split(chunk)
    answers = torch.cat([start.rerun(part, keep).argmax(-1) for part in rows], 1)
    classes = torch.arange(len(member), device=labels.device)
    own = (answers[1:] == classes[:, None]).double()
    before = (answers[:1] == classes[:, None]).double()
    theirs = (labels == classes[:, None]).double()
    changes = torch.stack(
        [(own - before).mean(1), ((own - before) * theirs).sum(1) / theirs.sum(1)]
    )
    result[:, : len(member)] = changes.masked_fill(~member.any(1), NAN)
    return result


def _own(layer: Layer, probe: Probe) -> Tensor:
    return remember(layer, ("own class", probe), lambda: own_class_changes(layer, probe))


_effect = partial(
    metric, aspect="module semantics", better="neither", per="module", null=0.0,
    needs={"weights", "trunk"}, limits=(-1.0, 1.0),
)  # fmt: skip


@_effect(title="own class predicted more when lesioned")
def own_class_prediction_change(layer: Layer, probe: Probe) -> Float[Tensor, "classes"]:
    """Change of how often a class is predicted when the units that drive it most are silenced.

    Share of all images, signed. Below 0 if the group supports its class; above 0 if it inhibits
    its class, which is then predicted too often without the group (in the published BEAN checkpoint
    all remaining output weights are negative). Last layer only.
    """
    return _own(layer, probe)[0]


@_effect(title="own class's accuracy when lesioned")
def own_class_accuracy_change(layer: Layer, probe: Probe) -> Float[Tensor, "classes"]:
    """Change of a class's accuracy when the units that drive it most are silenced, signed.

    -1: all images of the class are lost; 0 or above: the group inhibits its class. Last layer only.
    """
    return _own(layer, probe)[1]
