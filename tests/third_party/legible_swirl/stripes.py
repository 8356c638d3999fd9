"""Stripes, lying or standing."""

from pathlib import Path

import torch

from legible.bench.data.base import Dataset, dataset, make_splits


@dataset
def stripes(root: Path, images: int = 32, seed: int = 0) -> Dataset:
    """Noise with bright rows (class 0) or columns (class 1), 12 x 12. Drawn here."""
    generator = torch.Generator().manual_seed(seed)
    parts = {}
    for name in ("train", "validation", "test"):
        labels = torch.arange(images) % 2
        lying = (torch.arange(12) % 3 == 0).float().expand(12, 12).T
        bright = torch.stack([lying, lying.T])[labels]
        light = 60 + 100 * bright + 30 * torch.rand(images, 12, 12, generator=generator)
        parts[name] = (light.to(torch.uint8).unsqueeze(1), labels, None)
    return Dataset("stripes", ("rows", "columns"), **make_splits(parts, 2))
