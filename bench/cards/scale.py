"""What runs cost and what larger suites would: docs/scale.md, from the records of runs on disk.

`python -m legible.bench.cards.scale RUNS [--gpu FILE] [--price P] [--suite NAME] [--out FILE]`
reads the manifests in a folder of runs, and the table that `make gpu` wrote. Measured are the
medians of finished runs; all else is an estimate and labelled so.
"""

from __future__ import annotations

import argparse
import csv
import math
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from legible.bench.errors import UserError
from legible.bench.execution.manifest import Manifest
from legible.bench.execution.store import MANIFEST, Run
from legible.bench.leaderboard.render.markdown import grid
from legible.bench.plugins import registry
from legible.bench.suites.run_spec import RunSpec, expand
from legible.bench.suites.schema import find_suite, read_suite

WORKERS = (1, 8, 64)
#: Letters of the longest name of a dataset or backbone that is written with its parameters.
LONGEST = 40
#: An ImageNet-sized suite: images, epochs, methods, seeds of a method, and seeds of plain.
IMAGENET = {"images": 1_281_167, "epochs": 90, "methods": 12, "seeds": 8, "plain": 24}
HOUR = 3600.0
#: The table of `make gpu`, and the images of its large layer.
GPU_CHECKS, GPU_IMAGES = Path("results") / "gpu" / "checks.csv", 5000
#: A training step takes about three times a forward pass.
STEP_IN_PASSES = 3


@dataclass(frozen=True)
class GpuCost:
    """What `make gpu` measured: seconds of a training step by method (32 images, vgg), the seconds
    that a run of `quick` takes with one worker, and ResNet-50's images a second in a forward pass
    (224 pixels, float32)."""

    step: Mapping[str, float]
    quick_run: float
    forward: float


@dataclass(frozen=True)
class RunCost:
    """What one run took: seconds of training and of scoring, and the image passes of its training
    (images times epochs; 0 where the number of images is not part of the run spec)."""

    block: tuple[str, str, str]
    kinds: tuple[str, str]
    training: float
    scoring: float
    passes: int
    probe: int


@dataclass(frozen=True)
class BlockCost:
    """The medians of the runs of a dataset on a backbone on a device."""

    block: tuple[str, str, str]
    kinds: tuple[str, str]
    runs: int
    training: float
    scoring: float
    passes: int
    probe: int

    @property
    def rate(self) -> float:
        """Image passes of training a second; 0 where they are not known."""
        return self.passes / self.training if self.training else 0.0


def run_cost(manifest: Manifest) -> RunCost | None:
    """The cost of a run that was trained and scored; None for another, and for a run of code that
    no longer exists."""
    if manifest.status != "done" or not manifest.seconds or not manifest.score_seconds:
        return None
    try:
        spec = RunSpec.from_json(manifest.spec)
    except (UserError, KeyError, TypeError, ValueError):
        return None
    images = 0 if spec.shots else int(spec.data.get("train") or 0)
    return RunCost(
        block=(spec.dataset_label, spec.backbone_label, manifest.environment.device),
        kinds=(spec.dataset, spec.backbone),
        training=sum(manifest.seconds), scoring=manifest.score_seconds,
        passes=images * len(manifest.seconds), probe=spec.probe,
    )  # fmt: skip


def read_costs(runs: Path) -> list[RunCost]:
    """The costs of all finished runs in a folder; damaged records are left out."""
    manifests = [Run(p.parent).readable_manifest() for p in sorted(runs.glob(f"*/{MANIFEST}"))]
    costs = [run_cost(manifest) for manifest in manifests if manifest is not None]
    return [cost for cost in costs if cost is not None]


def by_block(costs: Iterable[RunCost]) -> list[BlockCost]:
    """The medians of runs by dataset, backbone, device and length of training."""
    groups: dict[tuple[object, ...], list[RunCost]] = {}
    for cost in costs:
        groups.setdefault((*cost.block, cost.passes, cost.probe), []).append(cost)
    return [
        BlockCost(
            group[0].block, group[0].kinds, len(group),
            statistics.median(cost.training for cost in group),
            statistics.median(cost.scoring for cost in group), group[0].passes, group[0].probe,
        )
        for _, group in sorted(groups.items(), key=lambda item: str(item[0]))
    ]  # fmt: skip


def estimate(spec: RunSpec, blocks: Sequence[BlockCost]) -> float | None:
    """Estimated seconds of a run, from a measured block of the same dataset and backbone: training
    in proportion to images times epochs, scoring to the probe's images. None without such a block.
    """
    like = [b for b in blocks if b.kinds == (spec.dataset, spec.backbone) and b.rate]
    if not like or spec.shots:
        return None
    nearest = max(like, key=lambda block: block.passes)
    method = registry.get("methods", spec.method)
    epochs = spec.recipe.epochs if method.trains and not method.parent else 0
    training = int(spec.data.get("train") or 0) * epochs / nearest.rate
    return training + nearest.scoring * spec.probe / nearest.probe


def read_gpu(file: Path) -> GpuCost | None:
    """What `make gpu` measured; None where its table or one of the three numbers is not there."""
    if not file.is_file():
        return None
    with file.open(encoding="utf-8", newline="") as lines:
        values = {(line["part"], line["case"], line["quantity"]): float(line["value"] or "nan")
                  for line in csv.DictReader(lines)}  # fmt: skip
    step = {case: value / 1000 for (_, case, quantity), value in values.items()
            if quantity == "step, ms"}  # fmt: skip
    hourly = values.get(("throughput", "1 worker", "runs an hour"), math.nan)
    seconds = values.get(("large layer", "forward pass", "seconds"), math.nan)
    if "plain" not in step or math.isnan(hourly + seconds):
        return None
    return GpuCost(step, HOUR / hourly, GPU_IMAGES / seconds)


def gpu_training(spec: RunSpec, gpu: GpuCost) -> float:
    """Estimated seconds of a run's training on one GPU: its steps at the measured speed."""
    method = registry.get("methods", spec.method)
    if not method.trains or method.parent:
        return 0.0
    steps = math.ceil(int(spec.data.get("train") or 0) / spec.recipe.batch) * spec.recipe.epochs
    return steps * gpu.step.get(spec.method, gpu.step["plain"])


def gpu_seconds(specs: Sequence[RunSpec], gpu: GpuCost) -> list[float]:
    """Estimated seconds of each run on one GPU: training, and scoring in proportion to the images
    of the probe, from what a run of `quick` takes beyond its training."""
    quick = [spec for spec in expand(read_suite(find_suite("quick")))
             if registry.get("methods", spec.method).trains]  # fmt: skip
    training = statistics.fmean(gpu_training(spec, gpu) for spec in quick)
    scoring = max(0.0, gpu.quick_run - training) / quick[0].probe
    return [gpu_training(spec, gpu) + scoring * spec.probe for spec in specs]


def wall_hours(seconds: Sequence[float], workers: int) -> float:
    """Hours until some runs are done by workers that share them evenly; no less than the longest
    run takes."""
    return max(sum(seconds) / workers, max(seconds, default=0.0)) / HOUR


def imagenet_runs(rate: float) -> list[float]:
    """Seconds of each run of an ImageNet-sized suite at some training images a second."""
    count = IMAGENET["methods"] * IMAGENET["seeds"] + IMAGENET["plain"]
    return [IMAGENET["images"] * IMAGENET["epochs"] / rate] * count


def suite_rows(name: str, seconds: Sequence[float], price: float) -> list[list[str]]:
    """A row of the table of estimates for each number of workers."""
    total = sum(seconds) / HOUR
    return [[name, str(len(seconds)), str(workers), f"{wall_hours(seconds, workers):,.1f}",
             f"{total:,.0f}", f"{total * price:,.0f}"] for workers in WORKERS]  # fmt: skip


def as_page(
    blocks: Sequence[BlockCost], suite: str, specs: Sequence[RunSpec], price: float,
    gpu: GpuCost | None = None, note: str = "",
) -> str:  # fmt: skip
    """The page: measured costs, then estimates with what they assume."""
    measured_rows = [
        [*_shown(b), str(b.runs), f"{b.training:.1f}", f"{b.scoring:.1f}", str(b.probe),
         f"{b.rate:,.0f}" if b.rate else ""] for b in blocks
    ]  # fmt: skip
    seconds = [estimate(spec, blocks) for spec in specs]
    usable = [value for value in seconds if value is not None]
    rows = suite_rows(f"{suite}, as measured above", usable, price) if usable else []
    if gpu:
        rows += suite_rows(f"{suite}, GPUs", gpu_seconds(specs, gpu), price)
        rows += suite_rows("ImageNet-sized, GPUs", imagenet_runs(gpu.forward / STEP_IN_PASSES),
                           price)  # fmt: skip
    left_out = len(seconds) - len(usable)
    missing = f" Of `{suite}`, {left_out} runs have no measured block and are left out." * (
        left_out > 0
    )
    return "\n\n".join([
        "# What runs cost",
        "This page is written by `python -m legible.bench.cards.scale`. How the costs of metrics "
        "grow with units, images, classes and concepts is in [performance.md](performance.md).",
        "## Measured\n\nMedians of all trained and scored runs of a suite's block, and the images "
        f"of its probe. {note}".rstrip(),
        _table(("dataset", "backbone", "device", "runs", "training, s", "scoring, s",
                "probe", "training images a second"), measured_rows),
        "## Estimates\n\nNothing in this table was measured. Each worker does one run at a time "
        "on a device of its own: for rows *as measured above* a device of that table, from the "
        "block of the same dataset and backbone with the longest training, with training in "
        f"proportion to images times epochs and scoring to the images of the probe.{missing} "
        + (_gpu_text(gpu) if gpu else "")
        + f"The price is {price:g} for an hour of one device (`--price`).",
        _table(("suite", "runs", "workers", "hours", "device hours", "price"), rows),
    ]) + "\n"  # fmt: skip


def _shown(block: BlockCost) -> list[str]:
    """Dataset, backbone and device; a label that is too long without its parameters."""
    *labels, device = block.block
    return [label if len(label) <= LONGEST else name
            for label, name in zip(labels, block.kinds, strict=True)] + [device]  # fmt: skip


def _gpu_text(gpu: GpuCost) -> str:
    return (
        "For rows *GPUs* it is the card of [results/gpu](../results/gpu/README.md): each method's "
        "step, and what a run of `quick` takes beyond its training. The ImageNet-sized suite has "
        f"{IMAGENET['images']:,} images, {IMAGENET['epochs']} epochs, {IMAGENET['methods']} "
        f"methods of {IMAGENET['seeds']} seeds and {IMAGENET['plain']} of plain, without scoring; "
        f"a step of ResNet-50 is taken as {STEP_IN_PASSES} forward passes, of which the card does "
        f"{gpu.forward:,.0f} a second (224 pixels, float32). "
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return grid(head, rows, ["---:"] * (len(head) - 1))


def main(words: Sequence[str] | None = None) -> int:
    """Writes the page, or prints it without ``--out``."""
    parser = argparse.ArgumentParser(prog="legible.bench.cards.scale", description=__doc__)
    parser.add_argument("runs", type=Path, help="a folder of runs")
    parser.add_argument("--suite", default="standard", help="a suite to estimate")
    parser.add_argument("--price", type=float, default=2.0, help="of an hour of one device")
    parser.add_argument("--gpu", type=Path, default=GPU_CHECKS, help="the table of `make gpu`")
    parser.add_argument("--note", default="", help="a sentence about how the runs were made")
    parser.add_argument("--out", type=Path, help="docs/scale.md, for example")
    arguments = parser.parse_args(words)
    registry.load()
    blocks = by_block(read_costs(arguments.runs))
    if not blocks:
        print(f"no finished run in {arguments.runs}: `legible run` makes some", file=sys.stderr)
        return 1
    specs = expand(read_suite(find_suite(arguments.suite)))
    gpu = read_gpu(arguments.gpu)
    page = as_page(blocks, arguments.suite, specs, arguments.price, gpu, arguments.note)
    if arguments.out:
        arguments.out.write_text(page, encoding="utf-8")
    else:
        print(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
