"""Generated scenes: the class is the pair of shapes that touch; other factors may leak it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from legible.bench.data.backgrounds import textured_background
from legible.bench.data.base import Dataset, dataset
from legible.bench.data.cache import CacheEntry, cached, restore_splits
from legible.bench.data.parameter_checks import at_least, between, fits_in_memory, one_of
from legible.metrics.network import Concepts

SPLITS = ("train", "validation", "test")
PIXELS = 2**18  # drawn at once


class ShapesOptions(NamedTuple):
    """The parameters of `shapes`."""

    size: int
    classes: int
    distractors: int
    train: int
    validation: int
    test: int
    correlation: float
    test_correlation: float | None
    position: str
    colour: str
    texture: str
    contrast: float
    background: float
    seed: int


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
    """Scenes with an object of two parts that touch, and distractors, on a textured background.

    The object of class c consists of parts c and c + 1 (that of the last class, of the last and
    the first part). So no single part tells the class, and the label follows from the masks.
    Distractors have other shapes than parts, and all distractors of a scene differ. Every part and
    distractor has a colour, a texture, an angle and a size. Concepts, with exact masks of what is
    visible: parts, objects (which define the classes), colours other than white, textures other
    than plain, and the object's position.

    By default only the parts tell the class. These parameters let other factors tell it too:

    - ``correlation``: probability that the first distractor is that of the class instead of a
      random one, in training and validation; ``test_correlation``: the same in test (None: as in
      training). Classes share six distractors.
    - ``position``: "random", or "fixed": the object of each class has a fixed pair of places.
    - ``colour``, ``texture``: "random", "part" (fixed for each shape) or "class" (fixed for both
      parts of each class's object; classes share seven colours and three textures).

    ``contrast`` scales the opacity of the parts, ``background`` the contrast of the background.
    Raises ValueError for a parameter out of range.
    """
    options = ShapesOptions(
        size=size, classes=classes, distractors=distractors, train=train, validation=validation,
        test=test, correlation=correlation, test_correlation=test_correlation, position=position,
        colour=colour, texture=texture, contrast=contrast, background=background, seed=seed,
    )  # fmt: skip
    _check(options)
    entry = cached(root, "shapes", options._asdict(), __file__, lambda: _draw_all(options))
    names = tuple(entry.notes["names"][k] for k in entry.notes["of_class"])
    return Dataset("shapes", names, *restore_splits(entry, size, classes), shift=2)


def _check(options: ShapesOptions) -> None:
    between("size", options.size, 28, 512)
    between("classes", options.classes, 3, len(INFORMATIVE))
    between("distractors", options.distractors, 0, len(DISTRACTORS))
    for split in SPLITS:
        at_least(split, getattr(options, split), options.classes)
    between("correlation", options.correlation, 0, 1)
    if options.test_correlation is not None:
        between("test_correlation", options.test_correlation, 0, 1)
    one_of("position", options.position, ("random", "fixed"))
    one_of("colour", options.colour, ("random", "part", "class"))
    one_of("texture", options.texture, ("random", "part", "class"))
    between("contrast", options.contrast, 0.1, 1.5)
    between("background", options.background, 0, 3)
    at_least("seed", options.seed, 0)
    count = options.train + options.validation + options.test
    concepts = len(_concepts(options.classes, options.distractors)[0])
    fits_in_memory(count, options.size, 3 + concepts / 8)


def _concepts(classes: int, distractors: int) -> tuple[list[str], list[str]]:
    """Names and categories of the concepts."""
    groups = {
        "part": kinds(classes) if distractors else kinds(classes)[:classes],
        "object": [f"{INFORMATIVE[c]} + {INFORMATIVE[(c + 1) % classes]}" for c in range(classes)],
        "colour": list(COLOURS)[1:],
        "texture": TEXTURES[1:],
        "position": PLACES,
    }
    return (
        [name for names in groups.values() for name in names],
        [category for category, names in groups.items() for _ in names],
    )


def _draw_all(options: ShapesOptions) -> CacheEntry:
    """Draws the images of all splits."""
    tensors: dict[str, Tensor] = {}
    for number, split in enumerate(SPLITS):
        generator = torch.Generator().manual_seed(options.seed * len(SPLITS) + number)
        correlation = options.correlation
        if split == "test" and options.test_correlation is not None:
            correlation = options.test_correlation
        count = getattr(options, split)
        scenes = draw_scenes(count, generator, options._replace(correlation=correlation))
        chunks = [
            _draw(scenes.rows(rows), generator, options)
            for rows in torch.arange(count).split(max(1, PIXELS // options.size**2))
        ]
        tensors[f"{split}.images"] = torch.cat([images for images, _ in chunks])
        tensors[f"{split}.packed"] = torch.cat([packed for _, packed in chunks])
        tensors[f"{split}.labels"] = scenes.labels
    names, categories = _concepts(options.classes, options.distractors)
    first = categories.index("object")
    notes = {
        "names": names,
        "categories": categories,
        "landmark": [c in ("part", "object", "position") for c in categories],
        "of_class": list(range(first, first + options.classes)),
    }
    return CacheEntry(tensors, notes)


# ----------------------------------------------------------------- shapes

#: An implicit function of (right, down), in radii from the centre: positive inside the shape, and
#: about the distance to its edge.
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
# Shares of white and of plain parts. Metrics threshold a unit at its highest 0.5 % of positions, so
# the other colours and textures must be rare.
WHITE, PLAIN = 0.6, 0.88
PLACES = (
    "top left", "top", "top right", "left", "middle", "right", "bottom left", "bottom",
    "bottom right",
)  # fmt: skip
RADIUS = 0.115  # of a part, in image sides

# The two parts of an object lie in neighbouring places of the 3 x 3, in either order ...
_BESIDE = [(a, b) for a in range(9) for b in (a + 1, a + 3) if b < 9 and (b == a + 3 or b % 3)]
NEIGHBOURS = torch.tensor(_BESIDE + [(b, a) for a, b in _BESIDE])
# ... and the distractors in other places.
ELSEWHERE = torch.tensor([[p for p in range(9) if p not in pair] for pair in NEIGHBOURS.tolist()])


class Scenes(NamedTuple):
    """Random factors of scenes, for each part; the two parts of the object come first."""

    labels: Int[Tensor, "scenes"]
    kind: Int[Tensor, "scenes parts"]  # index into `kinds`
    colour: Int[Tensor, "scenes parts"]  # index into COLOURS
    texture: Int[Tensor, "scenes parts"]  # index into TEXTURES
    centre: Float[Tensor, "scenes parts xy"]  # in image sides
    radius: Float[Tensor, "scenes parts"]  # in image sides
    angle: Float[Tensor, "scenes parts"]

    def rows(self, rows: Tensor) -> Scenes:
        """The scenes with these indices."""
        return Scenes(*(field[rows] for field in self))

    @property
    def place(self) -> Int[Tensor, "scenes"]:
        """Index into PLACES of the place in which the object's middle lies."""
        column, row = (self.centre[:, :2].mean(1) * 3).long().clamp(0, 2).unbind(1)
        return column + 3 * row


def kinds(classes: int) -> tuple[str, ...]:
    """Names of the shapes: the first part of each class, then the distractors."""
    return INFORMATIVE[:classes] + DISTRACTORS


def draw_scenes(count: int, generator: torch.Generator, options: ShapesOptions) -> Scenes:
    """``count`` random scenes; classes are equally frequent."""
    classes, distractors = options.classes, options.distractors

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    labels = (torch.arange(count) % classes)[torch.randperm(count, generator=generator)]
    order = uniform(count, len(DISTRACTORS))
    own = torch.arange(count), labels % len(DISTRACTORS)
    order[own] = torch.where(uniform(count) < options.correlation, -1.0, order[own])
    others = order.argsort(1)[:, :distractors] + classes
    kind = torch.cat([labels[:, None], (labels[:, None] + 1) % classes, others], 1)
    pair = labels if options.position == "fixed" else (uniform(count) * len(NEIGHBOURS)).long()
    free = ELSEWHERE[pair].gather(1, uniform(count, 7).argsort(1)[:, :distractors])
    place = torch.cat([NEIGHBOURS[pair], free], 1)
    draw = uniform(2, *kind.shape)
    colour = _choose(options.colour, len(COLOURS), WHITE, kind, labels, draw)
    draw = uniform(2, *kind.shape)
    texture = _choose(options.texture, len(TEXTURES), PLAIN, kind, labels, draw)
    centre = torch.stack([place % 3, place // 3], -1) / 3 + 1 / 6
    middle = centre[:, :2].mean(1, keepdim=True)
    centre[:, :2] = middle + 0.75 * (centre[:, :2] - middle)  # so that the parts touch
    centre[:, :2] += 0.08 * (uniform(count, 1, 2) - 0.5)
    centre += 0.03 * (uniform(*centre.shape) - 0.5)
    radius = RADIUS * (0.88 + 0.24 * uniform(*kind.shape))
    angle = 0.5 * (uniform(*kind.shape) - 0.5)
    return Scenes(labels, kind, colour, texture, centre, radius, angle)


def _choose(
    how: str, many: int, common: float, kind: Tensor, labels: Tensor, draw: Tensor
) -> Tensor:
    """One of ``many`` values for each part.

    ``how`` = "random": 0 with probability ``common``, else any other value; "part": fixed for each
    shape; "class": fixed for the object's parts of each class.
    """
    values = torch.where(draw[0] < common, 0, 1 + (draw[1] * (many - 1)).long())
    if how == "part":
        return kind % many
    if how == "class":
        values[:, :2] = (labels % many)[:, None]
    return values


# ----------------------------------------------------------------- images


def _draw(
    scenes: Scenes, generator: torch.Generator, options: ShapesOptions
) -> tuple[Tensor, Tensor]:
    """Images and packed masks of some scenes."""
    size, classes = options.size, options.classes
    right, down = _own_coordinates(scenes, size)
    inside = torch.empty_like(right)
    for number, name in enumerate(kinds(classes)):
        rows = (scenes.kind == number).nonzero(as_tuple=True)
        inside[rows] = SHAPES[name](right[rows], down[rows])
    cover = (inside * (scenes.radius * size)[..., None, None] + 0.5).clamp_(0, 1)
    image = _ground(len(scenes.labels), size, options.background, generator)
    palette = torch.tensor(list(COLOURS.values()))[scenes.colour]
    shade = _shade(scenes.texture, right, down)
    opacity = options.contrast * (0.55 + 0.45 * torch.rand(scenes.kind.shape, generator=generator))
    for part in range(scenes.kind.shape[1]):
        alpha = (cover[:, part] * opacity[:, part, None, None]).clamp(0, 1)[:, None]
        paint = palette[:, part, :, None, None] * shade[:, part, None]
        image = image + alpha * (paint - image)
    images = (255 * image.clamp(0.02, 1)).round().to(torch.uint8)
    solid = cover >= 0.5
    above = solid.flip(1).cumsum(1).flip(1) - solid.long()  # parts painted over this one
    return images, _masks(scenes, solid & (above == 0), classes, options.distractors)


def _own_coordinates(scenes: Scenes, size: int) -> tuple[Tensor, Tensor]:
    """Position of each pixel, right and down, in the rotated and scaled frame of every part."""
    centre = (torch.arange(size) + 0.5) / size
    x = (centre - scenes.centre[..., :1])[..., None, :]
    y = (centre - scenes.centre[..., 1:])[..., :, None]
    cos = (scenes.angle.cos() / scenes.radius)[..., None, None]
    sin = (scenes.angle.sin() / scenes.radius)[..., None, None]
    return cos * x + sin * y, cos * y - sin * x


def _shade(texture: Tensor, right: Tensor, down: Tensor) -> Tensor:
    """Brightness of each part's colour: 1, or half of that in its stripes or squares."""
    striped, checked = ((texture == k)[..., None, None] for k in (1, 2))
    stripes = (right * 2.2).floor() % 2
    squares = ((right * 1.6).floor() + (down * 1.6).floor()) % 2
    return 1 - 0.5 * (striped * stripes + checked * squares)


def _ground(count: int, size: int, contrast: float, generator: torch.Generator) -> Tensor:
    """Textured backgrounds of random brightness and tint."""
    draw = torch.rand(2, count, 1, 1, 1, generator=generator)
    tint = 0.06 * torch.randn(count, 3, 1, 1, generator=generator)
    grain = (0.04 + 0.06 * draw[0]) * textured_background(count, size, generator)
    return 0.25 + 0.2 * draw[1] + tint + contrast * grain


def _masks(scenes: Scenes, visible: Tensor, classes: int, distractors: int) -> Tensor:
    """Packed masks of the concepts of each part.

    These are its shape, colour and texture and, for a part of the object, object and position.
    """
    names, categories = _concepts(classes, distractors)
    first = {category: categories.index(category) for category in dict.fromkeys(categories)}
    count, parts, size = visible.shape[:3]
    belongs = torch.full((5, count, parts), -1)  # concepts of a part; -1: none
    belongs[0] = scenes.kind
    belongs[1, :, :2] = first["object"] + scenes.labels[:, None]
    belongs[2, :, :2] = first["position"] + scenes.place[:, None]
    belongs[3] = torch.where(scenes.colour > 0, first["colour"] - 1 + scenes.colour, -1)
    belongs[4] = torch.where(scenes.texture > 0, first["texture"] - 1 + scenes.texture, -1)
    _, image, part = (belongs >= 0).nonzero(as_tuple=True)
    planes = torch.zeros(count * len(names), size, size, dtype=torch.uint8)
    planes.index_add_(0, image * len(names) + belongs[belongs >= 0], visible[image, part].byte())
    masks = planes.view(count, len(names), size, size) > 0
    blank = [""] * len(names)
    return Concepts.pack(masks, blank, blank, [False] * len(names)).packed
