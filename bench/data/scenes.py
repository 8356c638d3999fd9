"""What stands where in a generated scene: every factor drawn apart, or tied to the class."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from legible.bench.data.forms import DISTRACTORS, INFORMATIVE

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
