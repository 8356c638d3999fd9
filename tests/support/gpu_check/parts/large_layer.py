"""Metrics on a large layer: layer3 of a ResNet-50 on 5,000 images, against the forward pass."""

from __future__ import annotations

import time
from collections.abc import Iterable

import torch
from planted_probes import random_masks

from gpu_check.record import Check
from gpu_check.setting import Case, Setting
from legible.bench.backbones.taps import Network
from legible.bench.data.base import Split
from legible.bench.execution.cost import synchronise
from legible.bench.plugins import registry
from legible.bench.scoring.probe import probe_network
from legible.bench.scoring.score import score_metric
from legible.methods.base import Method
from legible.metrics.base import METRICS, RERUNS, Metric, Probe, scope
from legible.metrics.network import Concepts

PART = "large layer"
#: How many forward passes a metric of the activations should take at most.
GOAL = 2.0
CLASSES, CONCEPTS = 10, 12


def cases(setting: Setting) -> dict[str, Case]:
    """The forward pass, then a case for each metric of a layer that does not run the network."""
    registry.load()
    probes: list[Probe] = []
    passes: list[float] = []
    names = [n for n, item in sorted(METRICS.items())
             if scope(item.function) == "layer" and item.aspect not in RERUNS]  # fmt: skip
    names = names[:2] if setting.rehearse else names
    return {
        "forward pass": lambda: forward(setting, probes, passes),
        **{name: lambda name=name: score(METRICS[name], setting, probes, passes)
           for name in names},
    }  # fmt: skip


def network_and_images(setting: Setting) -> tuple[Network, Split, str]:
    """An untrained ResNet-50 and random images; a small network in a rehearsal."""
    if setting.rehearse:
        name, net, images, side = "vgg", {"width": 4, "stages": 2}, 40, 16
    else:
        name, net, images, side = "torchvision:resnet50", {"taps": ["layer3"]}, 5000, 224
    network = registry.get("backbones", name)((3, side, side), CLASSES, **net)
    generator = torch.Generator().manual_seed(0)
    masks = torch.cat([random_masks(min(500, images), CONCEPTS, side, generator, side // 4)]
                      * -(-images // 500))[:images]  # fmt: skip
    names = [str(k) for k in range(CONCEPTS)]
    concepts = Concepts.pack(masks, names, ["part"] * CONCEPTS, [True] * CONCEPTS, range(CLASSES))
    pixels = torch.randint(256, (images, 3, side, side), dtype=torch.uint8, generator=generator)
    half = torch.full((3,), 0.5)
    split = Split(pixels, torch.arange(images) % CLASSES, CLASSES, half, half, concepts)
    return network.to(setting.device).eval(), split.to(setting.device), "last_spatial"


def forward(setting: Setting, probes: list[Probe], passes: list[float]) -> Iterable[Check]:
    """Makes the probe; its second pass is timed."""
    network, split, layer = network_and_images(setting)
    seconds = 0.0
    for _ in range(2):
        synchronise(setting.device)
        start = time.perf_counter()
        probe = probe_network(network, Method(), split, [layer])
        synchronise(setting.device)
        seconds = time.perf_counter() - start
    probes.append(probe)
    passes.append(seconds)
    (activation,) = (layer.activation for layer in probe.layers.values())
    text = f"activations {' x '.join(map(str, activation.shape))}"
    yield Check(PART, "forward pass", "seconds", "note", seconds, text=text)
    if setting.device.startswith("cuda"):
        memory = torch.cuda.max_memory_allocated() / 2**20
        yield Check(PART, "forward pass", "peak memory, MiB", "note", memory)


def score(
    item: Metric, setting: Setting, probes: list[Probe], passes: list[float]
) -> Iterable[Check]:
    """The seconds of one metric, which starts from nothing that others computed."""
    if not probes:
        yield Check(PART, item.name, "seconds", "skipped", text="no forward pass")
        return
    probe = probes[0].subset(slice(None))
    synchronise(setting.device)
    start = time.perf_counter()
    (result,) = score_metric(item, probe)
    synchronise(setting.device)
    seconds = time.perf_counter() - start
    if result.reason:
        yield Check(PART, item.name, "seconds", "skipped", text=result.reason)
        return
    verdict = "note" if setting.rehearse else "ok" if seconds <= GOAL * passes[0] else "bad"
    yield Check(PART, item.name, "seconds", verdict, seconds, GOAL * passes[0])
