"""A metric: how steady units are."""

import torch

from legible import metric


@metric(aspect="focus", better="higher", per="unit", null=0.0, limits=(0.0, 1.0))
def steadiness(layer, probe):
    """Mean response of a unit divided by its largest response; NaN for a dead unit."""
    share = layer.pooled.mean(0) / layer.pooled.amax(0).clamp(min=1e-12)
    return torch.where(layer.dead, torch.nan, share)
