"""Class specificity: does a unit serve one class?

Class selectivity, mutual information, and accuracy with the units of the image's class.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from legible.metrics.base import Layer, Probe, metric, remember

#: Nearest neighbours of the estimate of mutual information, as in scikit-learn.
NEIGHBOURS = 3
#: Number of responses in one chunk of the estimate.
BUDGET = 2**19

# ----------------------------------------------------------------- class means


def class_means(
    responses: Float[Tensor, "images units"], labels: Int[Tensor, "images"], classes: int
) -> Float[Tensor, "classes units"]:
    """Mean response for each class, in float64; NaN for a class without images."""
    sums = responses.new_zeros(classes, responses.shape[1], dtype=torch.float64)
    sums.index_add_(0, labels, responses.double())
    return sums / torch.bincount(labels, minlength=classes)[:, None]


def selectivity_index(means: Float[Tensor, "classes units"]) -> Float[Tensor, "units"]:
    """(mu_max - mu_rest) / (mu_max + mu_rest) of non-negative class means, in [0, 1].

    mu_rest is the mean over the other classes. Classes that are NaN are left out; NaN with fewer
    than two other ones, or if all means are zero.
    """
    means = means[~means.isnan().all(1)]
    if len(means) < 2:
        return means.new_full((means.shape[1],), float("nan"))
    top = means.amax(0)
    rest = (means.sum(0) - top) / (len(means) - 1)
    return (top - rest) / (top + rest)


@metric(
    aspect="class specificity",
    better="higher",
    per="unit",
    null=0.0,
    title="class selectivity",
    limits=(0.0, 1.0),
)
def class_selectivity(layer: Layer, probe: Probe) -> Float[Tensor, "units"]:
    """Class selectivity index of a unit: (mu_max - mu_rest) / (mu_max + mu_rest).

    mu are the class means of the unit's spatial mean of max(a, 0). 0 for the same response to every
    class, 1 for a response to one class only (Morcos et al. 2018). A dead unit is undefined (a port
    gives it 0). No headline: a unit that is active on a single image scores 1.
    """
    values = selectivity_index(class_means(layer.pooled, probe.labels, probe.classes))
    return values.masked_fill(layer.dead, float("nan"))


# ----------------------------------------------------------------- mutual information


def mutual_information(
    features: Float[Tensor, "images units"],
    labels: Int[Tensor, "images"],
    classes: int | None = None,
) -> Float[Tensor, "units classes"]:
    """Mutual information, in nats, of each unit's response with each one-vs-rest class.

    The nearest-neighbour estimate for a number and a label (Ross 2014),
    I = psi(N) + <psi(k_i)> - <psi(N_{y_i})> - <psi(m_i)>, at least 0. r_i is the distance from
    image i to its k-th nearest neighbour on the same side of the split (k = 3, fewer for a class of
    at most three images), k_i the number of other images of that side within r_i, and m_i the
    number of other images of both sides within r_i. Without ties k_i = k, and this equals
    scikit-learn's ``mutual_info_classif``. With ties, all neighbours at exactly r_i count in k_i
    and in m_i; there are no random numbers. For a response with few distinct values (r_i = 0) this
    becomes the plug-in estimate.

    NaN for a class with fewer than two images inside or outside, and for a response that is not
    finite.
    """
    classes = int(labels.max()) + 1 if classes is None else classes
    parts = features.double().split(max(1, BUDGET // max(len(features), 1)), dim=1)
    return torch.cat([_information_with_classes(part, labels, classes) for part in parts])


def _information_with_classes(
    features: Float[Tensor, "images units"], labels: Int[Tensor, "images"], classes: int
) -> Float[Tensor, "units classes"]:
    images, units = features.shape
    result = features.new_full((units, classes), float("nan"))
    x, order = features.T.contiguous().sort(dim=1)
    digamma = torch.digamma(torch.arange(images + 1, dtype=x.dtype, device=x.device))
    for c, count in enumerate(torch.bincount(labels, minlength=classes).tolist()):
        if 2 <= count <= images - 2:
            result[:, c] = _one_against_rest(x, labels[order] == c, count, digamma)
    result[~features.isfinite().all(0)] = float("nan")
    return result


def _one_against_rest(
    x: Float[Tensor, "units images"],
    inside: Bool[Tensor, "units images"],
    count: int,
    digamma: Float[Tensor, "counts"],
) -> Float[Tensor, "units"]:
    """The estimate for ascending responses and one binary label with ``count`` images inside."""
    images = x.shape[1]
    split = inside.to(torch.uint8).argsort(dim=1, stable=True)  # the rest first; both ascending
    total = digamma[images].expand(len(x)).clone()
    for side in (split[:, : images - count], split[:, images - count :]):
        own = x.gather(1, side)
        size = own.shape[1]
        low, high = _ball(own, min(NEIGHBOURS, size - 1))
        k, m = _within(own, low, high) - 1, _within(x, low, high) - 1
        total += (digamma[k] - digamma[m]).sum(1) / images - digamma[size] * size / images
    return total.clamp(min=0)


def _ball(
    x: Float[Tensor, "units side"], k: int
) -> tuple[Float[Tensor, "units side"], Float[Tensor, "units side"]]:
    """Ends of the smallest closed interval around each value with its k nearest neighbours.

    ``x`` ascends, so the value and these neighbours are k + 1 successive values.
    """
    infinity = x.new_full((len(x), k), float("inf"))
    padded = torch.cat([-infinity, x, infinity], dim=1)
    size = x.shape[1]
    radius = torch.stack(
        [
            torch.maximum(
                x - padded[:, k - left : k - left + size],
                padded[:, 2 * k - left : 2 * k - left + size] - x,
            )
            for left in range(k + 1)
        ]
    ).amin(0)
    # because of rounding, x + r may not reach the neighbour that defines r
    slack = 4 * torch.finfo(x.dtype).eps * (x.abs() + radius)
    return x - radius - slack, x + radius + slack


def _within(
    x: Float[Tensor, "units images"],
    low: Float[Tensor, "units queries"],
    high: Float[Tensor, "units queries"],
) -> Int[Tensor, "units queries"]:
    """Number of values of the ascending ``x`` in each closed interval."""
    below = torch.searchsorted(x, high.contiguous(), right=True)
    return below - torch.searchsorted(x, low.contiguous())


def class_entropy(labels: Int[Tensor, "images"], classes: int) -> Float[Tensor, "classes"]:
    """Entropy, in nats, of each one-vs-rest class: the largest possible mutual information."""
    share = torch.bincount(labels, minlength=classes).double() / max(len(labels), 1)
    return torch.special.entr(share) + torch.special.entr(1 - share)


def best_information(
    information: Float[Tensor, "units classes"],
) -> Float[Tensor, "units"]:
    """The largest value over the classes; NaN for a unit without a defined value."""
    best = information.nan_to_num(-torch.inf).amax(1)
    return best.masked_fill(best == -torch.inf, float("nan"))


def _information(layer: Layer, probe: Probe) -> Float[Tensor, "units classes"]:
    """Mutual information of every unit with every class; NaN for dead units.

    Limited to the entropy of the class, which the estimate can slightly exceed.
    """

    def compute() -> Tensor:
        values = mutual_information(layer.pooled, probe.labels, probe.classes)
        values = torch.minimum(values, class_entropy(probe.labels, probe.classes))
        return values.masked_fill(layer.dead[:, None], float("nan"))

    return remember(layer, ("information", probe), compute)


@metric(
    aspect="class specificity",
    better="higher",
    per="unit",
    null=0.0,
    title="mutual information",
    limits=(0.0, 0.6931471805599453),
)
def class_information(layer: Layer, probe: Probe) -> Float[Tensor, "units"]:
    """Mutual information of a unit's spatial mean with a class, in nats, the largest over classes.

    max_c I(x; y == c) of the spatial mean of max(a, 0), by the estimate of ``mutual_information``;
    its mean over units is the MIS that CSG and PICNN report. At most the class's entropy (0.325
    nats for ten balanced classes), so not comparable between numbers of classes. A dead unit is
    undefined.
    """
    return best_information(_information(layer, probe))


@metric(
    aspect="class specificity",
    better="higher",
    per="unit",
    null=0.0,
    title="mutual information / entropy",
    limits=(0.0, 1.0),
)
def class_information_share(layer: Layer, probe: Probe) -> Float[Tensor, "units"]:
    """Mutual information of a unit with a class, as a share: max_c I(x; y == c) / H(y == c).

    x is the unit's spatial mean. 0 for a unit that is independent of every class, 1 for one that
    determines a class. Comparable between numbers of classes. A unit that is hardly ever active
    scores near 0, while class selectivity rewards it. No headline: rotating the units of a trained
    network does not change it. A dead unit is undefined.
    """
    share = _information(layer, probe) / class_entropy(probe.labels, probe.classes)
    return best_information(share)


# ----------------------------------------------------------------- accuracy by own units


@torch.no_grad()
def _accuracy_keeping(layer: Layer, probe: Probe, keep: Bool[Tensor, "classes units"]) -> float:
    """Accuracy if images of class c keep only the units ``keep[c]`` at this layer."""
    right = 0
    for start in range(0, len(probe.labels), 256):
        labels = probe.labels[start : start + 256]
        activation = layer.activation[start : start + 256]
        mask = keep[labels].reshape(*activation.shape[:2], *[1] * (activation.ndim - 2))
        logits = probe.network.continue_from(layer.name, activation * mask)
        if not logits.isfinite().all():
            return float("nan")
        right += int((logits.argmax(1) == labels).sum())
    return right / len(probe.labels) if len(probe.labels) else float("nan")


def _own_units(layer: Layer, probe: Probe) -> Bool[Tensor, "classes units"]:
    """Whether each unit belongs to each class: it belongs to that of its highest mean response."""
    means = class_means(layer.pooled, probe.labels, probe.classes).nan_to_num(-1.0)
    owner = means.argmax(0)
    return owner == torch.arange(probe.classes, device=owner.device)[:, None]


@metric(
    aspect="class specificity",
    better="higher",
    per="layer",
    needs={"trunk"},
    title="accuracy, all units (ACC1)",
    limits=(0.0, 1.0),
)
def accuracy_all_units(layer: Layer, probe: Probe) -> float:
    """Accuracy of the network run on from this layer with all units (PICNN's ACC1)."""
    return _accuracy_keeping(layer, probe, torch.ones_like(_own_units(layer, probe)))


@metric(
    aspect="class specificity",
    better="higher",
    per="layer",
    needs={"trunk"},
    title="accuracy, own units (ACC2)",
    limits=(0.0, 1.0),
)
def accuracy_own_units(layer: Layer, probe: Probe) -> float:
    """Accuracy with only the units that belong to the image's class (PICNN's ACC2).

    A unit belongs to the class of its highest mean response. It uses the image's label, so it is
    not the accuracy of a classifier: silencing the units of the other classes helps any network.
    Read it together with ``accuracy_other_units``. No headline: it mostly counts how many classes
    own a unit, and units that know the label alone would reach 1.
    """
    return _accuracy_keeping(layer, probe, _own_units(layer, probe))


@metric(
    aspect="class specificity",
    better="lower",
    per="layer",
    needs={"trunk"},
    title="accuracy, other units (ACC3)",
    limits=(0.0, 1.0),
    breaks={"dose": "a network with random answers scores as low as one with specific units"},
)
def accuracy_other_units(layer: Layer, probe: Probe) -> float:
    """Accuracy without the units that belong to the image's class (PICNN's ACC3).

    Low if only the units of a class carry its information. It uses the image's label.
    """
    return _accuracy_keeping(layer, probe, ~_own_units(layer, probe))


@metric(
    aspect="class specificity",
    better="higher",
    per="layer",
    null=0.0,
    needs={"trunk"},
    headline=True,
    title="accuracy carried by own units",
    limits=(-float("inf"), 1.0),
    compares=("untrained", "shuffled_labels", "plain_rotated"),
    because="the oracle is a layer alone, and the network cannot be run on from it",
)
def own_unit_share(layer: Layer, probe: Probe) -> float:
    """Share of the accuracy that is lost without the units of the image's class: (all - other)/all.

    ``all`` is the accuracy of the network run on from this layer (`accuracy_all_units`), ``other``
    that without the units that belong to the image's class (`accuracy_other_units`, PICNN's ACC3).
    0 if the other units do as well, 1 if nothing is left without the class's own units. Undefined
    for an accuracy below twice chance, 2 / classes: there is nothing to lose then [ours].
    """
    whole = accuracy_all_units(layer, probe)
    if not whole >= 2 / probe.classes:
        return float("nan")
    return (whole - accuracy_other_units(layer, probe)) / whole
