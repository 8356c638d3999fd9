"""Generated scenes: the class is which two parts touch; everything else can be made to leak it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from legible.bench.data import texture as backgrounds
from legible.bench.data.base import Dataset, dataset
from legible.bench.data.cache import Made, cached, restore
from legible.bench.data.parameter_checks import at_least, between, one_of
from legible.bench.data.backgrounds import textured_background
from legible.metrics.network import Concepts


SPLITS = ("train", "validation", "test")
PIXELS = 2**18  # drawn at once
FACTORS = ("classes", "distractors", "correlation", "position", "colour", "texture")


@dataset
def shapes(
    root: Path,
    size: int = 32,
    classes: int = 10,
    distractors: int = 1,
    train: int = 6000,
    validation: int = 1000,
    test: int = 2000,
    correlation: float = 0.0,
    test_correlation: float | None = None,
    position: str = "random",
    colour: str = "random",
    texture: str = "random",
    contrast: float = 1.0,
    background: float = 1.0,
    seed: int = 0,
) -> Dataset:
    """Scenes of an object, two parts that touch, and of distractor parts, on a textured ground.

    Class c is the object of parts c and c + 1 (the last class closes the ring), so that no part
    alone tells the class, and a label can be recomputed from the masks. Distractors are shapes
    of their own, all different in one scene. Every part has a colour, a texture, an angle and a
    size. Concepts, with exact masks of what is visible: parts, objects (which define the
    classes), colours other than white, textures other than plain, and the object's position.

    What is uninformative by default can be made to leak the class:

    - ``correlation``: probability that the first distractor is the class's own instead of a
      random one, in train and validation; ``test_correlation`` the same in test (default: as in
      training). Classes share the six distractors.
    - ``position``: "random", or "fixed": each class's object has its own pair of places.
    - ``colour``, ``texture``: "random", "part" (each shape has its own) or "class" (both of the
      object's parts have the class's own; classes share the seven colours, three textures).

    ``contrast`` scales the parts' opacity, ``background`` the ground's texture.
    Raises ValueError for a parameter out of range.
    """
    options = {k: v for k, v in locals().items() if k != "root"}
    _check(**options)
    sources = [forms, scenes, backgrounds, sys.modules[__name__]]
    made = cached(root, "shapes", options, sources, lambda: _make(**options))
    names = tuple(made[1]["names"][k] for k in made[1]["of_class"])
    return Dataset("shapes", names, *restore(made, size, classes), shift=2)


def _check(**options: Any) -> None:
    between("size", options["size"], 28, 512)
    between("classes", options["classes"], 3, len(INFORMATIVE))
    between("distractors", options["distractors"], 0, len(DISTRACTORS))
    for name in SPLITS:
        at_least(name, options[name], options["classes"])
    between("correlation", options["correlation"], 0, 1)
    if options["test_correlation"] is not None:
        between("test_correlation", options["test_correlation"], 0, 1)
    one_of("position", options["position"], ("random", "fixed"))
    one_of("colour", options["colour"], ("random", "part", "class"))
    one_of("texture", options["texture"], ("random", "part", "class"))
    between("contrast", options["contrast"], 0.1, 1.5)
    between("background", options["background"], 0, 3)
    at_least("seed", options["seed"], 0)


def _concepts(classes: int, distractors: int) -> tuple[list[str], list[str]]:
    """Names and categories of the concepts."""
    shown = kinds(classes) if distractors else kinds(classes)[:classes]
    groups = {
        "part": shown,
        "object": [f"{INFORMATIVE[c]} + {INFORMATIVE[(c + 1) % classes]}" for c in range(classes)],
        "colour": list(COLOURS)[1:],
        "texture": TEXTURES[1:],
        "position": PLACES,
    }
    return (
        [name for names in groups.values() for name in names],
        [category for category, names in groups.items() for _ in names],
    )


def _make(**options: Any) -> Made:
    tensors: dict[str, Tensor] = {}
    for number, split in enumerate(SPLITS):
        generator = torch.Generator().manual_seed(options["seed"] * len(SPLITS) + number)
        factors = {name: options[name] for name in FACTORS}
        if split == "test" and options["test_correlation"] is not None:
            factors["correlation"] = options["test_correlation"]
        drawn = draw_scenes(options[split], generator, **factors)
        chunks = [
            _draw(drawn.rows(rows), generator, **options)
            for rows in torch.arange(options[split]).split(max(1, PIXELS // options["size"] ** 2))
        ]
        tensors[f"{split}.images"] = torch.cat([images for images, _ in chunks])
        tensors[f"{split}.packed"] = torch.cat([packed for _, packed in chunks])
        tensors[f"{split}.labels"] = drawn.labels
    names, categories = _concepts(options["classes"], options["distractors"])
    first = categories.index("object")
    notes = {
        "names": names,
        "categories": categories,
        "landmark": [c in ("part", "object", "position") for c in categories],
        "of_class": list(range(first, first + options["classes"])),
    }
    return tensors, notes


# ----------------------------------------------------------------- forms

# A function of (right, down), in radii from the centre: about the distance to the edge, positive
# inside.
Shape = Callable[[Tensor, Tensor], Tensor]


def _least(*terms: Tensor) -> Tensor:
    return torch.stack(terms).amin(0)


def _most(*terms: Tensor) -> Tensor:
    return torch.stack(terms).amax(0)


def _box(x: Tensor, y: Tensor, wide: float, high: float) -> Tensor:
    return _least(wide - x.abs(), high - y.abs())


def _plus(x: Tensor, y: Tensor) -> Tensor:
    return _most(_box(x, y, 1.0, 0.33), _box(x, y, 0.33, 1.0))


SHAPES: dict[str, Shape] = {
    "disc": lambda x, y: 0.95 - x.hypot(y),
    "square": lambda x, y: _box(x, y, 0.82, 0.82),
    "triangle": lambda x, y: _least(0.8 - y, 0.45 * (y + 1.1) - 0.87 * x.abs()),
    "plus": _plus,
    "diamond": lambda x, y: 0.75 * (1.05 - x.abs() - y.abs()),
    "bar": lambda x, y: _box(x, y, 1.0, 0.42),
    "crescent": lambda x, y: _least(1 - x.hypot(y), (x - 0.5).hypot(y + 0.25) - 0.75),
    "cross": lambda x, y: _plus(0.71 * (x + y), 0.71 * (x - y)),
    "pillar": lambda x, y: _box(x, y, 0.42, 1.0),
    "tee": lambda x, y: _most(_box(x, y + 0.6, 0.9, 0.35), _box(x, y, 0.35, 0.95)),
    "ring": lambda x, y: 0.32 - (x.hypot(y) - 0.68).abs(),
    "frame": lambda x, y: 0.27 - (_most(x.abs(), y.abs()) - 0.63).abs(),
    "hourglass": lambda x, y: _least(0.9 - y.abs(), 0.75 * (y.abs() - x.abs() + 0.25)),
    "corner": lambda x, y: _most(_box(x + 0.55, y, 0.37, 0.9), _box(x, y - 0.55, 0.9, 0.37)),
    "chevron": lambda x, y: _least(0.9 - x.abs(), 0.32 - 0.75 * (y - x.abs() + 0.45).abs()),
    "arch": lambda x, y: _least(0.32 - (x.hypot(y - 0.3) - 0.7).abs(), 0.6 - y),
}
INFORMATIVE = tuple(SHAPES)[:10]
DISTRACTORS = tuple(SHAPES)[10:]

# ----------------------------------------------------------------- scenes

COLOURS = {
    "white": (0.95, 0.95, 0.95),
    "red": (0.95, 0.2, 0.2),
    "green": (0.2, 0.8, 0.25),
    "blue": (0.25, 0.4, 1.0),
    "yellow": (0.95, 0.85, 0.15),
    "cyan": (0.2, 0.85, 0.9),
    "magenta": (0.9, 0.3, 0.85),
}
TEXTURES = ("plain", "striped", "checked")
# How many parts are white, and how many plain: the other colours and textures must be rare enough
# to be told by the 0.5 % of positions that metrics threshold at.
WHITE, PLAIN = 0.6, 0.88
PLACES = (
    "top left", "top", "top right", "left", "middle", "right", "bottom left", "bottom",
    "bottom right",
)  # fmt: skip
RADIUS = 0.115  # of a part, in image sides

# An object's parts lie in two neighbouring places of the 3 x 3, in either order ...
_BESIDE = [(a, b) for a in range(9) for b in (a + 1, a + 3) if b < 9 and (b == a + 3 or b % 3)]
NEIGHBOURS = torch.tensor(_BESIDE + [(b, a) for a, b in _BESIDE])
# ... and distractors in any of the other seven.
ELSEWHERE = torch.tensor([[p for p in range(9) if p not in pair] for pair in NEIGHBOURS.tolist()])


class Scenes(NamedTuple):
    """The factors of scenes, by part; an object's two parts come first."""

    labels: Int[Tensor, "scenes"]
    kind: Int[Tensor, "scenes parts"]  # index into `kinds`
    colour: Int[Tensor, "scenes parts"]  # index into COLOURS
    texture: Int[Tensor, "scenes parts"]  # index into TEXTURES
    centre: Float[Tensor, "scenes parts xy"]  # in image sides
    radius: Float[Tensor, "scenes parts"]  # in image sides
    angle: Float[Tensor, "scenes parts"]

    def rows(self, rows: Tensor) -> Scenes:
        """Some of the scenes."""
        return Scenes(*(field[rows] for field in self))

    @property
    def place(self) -> Int[Tensor, "scenes"]:
        """The one of nine PLACES in which the object's middle lies."""
        column, row = (self.centre[:, :2].mean(1) * 3).long().clamp(0, 2).unbind(1)
        return column + 3 * row


def kinds(classes: int) -> tuple[str, ...]:
    """The shapes in use: each class's first part, then the distractors."""
    return INFORMATIVE[:classes] + DISTRACTORS


def draw_scenes(
    count: int,
    generator: torch.Generator,
    *,
    classes: int,
    distractors: int,
    correlation: float,
    position: str,
    colour: str,
    texture: str,
) -> Scenes:
    """Draws ``count`` scenes; classes are equally frequent (see `shapes` for the options)."""

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    labels = (torch.arange(count) % classes)[torch.randperm(count, generator=generator)]
    order = uniform(count, len(DISTRACTORS))
    own = torch.arange(count), labels % len(DISTRACTORS)
    order[own] = torch.where(uniform(count) < correlation, -1.0, order[own])
    others = order.argsort(1)[:, :distractors] + classes
    kind = torch.cat([labels[:, None], (labels[:, None] + 1) % classes, others], 1)
    pair = labels if position == "fixed" else (uniform(count) * len(NEIGHBOURS)).long()
    free = ELSEWHERE[pair].gather(1, uniform(count, 7).argsort(1)[:, :distractors])
    place = torch.cat([NEIGHBOURS[pair], free], 1)
    colours = _choose(colour, len(COLOURS), WHITE, kind, labels, uniform(2, *kind.shape))
    textures = _choose(texture, len(TEXTURES), PLAIN, kind, labels, uniform(2, *kind.shape))
    centre = torch.stack([place % 3, place // 3], -1) / 3 + 1 / 6
    middle = centre[:, :2].mean(1, keepdim=True)
    centre[:, :2] = middle + 0.75 * (centre[:, :2] - middle)  # so that the parts touch
    centre[:, :2] += 0.08 * (uniform(count, 1, 2) - 0.5)
    centre += 0.03 * (uniform(*centre.shape) - 0.5)
    radius = RADIUS * (0.88 + 0.24 * uniform(*kind.shape))
    angle = 0.5 * (uniform(*kind.shape) - 0.5)
    return Scenes(labels, kind, colours, textures, centre, radius, angle)


def _choose(
    how: str, many: int, common: float, kind: Tensor, labels: Tensor, draw: Tensor
) -> Tensor:
    """An option for every part: the common one (0) most often, or tied to shape or class."""
    chosen = torch.where(draw[0] < common, 0, 1 + (draw[1] * (many - 1)).long())
    if how == "part":
        return kind % many
    if how == "class":
        chosen[:, :2] = (labels % many)[:, None]
    return chosen


# ----------------------------------------------------------------- images


def _draw(
    drawn: Scenes,
    generator: torch.Generator,
    *,
    size: int,
    classes: int,
    distractors: int,
    contrast: float,
    background: float,
    **_: Any,
) -> tuple[Tensor, Tensor]:
    """Images and packed masks of some scenes."""
    right, down = _own_coordinates(drawn, size)
    inside = torch.empty_like(right)
    for number, name in enumerate(kinds(classes)):
        rows = (drawn.kind == number).nonzero(as_tuple=True)
        inside[rows] = SHAPES[name](right[rows], down[rows])
    cover = (inside * (drawn.radius * size)[..., None, None] + 0.5).clamp_(0, 1)
    image = _ground(len(drawn.labels), size, background, generator)
    palette = torch.tensor(list(COLOURS.values()))[drawn.colour]
    shade = _shade(drawn.texture, right, down)
    opacity = contrast * (0.55 + 0.45 * torch.rand(drawn.kind.shape, generator=generator))
    for part in range(drawn.kind.shape[1]):
        alpha = (cover[:, part] * opacity[:, part, None, None]).clamp(0, 1)[:, None]
        paint = palette[:, part, :, None, None] * shade[:, part, None]
        image = image + alpha * (paint - image)
    images = (255 * image.clamp(0.02, 1)).round().to(torch.uint8)
    solid = cover >= 0.5
    above = solid.flip(1).cumsum(1).flip(1) - solid.long()  # parts painted over this one
    return images, _masks(drawn, solid & (above == 0), classes, distractors)


def _own_coordinates(drawn: Scenes, size: int) -> tuple[Tensor, Tensor]:
    """Each pixel's place, right and down, in the turned and scaled frame of every part."""
    centre = (torch.arange(size) + 0.5) / size
    x = (centre - drawn.centre[..., :1])[..., None, :]
    y = (centre - drawn.centre[..., 1:])[..., :, None]
    cos = (drawn.angle.cos() / drawn.radius)[..., None, None]
    sin = (drawn.angle.sin() / drawn.radius)[..., None, None]
    return cos * x + sin * y, cos * y - sin * x


def _shade(texture: Tensor, right: Tensor, down: Tensor) -> Tensor:
    """How light each part's paint is: 1, or half of that in its stripes or squares."""
    striped, checked = ((texture == k)[..., None, None] for k in (1, 2))
    stripes = (right * 2.2).floor() % 2
    squares = ((right * 1.6).floor() + (down * 1.6).floor()) % 2
    return 1 - 0.5 * (striped * stripes + checked * squares)


def _ground(count: int, size: int, background: float, generator: torch.Generator) -> Tensor:
    draw = torch.rand(2, count, 1, 1, 1, generator=generator)
    tint = 0.06 * torch.randn(count, 3, 1, 1, generator=generator)
    grain = (0.04 + 0.06 * draw[0]) * textured_background(count, size, generator)
    return 0.25 + 0.2 * draw[1] + tint + background * grain


def _masks(drawn: Scenes, visible: Tensor, classes: int, distractors: int) -> Tensor:
    """Packed masks: a part is of its shape, colour and texture, an object's also of the object."""
    names, categories = _concepts(classes, distractors)
    first = {category: categories.index(category) for category in dict.fromkeys(categories)}
    count, parts, size = visible.shape[:3]
    belongs = torch.full((5, count, parts), -1)  # concepts of a part; -1: of none
    belongs[0] = drawn.kind
    belongs[1, :, :2] = first["object"] + drawn.labels[:, None]
    belongs[2, :, :2] = first["position"] + drawn.place[:, None]
    belongs[3] = torch.where(drawn.colour > 0, first["colour"] - 1 + drawn.colour, -1)
    belongs[4] = torch.where(drawn.texture > 0, first["texture"] - 1 + drawn.texture, -1)
    _, image, part = (belongs >= 0).nonzero(as_tuple=True)
    planes = torch.zeros(count * len(names), size, size, dtype=torch.uint8)
    planes.index_add_(0, image * len(names) + belongs[belongs >= 0], visible[image, part].byte())
    masks = planes.view(count, len(names), size, size) > 0
    blank = [""] * len(names)
    return Concepts.pack(masks, blank, blank, [False] * len(names)).packed
