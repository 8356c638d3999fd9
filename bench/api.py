"""The benchmark from Python: `legible.run`, `scores`, `publish`, `score` and `load`."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from legible.bench.data.base import Dataset
from legible.bench.errors import UserError, reason_of
from legible.bench.execution import schedule
from legible.bench.execution.listing import refuse_edited
from legible.bench.execution.namesakes import claim_results
from legible.bench.execution.published import SCORES, published_folder, read_published
from legible.bench.execution.reuse import refuse_namesakes
from legible.bench.execution.workspace import Workspace, open_workspace
from legible.bench.files import settle
from legible.bench.plugins.limits import read_limits
from legible.bench.scores.collect import score_table
from legible.bench.scores.score_table import read_scores, tidy
from legible.bench.suites.run_spec import RunSpec, expand
from legible.bench.suites.schema import Suite, find_suite, read_suite, with_plugins
from legible.bench.tuning.tune import tuned_specs
from legible.metrics.network import Concepts


@dataclass(frozen=True)
class Prepared:
    """A suite that is ready to run: its workspace, its run specs and its plugin files."""

    workspace: Workspace
    suite: Suite
    specs: list[RunSpec]
    plugins: list[Path]


def prepare(
    suite: str,
    *,
    methods: Sequence[str] | None = None,
    seeds: int | Sequence[int] | None = None,
    datasets: Sequence[str] | None = None,
    plugins: Sequence[Path | str] | None = None,
    device: str = "auto",
    runs: Path | str = "runs",
    data_root: Path | str | None = None,
    results: Path | str = "results",
    time_limit: str | None = None,
    memory_limit: str | None = None,
    reuse: bool = False,
) -> Prepared:
    """Reads a suite, registers its plugins and makes its run specs; runs nothing.

    ``seeds`` is a list of seeds, or how many of the suite's seeds, from the first on. The limits
    are those of one run, as text: "2h", "16GiB". ``reuse``: runs whose scores are published are
    finished. Raises UserError, in one line, for anything wrong in the suite, in its published table
    or in the arguments.
    """
    path = find_suite(suite)
    file = read_suite(path)
    own = [Path(plugin) for plugin in plugins or ()]
    files = [*own, *file.plugins]
    root = None if data_root is None else Path(data_root)
    limits = read_limits(time_limit, memory_limit)
    workspace = open_workspace(device, files, Path(runs), root, limits)
    claim_results(Path(runs), Path(results) / file.name, path, file.title, file.block_names)
    whole = with_plugins(file, own)
    seeds = whole.seeds[:seeds] if isinstance(seeds, int) else seeds
    specs = expand(whole, seeds, methods, datasets)
    if reuse:
        workspace.published = read_published(published_folder(Path(results), whole.name))
        new = {entry.name for entry in whole.methods} - {entry.name for entry in file.methods}
        refuse_namesakes(workspace, new, expand(whole, methods=sorted(new)) if new else [])
    return Prepared(workspace, whole, tuned_specs(whole, specs, Path(results)), files)


def run(
    suite: str,
    *,
    methods: Sequence[str] | None = None,
    seeds: int | Sequence[int] | None = None,
    datasets: Sequence[str] | None = None,
    plugins: Sequence[Path | str] = (),
    jobs: int = 0,
    device: str = "auto",
    runs: Path | str = "runs",
    data_root: Path | str | None = None,
    results: Path | str = "results",
    retry: bool = False,
    time_limit: str | None = None,
    memory_limit: str | None = None,
    only_local: bool = False,
) -> pd.DataFrame:
    """Trains and scores all runs of a suite that are not done yet, and returns the score table.

    Runs whose scores are published are done, unless ``only_local`` is true.

    The table has one row for each run, layer and metric; docs/scores.md describes its columns.
    ``seeds`` is a list of seeds, or how many of the suite's seeds, from the first on. ``jobs`` is
    the number of worker processes (0: one for each core). ``retry`` tries runs again that failed. A
    run that takes longer than ``time_limit`` (default: "1d") or more memory than ``memory_limit``
    (default: nine tenths of the machine's) is stopped and fails. Raises UserError if a run failed.
    """
    here = prepare(
        suite, methods=methods, seeds=seeds, datasets=datasets, plugins=plugins, device=device,
        runs=runs, data_root=data_root, results=results, time_limit=time_limit,
        memory_limit=memory_limit, reuse=not only_local,
    )  # fmt: skip
    schedule.run_all(here.workspace, here.specs, jobs, here.plugins, retry)
    return tidy(score_table(here.workspace, here.specs))


def scores(suite: str, *, results: Path | str = "results") -> pd.DataFrame:
    """The published score table of a suite: ``results/SUITE/scores.csv``, or else the table that
    comes with the package.

    Raises UserError if there is none or it cannot be read.
    """
    path = published_folder(Path(results), read_suite(find_suite(suite)).name) / SCORES
    try:
        settle(path.parent)
        if not path.is_file():
            raise UserError(f"no {path}: `legible publish {suite}` writes it")
        refuse_edited(path)
        return read_scores(path)
    except OSError as error:
        raise UserError(f"cannot read {path.parent}: {reason_of(error)}") from error
    except ValueError as error:
        raise UserError(str(error)) from error


def score(
    network: Any,
    data: Any,
    *,
    layers: Sequence[str] = (),
    weights: str = "",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    class_names: Sequence[str] = (),
    concepts: Concepts | None = None,
    class_map: Path | str | Mapping[str, Any] | None = None,
    metrics: str | Sequence[str] = "headline",
    images: int = 1000,
    split: str = "test",
    name: str = "",
    seed: int = 0,
    plugins: Sequence[Path | str] = (),
    device: str = "auto",
    data_root: Path | str | None = None,
    results: Path | str | None = "results",
    progress: bool = True,
) -> pd.DataFrame:
    """Scores a network that one has, and returns the score table.

    Also writes a page and the table to ``results/scored/NAME`` (``results=None``: writes nothing).
    Beside the network stand an untrained twin, of the same architecture with fresh weights, and the
    impostors: what a cheap trick scores.

    Args:
        network: a torch nn.Module, which is not changed, or a name: ``torchvision:resnet50``,
            ``my_net.py:build``, ``vgg``.
        data: the name of a dataset, ``imagefolder:photos(size=224)``; a `Dataset`; a torch Dataset
            of pairs (image, label); or a pair (images, labels).
        layers: names of nodes or modules of the network; by default its last two with a map.
        weights: a file of weights; "" for those of the module, or for random ones of a name.
        mean, std: the normalisation by channel, of pixels from 0 to 1. By default that of ImageNet
            for a library's model with 1000 outputs, and the data's own for a dataset of Legible;
            float images are otherwise taken as they are.
        class_names, concepts: belong to data that is no dataset of Legible.
        class_map: which outputs stand for each class: a dictionary, or a CSV or JSON file.
        metrics: "headline", "all", or a list of names.
        images: the largest number of images. ``split`` is that of a dataset of Legible.
        name: the name of the folder; by default made from the names of network and data.
        seed: of random weights, and of the metrics' random numbers.
        progress: print what is being done, and the page's path, to standard error.

    Raises UserError, in one line, for anything that does not fit together.
    """
    from legible.bench.one_network.scored_network import ScoreRequest, score_one

    request = ScoreRequest(
        network=network, data=data, weights=weights, layers=layers, class_map=class_map,
        metrics=metrics, images=images, split=split, mean=mean, std=std, class_names=class_names,
        concepts=concepts, name=name, seed=seed, plugins=plugins, device=device,
        data_root=data_root, results=results,
    )  # fmt: skip
    say: Callable[[str], None] = functools.partial(print, file=sys.stderr)
    scored = score_one(request, say if progress else lambda text: None)
    if progress and scored.page is not None:
        say(str(scored.page))
    return scored.table


def load(name: str, data_root: Path | str | None = None) -> Dataset:
    """The images, labels and concepts of a dataset, to train a network of one's own on.

    ``name`` may have parameters: ``shapes(train=3000)``, ``imagefolder:photos(size=224)``.
    ``data.train``, ``data.validation`` and ``data.test`` are `Split`s with ``images`` (uint8),
    ``labels`` and ``concepts``; ``data.train.normalise(images)`` gives what networks get. Raises
    UserError for an unknown name or parameter, and DataMissing with what is missing and where it
    comes from.
    """
    from legible.bench.one_network.image_data import named_dataset
    from legible.bench.plugins import registry

    registry.load(["datasets"])
    return named_dataset(name, Path(data_root) if data_root else None)[1]


def publish(
    suite: str,
    *,
    methods: Sequence[str] | None = None,
    seeds: int | Sequence[int] | None = None,
    plugins: Sequence[Path | str] = (),
    pictures: bool = True,
    cost: bool = True,
    partial: bool = False,
    device: str = "auto",
    runs: Path | str = "runs",
    data_root: Path | str | None = None,
    results: Path | str = "results",
    only_local: bool = False,
) -> Path:
    """Writes the leaderboard of a suite's finished runs and returns the path of its README.

    Rows that are published already are kept, unless ``only_local`` is true. ``pictures``: draw the
    units and modules of each method. ``cost``: measure the costs that are not measured yet.
    ``partial``: publish although runs are missing; the page names them. Raises UserError if nothing
    has run, or if runs are missing and ``partial`` is False.
    """
    from legible.bench.leaderboard.publish import write_publication  # draws, which runs do not
    from legible.bench.leaderboard.reproduce import reproduce_command

    here = prepare(
        suite, methods=methods, seeds=seeds, plugins=plugins, device=device, runs=runs,
        data_root=data_root, results=results, reuse=not only_local,
    )  # fmt: skip
    numbers = here.suite.seeds[:seeds] if isinstance(seeds, int) else seeds
    command = reproduce_command(
        suite,
        {
            "--device": None if device == "auto" else device, "--seeds": _joined(numbers),
            "--methods": _joined(methods), "--plugin": [Path(plugin) for plugin in plugins],
            "--runs": None if Path(runs) == Path("runs") else runs, "--data-root": data_root,
            "--results": None if Path(results) == Path("results") else results,
        },
        {"--no-cost": not cost, "--no-pictures": not pictures, "--partial": partial},
        tuned=here.suite.tune is not None,
    )  # fmt: skip
    return write_publication(
        here.workspace, here.suite, here.specs, Path(results), cost, command,
        with_pictures=pictures, partial=partial,
    )  # fmt: skip


def _joined(values: Sequence[object] | None) -> str | None:
    return None if values is None else ",".join(map(str, values))
