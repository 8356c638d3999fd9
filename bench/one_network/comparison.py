"""Scores of a network, of its untrained twin and of the impostors, in one table."""

from __future__ import annotations

import functools
import gc
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
import torch

from legible.bench.backbones.hooked import HookedNetwork
from legible.bench.errors import UserError, nearest
from legible.bench.one_network.class_map import ClassMap
from legible.bench.one_network.image_data import ImageData
from legible.bench.one_network.reading import CHUNK, is_large, read_network
from legible.bench.one_network.subject import (
    Answers,
    OwnNetwork,
    answers_of,
    joined,
    with_taps,
)
from legible.bench.one_network.unit_concepts import (
    COLUMNS,
    Gallery,
    precision_table,
    unit_galleries,
)
from legible.bench.scores.headline_conditions import IMPOSTOR
from legible.bench.scores.score_table import ScoreRow
from legible.bench.scoring.impostors import IMPOSTORS, impostor_probe, reads_activations
from legible.bench.scoring.oracle import (
    LEAST_INTERPRETABILITY,
    LEAST_IOU,
    common,
    measurability,
)
from legible.bench.scoring.score import score_all
from legible.bench.text import one_line
from legible.metrics.base import ASPECTS, METRICS, NEEDS, Metric, Probe, Score, scope
from legible.metrics.network import Concepts
from legible.metrics.semantics import FEWEST_IMAGES

#: Names of the rows: the network itself and its twin.
NETWORK, TWIN = "network", "untrained"
#: Aspects whose metrics run the network again are scored on the first so many images.
RERUN_IMAGES = {"module semantics": 200, "attribution": 200, "efficiency": 200}
#: Needs that no network without a record of its training meets.
_OF_TRAINING = frozenset({"claimed", "validations"})
SECOND = "needs a second network that was trained with another seed"
UNKNOWN_EVIDENCE = (
    "no concept of the data defines a class (coco's class_concept names one for all classes)"
)
#: The smallest share of negative activations of a layer that is said.
LEAST_NEGATIVE = 0.01
#: Positions a side of the finest map that is proposed.
MOST_POSITIONS = 128
NO_ACTIVATIONS = "reads weights or runs the network again, which an impostor does not have"


@dataclass(frozen=True, eq=False)
class ScoreComparison:
    """The scores of a network, its twin and the impostors, with what was scored and how long each
    part took, in seconds.

    ``correct`` is the number of images that the network answers correctly, None where answers are
    not compared with labels; ``different`` is the number of different answers that it gives.
    ``notes`` are lines on what the layers and images do not allow. ``precisions`` and
    ``twin_precisions`` say in which concepts the units' highest responses lie (`precision_table`);
    ``galleries`` hold what pictures of a layer's units show.
    """

    rows: list[ScoreRow]
    layers: list[str]
    answers: Answers
    reason: str
    seconds: Mapping[str, float]
    correct: int | None = None
    different: int = 0
    notes: Sequence[str] = ()
    precisions: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=COLUMNS))
    twin_precisions: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=COLUMNS))
    galleries: Mapping[str, Gallery] = field(default_factory=dict)


def metric_names(choice: str | Sequence[str]) -> list[str]:
    """Names of metrics: "headline" (one or a few for each aspect), "all", or a list of names.

    All are those that a network without a record of its training can have. Raises UserError for an
    unknown name, with the nearest.
    """
    usable = [m for m in METRICS.values() if m.aspect in ASPECTS and not m.needs & _OF_TRAINING]
    if choice == "all":
        return [item.name for item in usable]
    if choice == "headline":
        return [item.name for item in usable if item.headline]
    for name in choice if not isinstance(choice, str) else [choice]:
        if name not in METRICS:
            raise UserError(f"no metric '{name}'{nearest(name, METRICS)}")
    return [choice] if isinstance(choice, str) else list(choice)


def compare(
    subject: OwnNetwork,
    data: ImageData,
    *,
    layers: Sequence[str] = (),
    class_map: ClassMap | None = None,
    metrics: Sequence[str] = (),
    seed: int = 0,
    report: Callable[[str], None] = lambda text: None,
) -> ScoreComparison:
    """Scores a network, its untrained twin, and the impostors made from the network's layers.

    Only one probe is in memory at a time. ``report`` is told what is being done.
    """
    model = subject.model.to(data.labels.device)
    network, names = with_taps(model, data, layers)
    outputs = _output_width(network, data)
    answers = answers_of(outputs, subject.head_names, data, class_map)
    joined(network, answers.groups)
    if answers.unjoined:
        report(answers.text)
    seconds: dict[str, float] = {}
    rows: list[ScoreRow] = []

    def timed(part: str, step: Callable[[], list[ScoreRow]]) -> None:
        start = time.perf_counter()
        rows.extend(step())
        seconds[part] = time.perf_counter() - start
        report(f"{part}: {seconds[part]:.0f} s")

    def read(of: HookedNetwork | object) -> Probe:
        start = time.perf_counter()
        probe = read_network(of, names, data, not answers.unjoined, seed)  # type: ignore[arg-type]
        seconds["forward pass"] = time.perf_counter() - start
        where = "; activations are kept in temporary files" * is_large(network, names, data)
        report(f"forward pass of {len(data)} images: {seconds['forward pass']:.0f} s{where}")
        return probe

    place = _Place(subject.label, data.label, seed)
    probe = read(network)
    notes = [*layer_notes(probe), *concept_notes(probe)]
    for line in [*notes, *coarse_layers(probe)]:
        report(line)
    given = probe.logits.argmax(1)
    correct = None if answers.unjoined else int((given == probe.labels).sum())
    timed(NETWORK, lambda: [*_scored(place, NETWORK, metrics, probe, answers, report)])
    timed("impostors", lambda: [*_impostors(place, metrics, probe, report)])
    precisions = precision_table(probe)
    galleries = unit_galleries(probe, data, precisions)
    del probe
    gc.collect()
    twin, _ = with_taps(subject.make_twin().to(data.labels.device), data, layers)
    twin_probe = read(joined(twin, answers.groups))
    timed(TWIN, lambda: [*_scored(place, TWIN, metrics, twin_probe, answers, report)])
    reason = network.reason if isinstance(network, HookedNetwork) else ""
    return ScoreComparison(
        rows, names, answers, reason, seconds, correct, len(given.unique()), notes,
        precisions, precision_table(twin_probe), galleries,
    )  # fmt: skip


def layer_notes(probe: Probe) -> list[str]:
    """A line for each layer without a map, and for each with negative activations."""
    lines = []
    for name, layer in probe.layers.items():
        parts = layer.activation.split(CHUNK)
        negative = sum(int((part < 0).sum()) for part in parts) / layer.activation.numel()
        if not layer.spatial:
            lines.append(
                f"layer {name} has no map: metrics of focus and semantics are left out there"
            )
        if negative > LEAST_NEGATIVE:
            lines.append(
                f"layer {name}: {100 * negative:.0f} % of its activations are negative, which most "
                "metrics take as 0; a layer after a ReLU has none"
            )
    return lines


def concept_notes(probe: Probe) -> list[str]:
    """A line if no concept is in as many images as metrics of semantics need."""
    if probe.concepts is None or len(common(probe.concepts)):
        return []
    if not probe.concepts.packed.any():
        return [f"no concept has a pixel in these {len(probe.labels)} images, so metrics of "
                "semantics are left out"]  # fmt: skip
    return [f"no concept is in {FEWEST_IMAGES} of these {len(probe.labels)} images, which metrics "
            "of semantics need: give more images"]  # fmt: skip


def coarse_layers(probe: Probe) -> list[str]:
    """A line for each layer with a map that is too coarse for the concept masks."""
    if probe.concepts is None or not probe.concepts.packed.any():
        return []
    lines = []
    for name, layer in probe.layers.items():
        if layer.spatial and name not in probe.measurable:
            size = tuple(layer.activation.shape[2:])
            lines.append(
                f"layer {name}: its map of {size[0]} x {size[1]} positions is too coarse for the "
                f"masks, so metrics of semantics are left out there{_finer(probe.concepts, size)}"
            )
    return lines


@functools.lru_cache(maxsize=16)
def _finer(concepts: Concepts, size: tuple[int, ...]) -> str:
    """A map of which size would be fine enough, judged on a hundred images; "" if none would."""
    few = concepts.images(slice(100))
    for factor in (2, 4, 8, 16):
        sides = tuple(side * factor for side in size)
        if max(sides) > MOST_POSITIONS:
            break
        if measurability(few, sides).passes:
            return f"; {sides[0]} x {sides[1]} would do: read an earlier layer, or larger images"
    return ""


@torch.no_grad()
def _output_width(network: object, data: ImageData) -> int:
    return int(network(data.batch(slice(1))).logits.shape[1])  # type: ignore[operator]


# ----------------------------------------------------------------- scores


@dataclass(frozen=True)
class _Place:
    """What all rows of a table have in common."""

    backbone: str
    dataset: str
    seed: int


def _scored(
    place: _Place,
    row: str,
    metrics: Sequence[str],
    probe: Probe,
    answers: Answers,
    report: Callable[[str], None],
) -> Iterator[ScoreRow]:
    reasons = {name: skip_reason(METRICS[name], probe, answers.unjoined) for name in metrics}
    for name, reason in reasons.items():
        if reason:
            yield _score_row(place, row, Score(name, "", np.array([np.nan]), reason=reason))
    rest: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        if not reason:
            rest.setdefault(METRICS[name].aspect, []).append(name)
    for count, (aspect, names) in enumerate(rest.items(), 1):
        report(f"{row}, {aspect} ({count} of {len(rest)})")
        for entry in score_all(probe, names, images=RERUN_IMAGES).values():
            for score in entry.layers:
                yield _score_row(place, row, _clearer(score, probe))


def skip_reason(item: Metric, probe: Probe, unjoined: str = "") -> str:
    """Why a metric is left out for a network; "" if it is not.

    ``unjoined`` is the reason why answers are not compared with labels.
    """
    compares_answers = scope(item.function) == "network" or "trunk" in item.needs
    if unjoined and compares_answers:
        return unjoined
    if scope(item.function) == "seeds":
        return SECOND
    of_class = probe.concepts.of_class if probe.concepts else ()
    is_evidence = item.aspect == "attribution" and "concepts" in item.needs and probe.concepts
    if is_evidence and not any(k >= 0 for k in of_class):
        return UNKNOWN_EVIDENCE
    return ""


def _clearer(score: Score, probe: Probe) -> Score:
    """The score with a reason that says more: the node that stopped tracing, where that is why, and
    the oracle's scores on maps that are too coarse."""
    if probe.fixed and score.reason in (NEEDS["trunk"], NEEDS["weights"]):
        return replace(score, reason=f"{score.reason}: {probe.fixed}")
    if score.reason == NEEDS["measurable"] and probe.concepts is not None:
        size = tuple(probe.layers[score.layer].activation.shape[2:])
        gate = measurability(probe.concepts, size)
        text = (
            f"{score.reason}: on {size[0]} x {size[1]} positions a unit that is the concept's mask "
            f"has IoU {gate.iou:.2f} (needed: {LEAST_IOU}) and part interpretability "
            f"{gate.interpretability:.2f} (needed: {LEAST_INTERPRETABILITY})"
            f"{_finer(probe.concepts, size)}"
        )
        return replace(score, reason=text)
    return score


def _impostors(
    place: _Place, metrics: Sequence[str], probe: Probe, report: Callable[[str], None]
) -> Iterator[ScoreRow]:
    """The scores of every impostor, layer by layer, so that one copy of a layer is in memory."""
    items = [METRICS[name] for name in metrics]
    readable = [m.name for m in items if reads_activations(m) and scope(m.function) != "seeds"]
    for count, name in enumerate(IMPOSTORS, 1):
        report(f"impostors, {name} ({count} of {len(IMPOSTORS)})")
        row = IMPOSTOR + name
        for item in items:
            if item.name not in readable:
                reason = SECOND if scope(item.function) == "seeds" else NO_ACTIVATIONS
                score = Score(item.name, "", np.array([np.nan]), reason=reason)
                yield _score_row(place, row, score)
        for key, layer in probe.layers.items() if readable else ():
            built = impostor_probe(name, replace(probe, layers={key: layer}, memo={}))
            if built is None:
                continue
            for entry in score_all(built, readable).values():
                for score in entry.layers:
                    yield _score_row(place, row, _clearer(score, built))


def _score_row(place: _Place, method: str, score: Score) -> ScoreRow:
    def defined(value: float) -> float | None:
        return None if math.isnan(value) else value

    is_measured = not math.isnan(score.live)  # else the value is what undefined units count as
    return ScoreRow(
        dataset=row_name(place.dataset), backbone=row_name(place.backbone), method=method,
        label=method, kind="method" if method == NETWORK else "null", params="{}", seed=place.seed,
        layer=score.layer, metric=score.metric, aspect=METRICS[score.metric].aspect,
        value=defined(score.value) if is_measured else None, live=defined(score.live),
        undefined=score.undefined, count=len(score.values),
        status="skipped" if score.reason else "ok",
        reason=one_line(score.reason, 4000), run="",
    )  # fmt: skip


def row_name(label: str) -> str:
    """The name of a network or of data as the score table holds it."""
    return one_line(label, 200)
