"""Pictures of units: the images that excite them most, and where."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from metrics.base import Layer

mpl.use("Agg")


def draw_units(
    layer: Layer,
    images: Float[Tensor, "images channels height width"],
    units: list[int],
    path: Path,
    title: str = "",
    top: int = 8,
) -> Path:
    """Writes a PNG: a row a unit, its ``top`` strongest images, each beside its activation map.

    ``images`` hold values in [0, 1]. A map is shown on its own grid, from 0 to the unit's
    largest value. Raises ValueError for units that are not there.
    """
    import matplotlib.pyplot as plt

    if wrong := [u for u in units if not 0 <= u < layer.units]:
        raise ValueError(f"layer '{layer.name}' has units 0 to {layer.units - 1}, not {wrong[0]}")
    activation = layer.activation.clamp(min=0)
    top = min(top, len(images))
    figure, axes = plt.subplots(
        len(units), 2 * top, figsize=(1.1 * top * 2, 1.25 * len(units) + 0.4), squeeze=False
    )
    for row, unit in zip(axes, units, strict=True):
        maps = activation[:, unit]
        strength = maps.flatten(1).amax(1) if maps.ndim > 1 else maps
        order = strength.topk(top).indices
        ceiling = max(float(strength.max()), 1e-12)
        for i, index in enumerate(order.tolist()):
            row[2 * i].imshow(_pixels(images[index]), cmap="gray", vmin=0, vmax=1)
            cells = maps[index].reshape(1, 1) if maps.ndim == 1 else maps[index]
            row[2 * i + 1].imshow(cells.cpu().numpy(), cmap="viridis", vmin=0, vmax=ceiling)
        row[0].set_ylabel(f"unit {unit}\n{'dead' if ceiling <= 1e-12 else f'max {ceiling:.2g}'}")
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
    figure.suptitle(title)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)
    return path


def _pixels(image: Float[Tensor, "channels height width"]) -> Float[np.ndarray, "..."]:
    array = image.float().cpu().numpy()
    return array[0] if len(array) == 1 else np.moveaxis(array, 0, -1)


def most_active(layer: Layer, count: int = 8) -> list[int]:
    """The units with the largest peaks, relative to nothing but each other."""
    peaks = layer.activation.flatten(2).amax(2) if layer.spatial else layer.activation
    return torch.topk(peaks.amax(0), min(count, layer.units)).indices.tolist()
