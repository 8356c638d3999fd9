"""What does the network lose when a module is silenced? Lesions at a Tap, rerun from there.

A lesion sets units of one layer to zero and lets the network run on (`continue_from`), so methods'
transforms stay in place and nothing before the layer is computed again. Behind the last Tap only
the head reruns, and where it pools globally each map is first replaced by its mean; that is
checked against the maps themselves before it is used.

Effects are signed: a drop of accuracy is positive. A module may inhibit its class, and the drop is
then negative for that class and positive for others.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from legible.metrics.base import Layer, Probe, metric, remember
from legible.metrics.modules import claimed_modules, membership, layer_modules
from legible.metrics.similarity import layer_correlation, live_units

GROUPS = 100  # random groups a module is compared with
SAMPLE = 500  # images on which layers before the last are lesioned: each rerun costs more there
CELLS = 2**23  # numbers held at once
NAN = float("nan")

# ----------------------------------------------------------------- lesions


@torch.no_grad()
def lesions(
    layer: Layer, probe: Probe, groups: Bool[Tensor, "groups units"], cells: int = CELLS
) -> Float[Tensor, "groups classes"]:
    """Drop of each class's accuracy when a group of units is silenced, in [-1, 1], signed.

    NaN for a class without images, and for a group (or all, if it is the whole network) with an
    answer that is not finite. Layers with more than a linear head behind them are lesioned
    on 500 images, always the same. Holds about ``cells`` numbers at a time. Raises ValueError for
    a layer off the network's trunk.
    """
    keep = ~torch.cat([groups.new_zeros(1, layer.units), groups])
    activation, labels = lesion_inputs(layer, probe)
    right = torch.zeros(len(keep), probe.classes, dtype=torch.float64, device=keep.device)
    broken = torch.zeros(len(keep), dtype=torch.bool, device=keep.device)
    one_hot = nn.functional.one_hot(labels, probe.classes).double()
    chunk = max(1, min(256, cells // activation[0].numel()))
    step = max(1, cells // (chunk * activation[0].numel()))
    for rows in torch.arange(len(labels), device=labels.device).split(chunk):
        for part, bad, kept in zip(*(t.split(step) for t in (right, broken, keep)), strict=True):
            logits = rerun(layer, probe, activation[rows], kept)
            part += (logits.argmax(-1) == labels[rows]).double() @ one_hot[rows]
            bad |= ~logits.isfinite().all(-1).all(-1)
    accuracy = (right / one_hot.sum(0)).masked_fill(broken[:, None], NAN)
    return accuracy[:1] - accuracy[1:]


@torch.no_grad()
def rerun(
    layer: Layer,
    probe: Probe,
    activation: Float[Tensor, "images units *map"],
    keep: Bool[Tensor, "groups units"],
) -> Float[Tensor, "groups images classes"]:
    """Logits of the network run on from the layer, for each set of units that stays."""
    mask = keep.view(len(keep), 1, -1, *[1] * (activation.ndim - 2))
    silenced = torch.where(mask, activation, 0.0)
    logits = probe.network.continue_from(layer.name, silenced.flatten(0, 1))
    return logits.unflatten(0, (len(keep), -1))


@torch.no_grad()
def lesion_inputs(layer: Layer, probe: Probe) -> tuple[Float[Tensor, "images units *map"], Tensor]:
    """The activations to silence units of, and their images' labels.

    All images where the way on is a linear head, else a sample. Maps become their means where
    only those matter.
    """
    activation, labels = layer.activation, probe.labels
    ways = probe.network.taps[layer.name].outgoing
    head = ways[0].weight if len(ways) == 1 else None
    if not (isinstance(head, nn.Linear) and head.out_features == probe.classes):
        order = torch.randperm(len(labels), generator=probe.generator("lesion sample"))
        rows = order[:SAMPLE].sort().values.to(labels.device)
        return activation[rows], labels[rows]
    pools = any(
        isinstance(module, nn.AdaptiveAvgPool2d) and module.output_size in (1, (1, 1))
        for module in ways[0].bridge.modules()
    )
    if pools and activation.ndim == 4:
        means = activation.mean((2, 3), keepdim=True)
        keep = torch.rand(8, layer.units, generator=probe.generator("lesion check")) < 0.5
        keep = torch.cat([keep, torch.ones_like(keep[:1])]).to(labels.device)
        short, full = (rerun(layer, probe, part[:16], keep) for part in (means, activation))
        largest = float(full.abs().max())  # NaN where nothing can be compared
        if largest >= 0 and torch.allclose(short, full, rtol=1e-4, atol=1e-5 * largest):
            return means, labels
    return activation, labels


def double_lesions(
    layer: Layer, probe: Probe, groups: Bool[Tensor, "groups units"]
) -> Float[Tensor, "groups groups"]:
    """What silencing two groups costs beyond the sum of silencing each, in mean accuracy.

    Every two units where no ``groups`` are given. Positive: they stand in for each other;
    negative: they need each other. The diagonal is NaN.
    """
    row, column = torch.triu_indices(len(groups), len(groups), 1, device=groups.device)
    each, both = (
        lesions(layer, probe, torch.cat([groups, groups[row] | groups[column]]))
        .nanmean(1)
        .split([len(groups), len(row)])
    )
    beyond = each.new_full((len(groups), len(groups)), NAN)
    beyond[row, column] = beyond[column, row] = both - each[row] - each[column]
    return beyond


# ----------------------------------------------------------------- effects of modules


def importance(drops: Float[Tensor, "groups classes"]) -> Float[Tensor, "groups"]:
    """Mean over classes of the drop of accuracy."""
    return drops.nanmean(1)


def specificity(drops: Float[Tensor, "groups classes"]) -> Float[Tensor, "groups"]:
    """Range of the drops over classes divided by the size of their mean.

    A mean below 1 / classes, which is what wiping out one class costs, counts as that: smaller
    ones are dominated by noise and by classes that gain, and a group without effect would score
    highest. So the loss of one class scores the number of classes. NaN with fewer than two.
    """
    present = drops[:, ~drops.isnan().all(0)]
    if present.shape[1] < 2:
        return drops.new_full((len(drops),), NAN)
    least = 1 / present.shape[1]
    return (present.amax(1) - present.amin(1)) / present.mean(1).abs().clamp(min=least)


def percentile(
    values: Float[Tensor, "modules"], null: Float[Tensor, "modules draws"]
) -> Float[Tensor, "modules"]:
    """Share of a module's draws that lie below its value, ties by half; NaN where that is NaN."""
    below = (null < values[:, None]).double() + (null == values[:, None]).double() / 2
    return below.mean(1).masked_fill(values.isnan(), NAN)


def random_groups(
    layer: Layer, sizes: Int[Tensor, "modules"], generator: torch.Generator, draws: int = GROUPS
) -> Bool[Tensor, "modules draws units"]:
    """Random groups of live units, ``draws`` for each of the sizes.

    One random order of the units a draw serves all sizes. Units are first put in order of their
    total correlation, so that neither their numbering nor their scale matters.
    """
    rho = layer_correlation(layer)
    order = rho.sum(1).argsort()
    order = order[live_units(rho)[order]]
    ranks = torch.rand(draws, len(order), generator=generator).argsort(1).to(order.device)
    groups = torch.zeros(len(sizes), draws, layer.units, dtype=torch.bool, device=order.device)
    groups[:, :, order] = ranks < sizes[:, None, None]
    return groups


def module_lesions(
    layer: Layer, probe: Probe, partition: Int[Tensor, "units"], draws: int = GROUPS
) -> tuple[Float[Tensor, "modules classes"], Float[Tensor, "modules draws classes"]]:
    """Drops of accuracy by class for each module, and for random groups of the same sizes."""
    member = membership(partition).T.bool()
    null = random_groups(layer, member.sum(1), probe.generator("lesion"), draws)
    drops = lesions(layer, probe, torch.cat([member, null.flatten(0, 1)]))
    return drops[: len(member)], drops[len(member) :].unflatten(0, null.shape[:2])


def _effects(layer: Layer, probe: Probe, claimed: bool) -> tuple[Tensor, Tensor]:
    """`module_lesions` of the extracted or of the claimed modules, dead units left out."""

    def compute() -> tuple[Tensor, Tensor]:
        partition = claimed_modules(layer) if claimed else layer_modules(layer)
        return module_lesions(layer, probe, partition)

    return remember(layer, ("module lesions", probe, claimed), compute)


def _values(layer: Layer, probe: Probe, score: Callable, claimed: bool = False) -> Tensor:
    """``score`` of each module's drops; one NaN where there is no module."""
    drops, _ = _effects(layer, probe, claimed)
    return score(drops) if len(drops) else drops.new_full((1,), NAN)


def _percentiles(layer: Layer, probe: Probe, score: Callable, claimed: bool = False) -> Tensor:
    """Percentile of each module's score among random groups; one NaN where there is no module."""
    drops, null = _effects(layer, probe, claimed)
    if not len(drops):
        return drops.new_full((1,), NAN)
    return percentile(score(drops), score(null.flatten(0, 1)).view(null.shape[:2]))


# ----------------------------------------------------------------- metrics


@metric(
    aspect="module semantics", better="neither", per="module", null=0.0, needs={"trunk"},
    title="lesion importance", limits=(-1.0, 1.0),
)  # fmt: skip
def lesion_importance(layer: Layer, probe: Probe) -> Float[Tensor, "modules"]:
    """Mean over classes of the accuracy lost when a module is silenced (signed)."""
    return _values(layer, probe, importance)


@metric(
    aspect="module semantics", better="neither", per="module", null=0.5, needs={"trunk"},
    title="lesion importance, percentile", limits=(0.0, 1.0),
)  # fmt: skip
def lesion_importance_percentile(layer: Layer, probe: Probe) -> Float[Tensor, "modules"]:
    """Share of 100 random groups of a module's size whose lesion costs less than the module's."""
    return _percentiles(layer, probe, importance)


@metric(
    aspect="module semantics", better="higher", per="module", null=0.0, needs={"trunk"},
    title="lesion specificity", limits=(0.0, float("inf")),
    breaks={"dose": "small groups hit few classes whatever they are; read the percentile"},
)  # fmt: skip
def lesion_specificity(layer: Layer, probe: Probe) -> Float[Tensor, "modules"]:
    """How unevenly a module's lesion hits the classes: range of the drops / size of their mean.

    0 when every class loses alike; the number of classes when one is lost; more when others gain
    by it. Means below 1 / classes count as that. Read the percentile: groups of one size compare.
    Source: Hod et al., range of the class changes normalised by their mean; the floor is ours.
    """
    return _values(layer, probe, specificity)


@metric(
    aspect="module semantics", better="higher", per="module", null=0.5, needs={"trunk"},
    headline=True, title="lesion specificity, percentile", limits=(0.0, 1.0),
)  # fmt: skip
def lesion_specificity_percentile(layer: Layer, probe: Probe) -> Float[Tensor, "modules"]:
    """Share of 100 random groups of a module's size whose lesion is less specific to classes.

    0.5 for a module that is no better than any units together, and for one of all units. The
    headline of its aspect: of its metrics the only one that asks what the module does for the
    answer and is the same for few large and many small modules. Random groups are of live units.
    """
    return _percentiles(layer, probe, specificity)


@metric(
    aspect="module semantics", better="neither", per="module", null=0.0, needs={"trunk"},
    title="interaction of modules", limits=(-1.0, 2.0),
)  # fmt: skip
def module_interaction(layer: Layer, probe: Probe) -> Float[Tensor, "modules"]:
    """What silencing a module and another costs beyond the sum of silencing each, in accuracy.

    Mean over the other modules (double lesions). Positive: modules stand in for each other;
    negative: the answer needs them both, so that either lesion does the harm of the two; 0: each
    does its own part. Undefined with a single module.
    """
    member = membership(layer_modules(layer)).T.bool()
    if len(member) < 2:
        return layer.activation.new_full((1,), NAN)
    return double_lesions(layer, probe, member).nanmean(1)


@metric(
    aspect="module semantics", better="neither", per="module", null=0.5,
    needs={"trunk", "claimed"}, title="lesion importance, claimed modules, percentile",
    limits=(0.0, 1.0),
)  # fmt: skip
def claimed_lesion_importance_percentile(layer: Layer, probe: Probe) -> Float[Tensor, "modules"]:
    """`lesion_importance_percentile` of the modules that the method itself claims."""
    return _percentiles(layer, probe, importance, claimed=True)


@metric(
    aspect="module semantics", better="higher", per="module", null=0.5,
    needs={"trunk", "claimed"}, title="lesion specificity, claimed modules, percentile",
    limits=(0.0, 1.0),
)  # fmt: skip
def claimed_lesion_specificity_percentile(layer: Layer, probe: Probe) -> Float[Tensor, "modules"]:
    """`lesion_specificity_percentile` of the modules that the method itself claims."""
    return _percentiles(layer, probe, specificity, claimed=True)
