"""Scores a network that one has, and writes its page and its table."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from legible.bench.errors import UserError, nearest
from legible.bench.execution.device import resolve_device, settle_device
from legible.bench.files import write_together
from legible.bench.leaderboard.figures.network_pictures import draw_units
from legible.bench.leaderboard.figures.style import save
from legible.bench.leaderboard.render.markdown import code_block
from legible.bench.one_network.class_map import read_class_map
from legible.bench.one_network.comparison import (
    ScoreComparison,
    compare,
    metric_names,
    row_name,
)
from legible.bench.one_network.image_data import ImageData, Normalisation, load_images, normalised
from legible.bench.one_network.page import (
    AGAIN,
    CONCEPTS_TABLE,
    UNITS_TABLE,
    picture_name,
    render_scores,
)
from legible.bench.one_network.subject import OwnNetwork, given_subject, named_subject
from legible.bench.one_network.unit_concepts import best_concepts_of_units, best_units
from legible.bench.plugins import registry
from legible.bench.scores.score_table import read_scores, scores_text, tidy, to_table
from legible.bench.text import name_problem
from legible.metrics.network import Concepts

#: The folder below the results in which each scored network has a folder of its own.
SCORED = "scored"
PAGE, TABLE = "README.md", "scores.csv"
#: The most letters of a folder's name that is made from other names.
MOST_LETTERS = 90
#: The endings of files of weights, of which one may have several (".pth.tar").
_WEIGHTS = re.compile(r"(\.(pth|pt|bin|ckpt|tar|safetensors))+$")


@dataclass(frozen=True, eq=False)
class ScoreRequest:
    """What is to be scored, how, and where the page goes; `legible.score` describes each field."""

    network: Any
    data: Any
    weights: str = ""
    layers: Sequence[str] = ()
    class_map: Path | str | Mapping[str, Any] | None = None
    metrics: str | Sequence[str] = "headline"
    images: int = 1000
    split: str = "test"
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    class_names: Sequence[str] = ()
    concepts: Concepts | None = None
    name: str = ""
    seed: int = 0
    device: str = "auto"
    plugins: Sequence[Path | str] = ()
    data_root: Path | str | None = None
    results: Path | str | None = "results"
    command: str = ""


@dataclass(frozen=True, eq=False)
class ScoredNetwork:
    """The score table of a network, and the path of its page; None if none was written."""

    table: pd.DataFrame
    page: Path | None


def score_one(
    request: ScoreRequest, report: Callable[[str], None] = lambda text: None
) -> ScoredNetwork:
    """Scores the network, its twin and the impostors. Raises UserError and DataMissing."""
    registry.load(plugins=[Path(plugin) for plugin in request.plugins])
    device = resolve_device(request.device)
    settle_device(device)
    metrics = metric_names(request.metrics)
    if isinstance(request.network, str):
        registry.get("backbones", request.network)  # a wrong name is said before data is read
    _refuse_missing(request.weights)
    _refuse_name(request)
    class_map = None if request.class_map is None else read_class_map(request.class_map)
    data = load_images(
        request.data, split=request.split, most=request.images, class_names=request.class_names,
        concepts=request.concepts, root=Path(request.data_root) if request.data_root else None,
    )  # fmt: skip
    subject = _subject(request, data)
    data = normalised(data, _normalisation(request) or subject.normalisation)
    folder = _folder(request, subject, data)
    comparison = compare(
        subject, data.to(device), layers=request.layers, class_map=class_map, metrics=metrics,
        seed=request.seed, report=report,
    )  # fmt: skip
    table = tidy(to_table(comparison.rows))
    if folder is None:
        return ScoredNetwork(table, None)
    page = render_scores(subject, data, comparison, request.command)
    contents = {
        PAGE: page.encode(), TABLE: scores_text(table).encode(),
        **_units_files(comparison, row_name(subject.label)),
    }  # fmt: skip
    write_together(folder, lambda: contents)
    return ScoredNetwork(table, folder / PAGE)


def _units_files(comparison: ScoreComparison, title: str) -> dict[str, bytes]:
    """The best unit of each concept and the best concept of each unit, as tables, and a picture of
    each layer's units."""
    files = {}
    if not comparison.precisions.empty:
        tables = {
            UNITS_TABLE: best_concepts_of_units(comparison.precisions),
            CONCEPTS_TABLE: best_units(comparison.precisions, comparison.twin_precisions),
        }
        for name, table in tables.items():
            files[name] = table.to_csv(index=False, float_format="%.4f").encode()
    for layer, gallery in comparison.galleries.items():
        draw = partial(draw_units, gallery.examples, f"{title}, {layer}")
        files[picture_name(layer)] = save(draw, "png", 110, full_colour=True)
    return files


def _subject(request: ScoreRequest, data: ImageData) -> OwnNetwork:
    if isinstance(request.network, str):
        return named_subject(request.network, request.weights, data, request.seed)
    return given_subject(request.network, request.weights, request.seed)


def _refuse_missing(weights: str) -> None:
    """Raises UserError for a file of weights that is not there, with the nearest name beside it."""
    path = Path(weights).expanduser()
    if weights in ("", "pretrained") or "$" in weights or path.exists():
        return
    others = [file.name for file in path.parent.iterdir()] if path.parent.is_dir() else []
    raise UserError(f"no file {weights}{nearest(path.name, others)}")


def _refuse_name(request: ScoreRequest) -> None:
    """Raises UserError for a name that no folder can have, or whose folder holds the page of
    another command, before any data is read."""
    if not request.name or request.results is None:
        return
    if problem := name_problem(request.name):
        raise UserError(f"name '{request.name}' {problem}: choose another with --name")
    folder = Path(request.results) / SCORED / request.name
    if request.command and (other := _other_content(folder, None, request.command)):
        raise UserError(f"{folder} {other}: choose another --name")


def _normalisation(request: ScoreRequest) -> Normalisation | None:
    """The normalisation that the user gives; None if none is given. Raises UserError for half."""
    if request.mean is None and request.std is None:
        return None
    if request.mean is None or request.std is None:
        raise UserError("mean and std belong together: give both")
    return Normalisation(tuple(map(float, request.mean)), tuple(map(float, request.std)))


def _folder(request: ScoreRequest, subject: OwnNetwork, data: ImageData) -> Path | None:
    """The folder of the page. Where the usual one holds something else, one with a number.

    Raises UserError if the folder that the user names holds something else.
    """
    if request.results is None:
        return None
    weights = _WEIGHTS.sub("", Path(request.weights).name)
    model = subject.label.rpartition(":")[2]
    place = re.search(r"\bpath=([^,)]+)", data.label)
    parts = [model, "" if weights == model else weights, data.label.partition("(")[0],
             place[1] if place else ""]  # fmt: skip
    usual = re.sub(r"[^\w.-]+", "_", "-".join(part for part in parts if part))[:MOST_LETTERS]
    folder = Path(request.results) / SCORED / (request.name or usual)
    names = (row_name(subject.label), row_name(data.label))
    if request.name:
        if other := _other_content(folder, names, request.command):
            raise UserError(f"{folder} {other}: choose another --name")
        return folder
    numbered = (folder.with_name(f"{usual}-{count}") for count in itertools.count(2))
    return next(one for one in itertools.chain([folder], numbered)
                if not _other_content(one, names, request.command))  # fmt: skip


def _other_content(folder: Path, names: tuple[str, str] | None, command: str) -> str:
    """What a folder holds, if that is not a page of these names and this command; "" if it is, and
    if nothing is there. ``names`` None: any. Pages that were made from Python have no command."""
    if not (folder / TABLE).is_file():
        return ""
    try:
        first = read_scores(folder / TABLE).iloc[0]
    except (ValueError, IndexError):
        return "holds no score table"
    if names and (first["backbone"], first["dataset"]) != names:
        return f"holds the scores of {first['backbone']} on {first['dataset']}"
    page = folder / PAGE
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    same = code_block(command) in text if command else AGAIN not in text
    return "" if same or not text else "holds the page of another command"
