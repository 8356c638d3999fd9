"""Generated scenes: the class is which two parts touch; everything else can be made to leak it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bench.data import forms
from bench.data import texture as backgrounds
from bench.data.base import Dataset, dataset, make_splits
from bench.data.cache import Made, cached
from bench.data.checks import at_least, between, one_of
from bench.data.forms import DISTRACTORS, INFORMATIVE, SHAPES
from bench.data.texture import texture as textured
from metrics.base import Concepts

SPLITS = ("train", "validation", "test")
CHUNK = 256  # scenes drawn at once
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
COMMON = 0.5  # share of parts that are white, and, apart from that, plain
PLACES = tuple(
    f"{row} {column}".replace("middle middle", "centre")
    for row in ("top", "middle", "bottom")
    for column in ("left", "middle", "right")
)

# An object's parts lie in two neighbouring places of the 3 x 3, in either order.
NEIGHBOURS = torch.tensor(
    [
        p
        for a in range(9)
        for b in (a + 1, a + 3)
        if b < 9 and (b == a + 3 or b % 3)
        for p in ((a, b), (b, a))
    ]
)
# For each such pair, the other seven places.
ELSEWHERE = torch.tensor([[p for p in range(9) if p not in pair] for pair in NEIGHBOURS.tolist()])


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
    size. Concepts, with exact masks: parts, objects (which define the classes), colours, textures
    and the object's position.

    What is uninformative by default can be made to leak the class:

    - ``correlation``: probability that the first distractor is the class's own instead of a
      random one, in train and validation; ``test_correlation`` the same in test (default: as in
      training). Classes share the six distractors.
    - ``position``: "random", or "fixed": each class's object has its own place.
    - ``colour``, ``texture``: "random", "part" (each shape has its own) or "class" (all the
      object's parts have the class's own).

    ``contrast`` scales the parts' opacity, ``background`` the ground's texture.
    Raises ValueError for a parameter out of range.
    """
    options = {k: v for k, v in locals().items() if k != "root"}
    _check(**options)
    sources = [forms, backgrounds, sys.modules[__name__]]
    tensors, _ = cached(root, "shapes", options, sources, lambda: _make(**options))
    names, categories = _concepts(classes)
    first = names.index(_object(0, classes))
    landmark = [c in ("part", "object", "position") for c in categories]
    parts = {
        split: (
            tensors[f"{split}.images"],
            tensors[f"{split}.labels"],
            Concepts(
                tuple(names),
                tuple(categories),
                tuple(landmark),
                tensors[f"{split}.packed"],
                size,
                tuple(range(first, first + classes)),
            ),
        )
        for split in SPLITS
    }
    class_names = tuple(_object(c, classes) for c in range(classes))
    return Dataset("shapes", class_names, **make_splits(parts, classes), shift=2)


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


def _object(label: int, classes: int) -> str:
    return f"{INFORMATIVE[label]} + {INFORMATIVE[(label + 1) % classes]}"


def _concepts(classes: int) -> tuple[list[str], list[str]]:
    """Names and categories of the concepts; a part's number is its place among SHAPES."""
    groups = {
        "part": list(SHAPES),
        "object": [_object(c, classes) for c in range(classes)],
        "colour": list(COLOURS)[1:],
        "texture": list(TEXTURES[1:]),
        "position": list(PLACES),
    }
    return (
        [name for names in groups.values() for name in names],
        [category for category, names in groups.items() for _ in names],
    )


def _make(**options: Any) -> Made:
    tensors: dict[str, Tensor] = {}
    for number, split in enumerate(SPLITS):
        generator = torch.Generator().manual_seed(options["seed"] * len(SPLITS) + number)
        factors = dict(options)
        if split == "test" and options["test_correlation"] is not None:
            factors["correlation"] = options["test_correlation"]
        scenes = plan(options[split], generator, **factors)
        chunks = [
            _draw(Scenes(*(field[rows] for field in scenes)), generator, **options)
            for rows in torch.arange(options[split]).split(CHUNK)
        ]
        tensors[f"{split}.images"] = torch.cat([images for images, _ in chunks])
        tensors[f"{split}.packed"] = torch.cat([packed for _, packed in chunks])
        tensors[f"{split}.labels"] = scenes.labels
    return tensors, {}


class Scenes(NamedTuple):
    """What stands where: fields by image, and by image and part (the object's two come first)."""

    labels: Tensor
    kind: Tensor  # index into SHAPES
    colour: Tensor
    texture: Tensor
    place: Tensor  # of the 3 x 3
    centre: Tensor  # (..., 2), in image sides
    radius: Tensor  # in image sides
    angle: Tensor


def plan(
    count: int,
    generator: torch.Generator,
    *,
    classes: int,
    distractors: int,
    correlation: float,
    position: str,
    colour: str,
    texture: str,
    **_: Any,
) -> Scenes:
    """Draws the factors of ``count`` scenes; classes are equally frequent."""

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    labels = (torch.arange(count) % classes)[torch.randperm(count, generator=generator)]
    order = uniform(count, len(DISTRACTORS))
    own = torch.arange(count), labels % len(DISTRACTORS)
    order[own] = torch.where(uniform(count) < correlation, -1.0, order[own])
    others = order.argsort(1)[:, :distractors] + len(INFORMATIVE)
    kind = torch.cat([labels[:, None], (labels[:, None] + 1) % classes, others], 1)
    pair = labels if position == "fixed" else (uniform(count) * len(NEIGHBOURS)).long()
    free = ELSEWHERE[pair].gather(1, uniform(count, 7).argsort(1)[:, :distractors])
    place = torch.cat([NEIGHBOURS[pair], free], 1)
    chosen = {
        name: _choose(how, len(options), kind, labels, uniform(2, *kind.shape))
        for name, how, options in (("colour", colour, COLOURS), ("texture", texture, TEXTURES))
    }
    centre = torch.stack([place % 3, place // 3], -1) / 3 + 1 / 6
    middle = centre[:, :2].mean(1, keepdim=True)
    centre[:, :2] = middle + 0.8 * (centre[:, :2] - middle)  # so that the parts touch
    centre[:, :2] += 0.08 * (uniform(count, 1, 2) - 0.5)
    centre += 0.03 * (uniform(*centre.shape) - 0.5)
    radius = 0.115 * (0.88 + 0.24 * uniform(*kind.shape))
    angle = 0.5 * (uniform(*kind.shape) - 0.5)
    return Scenes(labels, kind, chosen["colour"], chosen["texture"], place, centre, radius, angle)


def _choose(how: str, many: int, kind: Tensor, labels: Tensor, draw: Tensor) -> Tensor:
    """An option for every part: the common one (0) half the time, or fixed by shape or class."""
    chosen = torch.where(draw[0] < COMMON, 0, 1 + (draw[1] * (many - 1)).long())
    if how == "part":
        chosen = kind % many
    if how == "class":
        chosen[:, :2] = (labels % many)[:, None]
    return chosen


def _draw(
    scenes: Scenes,
    generator: torch.Generator,
    *,
    size: int,
    classes: int,
    contrast: float,
    background: float,
    **_: Any,
) -> tuple[Tensor, Tensor]:
    """Images and packed masks of some scenes."""
    right, down = _own_coordinates(scenes, size)
    inside = torch.empty_like(right)
    for number, shape in enumerate(SHAPES.values()):
        rows = (scenes.kind == number).nonzero(as_tuple=True)
        inside[rows] = shape(right[rows], down[rows])
    cover = (inside * (scenes.radius * size)[..., None, None] + 0.5).clamp_(0, 1)
    stripe = ((right * 2.2).floor() % 2, ((right * 1.6).floor() + (down * 1.6).floor()) % 2)
    shade = 1 - 0.65 * sum(
        band * (scenes.texture == k + 1)[..., None, None] for k, band in enumerate(stripe)
    )
    image = _ground(len(scenes.labels), size, background, generator)
    palette = torch.tensor(list(COLOURS.values()))[scenes.colour]
    opacity = contrast * (0.5 + 0.5 * torch.rand(scenes.kind.shape, generator=generator))
    for part in range(scenes.kind.shape[1]):
        alpha = (cover[:, part] * opacity[:, part, None, None]).clamp(0, 1)[:, None]
        paint = palette[:, part, :, None, None] * shade[:, part, None]
        image = image + alpha * (paint - image)
    images = (255 * image.clamp(0.02, 1)).round().to(torch.uint8)
    return images, _masks(scenes, cover >= 0.5, classes)


def _own_coordinates(scenes: Scenes, size: int) -> tuple[Tensor, Tensor]:
    """Each pixel's place, right and down, in the turned and scaled frame of every part."""
    centre = (torch.arange(size) + 0.5) / size
    x = (centre - scenes.centre[..., :1])[..., None, :]
    y = (centre - scenes.centre[..., 1:])[..., :, None]
    radius = scenes.radius[..., None, None]
    cos, sin = (
        scenes.angle.cos()[..., None, None] / radius,
        scenes.angle.sin()[..., None, None] / radius,
    )
    return cos * x + sin * y, cos * y - sin * x


def _ground(count: int, size: int, background: float, generator: torch.Generator) -> Tensor:
    draw = torch.rand(2, count, 1, 1, 1, generator=generator)
    tint = 0.06 * torch.randn(count, 3, 1, 1, generator=generator)
    grain = (0.04 + 0.06 * draw[0]) * textured(count, size, generator)
    return 0.25 + 0.2 * draw[1] + tint + background * grain


def _masks(scenes: Scenes, covered: Tensor, classes: int) -> Tensor:
    """Packed masks: each part belongs to its shape, its colour, its texture, and to its object."""
    names, categories = _concepts(classes)
    count, parts, size = covered.shape[:3]
    middle = scenes.centre[:, :2].mean(1)
    where = (middle * 3).long().clamp(0, 2)
    belongs = torch.full((count, parts, 5), -1)
    belongs[..., 0] = scenes.kind
    belongs[:, :2, 1] = categories.index("object") + scenes.labels[:, None]
    for column, category, value in ((2, "colour", scenes.colour), (3, "texture", scenes.texture)):
        start = categories.index(category) - 1  # the first, common one is no concept
        belongs[..., column] = torch.where(value > 0, start + value, -1)
    belongs[:, :2, 4] = (categories.index("position") + where[:, 0] + 3 * where[:, 1])[:, None]
    image, part, column = (belongs >= 0).nonzero(as_tuple=True)
    planes = torch.zeros(count * len(names), size, size, dtype=torch.uint8)
    rows = image * len(names) + belongs[image, part, column]
    planes.index_add_(0, rows, covered[image, part].byte())
    masks = planes.view(count, len(names), size, size) > 0
    blank = [""] * len(names)
    return Concepts.pack(masks, blank, blank, [False] * len(names)).packed
