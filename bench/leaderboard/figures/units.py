"""`legible show`: draws the images that excite the units of a stored run most."""

from __future__ import annotations

from pathlib import Path

from legible.bench.errors import UserError, nearest
from legible.bench.execution.changes import stored_run
from legible.bench.execution.store import Run
from legible.bench.execution.workspace import Workspace
from legible.bench.files import write_bytes
from legible.bench.leaderboard.figures.network_pictures import draw_units
from legible.bench.leaderboard.figures.picture_data import best_matches, unit_examples
from legible.bench.leaderboard.figures.style import save
from legible.bench.suites.run_spec import RunSpec
from legible.bench.text import file_name_part
from legible.metrics.base import Layer, Probe

MOST_ACTIVE = 8  # units that are drawn if none are named


def draw_run(
    workspace: Workspace, name: str, units: list[int] | None, layer: str | None, out: Path | None
) -> Path:
    """Draws units of a stored run as a PNG file and returns its path. Raises UserError."""
    run, spec, _ = stored_run(workspace, name)
    if run.name != workspace.run_of(spec).name:
        raise UserError(
            f"{run.name} was trained with older code; `legible why {run.name}` shows the changes, "
            "`legible run` makes it again"
        )
    return workspace.apart(spec, lambda: _draw(workspace, run, spec, units, layer, out))


def _draw(
    workspace: Workspace,
    run: Run,
    spec: RunSpec,
    units: list[int] | None,
    layer: str | None,
    out: Path | None,
) -> Path:
    probe = workspace.probe(spec)
    drawn = layer_named(probe, layer)
    absent = [unit for unit in units or [] if not 0 <= unit < drawn.units]
    if absent:
        raise UserError(f"layer '{drawn.name}' has units 0 to {drawn.units - 1}, not {absent[0]}")
    data = workspace.dataset(spec)
    images = data.test.images[: len(probe.images)].float() / 255
    numbers = most_active(drawn) if units is None else units
    examples = unit_examples(drawn, images, best_matches(drawn, probe), numbers)
    path = out or run.folder / f"units-{file_name_part(drawn.name)}.png"
    title = f"{spec.name}, {drawn.name}"
    try:
        write_bytes(path, save(lambda: draw_units(examples, title, data.attribution), "png", 110))
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error
    return path


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
