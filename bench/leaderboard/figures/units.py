"""`legible show`: draws the images that excite the units or modules of a stored run most."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import NamedTuple

from legible.bench.errors import UserError, nearest
from legible.bench.execution.changes import stored_run
from legible.bench.execution.store import Run
from legible.bench.execution.workspace import Workspace
from legible.bench.files import write_bytes
from legible.bench.leaderboard.figures.network_pictures import draw_module_walls, draw_units
from legible.bench.leaderboard.figures.picture_data import (
    best_matches,
    module_walls,
    unit_examples,
)
from legible.bench.leaderboard.figures.style import save
from legible.bench.suites.run_spec import RunSpec
from legible.bench.text import file_name_part
from legible.metrics.base import Layer, Probe

MOST_ACTIVE = 8  # units that are drawn if none are named
WALLS, IMAGES, COLUMNS = 12, 24, 12  # of modules: how many, images of each, and of these in a line


class UnitChoice(NamedTuple):
    """What is drawn: some units (None: the most active ones) or modules of a layer."""

    units: list[int] | None = None
    layer: str | None = None
    modules: bool = False


def draw_run(
    workspace: Workspace, name: str, choice: UnitChoice, out: Path | None, beside: str | None = None
) -> Path:
    """Draws units or modules of a stored run as a PNG file and returns its path; with ``beside``,
    the same units of another run next to them. Raises UserError."""
    if choice.modules and (choice.units is not None or beside):
        raise UserError("--modules draws all units of a module: leave out --units and --beside")
    run, spec = _up_to_date(workspace, name)
    others = [_up_to_date(workspace, beside)] if beside else []
    for _, other in others:
        if other.block.dataset != spec.block.dataset:
            raise UserError(f"{other.name} was trained on other data than {spec.name}")
    whole = partial(_draw, workspace, [(run, spec), *others], choice, out)
    return workspace.apart(spec, whole)


def _up_to_date(workspace: Workspace, name: str) -> tuple[Run, RunSpec]:
    run, spec, _ = stored_run(workspace, name)
    if run.name != workspace.run_of(spec).name:
        raise UserError(
            f"{run.name} was trained with older code; `legible why {run.name}` shows the changes, "
            "`legible run` makes it again"
        )
    return run, spec


def _draw(
    workspace: Workspace, runs: list[tuple[Run, RunSpec]], choice: UnitChoice, out: Path | None
) -> Path:
    probes = [workspace.probe(spec) for _, spec in runs]
    layers = [layer_named(probe, choice.layer) for probe in probes]
    (run, spec), first = runs[0], layers[0]
    data = workspace.dataset(spec)
    images = data.test.images[: len(probes[0].images)].float() / 255
    title = f"{spec.name}, {first.name}"
    if choice.modules:
        walls = module_walls(first, images, modules=WALLS, count=IMAGES)
        if not walls:
            raise UserError(f"layer '{first.name}' has no modules")
        draw = partial(draw_module_walls, walls, title, data.attribution, columns=COLUMNS)
    else:
        units = most_active(first) if choice.units is None else choice.units
        for layer, (_, each) in zip(layers, runs, strict=True):
            if absent := [unit for unit in units if not 0 <= unit < layer.units]:
                raise UserError(f"layer '{layer.name}' of {each.name} has units 0 to "
                                f"{layer.units - 1}, not {absent[0]}")  # fmt: skip
        examples = [
            unit_examples(layer, probe, images, best_matches(layer, probe), units)
            for layer, probe in zip(layers, probes, strict=True)
        ]
        draw = partial(draw_units, examples[0], title, data.attribution)
        if len(runs) > 1:
            names = (_short_name(spec), _short_name(runs[1][1]))
            title = f"{' · '.join(spec.block)} · {first.name}"
            draw = partial(draw_units, examples[0], title, data.attribution, examples[1], names)
    kind = "modules" if choice.modules else "units"
    path = out or run.folder / f"{kind}-{file_name_part(first.name)}.png"
    try:
        write_bytes(path, save(draw, "png", 110, full_colour=True))
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error
    return path


def _short_name(spec: RunSpec) -> str:
    return f"{spec.method} s{spec.seed}"


def layer_named(probe: Probe, name: str | None) -> Layer:
    """A probed layer by name; by default the last with a map, else the last."""
    spatial = [n for n, layer in probe.layers.items() if layer.spatial] or list(probe.layers)
    name = name or spatial[-1]
    if name not in probe.layers:
        names = f" (probed: {', '.join(probe.layers)})"
        raise UserError(f"no probed layer '{name}'{nearest(name, probe.layers) or names}")
    return probe.layers[name]


def most_active(layer: Layer, count: int = MOST_ACTIVE) -> list[int]:
    """The units with the largest peaks over all images."""
    peaks = layer.activation.flatten(2).amax(2) if layer.spatial else layer.activation
    order: list[int] = peaks.amax(0).argsort(descending=True, stable=True).tolist()
    return order[:count]
