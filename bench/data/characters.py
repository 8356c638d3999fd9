"""Which characters make a dataset: classes, splits, and for every stroke the concepts it is of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from bench.data.strokes import Character, Component

SPLITS = {"train": 0.6, "validation": 0.15, "test": 0.25}  # share of each class's characters
PLACES = (
    "top left", "top", "top right", "left", "middle", "right", "bottom left", "bottom",
    "bottom right",
)  # fmt: skip
FEWEST = 60  # characters that must show a component for it to be a class
SPREAD = 0.15  # standard deviation of where it stands, in canvas sides: place is no shortcut
EXTENT = (0.8, 2.2)  # length of its strokes, in canvas sides: neither a speck nor half the image
SMALLEST = 0.22  # a class component's shorter side, as a share of the canvas
OFF_CENTRE = 0.1  # how far from the canvas's middle a place begins
# A concept can be told by the 0.5 % of positions that metrics threshold at only if it is neither
# too rare nor too common: limits of its strokes' length an image, in canvas sides, and the
# largest share of images that may hold it.
LENGTHS = (0.04, 0.11)
COMMONEST = 0.2


@dataclass(frozen=True, eq=False)
class Plan:
    """The characters of each class and split, and for every stroke the concepts it belongs to."""

    characters: Sequence[Character]
    members: dict[str, list[list[int]]]  # split -> class -> characters
    strangers: list[int]  # characters of no class: clutter comes from them
    names: list[str]  # of concepts; the classes come first
    categories: list[str]
    landmark: list[bool]
    belongs: list[list[tuple[int, int]]]  # character -> pairs of stroke and concept


def plan_characters(characters: Sequence[Character], classes: int, seed: int) -> Plan:
    """Chooses classes and concepts, and deals each class's characters to the splits.

    Raises ValueError when there are not enough components for so many classes.
    """
    chosen = choose_classes(characters, classes)
    defining = [class_component(c, chosen) for c in characters]
    members = [
        [i for i, d in enumerate(defining) if d is not None and d.element == element]
        for element in chosen
    ]
    components, kinds = _other_concepts(characters, members, chosen)
    names = [*chosen, *components, *kinds, *PLACES]
    categories = ["component"] * (len(chosen) + len(components)) + ["stroke"] * len(kinds)
    categories += ["position"] * len(PLACES)
    used = [characters[i] for i in sorted(i for row in members for i in row)]
    most = Counter[str]()
    for character in used:
        most |= Counter(p.element for p in character.components) | Counter(character.types)
    index = {name: k for k, name in enumerate(names)}
    belongs = [
        _belongs(c, d, index) if d else [] for c, d in zip(characters, defining, strict=True)
    ]
    strangers = [i for i, c in enumerate(characters) if not set(chosen) & _elements(c)]
    landmark = [most[name] <= 1 for name in names]
    return Plan(characters, _split(members, seed), strangers, names, categories, landmark, belongs)


def choose_classes(characters: Sequence[Character], classes: int) -> list[str]:
    """Components that stand in varied places, and leave each other the most characters.

    A class's own characters hold its component and no other class's. From all candidates, the
    one whose absence makes the geometric mean of these numbers largest leaves, one by one: 目
    goes because 貝 holds it, 口 because it is nearly everywhere. Raises ValueError when there
    are too few candidates.
    """
    candidates, usable, holds = _candidates(characters)
    if classes > len(candidates):
        raise ValueError(f"classes must be at most {len(candidates)}, not {classes}")
    chosen = np.arange(len(candidates))
    while len(chosen) > classes:
        gains = []
        for leaves in chosen:
            rest = chosen[chosen != leaves]
            alone = holds[:, rest].sum(1, keepdims=True) == 1
            gains.append(np.log((alone & usable[:, rest]).sum(0) + 0.1).sum())
        chosen = np.delete(chosen, int(np.argmax(gains)))
    return [candidates[k] for k in chosen]


def _candidates(
    characters: Sequence[Character],
) -> tuple[
    list[str], Bool[np.ndarray, "characters candidates"], Bool[np.ndarray, "characters candidates"]
]:
    """Components fit to be a class; which characters could show each, and which hold it at all."""
    middles: dict[str, list[np.ndarray]] = {}
    lengths: dict[str, float] = {}
    for character in characters:
        for part in _usable(character):
            middles.setdefault(part.element, []).append(_box(character, part).mean(0))
            lengths[part.element] = lengths.get(part.element, 0) + _length(character, part.strokes)
    found = [
        element
        for element, points in sorted(middles.items(), key=lambda item: (-len(item[1]), item[0]))
        if len(points) >= FEWEST
        and np.linalg.norm(np.std(points, axis=0)) >= SPREAD
        and EXTENT[0] <= lengths[element] / len(points) <= EXTENT[1]
    ]
    usable = [{p.element for p in _usable(c)} for c in characters]
    holds = [_elements(c) for c in characters]
    tables = [
        np.array([[e in names for e in found] for names in table]) for table in (usable, holds)
    ]
    return found, tables[0], tables[1]


def class_component(character: Character, chosen: Collection[str]) -> Component | None:
    """The one class component of a character; None when it has none, several or a tiny one."""
    present = [p for p in character.components if p.element in chosen]
    return present[0] if len(present) == 1 and present[0] in _usable(character) else None


def place(character: Character, component: Component) -> str:
    """Where the middle of a component lies in the canvas, one of nine PLACES."""
    right, down = _box(character, component).mean(0) - 0.5
    column = 1 + int(right > OFF_CENTRE) - int(right < -OFF_CENTRE)
    row = 1 + int(down > OFF_CENTRE) - int(down < -OFF_CENTRE)
    return PLACES[3 * row + column]


def _usable(character: Character) -> list[Component]:
    """Components of three strokes or more that occur once, inside more, large enough to be seen."""
    count = Counter(p.element for p in character.components)
    return [
        p
        for p in character.components
        if count[p.element] == 1
        and 3 <= len(p.strokes) < len(character.types)
        and np.ptp(_box(character, p), axis=0).min() >= SMALLEST
    ]


def _box(character: Character, component: Component) -> Float[np.ndarray, "corners xy"]:
    points = character.points[list(component.strokes)].reshape(-1, 2)
    return np.stack([points.min(0), points.max(0)])


def _length(character: Character, strokes: Sequence[int]) -> float:
    """Of some strokes together, in canvas sides."""
    lines = np.diff(character.points[list(strokes)], axis=1)
    return float(np.linalg.norm(lines, axis=-1).sum())


def _elements(character: Character) -> set[str]:
    return {p.element for p in character.components}


def _other_concepts(
    characters: Sequence[Character], members: Sequence[Sequence[int]], chosen: Collection[str]
) -> tuple[list[str], list[str]]:
    """Components and stroke types that are common enough, but not too common, the longest first."""
    length: dict[tuple[str, str], float] = {}
    share: dict[tuple[str, str], float] = {}
    for row in members:
        for character in (characters[i] for i in row):
            for key, strokes in _strokes_by_concept(character, chosen).items():
                weight = 1 / (len(row) * len(members))  # classes are drawn equally often
                length[key] = length.get(key, 0) + weight * _length(character, sorted(strokes))
                share[key] = share.get(key, 0) + weight
    found = [
        (category, name)
        for (category, name), total in sorted(length.items(), key=lambda item: (-item[1], item[0]))
        if LENGTHS[0] <= total <= LENGTHS[1] and share[category, name] <= COMMONEST
    ]
    return [n for c, n in found if c == "component"], [n for c, n in found if c == "stroke"]


def _strokes_by_concept(
    character: Character, chosen: Collection[str]
) -> dict[tuple[str, str], set[int]]:
    strokes: dict[tuple[str, str], set[int]] = {}
    for part in character.components:
        if part.element not in chosen and len(part.strokes) > 1:
            strokes.setdefault(("component", part.element), set()).update(part.strokes)
    for stroke, kind in enumerate(character.types):
        strokes.setdefault(("stroke", kind), set()).add(stroke)
    return strokes


def _belongs(
    character: Character, defining: Component, index: dict[str, int]
) -> list[tuple[int, int]]:
    """Pairs of stroke and concept: its components, its type, the defining component's place."""
    pairs = {(s, index[p.element]) for p in character.components for s in p.strokes
             if p.element in index}  # fmt: skip
    pairs |= {(s, index[kind]) for s, kind in enumerate(character.types) if kind in index}
    pairs |= {(s, index[place(character, defining)]) for s in defining.strokes}
    return sorted(pairs)


def _split(members: Sequence[Sequence[int]], seed: int) -> dict[str, list[list[int]]]:
    """Deals each class's characters to the splits, in a seeded order."""
    generator = np.random.default_rng(seed)
    dealt: dict[str, list[list[int]]] = {name: [] for name in SPLITS}
    ends = np.cumsum(list(SPLITS.values()))[:-1]
    for row in members:
        parts = np.split(generator.permutation(row), (ends * len(row)).astype(int))
        for name, part in zip(SPLITS, parts, strict=True):
            dealt[name].append(part.tolist())
    return dealt
