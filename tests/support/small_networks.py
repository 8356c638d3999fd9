"""Small networks in memory: one that can be traced, and two that cannot."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def small_network(channels: int = 1, classes: int = 3, units: int = 6) -> nn.Sequential:
    """Two convolutions with ReLUs, pooling and a linear head; always the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(channels, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(4, units, 3, padding=1), nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(units, classes),
        ).eval()  # fmt: skip


class Branching(nn.Module):
    """A network that torch.fx cannot trace: its control flow depends on values."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.body = small_network(classes=classes)[:5]
        self.head = small_network(classes=classes)[5:]

    def forward(self, images: Tensor) -> Tensor:
        maps = self.body(images)
        if maps.sum() < 0:  # never, after a ReLU
            maps = -maps
        return self.head(maps)


class Structured(nn.Module):
    """A network that returns a dictionary with its logits first."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = small_network()

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {"logits": self.inner(images), "more": images}
