"""The characters of the dataset `kanji`: classes, splits, and the concepts of every stroke."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from legible.bench.data.strokes import Character, Component

# The components that can be classes, in this order. Each has at least three strokes, contains no
# other one, looks like no other one, and stands in varied places, so that the place alone says
# little about the class. Not used for one of these reasons: 口 and 日 (in nearly all characters),
# 土 (like 士, 王 and 止), 大 (like 人 and 天), 田 (like 日), 禾 (like 木), 言 and 馬 (nearly always
# at the left), 氵 and 艹 (always in one place).
CLASSES = "女貝虫糸火隹彡車米夂方己巾心寸山月西子廾止尸示木"
SPLITS = {"train": 0.7, "validation": 0.1, "test": 0.2}  # share of each class's characters
PLACES = (
    "top left", "top", "top right", "left", "middle", "right", "bottom left", "bottom",
    "bottom right",
)  # fmt: skip
FEW = 8.0  # a place with fewer characters of a class than this is used less often
OFF_CENTRE = 0.1  # distance from the canvas's middle at which the outer places begin
MOST_STROKES = 16  # of a character; more are unreadable at 32 pixels
SMALLEST = 0.26  # a class component's shorter side, as a share of the canvas
# Metrics threshold a unit at its highest 0.5 % of positions, so a concept must be neither too rare
# nor too common: limits of the length of its strokes, in canvas sides, averaged over images, and
# the largest share of images that may contain it.
LENGTHS = (0.04, 0.11)
COMMONEST = 0.2
GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True, eq=False)
class Plan:
    """The characters of each class and split, and the concepts that every stroke belongs to."""

    characters: Sequence[Character]
    members: dict[str, list[list[int]]]  # split -> class -> characters
    odds: dict[str, list[list[float]]]  # probability of each of these in an image of its class
    strangers: list[int]  # characters without a class component; their strokes are the clutter
    names: list[str]  # of concepts; the classes come first
    categories: list[str]
    landmark: list[bool]
    belongs: list[list[tuple[int, int]]]  # character -> pairs (stroke, concept)


def plan_characters(characters: Sequence[Character], classes: int, seed: int) -> Plan:
    """Selects the characters of the first ``classes`` of CLASSES and divides them among splits."""
    elements = CLASSES[:classes]
    defining = [class_component(c, elements) for c in characters]
    members = [
        [i for i, d in enumerate(defining) if d is not None and d.element == element]
        for element in elements
    ]
    where = {i: place(characters[i], d) for i, d in enumerate(defining) if d}
    by_split = _split(members, where, seed)
    odds = _odds(by_split, where)
    components, kinds = _other_concepts(characters, by_split, odds, elements)
    names = [*elements, *components, *kinds, *PLACES]
    categories = ["component"] * (len(elements) + len(components)) + ["stroke"] * len(kinds)
    categories += ["position"] * len(PLACES)
    of_a_class = [characters[i] for i in sorted(i for row in members for i in row)]
    most = Counter[str]()
    for character in of_a_class:
        most |= Counter(p.element for p in character.components) | Counter(character.types)
    index = {name: k for k, name in enumerate(names)}
    belongs = [
        _belongs(c, d, index) if d else [] for c, d in zip(characters, defining, strict=True)
    ]
    strangers = [i for i, c in enumerate(characters) if not set(elements) & _elements(c)]
    landmark = [most[name] <= 1 for name in names]
    return Plan(characters, by_split, odds, strangers, names, categories, landmark, belongs)


def class_component(character: Character, elements: Collection[str]) -> Component | None:
    """The class component of a character; None if it has none, several, or a too small one."""
    matches = [p for p in character.components if p.element in elements]
    return matches[0] if len(matches) == 1 and matches[0] in _usable(character) else None


def place(character: Character, component: Component) -> str:
    """The place, one of PLACES, in which the middle of a component lies."""
    right, down = _box(character, component).mean(0) - 0.5
    column = 1 + int(right > OFF_CENTRE) - int(right < -OFF_CENTRE)
    row = 1 + int(down > OFF_CENTRE) - int(down < -OFF_CENTRE)
    return PLACES[3 * row + column]


def _usable(character: Character) -> list[Component]:
    """Components that occur once, are not the whole character and are large enough to be seen."""
    if len(character.types) > MOST_STROKES:
        return []
    count = Counter(p.element for p in character.components)
    return [
        p
        for p in character.components
        if count[p.element] == 1
        and len(p.strokes) < len(character.types)
        and np.ptp(_box(character, p), axis=0).min() >= SMALLEST
    ]


def _box(character: Character, component: Component) -> Float[np.ndarray, "corners xy"]:
    points = character.points[list(component.strokes)].reshape(-1, 2)
    return np.stack([points.min(0), points.max(0)])


def _length(character: Character, strokes: Sequence[int]) -> float:
    """Total length of some strokes, in canvas sides."""
    lines = np.diff(character.points[list(strokes)], axis=1)
    return float(np.linalg.norm(lines, axis=-1).sum())


def _elements(character: Character) -> set[str]:
    return {p.element for p in character.components}


def _other_concepts(
    characters: Sequence[Character],
    by_split: dict[str, list[list[int]]],
    odds: dict[str, list[list[float]]],
    elements: Collection[str],
) -> tuple[list[str], list[str]]:
    """Components and stroke types that every split contains, neither too rarely nor too often.

    Those with the longest strokes come first.
    """
    length: dict[tuple[str, str], float] = {}
    share: dict[tuple[str, str], float] = {}
    splits: dict[tuple[str, str], set[str]] = {}
    for split, members in by_split.items():
        for row, chances in zip(members, odds[split], strict=True):
            for character, chance in zip((characters[i] for i in row), chances, strict=True):
                weight = SPLITS[split] * chance / len(members)  # classes are drawn equally often
                for key, strokes in _strokes_by_concept(character, elements).items():
                    length[key] = length.get(key, 0) + weight * _length(character, sorted(strokes))
                    share[key] = share.get(key, 0) + weight
                    splits.setdefault(key, set()).add(split)
    usable = [
        (category, name)
        for (category, name), total in sorted(length.items(), key=lambda item: (-item[1], item[0]))
        if LENGTHS[0] <= total <= LENGTHS[1]
        and share[category, name] <= COMMONEST
        and len(splits[category, name]) == len(by_split)
    ]
    return [n for c, n in usable if c == "component"], [n for c, n in usable if c == "stroke"]


def _strokes_by_concept(
    character: Character, elements: Collection[str]
) -> dict[tuple[str, str], set[int]]:
    strokes: dict[tuple[str, str], set[int]] = {}
    for part in character.components:
        if part.element not in elements and len(part.strokes) > 1:
            strokes.setdefault(("component", part.element), set()).update(part.strokes)
    for stroke, kind in enumerate(character.types):
        strokes.setdefault(("stroke", kind), set()).add(stroke)
    return strokes


def _belongs(
    character: Character, defining: Component, index: dict[str, int]
) -> list[tuple[int, int]]:
    """Pairs of a stroke and a concept: component, stroke type, or place of the class component."""
    pairs = {(s, index[p.element]) for p in character.components for s in p.strokes
             if p.element in index}  # fmt: skip
    pairs |= {(s, index[kind]) for s, kind in enumerate(character.types) if kind in index}
    pairs |= {(s, index[place(character, defining)]) for s in defining.strokes}
    return sorted(pairs)


def _split(
    members: Sequence[Sequence[int]], where: Mapping[int, str], seed: int
) -> dict[str, list[list[int]]]:
    """Divides each class's characters among the splits at random.

    Every split gets its share of the characters of each place.
    """
    generator = np.random.default_rng(seed)
    by_split: dict[str, list[list[int]]] = {name: [[] for _ in members] for name in SPLITS}
    ends = np.cumsum(list(SPLITS.values()))[:-1]
    for label, row in enumerate(members):
        mixed = sorted(generator.permutation(row).tolist(), key=lambda i: PLACES.index(where[i]))
        # any successive multiples of the golden section lie evenly in 0 .. 1
        turn = (GOLDEN * np.arange(len(row)) + generator.random()) % 1
        for character, number in zip(mixed, np.searchsorted(ends, turn, "right"), strict=True):
            by_split[list(SPLITS)[number]][label].append(character)
    return by_split


def _odds(
    by_split: dict[str, list[list[int]]], where: Mapping[int, str]
) -> dict[str, list[list[float]]]:
    """Probability of each character, so that all classes have about the same places.

    In a class, a place with n of its characters has a probability in proportion to
    q n / (n + FEW), divided equally among its characters; q is the mean of n / (n + FEW) over
    classes. So a place with many characters has the same probability in every class, and the
    characters of a place with one or two are not repeated too often. For a split, FEW is
    multiplied by the split's share of the characters.
    """
    names = list(SPLITS)
    counts = {name: _count_places(by_split[name], where) for name in names}
    whole = np.sum(list(counts.values()), axis=0)
    common = (whole / (whole + FEW)).mean(0)
    odds: dict[str, list[list[float]]] = {}
    for name in names:
        share = common / (counts[name] + FEW * SPLITS[name])  # of one character
        rows = [
            share[c, [PLACES.index(where[i]) for i in row]] for c, row in enumerate(by_split[name])
        ]
        odds[name] = [(row / row.sum()).tolist() for row in rows]
    return odds


def _count_places(
    rows: Sequence[Sequence[int]], where: Mapping[int, str]
) -> Float[np.ndarray, "classes places"]:
    counters = [Counter(where[i] for i in row) for row in rows]
    return np.array([[float(counter[name]) for name in PLACES] for counter in counters])
