"""The pictures of a publication: drawn from runs, or taken from the publication before."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from legible.bench.data.base import Dataset
from legible.bench.data.photographs import pictures_allowed
from legible.bench.errors import UserError
from legible.bench.execution.listing import read_listing, refuse_edited
from legible.bench.execution.progress import CONSOLE, time_left
from legible.bench.execution.store import Corrupt
from legible.bench.execution.workspace import Workspace
from legible.bench.leaderboard.board import Board
from legible.bench.leaderboard.figures.network_pictures import (
    CAPTIONS,
    OF_IMAGES,
    Picture,
    PictureData,
    draw_pictures,
)
from legible.bench.leaderboard.figures.picture_data import gather_picture_data
from legible.bench.plugins import registry
from legible.bench.plugins.faults import PluginFault
from legible.bench.source_keys import content_key
from legible.bench.suites.run_spec import BASELINE, Block, RowKey, RunSpec

#: A row on a block.
Place = tuple[Block, RowKey]

FIGURES = Path(__file__).parent / "figures"

#: Seconds between two lines of progress.
QUIET = 10.0


def pictures_of_rows(
    workspace: Workspace,
    specs: Sequence[RunSpec],
    board: Board,
    folder: Path,
    say: Callable[[str], None] = print,
) -> list[Picture]:
    """The pictures of each row and block: of its first seed that is finished here, else those of
    the publication in ``folder``. Blocks without ``pictures`` in the suite have none.

    A run whose pictures are published already is not drawn again, unless the code that draws has
    changed. Where a plugin fails, this is said, and there are no pictures of its row.
    """
    without = {spec.block for spec in specs if not spec.pictures}
    present = {
        (block, row.key) for block in board.blocks if block not in without
        for row in board.rows_of(block)
    }  # fmt: skip
    earlier = [p for p in published_pictures(folder) if (p.block, p.row) in present]
    first = first_runs(workspace, [spec for spec in specs if spec.pictures])
    origins = {place: _origin(workspace, spec, first) for place, spec in first.items()}
    same = {(p.block, p.row) for p in earlier if origins.get((p.block, p.row)) == p.origin}
    todo = {place: spec for place, spec in first.items() if place not in same}
    pictures = [
        *(p for p in earlier if (p.block, p.row) in same or (p.block, p.row) not in first),
        *(replace(p, origin=origins[p.block, p.row])
          for p in _draw(workspace, todo, first, board.block_title, say)),
    ]  # fmt: skip
    order, kinds = {place: number for number, place in enumerate(first)}, list(CAPTIONS)
    return sorted(pictures, key=lambda p: (
        order.get((p.block, p.row), len(order)), p.block, p.row, kinds.index(p.kind),
    ))  # fmt: skip


def first_runs(workspace: Workspace, specs: Sequence[RunSpec]) -> dict[Place, RunSpec]:
    """The first seed of each row and block that is finished here."""
    first: dict[Place, RunSpec] = {}
    for spec in specs:
        if (spec.block, spec.row) not in first and finished(workspace, spec):
            first[spec.block, spec.row] = spec
    return first


def _origin(workspace: Workspace, spec: RunSpec, first: Mapping[Place, RunSpec]) -> str:
    """The run, plain's run beside it, and the code that draws; changes with any of them."""
    runs = [workspace.run_of(each).name for each in (spec, first.get((spec.block, BASELINE)))
            if each]  # fmt: skip
    images = "images" if pictures_allowed(workspace.dataset(spec)) else "no images"
    return " ".join([*runs, *_drawing_code(), images])


@functools.cache
def _drawing_code() -> list[str]:
    return [content_key(FIGURES / name) for name in ("picture_data.py", "network_pictures.py")]


def _draw(
    workspace: Workspace,
    todo: Mapping[Place, RunSpec],
    first: Mapping[Place, RunSpec],
    title: Callable[[Block], str],
    say: Callable[[str], None],
) -> list[Picture]:
    pictures: list[Picture] = []
    baselines: dict[Block, PictureData] = {}
    start = last = time.monotonic()
    for number, ((block, row), spec) in enumerate(todo.items()):
        if number and time.monotonic() - last >= QUIET:
            last = time.monotonic()
            left = time_left(last - start, number / len(todo))
            CONSOLE.print(f"pictures of {number} of {len(todo)} runs are drawn  (left {left})")
        plain = first.get((block, BASELINE))
        try:
            if plain and row != BASELINE and block not in baselines:
                baselines[block] = workspace.apart(plain, partial(_gather, workspace, plain))
            draw = partial(_draw_run, workspace, spec, baselines.get(block), title(block))
            new, data = workspace.apart(spec, draw)
        except (PluginFault, ValueError) as fault:
            say(f"no pictures of {spec.name}: {fault}")
            continue
        if row == BASELINE:
            baselines[block] = data
        pictures += new
    return pictures


def _gather(workspace: Workspace, spec: RunSpec) -> PictureData:
    data, probe = workspace.dataset(spec), workspace.probe(spec)
    images = data.test.images[: len(probe.images)].float() / 255
    return gather_picture_data(probe, images, data.class_names, attributions=pictures_allowed(data))


def _draw_run(
    workspace: Workspace, spec: RunSpec, baseline: PictureData | None, title: str
) -> tuple[list[Picture], PictureData]:
    """The pictures of one run, and what they show."""
    data = _gather(workspace, spec)
    pictures = draw_pictures(
        data, spec.block, spec.row, registry.get("methods", spec.method).label,
        workspace.run_of(spec).require_manifest().history, baseline,
        workspace.dataset(spec).attribution, title,
    )  # fmt: skip
    return pictures, data


def published_pictures(folder: Path) -> list[Picture]:
    """The pictures of the publication in a folder. None of them if one is damaged or gone."""
    try:
        return [
            _picture(folder / path, item) for path, item in read_listing(folder).pictures.items()
        ]
    except (OSError, UserError, KeyError, TypeError):
        return []


def _picture(path: Path, about: Mapping[str, Any]) -> Picture:
    refuse_edited(path, path.parents[1])
    if about["kind"] not in CAPTIONS:
        raise KeyError(about["kind"])
    return Picture(Block(*about["block"]), RowKey(*about["row"]), about["kind"], about["alt"],
                   path.read_bytes(), about["mime"], about.get("origin", ""))  # fmt: skip


def about_pictures(pictures: Mapping[str, Picture]) -> dict[str, dict[str, Any]]:
    """What each picture shows, by path, as the listing of a publication holds it."""
    return {
        path: {"block": picture.block, "row": picture.row, "kind": picture.kind,
               "alt": picture.alt, "mime": picture.mime, "origin": picture.origin}
        for path, picture in pictures.items()
    }  # fmt: skip


def allowed_pictures(
    pictures: Sequence[Picture],
    datasets: Mapping[str, Dataset],
    say: Callable[[str], None] = print,
) -> list[Picture]:
    """The pictures without those of images that may not be published. What is left out is said."""
    private = {name for name, data in datasets.items() if not pictures_allowed(data)}
    allowed = [p for p in pictures if p.kind not in OF_IMAGES or p.block.dataset not in private]
    for name in sorted({p.block.dataset for p in pictures if p not in allowed}):
        say(f"no pictures with images of {name}: the dataset does not say that they may be "
            "published")  # fmt: skip
    return allowed


def finished(workspace: Workspace, spec: RunSpec) -> bool:
    """Whether a run is finished and can be read."""
    try:
        return not workspace.obstacle(spec) and workspace.run_of(spec).done()
    except Corrupt:
        return False
