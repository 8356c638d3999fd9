"""Which units drive which targets, whether those groups act together, and what they do.

A group holds the units whose strongest way out leads to one target: behind the last layer, to one
class. In a network trained with BEAN they are its assemblies. Sizes of weights are read as they
are, against the thresholds that a known BEAN checkpoint was described with: of its last layer's
weights 91 % are under 1e-3, and of its 84 penultimate units 65 have a weight above 1e-2 to
exactly one class and 14 to none.
"""

from __future__ import annotations

from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from legible.metrics.partition_agreement import adjusted_rand, contingency
from legible.metrics.base import Layer, Probe, metric, remember
from legible.metrics.lesion import lesion_inputs, rerun
from legible.metrics.modules import membership, layer_modules, numbered, spectral_modules
from legible.metrics.wiring import outgoing_strength, unit_of_input

SMALL, LINKED = 1e-3, 1e-2
NAN = float("nan")
CELLS = 2**23  # numbers held at once

_sizes = partial(
    metric, aspect="efficiency", better="neither", needs={"weights"},
    breaks={"scale": "reads the size of weights, which is its subject"},
)  # fmt: skip

# ----------------------------------------------------------------- sizes of weights


@torch.no_grad()
def largest_weights(layer: Layer, probe: Probe) -> Float[Tensor, "targets units"]:
    """The largest |weight| from each unit to each target, over kernel cells and over the places
    of a flattened map; targets of all ways out stand below each other."""
    parts = []
    for edge in probe.network.taps[layer.name].outgoing:
        if edge.weight is not None:
            size = edge.weight.weight.abs()
            size = size.flatten(2).amax(2) if size.ndim > 2 else size
            found = size.new_zeros(len(size), layer.units)
            behind = unit_of_input(layer, edge).expand_as(size)
            parts.append(found.scatter_reduce(1, behind, size, "amax"))
    return torch.cat(parts)


@torch.no_grad()
def share_below(layer: Layer, probe: Probe, threshold: float) -> float:
    """Share of a layer's outgoing weights whose size is below a threshold."""
    edges = probe.network.taps[layer.name].outgoing
    sizes = torch.cat([e.weight.weight.abs().flatten() for e in edges if e.weight is not None])
    return float((sizes < threshold).double().mean())


@_sizes(per="layer", title="outgoing weights under 1e-3", limits=(0.0, 1.0))
def weights_under_thousandth(layer: Layer, probe: Probe) -> float:
    """Share of a layer's outgoing weights of a size under 1e-3.

    A known BEAN checkpoint (LeNet-5, MNIST): .26, .83 and .91 from its first to its last dense
    weights. A random weight of LeNet's last layer, uniform up to 1 / sqrt(84), is under it with
    probability .009: sparse only means something against plain on the same backbone.
    """
    return share_below(layer, probe, SMALL)


@_sizes(per="layer", title="outgoing weights under 1e-2", limits=(0.0, 1.0))
def weights_under_hundredth(layer: Layer, probe: Probe) -> float:
    """Share of a layer's outgoing weights of a size under 1e-2.

    The known BEAN checkpoint: .50, .89 and .91. Uniform random weights of LeNet's last layer: .09.
    """
    return share_below(layer, probe, LINKED)


def target_counts(layer: Layer, probe: Probe) -> Int[Tensor, "units"]:
    """How many targets each unit has a weight above 1e-2 to."""
    return (largest_weights(layer, probe) > LINKED).sum(0)


@_sizes(per="unit", null=0.0, title="output-dead units", limits=(0.0, 1.0))
def output_dead_units(layer: Layer, probe: Probe) -> Float[Tensor, "units"]:
    """1 for a unit without any outgoing weight above 1e-2 in size, else 0.

    The known BEAN checkpoint: 14 of its 84 penultimate units. Null: none is.
    """
    return (target_counts(layer, probe) == 0).double()


@_sizes(
    per="unit", null=lambda layer, probe: float(len(largest_weights(layer, probe))),
    title="targets of a unit", limits=(0.0, float("inf")),
)  # fmt: skip
def targets_of_a_unit(layer: Layer, probe: Probe) -> Float[Tensor, "units"]:
    """Number of targets that a unit has a weight above 1e-2 to: classes, at the last layer.

    Null: all of them, as in a dense layer of large weights.
    """
    return target_counts(layer, probe).double()


@_sizes(per="unit", null=0.0, title="units with one target", limits=(0.0, 1.0))
def single_target_units(layer: Layer, probe: Probe) -> Float[Tensor, "units"]:
    """1 for a unit with a weight above 1e-2 to exactly one target, else 0.

    The known BEAN checkpoint: 65 of its 84 penultimate units. Null: none.
    """
    return (target_counts(layer, probe) == 1).double()


# ----------------------------------------------------------------- groups of one target


def main_target(layer: Layer, probe: Probe) -> Int[Tensor, "units"]:
    """The target that each unit drives most, -1 for a unit that drives none.

    Largest |weight| times the spread of the unit's mean response over images, which no rescaling
    of a unit changes; under 1 % of the layer's largest drives nothing.
    """
    spread = layer.pooled.double().std(0, correction=0).nan_to_num(0.0, 0.0, 0.0)
    drive = outgoing_strength(layer, probe) * spread
    strongest, target = drive.max(0)
    return torch.where(strongest > 1e-2 * drive.max(), target, -1)


def outgoing_modules(layer: Layer, probe: Probe) -> Int[Tensor, "units"]:
    """`main_target` as a partition: modules numbered by size."""
    return remember(layer, ("outgoing", probe), lambda: numbered(main_target(layer, probe)))


def rand_index(first: Int[Tensor, "units"], second: Int[Tensor, "units"]) -> float:
    """Adjusted Rand index on the units that both assign; NaN with fewer than two of them."""
    both = (first >= 0) & (second >= 0)
    if int(both.sum()) < 2:
        return NAN
    return float(adjusted_rand(contingency(numbered(first[both]), numbered(second[both]))))


_agreement = partial(
    metric, aspect="structure", better="higher", per="layer", null=0.0, limits=(-1.0, 1.0)
)


@_agreement(needs={"weights"}, title="agreement: outgoing weights, correlation")
def outgoing_correlation_agreement(layer: Layer, probe: Probe) -> float:
    """ARI of the groups of one target with the spectral clusters of correlated units.

    As many clusters as there are groups. 1: the units that drive one target respond alike. 0:
    chance.
    """
    groups = outgoing_modules(layer, probe)
    count = int(groups.max()) + 1
    return rand_index(groups, spectral_modules(layer, count)) if count > 1 else NAN


@_agreement(needs={"weights"}, title="agreement: outgoing weights, synchronization")
def outgoing_synchronization_agreement(layer: Layer, probe: Probe) -> float:
    """ARI of the groups of one target with the modules by synchronization; 0: chance."""
    return rand_index(outgoing_modules(layer, probe), layer_modules(layer))


@_agreement(title="agreement: correlation, synchronization")
def correlation_synchronization_agreement(layer: Layer, probe: Probe) -> float:
    """ARI of two readings of one correlation: spectral clusters, and modules by synchronization.

    How far modules depend on the algorithm that finds them; 0: chance.
    """
    return rand_index(spectral_modules(layer), layer_modules(layer))


# ----------------------------------------------------------------- what silencing them does


@torch.no_grad()
def own_class_changes(layer: Layer, probe: Probe) -> Float[Tensor, "two classes"]:
    """When the group of each class is silenced: by how much more often that class is predicted
    (share of all images), and by how much its own accuracy changes.

    NaN for a class without a group (or, accuracy, without images), and for all classes where the
    layer's targets are not the classes.
    """
    ways = probe.network.taps[layer.name].outgoing
    head = ways[0].weight if len(ways) == 1 else None
    none = torch.full((2, probe.classes), NAN, dtype=torch.float64, device=probe.labels.device)
    if not (isinstance(head, nn.Linear) and head.out_features == probe.classes):
        return none
    target = main_target(layer, probe)
    member = membership(target).T.bool()
    keep = ~torch.cat([member.new_zeros(1, layer.units), member])
    activation, labels = lesion_inputs(layer, probe)
    chunk = max(1, CELLS // (len(keep) * activation[0].numel()))
    answers = torch.cat(
        [rerun(layer, probe, part, keep).argmax(-1) for part in activation.split(chunk)], 1
    )
    classes = torch.arange(len(member), device=labels.device)
    own = (answers[1:] == classes[:, None]).double()
    before = (answers[:1] == classes[:, None]).double()
    theirs = (labels == classes[:, None]).double()
    changes = torch.stack(
        [(own - before).mean(1), ((own - before) * theirs).sum(1) / theirs.sum(1)]
    )
    none[:, : len(member)] = changes.masked_fill(~member.any(1), NAN)
    return none


def _own(layer: Layer, probe: Probe) -> Tensor:
    return remember(layer, ("own class", probe), lambda: own_class_changes(layer, probe))


_effect = partial(
    metric, aspect="module semantics", better="neither", per="module", null=0.0,
    needs={"weights", "trunk"}, limits=(-1.0, 1.0),
)  # fmt: skip


@_effect(title="own class predicted more when lesioned")
def own_class_prediction_change(layer: Layer, probe: Probe) -> Float[Tensor, "classes"]:
    """Change of how often a class is predicted when the units that drive it most are silenced.

    Share of all images, signed: below 0 where the group speaks for its class, above 0 where it
    inhibits it, so that without the group the network over-predicts the class (all surviving
    output weights of the known BEAN checkpoint are negative). Last layer only.
    """
    return _own(layer, probe)[0]


@_effect(title="own class's accuracy when lesioned")
def own_class_accuracy_change(layer: Layer, probe: Probe) -> Float[Tensor, "classes"]:
    """Change of a class's accuracy when the units that drive it most are silenced, signed.

    -1: all its images are lost; 0 or above where the group inhibits its class. Last layer only.
    """
    return _own(layer, probe)[1]
