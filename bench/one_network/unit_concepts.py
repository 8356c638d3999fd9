"""In which concept the highest responses of each unit lie, and pictures of the best units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float

from legible.bench.leaderboard.figures.network_pictures import UnitExamples
from legible.bench.leaderboard.figures.picture_data import Matches, unit_examples
from legible.bench.leaderboard.figures.units import most_active
from legible.bench.one_network.image_data import ImageData
from legible.metrics.base import Layer, Probe
from legible.metrics.detection import top_precision
from legible.metrics.maps import pixel_thresholds

COLUMNS = ["layer", "unit", "concept", "category", "images", "precision"]
#: Units of a layer that are drawn.
DRAWN = 5


@dataclass(frozen=True, eq=False)
class Gallery:
    """The images that excite some units of a layer most. ``by_concept``: the units are those whose
    highest responses lie most precisely in one concept, each in another; else they are those with
    the highest activations."""

    examples: list[UnitExamples]
    by_concept: bool


def precision_table(probe: Probe) -> pd.DataFrame:
    """Where the highest responses of each unit lie, the most precise first, with columns `COLUMNS`.

    ``precision`` is (p - b) / (1 - b), where p is the share of the unit's highest 0.5 % of
    positions, over all images, that contain the concept, and b the share of all positions that do
    (`top_precision`). It can be compared on maps of any size. ``images`` have the concept. Dead
    units are left out, and concepts in fewer than ten images.
    """
    if probe.concepts is None or not len(probe.concepts):
        return pd.DataFrame(columns=COLUMNS)
    concepts = probe.concepts
    images = (concepts.packed > 0).flatten(2).any(2).sum(0).tolist()
    tables = [
        pd.DataFrame({
            "layer": name, "unit": range(layer.units), "concept": concepts.names[k],
            "category": concepts.categories[k], "images": images[k], "precision": column.tolist(),
        })
        for name, layer in probe.layers.items() if layer.spatial
        for k, column in enumerate(top_precision(layer, concepts).unbind(1))
    ]  # fmt: skip
    if not tables:
        return pd.DataFrame(columns=COLUMNS)
    precisions = pd.concat(tables, ignore_index=True).dropna(subset="precision")
    return precisions.sort_values("precision", ascending=False, kind="stable", ignore_index=True)


def best_units(precisions: pd.DataFrame, by_twin: pd.DataFrame | None = None) -> pd.DataFrame:
    """The unit whose highest responses lie most precisely in each concept: its first row.

    With the table of the untrained twin, the column ``untrained`` is the precision of its best.
    """
    best = precisions.drop_duplicates("concept").reset_index(drop=True)
    if by_twin is None:
        return best
    of_twin = best_units(by_twin).set_index("concept")["precision"]
    return best.assign(untrained=best["concept"].map(of_twin).astype(float))


def best_concepts_of_units(precisions: pd.DataFrame) -> pd.DataFrame:
    """The concept in which each unit's highest responses lie most precisely, by layer and unit;
    empty if they lie in none more often than by chance."""
    best = precisions.drop_duplicates(["layer", "unit"])
    best = best.sort_values(["layer", "unit"], kind="stable", ignore_index=True)
    best.loc[best["precision"] <= 0, ["concept", "category"]] = ""
    return best


def unit_galleries(
    probe: Probe, data: ImageData, precisions: pd.DataFrame
) -> Mapping[str, Gallery]:
    """For each layer with a map and a live unit, the images that excite five units most."""
    galleries, of_bytes = {}, data.images.dtype == torch.uint8
    for name, layer in probe.layers.items():
        if not layer.spatial or bool(layer.dead.all()):
            continue
        best = best_units(precisions[precisions["layer"] == name]).drop_duplicates("unit")[:DRAWN]
        units = best["unit"].tolist() or [u for u in most_active(layer, DRAWN) if not layer.dead[u]]
        few = Layer(name, layer.activation[:, units])
        threshold = pixel_thresholds(few, (probe.images.shape[2], probe.images.shape[3]))
        matches = Matches(
            threshold.new_tensor(best["precision"].tolist() or [torch.nan] * len(units)),
            best["concept"].tolist() or [""] * len(units), threshold,
        )  # fmt: skip
        examples = unit_examples(few, probe, data.images, matches, range(len(units)))
        drawn = []
        for unit, example in zip(units, examples, strict=True):
            pixels = example.images / 255 if of_bytes else _from_0_to_1(example.images)
            drawn.append(replace(example, unit=unit, images=pixels, measure="precision"))
        galleries[name] = Gallery(drawn, not best.empty)
    return galleries


def _from_0_to_1(images: np.ndarray) -> Float[np.ndarray, "images channels height width"]:
    """Floats as they can be drawn: those beyond 0 to 1, as after a normalisation, are stretched to
    that range."""
    if images.min() >= 0 and images.max() <= 1:
        return images
    least, most = images.min(), images.max()
    return (images - least) / max(most - least, 1e-12)  # type: ignore[no-any-return]
