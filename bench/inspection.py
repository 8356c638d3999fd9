"""What `legible list`, `why` and `show` tell of the parts there are and of stored runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from bench import registry
from bench import suite as suites
from bench.execute import Bench
from bench.registry import UserError
from bench.session import CONSOLE
from bench.store import Corrupt
from bench.suite import Cell

# ----------------------------------------------------------------- list


def show_list(kind: str, plugins: Sequence[Path]) -> None:
    """Prints names with a line each. UserError for an unknown kind."""
    from methods.base import nearest

    kinds = [*registry.KINDS, "suites"]
    if kind not in kinds:
        raise UserError(f"no such list '{kind}'{nearest(kind, kinds) or ': ' + ', '.join(kinds)}")
    table = Table(kind.removesuffix("s"), "", box=None, show_header=False)
    if kind == "suites":
        for path in sorted(suites.SUITES.glob("*.toml")):
            table.add_row(path.stem, suites.read(path).title)
    else:
        registry.load([kind], plugins)
        for name, item in sorted(registry.KINDS[kind].items()):
            table.add_row(name, describe(kind, item))
    CONSOLE.print(table)
    for name, reason in sorted(registry.FAILED.items()):
        CONSOLE.print(f"{name}: cannot be imported: {reason}", markup=False)


def show_cards(plugins: Sequence[Path]) -> None:
    """Prints every metric's card as markdown."""
    from bench.cards import cards

    registry.load(["metrics"], plugins)
    print(cards(), end="")


def describe(kind: str, item: Any) -> str:
    """The first sentence of an item's docstring, with what a reader wants beside it."""
    if kind == "metrics":
        arrow = {"higher": "↑", "lower": "↓", "neither": "·"}[item.better]
        return f"{arrow} {item.aspect}{' (headline)' if item.headline else ''}: {item.summary}"
    first = (item.__doc__ or "").strip().splitlines()[0] if item.__doc__ else ""
    return f"[{item.kind}] {first}" if kind == "methods" and item.kind != "method" else first


# ----------------------------------------------------------------- why


def cell_of(bench: Bench, name: str) -> tuple[Cell, dict[str, Any]]:
    """The cell of a stored run, as the code stands now, and its manifest. Raises UserError."""
    from bench.train import Recipe

    run = bench.store.find(name)
    try:
        manifest = run.manifest()
        told = manifest["cell"]
    except (Corrupt, KeyError) as error:
        raise UserError(f"{run.name}: {error}; the next `legible run` makes it again") from error
    method = registry.get("methods", told["method"])
    cell = Cell(
        told["dataset"],
        registry.parameters(registry.get("datasets", told["dataset"]), told["data"], 1),
        told["backbone"],
        registry.parameters(registry.get("backbones", told["backbone"]), told["net"], 2),
        told["method"], registry.parameters(method, told["given"]), told["given"],
        Recipe(**told["recipe"]), told["seed"], tuple(told["layers"]), told["probe"],
        tuple(told["aspects"]), told.get("shots", 0),
    )  # fmt: skip
    return cell, manifest


def why(bench: Bench, name: str) -> None:
    """Prints what changed between a run and what the code would make now."""
    cell, manifest = cell_of(bench, name)
    changes = list(differences(manifest["identity"], bench.identity(cell)))
    if not changes:
        CONSOLE.print("up to date: the next run would reuse it")
    for path, old, new in changes:
        CONSOLE.print(f"{path}: {old} -> {new}", markup=False)


def differences(old: Any, new: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Where two JSON-like values differ, as (path, old, new)."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            inner = f"{path}.{key}" if path else key
            yield from differences(old.get(key, "absent"), new.get(key, "absent"), inner)
    elif old != new:
        yield path, old, new


# ----------------------------------------------------------------- show


def show(
    bench: Bench, name: str, units: list[int] | None, layer: str | None, out: Path | None
) -> Path:
    """Draws a run's units to a PNG and returns its path. Raises UserError."""
    from bench.show import draw_units, most_active
    from methods.base import nearest

    cell, _ = cell_of(bench, name)
    run = bench.store.find(name)
    if run.name != bench.run_of(cell).name:
        raise UserError(f"{run.name} was made by other code (see: legible why); run it again first")
    probed = bench.probe(cell)
    names = [n for n, found in probed.layers.items() if found.spatial] or list(probed.layers)
    chosen = layer or names[-1]
    if chosen not in probed.layers:
        known = f" (probed: {', '.join(probed.layers)})"
        raise UserError(f"no probed layer '{chosen}'{nearest(chosen, probed.layers) or known}")
    data, _ = bench.dataset(cell.dataset, cell.data)
    images = data.test.images[: len(probed.images)] / 255
    path = out or run.folder / f"units-{chosen}.png"
    found = probed.layers[chosen]
    credit = f"  ({data.attribution})" if data.attribution else ""
    try:
        title = f"{cell.name}, {chosen}{credit}"
        return draw_units(found, images, units or most_active(found), path, title)
    except ValueError as error:
        raise UserError(str(error)) from error
