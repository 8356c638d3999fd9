"""Which methods work on which networks, and which attribution algorithms pass their audit there.

`python -m legible.bench.cards.backbone_methods [NETWORK ...]` trains every method for two steps on
toy images on networks of torchvision (and of timm, where it is installed), keeps the outcomes in
results/cards/backbone_methods.csv, and writes the tables between their marks in docs/backbones.md.
Networks have random weights. Without a name, it tries all networks that the file does not hold yet.
"""

from __future__ import annotations

import argparse
import csv
import functools
import gc
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch.nn.functional import interpolate

from legible.bench.backbones.model_names import model_builder
from legible.bench.backbones.taps import Network
from legible.bench.check.toy import toy_data
from legible.bench.data.base import Dataset, Split
from legible.bench.errors import UserError, nearest
from legible.bench.leaderboard.render.markdown import grid
from legible.bench.plugins import registry
from legible.bench.scoring.probe import probe_network
from legible.bench.text import one_line
from legible.bench.training.checkpoint import snapshot
from legible.bench.training.fit import build_network, fit_network, initialise
from legible.bench.training.loop import Diverged
from legible.bench.training.recipe import Recipe
from legible.methods.base import METHODS, Method, unmet
from legible.metrics.explainers import explanations
from legible.metrics.network import Concepts

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "backbones.md"
OUTCOMES = ROOT / "results" / "cards" / "backbone_methods.csv"
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
#: Parameters of methods that would take long.
SHORT: Mapping[str, Mapping[str, int]] = {"posthoc_sae": {"steps": 10}}
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
            method = registry.make_method(name, SHORT.get(name, {}))
            parents[name] = snapshot(train(method), method)
        return parents[name]

    def outcome(name: str) -> str:
        method = registry.make_method(name, SHORT.get(name, {}))
        if reason := unmet(method, initialise(make, 0, "cpu"), data.train):
            return reason
        try:
            network = train(method)
        except (Diverged, ValueError, UserError) as error:
            return one_line(str(error))
        except RuntimeError as error:
            return f"fails: {one_line(str(error))}"
        finally:
            gc.collect()  # network and method refer to each other
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
    return "\n\n".join([grid(header, body, [":---:"] * len(columns)), "<br>\n".join(notes)])


class Line(NamedTuple):
    """A line of the file of outcomes; ``kind`` is "method" or "algorithm"."""

    network: str
    kind: str
    name: str
    outcome: str


def read_outcomes(path: Path) -> list[Line]:
    """The outcomes in a file; none if there is no file."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [Line(**line) for line in csv.DictReader(file)]


def write_outcomes(path: Path, lines: Sequence[Line]) -> None:
    """Writes outcomes, in the order of `MODELS`."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Line._fields)
        for network in MODELS:
            writer.writerows(line for line in lines if line.network == network)


def page_text(lines: Iterable[Line]) -> str:
    """The two tables, of methods and of attribution algorithms."""
    tables: dict[str, dict[str, dict[str, str]]] = {"method": {}, "algorithm": {}}
    for line in lines:
        tables[line.kind].setdefault(line.network, {})[line.name] = line.outcome
    return (
        f"Methods:\n\n{table(tables['method'])}\n\n"
        f"Attribution algorithms:\n\n{table(tables['algorithm'])}"
    )


def tried(network: str) -> list[Line]:
    """The outcome of every method and every attribution algorithm on a network."""
    side = MODELS[network]
    return [
        *(Line(network, "method", *pair) for pair in outcomes(network, side).items()),
        *(Line(network, "algorithm", *pair) for pair in audits(network, side).items()),
    ]


def main(words: list[str] | None = None) -> None:
    """Tries networks, and writes the tables after each of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=", ".join(MODELS))
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--outcomes", type=Path, default=OUTCOMES)
    options = parser.parse_args(words)
    for name in options.networks:
        if name not in MODELS:
            parser.error(f"no network {name}{nearest(name, MODELS)}")
    before, rest = options.page.read_text(encoding="utf-8").split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    registry.load()
    lines = read_outcomes(options.outcomes)
    done = {line.network for line in lines}
    for network in options.networks or [name for name in MODELS if name not in done]:
        try:
            model_builder(network)
        except UserError as error:  # timm is an extra
            print(f"{network}: {error}", file=sys.stderr)
            continue
        lines = [*(line for line in lines if line.network != network), *tried(network)]
        write_outcomes(options.outcomes, lines)
        text = page_text(read_outcomes(options.outcomes))
        options.page.write_text(
            f"{before}{MARKS[0]}\n\n{text}\n\n{MARKS[1]}{after}", encoding="utf-8"
        )
        works = sum(line[:2] == (network, "method") and line.outcome == WORKS for line in lines)
        print(f"{network}: {works} methods work", flush=True)


if __name__ == "__main__":
    main()
