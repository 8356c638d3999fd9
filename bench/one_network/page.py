"""The page of a network's scores: a table for each aspect, in plain words, as Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import quote

import torch
from scipy.stats import binomtest
from tabulate import tabulate

from legible.bench.leaderboard.render.markdown import code_block, escape
from legible.bench.one_network.comparison import (
    NETWORK,
    NO_ACTIVATIONS,
    RERUN_IMAGES,
    TWIN,
    ScoreComparison,
)
from legible.bench.one_network.image_data import ImageData
from legible.bench.one_network.subject import RANDOM_WEIGHTS, OwnNetwork
from legible.bench.one_network.unit_concepts import best_units
from legible.bench.scores.headline_conditions import IMPOSTOR
from legible.bench.scores.score_table import ScoreRow
from legible.bench.scoring.impostors import CHEATS, IMPOSTORS
from legible.bench.text import decimals, file_name_part, listed, number
from legible.metrics.base import ASPECTS, METRICS, Metric
from legible.metrics.semantics import FEWEST_IMAGES

#: What each impostor is, in words.
ABOUT_IMPOSTORS = {
    "label": "units that know the image's label and nothing else",
    "energy": "one map, the sum of all units, in place of every unit",
    "copies": "a tenth of the units, each ten times",
    "two concepts": "units that answer equally to two concepts; they are made from the masks, so "
    "they show what knowing the masks gives",
    "noise": "every unit with a random hundredth of its positions",
}
#: What an aspect asks, in words.
QUESTIONS = {
    "task": "Are the answers right?",
    "focus": "Is a unit active in one place of an image?",
    "semantics": "Does a unit stand for one concept?",
    "class specificity": "Does a unit serve one class?",
    "structure": "Do the units form groups that respond together? There is no better direction.",
    "consistency": "Does another network of the kind have the same units?",
    "module semantics": "Does a group of units stand for a class or a concept?",
    "attribution": "Do attributions lie on the evidence?",
    "efficiency": "How much of the network is needed?",
}
_DIRECTIONS = {"higher": "Higher is better", "lower": "Lower is better", "neither": "Descriptive"}
#: The tables of all units and concepts, beside the page, and the most concepts that it shows.
UNITS_TABLE, CONCEPTS_TABLE, MOST_CONCEPTS = "units.csv", "concepts.csv", 20
UNIT_HEADS = ["concept", "images", "unit", "precision", "untrained"]
#: The heading above the command.
AGAIN = "## How to make this page again"
Rows = Mapping[tuple[str, str, str], ScoreRow]


def render_scores(
    subject: OwnNetwork, data: ImageData, comparison: ScoreComparison, command: str = ""
) -> str:
    """The page as Markdown. ``command`` makes it again; "" if there is none."""
    rows = {(row.metric, row.layer, row.method): row for row in comparison.rows}
    parts = [
        f"# Scores of {escape(subject.label)} on {escape(data.label)}",
        _summary(subject, data, comparison, rows),
        _subject(subject, data, comparison),
        _reading(),
    ]
    names = {row.metric for row in comparison.rows}
    for aspect in ASPECTS:
        items = [m for m in METRICS.values() if m.name in names and m.aspect == aspect]
        parts += _aspect(aspect, items, rows, comparison.layers) if items else []
    parts += _units(comparison)
    parts += [AGAIN, code_block(command)] if command else []
    return "\n\n".join(parts) + "\n"


# ----------------------------------------------------------------- what was scored


def _subject(subject: OwnNetwork, data: ImageData, comparison: ScoreComparison) -> str:
    size = " x ".join(map(str, data.image))
    concepts = data.concepts
    counted = f"{len(concepts)} concepts" if concepts else "no concept masks"
    largest = _largest_class(data) / len(data)
    lines = [
        f"**Weights:** {escape(subject.weights)}",
        f"**Layers:** {listed(f'`{escape(name)}`' for name in comparison.layers)}",
        f"**Images:** {len(data)} of {size}, {len(data.class_names)} classes (the largest has "
        f"{100 * largest:.0f} % of the images), {counted}; {_normalisation(data)}",
        f"**Answers:** {escape(comparison.answers.text)}",
        *(f"**Data:** {escape(note)}." for note in data.notes),
        *(f"**Note:** {escape(note)}." for note in comparison.notes),
        *(
            ["**One answer:** the network gives the same answer for every image."]
            if comparison.different == 1
            else []
        ),
    ]
    if comparison.reason:
        lines.append(
            f"**Not traced:** the network {escape(comparison.reason)}. Its activations were read "
            "through forward hooks; metrics that run it again from a layer are left out."
        )
    if any(row.aspect in RERUN_IMAGES and row.value is not None for row in comparison.rows):
        lines.append(
            f"**Fewer images:** metrics of {listed(RERUN_IMAGES)} run the network many times, on at"
            f" most {min(RERUN_IMAGES.values())} of the images."
        )
    return "\n".join(f"- {line}" for line in lines)


def _normalisation(data: ImageData) -> str:
    if data.normalisation is None:
        return "as they were given, without normalisation"
    mean, std = (", ".join(f"{v:.3g}" for v in values) for values in data.normalisation)
    return f"pixels from 0 to 1, less {mean}, divided by {std}"


def _reading() -> str:
    lines = [
        "The numbers are those of one network: there is no interval, and differences of any size "
        "are counted above, so a small one may be luck. Compare each number with what costs "
        "nothing. The first is a network, the others are layers without one: they have no number "
        "where a metric reads weights or runs a network. A number in brackets is that of a layer "
        "which is no cheat for the metric and does not count.",
        "",
        "- **untrained**: the same architecture with fresh random weights;",
        *(f"- **{name}**: {ABOUT_IMPOSTORS[name]};" for name in IMPOSTORS),
    ]
    return "\n".join(lines).removesuffix(";") + "."


# ----------------------------------------------------------------- the summary


def _summary(subject: OwnNetwork, data: ImageData, comparison: ScoreComparison, rows: Rows) -> str:
    """One sentence: in which metrics the network is better than its twin and all cheats.

    Nothing is counted for a network that is not shown to know the classes.
    """
    if subject.weights == RANDOM_WEIGHTS:
        return (
            "**The network's weights are random, as its twin's: nothing follows from their "
            "difference. Give weights with --weights.**"
        )
    if comparison.correct is not None and not knows_classes(comparison.correct, data):
        return (
            f"**The network is not shown to know the classes: {comparison.correct} of {len(data)} "
            f"answers are right, and naming the largest class for every image gives "
            f"{_largest_class(data)}. So nothing is counted: it may be no better than its twin.** "
            "Are these the right weights, are the classes in the right order (--class-map), and is "
            "the normalisation that of the training (--mean, --std)?"
        )
    layers = comparison.layers
    outcomes: dict[str, list[bool]] = {}
    for (name, layer, method), row in rows.items():
        rivals = _rivals(METRICS[name], layer, rows)
        if method == NETWORK and row.value is not None and rivals:
            outcomes.setdefault(name, []).append(_beats(METRICS[name], row.value, rivals))
    if not outcomes:
        return "**No metric could be compared with the twin or a cheat; the reasons stand below.**"
    won = [METRICS[name].title for name, wins in outcomes.items() if all(wins)]
    where = "in every layer that was read " if len(layers) > 1 else ""
    start = (
        f"Better than the untrained twin, and than every cheat where there is one, {where}in "
        f"{len(won)} of "
    )
    text = f"{start}{len(outcomes)} metrics{': ' if won else ''}{listed(won)}."
    others = {name for name, _, method in rows if method == NETWORK} - set(outcomes)
    more = f" {len(others)} more have no comparison; the reasons stand below." if others else ""
    return f"**{escape(text)}**{more}"


def knows_classes(correct: int, data: ImageData) -> bool:
    """Whether that many correct answers are more than those of naming the largest class for every
    image (binomial test, one-sided, 5 %)."""
    share = _largest_class(data) / len(data)
    return bool(binomtest(correct, len(data), share, alternative="greater").pvalue < 0.05)


def _largest_class(data: ImageData) -> int:
    return max(torch.bincount(data.labels).tolist())


def _rivals(item: Metric, layer: str, rows: Rows) -> list[float]:
    """The numbers of the twin and of the metric's cheats; none for a descriptive metric."""
    others = [TWIN, *(IMPOSTOR + name for name in _cheats(item))]
    values = [row.value for other in others if (row := rows.get((item.name, layer, other)))]
    return [v for v in values if v is not None and item.better != "neither"]


def _beats(item: Metric, own: float, rivals: Sequence[float]) -> bool:
    sign = 1 if item.better == "higher" else -1
    return all(sign * own > sign * value for value in rivals)


def _cheats(item: Metric) -> tuple[str, ...]:
    return CHEATS.get(item.heads, CHEATS.get(item.aspect, ()))


# ----------------------------------------------------------------- units


def _units(comparison: ScoreComparison) -> list[str]:
    """The best unit for each concept, beside that of the twin, and the pictures."""
    precisions, parts = comparison.precisions, []
    if not precisions.empty:
        best = best_units(precisions, comparison.twin_precisions)
        table = [
            [escape(row["concept"]), row["images"], f"`{escape(row['layer'])}` {row['unit']}",
             number(row["precision"], 2), number(row["untrained"], 2)]
            for row in best[:MOST_CONCEPTS].to_dict("records")
        ]  # fmt: skip
        some = f"The first {MOST_CONCEPTS} of {len(best)} concepts. "
        units = len(precisions.drop_duplicates(["layer", "unit"]))
        parts += [
            "For each concept, the unit whose highest responses lie most precisely in it. "
            "Precision is (p − b) / (1 − b): p is the share of the unit's highest 0.5 % of "
            "positions, over all images, that contain the concept, and b the share of all "
            "positions that do. It is 0 by chance, and 1 if all of the unit's highest positions "
            f"contain the concept. The best of {units} units is partly luck, so the last column is "
            "the best of the untrained twin's units. A unit that only knows the class is precise, "
            "too, for a concept that defines a class. Concepts in fewer than "
            f"{FEWEST_IMAGES} images are left out. {some if len(best) > MOST_CONCEPTS else ''}"
            f"`{CONCEPTS_TABLE}` lists all of them, `{UNITS_TABLE}` the best concept of each unit "
            "(none where no concept is met more often than by chance).",
            tabulate(table, UNIT_HEADS, tablefmt="github", disable_numparse=True),
        ]
    if comparison.galleries:
        parts.append(
            "The pictures show the five images that excite a unit most. The orange line is the "
            "border of the unit's region, the highest 0.5 % of its pixels over all images; the "
            "blue line is that of the concept's mask. They show images of the data: check that you "
            "may publish them before you publish this page."
        )
    for layer, gallery in comparison.galleries.items():
        choice = (
            "the most precise units, each for another concept"
            if gallery.by_concept
            else "the units with the highest activations"
        )
        parts += [f"Layer `{escape(layer)}`, {choice}:", f"![]({quote(picture_name(layer))})"]
    return ["## Units", *parts] if parts else []


def picture_name(layer: str) -> str:
    """The file of the picture of a layer's units, beside the page."""
    return f"units-{file_name_part(layer)}.png"


# ----------------------------------------------------------------- aspects


def _aspect(aspect: str, items: Sequence[Metric], rows: Rows, layers: Sequence[str]) -> list[str]:
    columns = [NETWORK, TWIN, *(IMPOSTOR + name for name in IMPOSTORS)]
    table = [
        [escape(item.title), f"`{escape(layer)}`" if layer else "", *_cells(item, layer, rows)]
        for item in items
        for layer in _layers_of(item, rows, layers)
    ]
    heads = ["", "layer", *(name.removeprefix(IMPOSTOR) for name in columns)]
    text = tabulate(table, heads, tablefmt="github", disable_numparse=True) if table else ""
    meanings = "\n".join(_meaning(item, rows) for item in items)
    return [f"## {aspect.capitalize()}", QUESTIONS[aspect], *([text] if text else []), meanings]


def _layers_of(item: Metric, rows: Rows, layers: Sequence[str]) -> list[str]:
    """The layers at which a metric has a number in some column; "" stands for the network."""
    own = {layer for (name, layer, _), row in rows.items()
           if name == item.name and row.value is not None}  # fmt: skip
    return [layer for layer in ["", *layers] if layer in own]


def _cells(item: Metric, layer: str, rows: Rows) -> list[str]:
    columns = [NETWORK, TWIN, *(IMPOSTOR + name for name in IMPOSTORS)]
    values = [_value(rows, item.name, layer, column) for column in columns]
    digits = min(max(decimals(values), 1), 3)
    cheats = {NETWORK, TWIN, *(IMPOSTOR + name for name in _cheats(item))}
    return [
        f"({number(value, digits)})" if column not in cheats and math.isfinite(value)
        else number(value, digits)
        for column, value in zip(columns, values, strict=True)
    ]  # fmt: skip


def _value(rows: Rows, name: str, layer: str, column: str) -> float:
    row = rows.get((name, layer, column))
    return math.nan if row is None or row.value is None else row.value


def _meaning(item: Metric, rows: Rows) -> str:
    """What a metric means, its direction, its cheats, and the reason of each missing number."""
    low, high = item.limits
    limits = f", from {low:g} to {high:g}" if math.isfinite(low) and math.isfinite(high) else ""
    chance = f"; {item.null:g} by chance" if isinstance(item.null, float) else ""
    cheats = [name for name in _cheats(item) if (item.name, IMPOSTOR + name) in _scored(rows)]
    lines = [
        f"- **{escape(item.title)}** (`{item.name}`): {escape(item.summary)} "
        f"{_DIRECTIONS[item.better]}{limits}{chance}."
        + (f" Cheats: {escape(listed(cheats))}." if cheats and item.better != "neither" else "")
    ]
    lines += [f"  - {line}" for line in _missing(item, rows)]
    return "\n".join(lines)


def _scored(rows: Rows) -> set[tuple[str, str]]:
    return {(name, method) for (name, _, method), row in rows.items() if row.value is not None}


def _missing(item: Metric, rows: Rows) -> Iterator[str]:
    """The reasons of missing numbers, each once, with the columns and layers that share it."""
    own = [row for (name, _, _), row in rows.items()
           if name == item.name and row.reason != NO_ACTIVATIONS]  # fmt: skip
    places: dict[str, dict[str, list[str]]] = {}
    for row in own:
        if row.value is None:
            layers = places.setdefault(row.reason or "undefined for every unit", {})
            layers.setdefault(row.layer, []).append(row.method)
    everywhere = len(places) == 1 and all(row.value is None for row in own)
    for reason, layers in places.items():
        where = listed(_where(methods, layer, own) for layer, methods in layers.items())
        yield f"no number{'' if everywhere else f' for {where}'}: {escape(reason)}"


def _where(methods: Sequence[str], layer: str, own: Sequence[ScoreRow]) -> str:
    """The columns that lack a number at a layer, in words."""
    is_all = set(methods) == {row.method for row in own if row.layer == layer}
    columns = "any column" if is_all else listed(m.removeprefix(IMPOSTOR) for m in methods)
    return columns + (f" at `{escape(layer)}`" if layer else "")
