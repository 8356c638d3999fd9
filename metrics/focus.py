"""Focus: is a unit's activation concentrated in one place, and always at the same part?"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from legible.metrics.base import Layer, Probe, metric, remember
from legible.metrics.maps import concept_centres, grid, images_per_chunk, peaks, position_centres
from legible.metrics.network import Concepts

# ----------------------------------------------------------------- dispersion

Mass = Float[Tensor, "images units positions"]
Places = Float[Tensor, "positions 2"]


def around_peak(a: Mass, places: Places) -> Float[Tensor, "images units"]:
    """sum_p a |p - p*|^2 / sum_p a with p* the position of the peak; NaN for an empty map."""
    mean, power = _moments(a, places)
    peak = places[a.argmax(2)]
    return (power - 2 * (peak * mean).sum(2) + peak.square().sum(2)).clamp(min=0)


def around_centroid(a: Mass, places: Places) -> Float[Tensor, "images units"]:
    """sqrt(sum_p a |p - mu|^2 / sum_p a) with mu the centroid; NaN for an empty map."""
    mean, power = _moments(a, places)
    return (power - mean.square().sum(2)).clamp(min=0).sqrt()


def distance_from_centroid(a: Mass, places: Places) -> Float[Tensor, "images units"]:
    """sum_p a |p - mu| / sum_p a with mu the centroid; NaN for an empty map."""
    mean, _ = _moments(a, places)
    offset = places - mean[:, :, None]
    return (a * offset.square().sum(3).sqrt()).sum(2) / a.sum(2)


def _moments(
    a: Mass, places: Places
) -> tuple[Float[Tensor, "images units 2"], Float[Tensor, "images units"]]:
    """The centroid, and the mean squared distance from the middle of the map."""
    mass = a.sum(2)
    return (a @ places) / mass[..., None], (a @ places.square().sum(1)) / mass


def _mean_over_images(
    layer: Layer, of: Callable[[Mass, Places], Tensor], by_peak: bool = False
) -> Tensor:
    """Mean of ``of`` over the images in which a unit is active; NaN for dead units.

    ``by_peak``: images are weighted by the unit's largest activation in them.
    """
    height, width = layer.activation.shape[2:]
    places = grid(height, width, layer.activation.device)
    total = torch.zeros(layer.units, dtype=torch.float64, device=layer.activation.device)
    count = torch.zeros_like(total)
    # the largest intermediate result has two float64 numbers for each position
    for _, a in layer.chunks(images_per_chunk(8 * layer.units * height * width)):
        maps = a.flatten(2).double()
        peak = maps.amax(2)
        active = peak > 0
        weight = peak.clamp(min=0) if by_peak else active.double()
        total += torch.where(active, weight * of(maps, places), 0.0).sum(0)
        count += weight.sum(0)
    return (total / count).masked_fill(layer.dead, float("nan"))


def _places(layer: Layer) -> Places:
    return grid(layer.activation.shape[2], layer.activation.shape[3])


#: The rest of a map counts as nothing if it is smaller than this share of the peak.
SINGLE = 1e-6


def uniform_around_peak(layer: Layer, probe: Probe) -> float:
    """`focus_dispersion` of a flat map with its peak at a random position."""
    return 2 * _places(layer).square().sum(1).mean().item()


def uniform_around_centroid(layer: Layer, probe: Probe) -> float:
    """`focus_spread` of a flat map."""
    return _places(layer).square().sum(1).mean().sqrt().item()


def uniform_distance(layer: Layer, probe: Probe) -> float:
    """`focus_distance` of a flat map."""
    return _places(layer).square().sum(1).sqrt().mean().item()


@metric(
    aspect="focus", better="lower", per="unit", null=uniform_around_peak, needs={"spatial"},
    title="focus dispersion", limits=(0.0, 8.0),
)  # fmt: skip
def focus_dispersion(layer: Layer, probe: Probe) -> Float[Tensor, "units"]:
    """Mean squared distance of a unit's activation from its peak, in half image sides squared.

    Mean over the images in which the unit is active of sum_p a |p - p*|^2 / sum_p a, with
    a = max(activation, 0), p* = argmax a and coordinates in [-1, 1]. 0 for a single position, 4/3
    for a flat map (fine grid). A dead unit is undefined. [ours, after CGL and ICNN.] `sync` nearly
    minimises it, and is marked where it does. No headline: units that keep a random hundredth of
    their positions score best (see `focus_compactness`).
    """
    return _mean_over_images(layer, around_peak)


@metric(
    aspect="focus", better="lower", per="unit", null=uniform_around_centroid, needs={"spatial"},
    title="focus spread (centroid)", limits=(0.0, 2.0),
)  # fmt: skip
def focus_spread(layer: Layer, probe: Probe) -> Float[Tensor, "units"]:
    """Root mean square distance of a unit's activation from its centroid, in half image sides.

    Mean over the images in which the unit is active of sqrt(sum_p a |p - mu|^2 / sum_p a), mu the
    centroid of a. As ICNN's getMu, which first rounds the centroid to a position of the map; here
    it stays between positions. 0 for a single position, .82 for a flat map. A dead unit is
    undefined.
    """
    return _mean_over_images(layer, around_centroid)


@metric(
    aspect="focus", better="lower", per="unit", null=uniform_distance, needs={"spatial"},
    title="focus distance (CGL)", limits=(0.0, 2.0),
    breaks={"scale": "CGL's constant 0.005 is not relative to the unit's scale"},
)  # fmt: skip
def focus_distance(layer: Layer, probe: Probe) -> Float[Tensor, "units"]:
    """Mean distance of psi = sigmoid(a / (std + 0.005)) from its centroid, in half image sides.

    CGL's form: std is the unit's standard deviation over all images and positions. psi is 1/2
    where a is 0, so silent positions count too and values stay near the null, .77 for a flat map.
    The constant is CGL's; if std is not much larger, the value depends on the unit's scale. Mean
    over the images in which the unit is active. A dead unit is undefined.
    """
    std = _deviation(layer)[:, None] + 5e-3

    def of(a: Mass, places: Places) -> Tensor:
        return distance_from_centroid((a / std).sigmoid(), places)

    return _mean_over_images(layer, of)


@metric(
    aspect="focus", better="higher", per="unit", null=0.0, needs={"spatial"},
    headline=True, title="compactness", limits=(-8.0, 1.0),
)  # fmt: skip
def focus_compactness(layer: Layer, probe: Probe) -> Float[Tensor, "units"]:
    """How near the rest of a unit's activation lies to its peak, compared with random places.

    Mean over the images in which the unit is active, weighted by the unit's peak, of 1 - d/m, with
    d = sum_{p != p*} a |p - p*|^2 / sum_{p != p*} a, a = max(activation, 0), p* = argmax a, and m
    the mean squared distance from p* to the other positions: what d would be if the values were at
    random places. 1 if all activation is beside the peak, 0 for a flat map and for activation at
    random places. An image with activation at the peak alone counts as 0, because a single position
    cannot be told from chance. A dead unit is undefined [ours].
    """
    return _mean_over_images(layer, above_scattered, by_peak=True)


def above_scattered(a: Mass, places: Places) -> Float[Tensor, "images units"]:
    """1 - (mean squared distance of the rest from the peak) / (that of all other positions)."""
    height, position = a.max(2)
    rest = a.sum(2) - height
    apart = (places[:, None] - places).square().sum(2)  # of every two positions
    typical = apart.sum(1) / max(len(places) - 1, 1)
    spread = (a @ places.square().sum(1)) - 2 * ((a @ places) * places[position]).sum(2)
    spread = spread + a.sum(2) * places[position].square().sum(2)
    alone = rest <= SINGLE * height
    value = 1 - spread / torch.where(alone, 1.0, rest) / typical[position]
    return torch.where(alone, 0.0, value)


def _deviation(layer: Layer) -> Float[Tensor, "units"]:
    """Standard deviation of each unit over all images and positions."""
    size = layer.activation[:, 0].numel()
    mean = layer.pooled.double().mean(0)[:, None]
    squares = [(a.flatten(2).double() - mean).square().sum((0, 2)) for _, a in layer.chunks(64)]
    return (torch.stack(squares).sum(0) / size).sqrt()


# ----------------------------------------------------------------- location instability

#: Number of images with the highest peaks that are compared.
TOP = 100
#: Fewest active images of a class; with two or three, the smallest over classes would be near 0.
FEWEST = 10
TWO_MODES = {
    "dose": "a unit with half of its peaks misplaced scores worse than one with all misplaced"
}


def deviations(
    peak: Float[Tensor, "images units"],
    place: Float[Tensor, "images units 2"],
    centres: Float[Tensor, "images landmarks 2"],
) -> Float[Tensor, "landmarks units"]:
    """Standard deviation (ddof 1) over images of the distance from a unit's peak to a landmark.

    For each landmark: over the 100 images with the highest peaks (of equal ones, the first) among
    those that contain the landmark and in which the unit is active; NaN for fewer than 10. In the
    unit of length of ``place``.
    """
    result = peak.new_full((centres.shape[1], peak.shape[1]), float("nan"), dtype=torch.float64)
    for landmark, centre in enumerate(centres.unbind(1)):
        rows = centre.isfinite().all(1)
        top, order = peak[rows].sort(dim=0, descending=True, stable=True)
        active = top[:TOP] > 0
        distance = (place[rows] - centre[rows, None]).norm(dim=2).gather(0, order[:TOP])
        count = active.sum(0)
        mean = (distance * active).sum(0) / count
        variance = ((distance - mean).square() * active).sum(0) / (count - 1)
        result[landmark] = variance.sqrt().masked_fill(count < FEWEST, float("nan"))
    return result


def instability(
    peak: Float[Tensor, "images units"],
    position: Int[Tensor, "images units"],
    map_size: tuple[int, int],
    probe: Probe,
) -> Float[Tensor, "classes units"]:
    """Mean of `deviations` over the landmarks, by class, as a share of the image's diagonal.

    ``position`` is that of each peak, on a map of ``map_size``.
    """
    landmarks, centres = _landmarks(probe)
    size = (landmarks.packed.shape[2], landmarks.width)
    place = position_centres(map_size, size, position.device)[position]
    rows = [probe.labels == c for c in range(probe.classes)]
    by_class = [deviations(peak[r], place[r], centres[r]).nanmean(0) for r in rows]
    return torch.stack(by_class) / (size[0] ** 2 + size[1] ** 2) ** 0.5


def _landmarks(probe: Probe) -> tuple[Concepts, Float[Tensor, "images landmarks 2"]]:
    """The landmark concepts and their centres. Raises ValueError if there are none."""

    def compute() -> tuple[Concepts, Tensor]:
        if probe.concepts is None or not any(probe.concepts.landmark):
            raise ValueError("location instability needs a probe with landmark concepts")
        flags = probe.concepts.landmark
        landmarks = probe.concepts.select([k for k, flag in enumerate(flags) if flag])
        return landmarks, concept_centres(landmarks)

    return remember(probe, "landmarks", compute)


def _of_layer(layer: Layer, probe: Probe) -> Float[Tensor, "classes units"]:
    def compute() -> Tensor:
        height, width = layer.activation.shape[2:]
        values = instability(*peaks(layer), (height, width), probe)
        return values.masked_fill(layer.dead, float("nan"))

    return remember(layer, ("instability", probe), compute)


def _smallest_over_classes(by_class: Float[Tensor, "classes units"]) -> Float[Tensor, "units"]:
    """The smallest value over the classes; NaN if it is defined for no class."""
    least = by_class.nan_to_num(torch.inf).amin(0)
    return least.masked_fill(least == torch.inf, float("nan"))


def _anywhere(layer: Layer, probe: Probe) -> Float[Tensor, "classes units"]:
    """`instability` of 64 units with peaks of random height at random positions."""

    def compute() -> Tensor:
        height, width = layer.activation.shape[2:]
        generator = probe.generator("location instability")
        shape = (len(probe.labels), 64)
        peak = torch.rand(shape, generator=generator).to(probe.labels.device)
        position = torch.randint(height * width, shape, generator=generator)
        return instability(peak, position.to(peak.device), (height, width), probe)

    return remember(layer, ("instability anywhere", probe), compute)


def peaks_anywhere(layer: Layer, probe: Probe) -> float:
    """`location_instability` of units with peaks at random positions."""
    return _smallest_over_classes(_anywhere(layer, probe)).nanmean().item()


def peaks_anywhere_in_a_class(layer: Layer, probe: Probe) -> float:
    """`location_instability_own_class` of units with peaks at random positions."""
    return _anywhere(layer, probe).nanmean().item()


@metric(
    aspect="focus", better="lower", per="unit", null=peaks_anywhere,
    needs={"spatial", "landmarks"}, title="location instability",
    limits=(0.0, 1.0), breaks=TWO_MODES,
)  # fmt: skip
def location_instability(layer: Layer, probe: Probe) -> Float[Tensor, "units"]:
    """How much the distance between a unit's peak and a part's centre varies over images.

    For each landmark, the standard deviation (ddof 1) of that distance over the 100 images of a
    class with the highest peaks, divided by the image's diagonal; mean over the landmarks; the
    smallest over the classes, as in ICNN's paper. The centre of a landmark is the centroid of its
    mask; a peak lies at the centre of its position. [ours: images in which the unit is silent have
    no peak, and a landmark counts in a class only with 10 active images or more: a landmark seen
    once is left out, where ICNN's code gives NaN.] Undefined for dead units and for units without a
    class that counts. If half of a unit's peaks are misplaced, the distance has two modes and a
    larger deviation than with peaks at random positions (the null). No headline: the oracle scores
    worse than plain networks, and one map of the layer's energy better.
    """
    return _smallest_over_classes(_of_layer(layer, probe))


@metric(
    aspect="focus", better="lower", per="unit", null=peaks_anywhere_in_a_class,
    needs={"spatial", "landmarks"}, title="location instability (own class)",
    limits=(0.0, 1.0), breaks=TWO_MODES,
)  # fmt: skip
def location_instability_own_class(layer: Layer, probe: Probe) -> Float[Tensor, "units"]:
    """`location_instability` in the class with the unit's highest mean peak, as in ICNN's code.

    Only classes that count are considered; otherwise like `location_instability`.
    """
    by_class = _of_layer(layer, probe)
    height, _ = peaks(layer)
    sums = height.new_zeros(probe.classes, layer.units).index_add_(0, probe.labels, height)
    mean = sums / torch.bincount(probe.labels, minlength=probe.classes)[:, None]
    own = mean.masked_fill(by_class.isnan(), -1.0).argmax(0)
    return by_class.gather(0, own[None])[0]
