"""A dataset: horizontal or vertical stripes."""

from pathlib import Path

import torch

from legible import Dataset, dataset, make_splits


@dataset
def stripes(root: Path, images: int = 32, seed: int = 0) -> Dataset:
    """Noise with bright rows (class 0) or columns (class 1), 12 x 12, generated."""
    generator = torch.Generator().manual_seed(seed)
    parts = {}
    for name in ("train", "validation", "test"):
        labels = torch.arange(images) % 2
        rows = (torch.arange(12) % 3 == 0).float().expand(12, 12).T
        bright = torch.stack([rows, rows.T])[labels]
        light = 60 + 100 * bright + 30 * torch.rand(images, 12, 12, generator=generator)
        parts[name] = (light.to(torch.uint8).unsqueeze(1), labels, None)
    return Dataset("stripes", ("rows", "columns"), **make_splits(parts, 2))
