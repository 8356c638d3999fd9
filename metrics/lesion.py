"""Lesions: what does the network lose when a module is silenced?

A lesion sets units of one layer to zero and runs the network on from there (`continue_from`), so
methods' transforms stay in place and nothing before the layer is computed again. From the last Tap
only the head runs; if it pools globally, each map is first replaced by its mean, after a check that
this gives the same logits. Elsewhere pooling and rectifiers behind the layer run once, and units
are silenced behind them, because such modules treat each channel alone.

Effects are signed: a drop of accuracy is positive. If a module inhibits a class, the drop is
negative for that class and positive for others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from legible.metrics.base import Layer, Probe, metric, remember
from legible.metrics.modules import claimed_modules, layer_modules, membership
from legible.metrics.similarity import layer_correlation, live_units

GROUPS = 100  # random groups with which a module is compared
SAMPLE = 500  # images for lesions of layers before the last one, where a rerun costs more
BUDGET = 2**23  # largest number of values in memory at once
NAN = float("nan")

# ----------------------------------------------------------------- lesions


@torch.no_grad()
def lesions(
    layer: Layer, probe: Probe, groups: Bool[Tensor, "groups units"], budget: int = BUDGET
) -> Float[Tensor, "groups classes"]:
    """Drop of each class's accuracy when a group of units is silenced, in [-1, 1], signed.

    NaN for a class without images, and for a group whose lesion gives a logit that is not finite
    (for all groups, if the network without lesion does). Layers before the last one are lesioned on
    500 images, always the same. Holds about ``budget`` values in memory at a time. Raises
    ValueError for a layer that is not on the network's trunk.
    """
    keep = ~torch.cat([groups.new_zeros(1, layer.units), groups])
    start = lesion_start(layer, probe)
    labels = start.labels
    right = torch.zeros(len(keep), probe.classes, dtype=torch.float64, device=keep.device)
    broken = torch.zeros(len(keep), dtype=torch.bool, device=keep.device)
    one_hot = nn.functional.one_hot(labels, probe.classes).double()
    chunk = max(1, min(256, budget // start.values[0].numel()))
    step = max(1, budget // (chunk * start.values[0].numel()))
    for rows in torch.arange(len(labels), device=labels.device).split(chunk):
        for part, bad, stay in zip(*(t.split(step) for t in (right, broken, keep)), strict=True):
            logits = start.rerun(rows, stay)
            part += (logits.argmax(-1) == labels[rows]).double() @ one_hot[rows]
            bad |= ~logits.isfinite().all(-1).all(-1)
    accuracy = (right / one_hot.sum(0)).masked_fill(broken[:, None], NAN)
    return accuracy[:1] - accuracy[1:]


class LesionStart(NamedTuple):
    """What the network is run on from: values with a channel for each unit, and what follows."""

    values: Float[Tensor, "images units *map"]
    labels: Int[Tensor, "images"]
    follow: Callable[[Tensor], Tensor]

    @torch.no_grad()
    def rerun(
        self, rows: Int[Tensor, "rows"] | slice, keep: Bool[Tensor, "groups units"]
    ) -> Float[Tensor, "groups rows classes"]:
        """Logits of some images, for each set of units that is not silenced."""
        values = self.values[rows]
        logits = self.follow(_silenced(values, keep).flatten(0, 1))
        return logits.unflatten(0, (len(keep), -1))


def _silenced(
    values: Float[Tensor, "images units *map"], keep: Bool[Tensor, "groups units"]
) -> Float[Tensor, "groups images units *map"]:
    mask = keep.view(len(keep), 1, -1, *[1] * (values.ndim - 2))
    return torch.where(mask, values, 0.0)


#: Modules that treat each channel alone and leave a silent one silent.
CHANNELWISE = (
    nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveMaxPool2d, nn.AdaptiveAvgPool2d, nn.ReLU, nn.Dropout,
    nn.Dropout2d, nn.Identity,
)  # fmt: skip


@torch.no_grad()
def lesion_start(layer: Layer, probe: Probe) -> LesionStart:
    """Where lesions of a layer start.

    If a linear head follows: the means of all images' maps where the head pools globally, or all
    images' units where the layer is no map. Else a sample of the images, behind the modules that
    treat each channel alone.
    """
    whole = LesionStart(
        layer.activation, probe.labels,
        lambda values: probe.network.continue_from(layer.name, values),
    )  # fmt: skip
    edges = probe.network.taps[layer.name].outgoing
    head = edges[0].weight if len(edges) == 1 else None
    if isinstance(head, nn.Linear) and head.out_features == probe.classes:
        if layer.activation.ndim == 2:
            return whole
        pools = any(
            isinstance(module, nn.AdaptiveAvgPool2d) and module.output_size in (1, (1, 1))
            for module in edges[0].bridge.modules()
        )
        means = whole._replace(values=layer.activation.mean((2, 3), keepdim=True))
        if pools and _agree(means, whole, layer, probe):
            return means
    order = torch.randperm(len(probe.labels), generator=probe.generator("lesion sample"))
    rows = order[:SAMPLE].sort().values.to(probe.labels.device)
    sample = whole._replace(values=layer.activation[rows], labels=probe.labels[rows])
    return _behind_channels(layer, probe, sample)


def _agree(short: LesionStart, full: LesionStart, layer: Layer, probe: Probe) -> bool:
    """Whether two starts give the same logits for some random groups."""
    keep = _some_groups(layer, probe)
    first, second = (start.rerun(slice(16), keep) for start in (short, full))
    largest = float(second.abs().max())  # NaN if a logit is NaN
    return largest >= 0 and torch.allclose(first, second, rtol=1e-4, atol=1e-5 * largest)


def _some_groups(layer: Layer, probe: Probe) -> Bool[Tensor, "groups units"]:
    keep = torch.rand(8, layer.units, generator=probe.generator("lesion check")) < 0.5
    return torch.cat([keep, torch.ones_like(keep[:1])]).to(probe.labels.device)


def _behind_channels(layer: Layer, probe: Probe, start: LesionStart) -> LesionStart:
    """The same start, behind the transforms and modules that treat each channel alone.

    It stays as it is where a method's transform does not leave silent units silent, or changes a
    unit by what others do.
    """
    network: Any = probe.network
    tap = network.taps[layer.name]
    some, keep = start.values[:4], _some_groups(layer, probe)
    left = tap.leave(_silenced(some, keep).flatten(0, 1))
    behind = tap.leave(some)
    if behind.shape != some.shape or not torch.equal(left, _silenced(behind, keep).flatten(0, 1)):
        return start
    values, rest = start.values, list(network.trunk[network.trunk.index(tap) + 1 :])
    values = torch.cat([tap.leave(part) for part in values.split(64)])
    while rest and isinstance(rest[0], CHANNELWISE):
        module = rest.pop(0)
        values = torch.cat([module(part) for part in values.split(64)])
    return start._replace(values=values, follow=nn.Sequential(*rest))


def double_lesions(
    layer: Layer, probe: Probe, groups: Bool[Tensor, "groups units"]
) -> Float[Tensor, "groups groups"]:
    """Effect of silencing two groups minus the sum of both single effects, in mean accuracy.

    Positive: each group can replace the other. Negative: they need each other. The diagonal is
    NaN.
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
    """Range of the drops over classes divided by the absolute value of their mean.

    A mean below 1 / classes, the drop if one class is lost, is replaced by 1 / classes: smaller
    means consist of noise and of classes that gain, and groups without any effect would score
    highest. So the loss of one class scores the number of classes. NaN for fewer than two classes.
    """
    drops = drops[:, ~drops.isnan().all(0)]
    if drops.shape[1] < 2:
        return drops.new_full((len(drops),), NAN)
    least = 1 / drops.shape[1]
    return (drops.amax(1) - drops.amin(1)) / drops.mean(1).abs().clamp(min=least)


def percentile(
    values: Float[Tensor, "modules"], null: Float[Tensor, "modules draws"]
) -> Float[Tensor, "modules"]:
    """Share of a module's draws below its value; ties count half; NaN for a NaN value."""
    below = (null < values[:, None]).double() + (null == values[:, None]).double() / 2
    return below.mean(1).masked_fill(values.isnan(), NAN)


def random_groups(
    layer: Layer, sizes: Int[Tensor, "modules"], generator: torch.Generator, draws: int = GROUPS
) -> Bool[Tensor, "modules draws units"]:
    """Random groups of live units, ``draws`` for each of the sizes.

    All groups of a draw come from one random order of units. Units are first sorted by their total
    correlation, so that neither their order nor their scale matters.
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
    """`module_lesions` of the extracted or of the claimed modules, without dead units."""

    def compute() -> tuple[Tensor, Tensor]:
        partition = claimed_modules(layer) if claimed else layer_modules(layer)
        return module_lesions(layer, probe, partition)

    return remember(layer, ("module lesions", probe, claimed), compute)


def _values(layer: Layer, probe: Probe, score: Callable, claimed: bool = False) -> Tensor:
    """``score`` of each module's drops; a single NaN if there is no module."""
    drops, _ = _effects(layer, probe, claimed)
    return score(drops) if len(drops) else drops.new_full((1,), NAN)


def _percentiles(layer: Layer, probe: Probe, score: Callable, claimed: bool = False) -> Tensor:
    """Percentile of each module's score among random groups; a single NaN without any module."""
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
    """Mean over classes of the drop of accuracy when a module is silenced (signed)."""
    return _values(layer, probe, importance)


@metric(
    aspect="module semantics", better="neither", per="module", null=0.5, needs={"trunk"},
    title="lesion importance, percentile", limits=(0.0, 1.0),
)  # fmt: skip
def lesion_importance_percentile(layer: Layer, probe: Probe) -> Float[Tensor, "modules"]:
    """Share of 100 random groups of a module's size whose lesion costs less accuracy."""
    return _percentiles(layer, probe, importance)


@metric(
    aspect="module semantics", better="higher", per="module", null=0.0, needs={"trunk"},
    title="lesion specificity", limits=(0.0, float("inf")),
    breaks={"dose": "small groups always hit few classes; read the percentile"},
)  # fmt: skip
def lesion_specificity(layer: Layer, probe: Probe) -> Float[Tensor, "modules"]:
    """How unequal a module's lesion is over classes: range of the drops / |their mean|.

    0 if all classes lose the same; the number of classes if one class is lost; more if other
    classes gain. A mean below 1 / classes is replaced by 1 / classes. Only groups of equal size are
    comparable, so read the percentile. Source: Hod et al., range of the class changes normalised by
    their mean; the lower limit of the mean is ours.
    """
    return _values(layer, probe, specificity)


@metric(
    aspect="module semantics", better="higher", per="module", null=0.5, needs={"trunk"},
    headline=True, title="lesion specificity, percentile", limits=(0.0, 1.0),
)  # fmt: skip
def lesion_specificity_percentile(layer: Layer, probe: Probe) -> Float[Tensor, "modules"]:
    """Share of 100 random groups of a module's size whose lesion is less specific to classes.

    0.5 for a module like a random group of units, and for a module of all units. Random groups
    consist of live units.
    """
    return _percentiles(layer, probe, specificity)


@metric(
    aspect="module semantics", better="neither", per="module", null=0.0, needs={"trunk"},
    title="interaction of modules", limits=(-1.0, 2.0),
)  # fmt: skip
def module_interaction(layer: Layer, probe: Probe) -> Float[Tensor, "modules"]:
    """Effect of silencing a module and another one minus the sum of both effects, in accuracy.

    Mean over the other modules (double lesions). Positive: modules can replace each other.
    Negative: the answer needs both, so a single lesion does as much harm as both together. 0: their
    effects are independent. Undefined for a single module.
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
