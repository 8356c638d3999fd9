"""On which held-out images and concepts a run is judged: choosing and testing share neither.

Settings are chosen on validation images by one half of the concepts; what was chosen is tested on
test images by the other half. Where nothing is tuned, all concepts count on test images.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch

from legible.bench.data.base import Dataset, Split
from legible.metrics.base import Concepts

#: "": test images and all concepts; "tuning": validation images and concepts; "final": test
#: images and the other concepts.
Stage = Literal["", "tuning", "final"]


@functools.lru_cache(maxsize=4)  # networks judged on the same images share their concepts
def judging_images(data: Dataset, split: str, stage: Stage, most: int) -> Split:
    """The first images of a split, with the concepts that count in a stage.

    For "test" while tuning: validation images.
    """
    images = getattr(data, "validation" if (split, stage) == ("test", "tuning") else split)
    rows = torch.arange(min(most, len(images)), device=images.labels.device)
    found = images.subset(rows)
    if not stage or found.concepts is None:
        return found
    return replace(found, concepts=half(found.concepts, stage == "tuning"))


def half(concepts: Concepts, validation: bool) -> Concepts:
    """The concepts of one half, in their order."""
    names = validation_names(concepts.names, concepts.categories)
    keep = [k for k, name in enumerate(concepts.names) if (name in names) == validation]
    return concepts.select(keep)


def validation_names(names: Sequence[str], categories: Sequence[str]) -> frozenset[str]:
    """Names of the concepts that choose: half of each category, rounded down.

    By the hash of the name: the same for every method, seed and machine, and no matter which
    other datasets are there.
    """
    chosen: set[str] = set()
    for category in sorted(set(categories)):
        mine = [n for n, c in zip(names, categories, strict=True) if c == category]
        mine.sort(key=lambda name: (hashlib.sha256(name.encode()).hexdigest(), name))
        chosen.update(mine[: len(mine) // 2])
    return frozenset(chosen)
