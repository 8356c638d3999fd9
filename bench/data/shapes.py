"""Generated scenes: the class is which two parts touch; everything else can be made to leak it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from legible.bench.data import forms, scenes
from legible.bench.data import texture as backgrounds
from legible.bench.data.base import Dataset, dataset
from legible.bench.data.cache import Made, cached, restore
from legible.bench.data.checks import at_least, between, one_of
from legible.bench.data.forms import DISTRACTORS, INFORMATIVE, SHAPES
from legible.bench.data.scenes import COLOURS, PLACES, TEXTURES, Scenes, draw_scenes, kinds
from legible.bench.data.texture import texture as textured
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
    grain = (0.04 + 0.06 * draw[0]) * textured(count, size, generator)
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
