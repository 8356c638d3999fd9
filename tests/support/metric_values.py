"""A metric's values on a probe, how far two are apart, and a probe on another device."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from legible.bench.scoring.score import score_metric
from legible.metrics.base import Layer, Metric, Probe, Score


def only(item: Metric, probe: Probe) -> Score:
    """The metric's score; comparisons are with half of the images, and with the same network's
    units in another order."""
    twins = {n: Layer(n, layer.activation.flip(1)) for n, layer in probe.layers.items()}
    others = {
        "splits": lambda: probe.subset(slice(0, None, 2)),
        "seeds": lambda: replace(probe, layers=twins, memo={}),
    }
    (result,) = score_metric(item, probe, others)
    return result


def same(item: Metric, result: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    """Asserts that values are equal up to a tolerance; modules may be in any order."""
    if item.per == "module":
        result, expected = np.sort(result), np.sort(expected)
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=tolerance, err_msg=item.name)


def difference(item: Metric, result: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference of two arrays of values, as a share of the value where that is above
    1; infinite if their numbers or their undefined values differ."""
    if result.shape != expected.shape:
        return float("inf")
    if item.per == "module":
        result, expected = np.sort(result), np.sort(expected)
    if (np.isnan(result) != np.isnan(expected)).any():
        return float("inf")
    apart = np.abs(result - expected) / np.maximum(np.abs(expected), 1)
    return float(np.nan_to_num(apart).max(initial=0.0))


def on_device(probe: Probe, device: torch.device | str) -> Probe:
    """The probe with all its tensors on a device; its network is moved there, not copied."""
    layers = {
        name: Layer(name, layer.activation.to(device),
                    None if layer.claimed is None else layer.claimed.to(device))
        for name, layer in probe.layers.items()
    }  # fmt: skip
    return replace(
        probe,
        network=probe.network.to(device),
        images=probe.images.to(device),
        labels=probe.labels.to(device),
        logits=probe.logits.to(device),
        layers=layers,
        concepts=probe.concepts.to(device) if probe.concepts else None,
        memo={},
    )
