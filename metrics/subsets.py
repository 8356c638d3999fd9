"""Random subsets of units, so that layers with different numbers of units can be compared.

A layer of 64 units has more chances to hold a good one than a layer of 32. A metric that would
reward this is computed on subsets of as many units as there are classes, the same number for all
layers of a block, and averaged over 20 of them.
"""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

from legible.metrics.probe import Layer, Probe
from legible.metrics.similarity import layer_correlation

DRAWS = 20
SEED = 1202  # of the draws; the same for every layer


def unit_subsets(layer: Layer, probe: Probe) -> Int[Tensor, "draws picked"]:
    """The units of 20 random subsets: as many units as classes, or all units if there are fewer.

    The draws come from a fixed generator. Units are first sorted by their total correlation, so
    that neither their order nor their scale matters. Dead units are drawn too.
    """
    order = layer_correlation(layer).sum(1).argsort()
    generator = torch.Generator().manual_seed(SEED)
    draws = torch.rand(DRAWS, layer.units, generator=generator).argsort(1)
    return order[draws[:, : max(1, probe.classes)].to(order.device)]
