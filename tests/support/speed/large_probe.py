"""Time and memory of metrics on a probe that does not fit in memory.

Layers of a ResNet-50 on 5,000 images at 224 px with 60 concepts. Activations are drawn at random
and lie in a file, as those of `legible score` do; each unit is more active in some images, so that
its regions are in a fifth of them.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from planted_probes import random_masks
from tabulate import tabulate

from legible.bench.plugins import registry
from legible.bench.scoring.score import score_metric
from legible.metrics.base import METRICS, RERUNS, Layer, Probe, scope
from legible.metrics.large_tensors import empty_tensor
from legible.metrics.network import Concepts

CLASSES, SIDE = 10, 224
#: Images whose activations and masks are drawn at a time.
PART = 250


HEAD = """# Layers that do not fit in memory

This page is written by `PYTHONPATH=tests/support python -m speed.large_probe --out
docs/large-layers.md`; do not edit it. Layers of a ResNet-50 ({layers}) on {images:,} images at
224 px with {concepts} concepts, on {threads} threads. Activations are drawn at random and lie in
a file, as those of `legible score` do where they would not fit; each unit's regions are in about
a fifth of the images. Memory is the largest private memory of the process while the metric was
computed, in GiB; before any metric it was {before:.1f}. What several metrics use is computed by
the first of them. Lesions and the metrics of attribution and efficiency run the network again and
are not measured here.
"""


def main(words: Sequence[str] | None = None) -> None:
    """Prints each metric's seconds, and the largest private memory while it was computed."""
    parser = argparse.ArgumentParser(prog="speed.large_probe", description=__doc__)
    parser.add_argument("--layers", default="layer3,layer4", help="Taps of the ResNet-50")
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--concepts", type=int, default=60)
    parser.add_argument("--metrics", default="", help="names; default: all that read a layer alone")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="the page to write")
    arguments = parser.parse_args(words)
    torch.set_num_threads(arguments.threads)
    registry.load()
    names = arguments.metrics.split(",") if arguments.metrics else metrics_of_layers()
    rows: list[tuple[str, float, float, str]] = []
    probe = drawn_probe(arguments.layers.split(","), arguments.images, arguments.concepts)
    with Memory() as before:
        time.sleep(0.2)
    for name in names:
        rows.append(measured(name, probe))
        print(*rows[-1], sep="\t", flush=True)
        if arguments.out:  # after each metric, because all may take an hour
            missing = f"\nNot measured yet: {', '.join(names[len(rows) :])}.\n"
            facts = vars(arguments) | {"before": before.peak / 2**30}
            text = f"{HEAD.format(**facts)}{missing * (len(rows) < len(names))}\n{as_table(rows)}\n"
            arguments.out.write_text(text, encoding="utf-8")
    print(as_table(rows))


def as_table(rows: Sequence[tuple[str, float, float, str]]) -> str:
    """The measured metrics, the slowest first, and their sum."""
    lines = sorted(rows, key=lambda row: -row[1])
    lines.append(("all", sum(row[1] for row in rows), max(row[2] for row in rows), ""))
    return tabulate(lines, ["metric", "seconds", "memory", "not computed"], "pipe", floatfmt=".1f")


def measured(name: str, probe: Probe) -> tuple[str, float, float, str]:
    """A metric's name, seconds, memory in GiB, and why it has no value on some layer."""
    with Memory() as memory:
        start = time.perf_counter()
        scores = score_metric(METRICS[name], probe)
        seconds = time.perf_counter() - start
    reasons = sorted({score.reason for score in scores if score.reason})
    return name, seconds, memory.peak / 2**30, "; ".join(reasons)


def metrics_of_layers() -> list[str]:
    """The metrics that read a layer and do not run the network."""
    return [
        name
        for name, item in sorted(METRICS.items())
        if scope(item.function) in ("layer", "halves")
        and item.aspect not in RERUNS
        and "trunk" not in item.needs
    ]


def drawn_probe(layers: list[str], images: int, concepts: int) -> Probe:
    """A probe of an untrained ResNet-50 whose activations are drawn at random."""
    network = registry.get("backbones", "torchvision:resnet50")((3, SIDE, SIDE), CLASSES,
                                                                taps=layers)  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    parts = {}
    for name in network.taps:
        values = empty_tensor((images, *network.taps[name].shape), in_file=True)
        for part in values.split(PART):
            gain = torch.randn(*part.shape[:2], 1, 1, generator=generator)
            noise = torch.randn(part.shape, generator=generator)
            part.copy_(noise.mul_(0.7).add_(gain - 1).clamp_(min=0))
        parts[name] = Layer(name, values)
    some = Concepts.pack(
        random_masks(PART, concepts, SIDE, generator), [str(k) for k in range(concepts)],
        ["part"] * concepts, [True] * concepts, [-1] * CLASSES,
    )  # fmt: skip
    every = some.images(torch.arange(images) % PART)
    return Probe(
        network=network.eval(),
        images=torch.zeros(1, 3, SIDE, SIDE).expand(images, -1, -1, -1),
        labels=torch.arange(images) % CLASSES,
        logits=torch.randn(images, CLASSES, generator=generator),
        layers=parts,
        concepts=every,
        measurable=frozenset(network.taps),
    )


class Memory:
    """The largest private memory of this process inside a ``with`` block, in bytes. Pages of mapped
    files do not count, because the system can drop them at any time."""

    def __enter__(self) -> Memory:
        self.peak, self.ends = 0, threading.Event()
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.ends.set()
        self.thread.join()
        self.peak = max(self.peak, private_memory())

    def _watch(self) -> None:
        while not self.ends.wait(0.05):
            self.peak = max(self.peak, private_memory())


def private_memory() -> int:
    """The private memory of this process in bytes, on Linux."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))


if __name__ == "__main__":
    main()
