"""How often each metric that runs the network again does so.

`PYTHONPATH=tests/support python -m speed.reruns --out docs/scoring.md` writes the table between its
marks: images that pass the last layer of a network, for each image of the probe. It counts, so it
gives the same on any machine.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from tabulate import tabulate
from torch import nn

from legible.bench.cards.backbone_methods import toy_photographs
from legible.bench.plugins import registry
from legible.bench.scoring.probe import probe_network
from legible.bench.scoring.score import score_metric
from legible.bench.training.fit import build_network
from legible.metrics.base import METRICS, RERUNS, Metric, scope

MARKS = "<!-- reruns -->", "<!-- /reruns -->"
LAYER = "features.10.cat"


def main(words: Sequence[str] | None = None) -> None:
    """Prints the table, and writes it if there is a page for it."""
    parser = argparse.ArgumentParser(prog="speed.reruns", description=__doc__)
    parser.add_argument("--out", type=Path, help="the page with the marks")
    parser.add_argument("--metrics", default="", help="names; default: all that run the network")
    options = parser.parse_args(words)
    registry.load()
    names = options.metrics.split(",") if options.metrics else metrics_that_rerun()
    rows = [(name, *passes(METRICS[name])) for name in names]
    rows = sorted((row for row in rows if row[1]), key=lambda row: (-row[1], row[0]))
    table = tabulate(rows, ["metric", "passes", "of it with gradients"], "pipe", floatfmt=".0f")
    print(table)
    if options.out:
        text = options.out.read_text(encoding="utf-8")
        head, _, rest = text.partition(MARKS[0])
        tail = rest.partition(MARKS[1])[2]
        options.out.write_text(f"{head}{MARKS[0]}\n{table}\n{MARKS[1]}{tail}", encoding="utf-8")


def metrics_that_rerun() -> list[str]:
    """The metrics of one network that may run it again."""
    return [
        name for name, item in sorted(METRICS.items())
        if scope(item.function) in ("layer", "network", "halves")
        and (item.aspect in RERUNS or "trunk" in item.needs) and "claimed" not in item.needs
    ]  # fmt: skip


def passes(item: Metric) -> tuple[float, float]:
    """Images that pass the network's last layer for each image of the probe, and those of them of
    which gradients are taken."""
    data = toy_photographs(64)
    builder = registry.get("backbones", "torchvision:squeezenet1_0")
    method = registry.get("methods", "plain")()
    network = build_network(
        lambda: builder(data.image, len(data.class_names), taps=[LAYER]), method, data.train, 0
    )
    probe = probe_network(network.eval(), method, data.test, [LAYER], seed=0)
    count = {False: 0, True: 0}

    def add(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        count[output.requires_grad] += len(output)

    last = [m for m in network.modules() if isinstance(m, nn.Conv2d)][-1]
    hook = last.register_forward_hook(add)
    score_metric(item, probe)
    hook.remove()
    images = len(probe.images)
    return sum(count.values()) / images, count[True] / images


if __name__ == "__main__":
    main()
