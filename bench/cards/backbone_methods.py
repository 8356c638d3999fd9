"""Which methods work on which networks, and which attribution algorithms pass their audit there.

`python -m legible.bench.cards.backbone_methods [--page PAGE]` trains every method for two steps on
toy images on networks of torchvision (and of timm, where it is installed), and writes the table
between its marks in docs/backbones.md. Networks have random weights.
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch.nn.functional import interpolate

from legible.bench.backbones.model_names import model_builder
from legible.bench.backbones.taps import Network
from legible.bench.check.toy import toy_data
from legible.bench.data.base import Dataset, Split
from legible.bench.errors import UserError, one_line
from legible.bench.leaderboard.render.markdown import grid
from legible.bench.plugins import registry
from legible.bench.scoring.probe import probe_network
from legible.bench.training.checkpoint import snapshot
from legible.bench.training.fit import build_network, fit_network, initialise
from legible.bench.training.recipe import Recipe
from legible.methods.base import METHODS, Method, unmet
from legible.metrics.explainers import explanations
from legible.metrics.network import Concepts

PAGE = Path(__file__).resolve().parents[2] / "docs" / "backbones.md"
MARKS = "<!-- methods -->", "<!-- /methods -->"
#: Networks of the table, with the side of their images in pixels.
MODELS = {
    "torchvision:resnet18": 64, "torchvision:resnet50": 64, "torchvision:vgg16_bn": 64,
    "torchvision:squeezenet1_0": 64, "torchvision:densenet121": 64,
    "torchvision:mobilenet_v3_large": 64, "torchvision:efficientnet_b0": 64,
    "torchvision:convnext_tiny": 64, "torchvision:vit_b_16": 224,
    "timm:resnet10t": 64, "timm:regnety_002": 64, "timm:vit_tiny_patch16_224": 224,
}  # fmt: skip
RECIPE = Recipe(epochs=1, batch=8, lr=1e-3, augment=False)
IMAGES = (16, 8, 12)  # for training, validation and test
WORKS = "✓"


@functools.cache
def toy_photographs(side: int) -> Dataset:
    """A few toy images with three channels and ``side`` pixels a side, with masks."""
    data = toy_data()
    train, validation, test = (
        _enlarged(split.subset(torch.arange(count)), side)
        for split, count in zip((data.train, data.validation, data.test), IMAGES, strict=True)
    )
    return replace(data, train=train, validation=validation, test=test)


def _enlarged(split: Split, side: int) -> Split:
    concepts = split.concepts
    assert concepts is not None
    images = interpolate(split.images.float(), (side, side)).to(torch.uint8)
    masks = interpolate(concepts.masks().float(), (side, side)).bool()
    larger = Concepts.pack(
        masks, concepts.names, concepts.categories, concepts.landmark, concepts.of_class
    )
    return replace(
        split, images=images.expand(-1, 3, -1, -1).contiguous(), concepts=larger,
        mean=split.mean.expand(3), std=split.std.expand(3),
    )  # fmt: skip


def outcomes(backbone: str, side: int, methods: Iterable[str] = ()) -> dict[str, str]:
    """For each method (default: all), `WORKS` or the reason why it does not apply or fails."""
    data = toy_photographs(side)
    build = model_builder(backbone)
    parents: dict[str, Mapping[str, torch.Tensor]] = {}

    def make() -> Network:
        return build(data.image, len(data.class_names))

    def train(method: Method) -> Network:
        network = build_network(make, method, data.train, seed=0)
        fit_network(network, method, data, RECIPE, 0, parent=lambda: parent(method.parent))
        return network

    def parent(name: str) -> Mapping[str, torch.Tensor]:
        if name not in parents:
            method = registry.make_method(name, {})
            parents[name] = snapshot(train(method), method)
        return parents[name]

    def outcome(name: str) -> str:
        method = registry.make_method(name, {})
        if reason := unmet(method, initialise(make, 0, "cpu"), data.train):
            return reason
        try:
            network = train(method)
        except (ValueError, RuntimeError, UserError) as error:
            return f"fails: {one_line(error)}"
        logits = probe_network(network, method, data.test, ["last"]).logits
        return WORKS if bool(logits.isfinite().all()) else "gives logits that are not finite"

    return {name: outcome(name) for name in methods or sorted(METHODS)}


def audits(backbone: str, side: int) -> dict[str, str]:
    """For each attribution algorithm, `WORKS` or the reason why it fails its audit there."""
    data, method = toy_photographs(side), METHODS["plain"]()
    build = model_builder(backbone)
    network = build_network(
        lambda: build(data.image, len(data.class_names)), method, data.train, seed=0
    )
    network.eval()
    explained = explanations(probe_network(network, method, data.test, ["last"]))
    return dict.fromkeys(explained.attributions, WORKS) | dict(explained.faults)


def table(columns: Mapping[str, Mapping[str, str]]) -> str:
    """A table in Markdown: a row for each method or algorithm, a column for each network, and the
    reasons below it."""
    rows = list(dict.fromkeys(name for column in columns.values() for name in column))
    reasons = dict.fromkeys(
        reason for column in columns.values() for reason in column.values() if reason != WORKS
    )
    number = {reason: str(i) for i, reason in enumerate(reasons, 1)}
    body = [
        [
            row,
            *(number.get(column.get(row, ""), column.get(row, "")) for column in columns.values()),
        ]
        for row in rows
    ]
    header = ["", *(name.partition(":")[2] for name in columns)]
    notes = [f"{number[reason]}: {reason}" for reason in reasons]
    return "\n\n".join(
        [grid(header, body, [":---", *[":---:"] * len(columns)]), "<br>\n".join(notes)]
    )


def main(words: list[str] | None = None) -> None:
    """Writes the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--page", type=Path, default=PAGE)
    page = parser.parse_args(words).page
    before, rest = page.read_text(encoding="utf-8").split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    registry.load()
    methods: dict[str, dict[str, str]] = {}
    algorithms: dict[str, dict[str, str]] = {}
    for name, side in MODELS.items():
        try:
            model_builder(name)
        except UserError as error:  # timm is an extra
            print(f"{name}: {error}", file=sys.stderr)
            continue
        methods[name], algorithms[name] = outcomes(name, side), audits(name, side)
        print(f"{name}: {sum(value == WORKS for value in methods[name].values())} methods work")
    text = f"Methods:\n\n{table(methods)}\n\nAttribution algorithms:\n\n{table(algorithms)}"
    page.write_text(f"{before}{MARKS[0]}\n\n{text}\n\n{MARKS[1]}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
