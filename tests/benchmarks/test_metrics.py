"""Metrics: a whole probe, by aspect, and scores of attributions against Quantus's."""

from __future__ import annotations

import functools
import time
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from planted_probes import random_masks
from torch import nn

from legible.bench.backbones.vgg import vgg
from legible.bench.data.base import Split
from legible.bench.plugins import registry
from legible.bench.scoring.probe import probe_network
from legible.bench.scoring.score import errors, score_all
from legible.methods.base import Method
from legible.metrics import lesion, relevance
from legible.metrics.base import ASPECTS, METRICS, Probe
from legible.metrics.network import Concepts

registry.load(["metrics"])
IMAGES, CONCEPTS, CLASSES = 2000, 12, 10


@pytest.fixture(scope="module")
def whole() -> Probe:
    """2,000 images of noise, 12 concepts, 128 units on 8 x 8 maps of an untrained vgg."""
    generator = torch.Generator().manual_seed(0)
    masks = random_masks(IMAGES, CONCEPTS, 32, generator)
    names = [str(k) for k in range(CONCEPTS)]
    concepts = Concepts.pack(masks, names, ["part"] * CONCEPTS, [True] * CONCEPTS, range(CLASSES))
    images = torch.randint(256, (IMAGES, 3, 32, 32), generator=generator).to(torch.uint8)
    half = torch.full((3,), 0.5)
    labels = torch.arange(IMAGES) % CLASSES
    split = Split(images, labels, CLASSES, half, half, concepts)
    probe = probe_network(vgg((3, 32, 32), CLASSES, width=32).eval(), Method(), split,
                          ["last_spatial"])  # fmt: skip
    probe.measurable = frozenset(probe.layers)
    assert [layer.units for layer in probe.layers.values()] == [128]
    return probe


@pytest.mark.slow
def test_a_whole_probe_takes_less_than_a_minute_on_two_cores(benchmark, whole):
    twin = whole.subset(slice(None))
    others = {"splits": lambda: twin, "seeds": lambda: twin}
    seconds = {}

    def everything() -> None:
        for aspect in ASPECTS:
            start = time.process_time()
            names = [name for name, item in METRICS.items() if item.aspect == aspect]
            assert not errors(score_all(whole, names, None, others))
            seconds[aspect] = time.process_time() - start

    benchmark.pedantic(everything, rounds=1)
    benchmark.extra_info["seconds of one core"] = seconds
    print("\n" + ", ".join(f"{a} {s:.1f} s" for a, s in seconds.items()), sum(seconds.values()))
    assert sum(seconds.values()) < 120


@pytest.mark.slow
def test_all_single_lesions_take_seconds_on_two_cores(benchmark, whole):
    (layer,) = whole.subset(slice(None)).layers.values()
    start = time.process_time()
    each = torch.eye(layer.units, dtype=torch.bool)
    benchmark.pedantic(lambda: lesion.lesions(layer, whole, each), rounds=1)
    total = time.process_time() - start
    print(f"\n128 lesions x {IMAGES} images: {total:.1f} s of one core")
    assert total < 20


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("ours", "name", "masked"),
    [
        (relevance.hits, "PointingGame", True),
        (relevance.mass, "RelevanceMassAccuracy", True),
        (relevance.rank, "RelevanceRankAccuracy", True),
        (relevance.gini, "Sparseness", False),
    ],
)
def test_scores_of_attributions_against_quantus(compare, ours, name, masked):
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(256, 32, 32, generator=generator)
    mask = random_masks(256, 1, 32, generator)[:, 0]
    mask[:, :4, :4] = True
    metric = functools.cache(lambda: quantus_metric(name))
    model = nn.Sequential(nn.Flatten(), nn.Linear(1024, 2)).eval()

    def theirs() -> list[float]:
        return metric()(
            model=model, x_batch=np.zeros((256, 1, 32, 32), dtype=np.float32),
            y_batch=np.zeros(256, dtype=int), a_batch=maps[:, None].numpy().copy(),
            s_batch=mask[:, None].numpy().copy() if masked else None, device="cpu",
        )  # fmt: skip

    ratio = compare(
        f"{ours.__name__} of 256 attributions", f"Quantus's {name}",
        lambda: ours(maps, mask) if masked else ours(maps), theirs, package="quantus",
    )  # fmt: skip
    assert ratio >= 0


def quantus_metric(name: str) -> Callable[..., list[float]]:
    """A metric of Quantus that takes maps as they are and gives a value for each image."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import quantus
    return getattr(quantus, name)(
        abs=False, normalise=False, return_aggregate=False, disable_warnings=True,
        display_progressbar=False,
    )  # fmt: skip
