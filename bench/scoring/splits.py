"""The held-out images and concepts on which a run is scored.

Tuning scores settings on validation images with one half of the concepts; the best settings are
then scored on test images with the other half. Without tuning, runs are scored on test images with
all concepts. Concepts that a method of the block was trained on are left out for every row.
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

#: "": test images and all concepts; "tuning": validation images and one half of the concepts;
#: "final": test images and the other half.
Stage = Literal["", "tuning", "final"]


@functools.lru_cache(maxsize=4)  # so that runs scored on the same images share their concepts
def scoring_images(
    data: Dataset, split: str, stage: Stage, most: int, reserved: frozenset[str] = frozenset()
) -> Split:
    """The first ``most`` images of a split, with the concepts of a stage that are not reserved.

    While tuning, "test" gives validation images. ``reserved`` names concepts that a method was
    trained on.
    """
    images = getattr(data, "validation" if (split, stage) == ("test", "tuning") else split)
    rows = torch.arange(min(most, len(images)), device=images.labels.device)
    images = images.subset(rows)
    concepts = images.concepts
    if concepts is None or not (stage or reserved):
        return images
    concepts = half(concepts, stage == "tuning") if stage else concepts
    rest = [k for k, name in enumerate(concepts.names) if name not in reserved]
    return replace(images, concepts=concepts.select(rest))


def half(concepts: Concepts, tuning: bool) -> Concepts:
    """One half of the concepts: those for tuning, or the others. The order stays."""
    names = tuning_names(concepts.names, concepts.categories)
    return concepts.select([k for k, n in enumerate(concepts.names) if (n in names) == tuning])


def tuning_names(names: Sequence[str], categories: Sequence[str]) -> frozenset[str]:
    """Names of the concepts used for tuning: half of each category, rounded down.

    Chosen by a hash of the name, so they are the same for every method, seed and machine.
    """
    selected: set[str] = set()
    for category in sorted(set(categories)):
        members = [n for n, c in zip(names, categories, strict=True) if c == category]
        members.sort(key=lambda name: (hashlib.sha256(name.encode()).hexdigest(), name))
        selected.update(members[: len(members) // 2])
    return frozenset(selected)
