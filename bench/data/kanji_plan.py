"""Which characters make a dataset: classes, splits, and for every stroke the concepts it is of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from legible.bench.data.strokes import Character, Component

# In this order: components of at least three strokes, none inside another, no two alike, each
# standing in varied places, so that place alone says little about the class. Left out for one of
# these: 口 and 日 (nearly everywhere), 土 (as 士, 王 and 止), 大 (as 人 and 天), 田 (as 日),
# 禾 (as 木), 言 and 馬 (nearly always left), 氵 and 艹 (always in one place).
CLASSES = "女貝虫糸火隹彡車米夂方己巾心寸山月西子廾止尸示木"
SPLITS = {"train": 0.7, "validation": 0.1, "test": 0.2}  # share of each class's characters
PLACES = (
    "top left", "top", "top right", "left", "middle", "right", "bottom left", "bottom",
    "bottom right",
)  # fmt: skip
FEW = 8.0  # characters of a class in one place, below which the place is drawn more seldom
OFF_CENTRE = 0.1  # how far from the canvas's middle a place begins
MOST_STROKES = 16  # of a character: more cannot be read at 32 pixels
SMALLEST = 0.26  # a class component's shorter side, as a share of the canvas
# A concept can be told by the 0.5 % of positions that metrics threshold at only if it is neither
# too rare nor too common: limits of its strokes' length an image, in canvas sides, and the
# largest share of images that may hold it.
LENGTHS = (0.04, 0.11)
COMMONEST = 0.2
GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True, eq=False)
class Plan:
    """The characters of each class and split, and for every stroke the concepts it belongs to."""

    characters: Sequence[Character]
    members: dict[str, list[list[int]]]  # split -> class -> characters
    odds: dict[str, list[list[float]]]  # how often each of these is drawn, of its class's images
    strangers: list[int]  # characters of no class: clutter comes from them
    names: list[str]  # of concepts; the classes come first
    categories: list[str]
    landmark: list[bool]
    belongs: list[list[tuple[int, int]]]  # character -> pairs of stroke and concept


def plan_characters(characters: Sequence[Character], classes: int, seed: int) -> Plan:
    """Finds the characters of the first ``classes`` of CLASSES and deals them to the splits."""
    chosen = CLASSES[:classes]
    defining = [class_component(c, chosen) for c in characters]
    members = [
        [i for i, d in enumerate(defining) if d is not None and d.element == element]
        for element in chosen
    ]
    where = {i: place(characters[i], d) for i, d in enumerate(defining) if d}
    dealt = _split(members, where, seed)
    odds = _odds(dealt, where)
    components, kinds = _other_concepts(characters, dealt, odds, chosen)
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
    return Plan(characters, dealt, odds, strangers, names, categories, landmark, belongs)


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
    """Of some strokes together, in canvas sides."""
    lines = np.diff(character.points[list(strokes)], axis=1)
    return float(np.linalg.norm(lines, axis=-1).sum())


def _elements(character: Character) -> set[str]:
    return {p.element for p in character.components}


def _other_concepts(
    characters: Sequence[Character],
    dealt: dict[str, list[list[int]]],
    odds: dict[str, list[list[float]]],
    chosen: Collection[str],
) -> tuple[list[str], list[str]]:
    """Components and stroke types that every split shows, neither too rarely nor too often.

    The longest come first.
    """
    length: dict[tuple[str, str], float] = {}
    share: dict[tuple[str, str], float] = {}
    splits: dict[tuple[str, str], set[str]] = {}
    for split, members in dealt.items():
        for row, chances in zip(members, odds[split], strict=True):
            for character, chance in zip((characters[i] for i in row), chances, strict=True):
                weight = SPLITS[split] * chance / len(members)  # classes are drawn equally often
                for key, strokes in _strokes_by_concept(character, chosen).items():
                    length[key] = length.get(key, 0) + weight * _length(character, sorted(strokes))
                    share[key] = share.get(key, 0) + weight
                    splits.setdefault(key, set()).add(split)
    found = [
        (category, name)
        for (category, name), total in sorted(length.items(), key=lambda item: (-item[1], item[0]))
        if LENGTHS[0] <= total <= LENGTHS[1]
        and share[category, name] <= COMMONEST
        and len(splits[category, name]) == len(dealt)
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


def _split(
    members: Sequence[Sequence[int]], where: Mapping[int, str], seed: int
) -> dict[str, list[list[int]]]:
    """Deals each class's characters to the splits, in a seeded order, place by place: every split
    gets its share of each place."""
    generator = np.random.default_rng(seed)
    dealt: dict[str, list[list[int]]] = {name: [[] for _ in members] for name in SPLITS}
    ends = np.cumsum(list(SPLITS.values()))[:-1]
    for label, row in enumerate(members):
        mixed = sorted(generator.permutation(row).tolist(), key=lambda i: PLACES.index(where[i]))
        # multiples of the golden section lie evenly in 0 .. 1, and so does every run of them
        turn = (GOLDEN * np.arange(len(row)) + generator.random()) % 1
        for character, number in zip(mixed, np.searchsorted(ends, turn, "right"), strict=True):
            dealt[list(SPLITS)[number]][label].append(character)
    return dealt


def _odds(
    dealt: dict[str, list[list[int]]], where: Mapping[int, str]
) -> dict[str, list[list[float]]]:
    """How often each character is drawn, so that the places are alike in all classes.

    In a class, a place that holds n of its characters is drawn in proportion to q n / (n + FEW),
    its characters equally often; q, common to the classes, is the place's mean of n / (n + FEW).
    Places that a class has often are thus drawn alike in every class, while one that it has once
    or twice is not shown over and over. Where a split holds a share of the characters, FEW is as
    much smaller.
    """
    names = list(SPLITS)
    counts = {name: _count_places(dealt[name], where) for name in names}
    whole = np.sum(list(counts.values()), axis=0)
    common = (whole / (whole + FEW)).mean(0)
    odds: dict[str, list[list[float]]] = {}
    for name in names:
        share = common / (counts[name] + FEW * SPLITS[name])  # of one character
        rows = [
            share[c, [PLACES.index(where[i]) for i in row]] for c, row in enumerate(dealt[name])
        ]
        odds[name] = [(row / row.sum()).tolist() for row in rows]
    return odds


def _count_places(
    rows: Sequence[Sequence[int]], where: Mapping[int, str]
) -> Float[np.ndarray, "classes places"]:
    held = [Counter(where[i] for i in row) for row in rows]
    return np.array([[float(counter[name]) for name in PLACES] for counter in held])
