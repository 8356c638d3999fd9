"""What `legible run` does: the plan, the work with its progress, a job array."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from bench import parallel, registry
from bench import suite as suites
from bench.data.base import data_root
from bench.execute import Bench, Event, Report, worker
from bench.registry import UserError
from bench.store import Corrupt, Store
from bench.suite import Cell

CONSOLE = Console(highlight=False, soft_wrap=True)


def open_bench(device: str, plugins: Sequence[Path], runs: Path, root: Path | None) -> Bench:
    """Registers everything and opens the store. Raises UserError."""
    registry.load(plugins=plugins)
    return Bench(Store(runs), resolve_device(device), data_root(root))


def resolve_device(device: str) -> str:
    """ "auto" is cuda where there is one. UserError for an unknown or absent device."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device not in ("cpu", "cuda"):
        raise UserError(f"no device '{device}': use auto, cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: this machine has no usable GPU; use --device cpu")
    return device


# ----------------------------------------------------------------- run


def plan(bench: Bench, cells: Sequence[Cell]) -> list[tuple[Cell, str, str]]:
    """Each cell with its status: done, failed, skipped, missing or to run, and the reason."""
    from bench.execute import probe_key
    from bench.partners import due

    known: dict[tuple[Any, ...], tuple[str, str]] = {}
    out = []
    for cell in cells:
        key = (cell.dataset_label, cell.backbone_label, cell.method, suites.canonical(cell.given))
        if key not in known:
            known[key] = bench.why_not(cell)
        status, reason = known[key]
        if not status:
            run = bench.run_of(cell)
            try:
                manifest = run.manifest()
                scored = run.done() and not due(bench, cell).stale(run, probe_key(cell))
                status = "done" if scored else "to score" if run.done() else "to run"
                if manifest.get("status") == "failed" and manifest.get("final"):
                    status, reason = "failed", manifest["reason"]
            except Corrupt as error:
                status, reason = "to run", f"unreadable: {error}"
        out.append((cell, status, reason))
    return out


def show_plan(bench: Bench, cells: Sequence[Cell]) -> None:
    """Prints what `run` would do."""
    table = Table("cell", "status", "reason", box=None)
    planned = plan(bench, cells)
    for cell, status, reason in planned:
        table.add_row(cell.name, status, reason)
    # in a file or a pipe a name is whole, however long
    (CONSOLE if CONSOLE.is_terminal else Console(highlight=False, width=10_000)).print(table)
    counts = {s: sum(p[1] == s for p in planned) for s in sorted({p[1] for p in planned})}
    CONSOLE.print("  ".join(f"{count} {status}" for status, count in counts.items()))


def run(bench: Bench, cells: Sequence[Cell], jobs: int, plugins: Sequence[Path]) -> None:
    """Runs all cells that are not done, with progress. UserError where any failed."""
    if failures := attempt(bench, cells, jobs, plugins):
        raise UserError(f"{len(failures)} cells failed, the first: {sorted(failures)[0]}")


def attempt(bench: Bench, cells: Sequence[Cell], jobs: int, plugins: Sequence[Path]) -> list[str]:
    """Runs all cells that are not done, with progress, and names those that failed."""
    if jobs < 0:
        raise UserError("--jobs must be 0 (one a core) or more")
    jobs = jobs or (1 if bench.device == "cuda" else os.cpu_count() or 1)
    planned = plan(bench, cells)
    todo = [cell for cell, status, _ in planned if status in ("to run", "to score")]
    # runs that edit another's network come last, when that one is likely there
    todo.sort(key=lambda cell: bool(registry.get("methods", cell.method).parent))
    for status, reason in sorted({(s, r) for _, s, r in planned if s in ("skipped", "missing")}):
        CONSOLE.print(f"{status}: {reason}", markup=False)
    done = sum(status == "done" for _, status, _ in planned)
    CONSOLE.print(f"{len(todo)} of {len(cells)} cells to run ({done} done) on {bench.device}")
    failures: list[str] = [c.name for c, status, _ in planned if status == "failed"]
    work_off(bench, todo, jobs, plugins, failures)
    waited = [c for c, status, _ in plan(bench, cells) if status == "to score" and waits(bench, c)]
    if waited:
        CONSOLE.print(f"{len(waited)} cells to compare with their next seed")
        work_off(bench, waited, jobs, plugins, failures)
    return failures


def work_off(
    bench: Bench, cells: Sequence[Cell], jobs: int, plugins: Sequence[Path], failures: list[str]
) -> None:
    """Runs cells here or in worker processes, with progress; names of failed ones are added."""
    with progress(cells, failures) as report:
        if len(cells) > 1 and jobs > 1:
            parallel.run_parallel(bench, cells, min(jobs, len(cells)), plugins, report)
        else:
            worker(bench, cells, report)


def waits(bench: Bench, cell: Cell) -> bool:
    """Whether a comparison between seeds is not scored yet and now can be."""
    from bench.execute import probe_key
    from bench.partners import between_seeds, due

    return any(map(between_seeds, due(bench, cell).stale(bench.run_of(cell), probe_key(cell))))


@contextmanager
def progress(cells: Sequence[Cell], failures: list[str]) -> Iterator[Report]:
    """A report function that draws live progress, or prints lines where there is no terminal."""
    weight = {c.name: work(c) for c in cells}
    total = max(1, sum(weight.values()))
    reached = dict.fromkeys(weight, 0)
    ended: set[str] = set()
    start = time.monotonic()
    bar = Progress(
        TextColumn("{task.fields[cells]}/" + str(len(cells)) + " cells"), BarColumn(),
        TimeRemainingColumn(elapsed_when_finished=True), TextColumn("{task.fields[last]}"),
        console=CONSOLE, disable=not CONSOLE.is_terminal,
    )  # fmt: skip

    def left() -> str:
        share = sum(reached.values()) / total
        if not share:
            return "?"
        seconds = (time.monotonic() - start) * (1 - share) / share
        return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"

    def report(event: Event) -> None:
        if event.kind == "epoch":
            reached[event.cell] = max(reached.get(event.cell, 0), event.epochs)
        if event.kind in ("done", "failed"):
            if event.cell in ended:
                return
            ended.add(event.cell)
            reached[event.cell] = weight.get(event.cell, 0)
            if event.kind == "failed":
                failures.append(event.cell)
        bar.update(
            task, completed=sum(reached.values()), cells=len(ended),
            last=f"{event.cell} {event.text}",
        )  # fmt: skip
        if event.kind in ("failed", "note"):
            CONSOLE.print(f"{event.kind}: {event.cell}: {event.text}", markup=False)
        elif event.kind == "done" and not CONSOLE.is_terminal:
            line = f"[{len(ended)}/{len(cells)}] {event.cell}  {event.text}  (left {left()})"
            CONSOLE.print(line, markup=False)

    with bar:
        task = bar.add_task("", total=total, cells=0, last="")
        yield report


def work(cell: Cell) -> int:
    """How much a cell counts in the progress: its epochs, and one for scoring."""
    method = registry.get("methods", cell.method)
    return 1 + (cell.recipe.epochs if method.trains and not method.parent else 0)


def submit(bench: Bench, cells: Sequence[Cell], plugins: Sequence[Path], options: str) -> None:
    """Submits what is to run to Slurm and prints the job names."""
    pairs = [part.partition("=") for part in options.split(",") if part]
    if bad := [key for key, equals, _ in pairs if not equals]:
        raise UserError(f"--slurm takes KEY=VALUE pairs, like partition=gpu, not '{bad[0]}'")
    todo = [c for c, status, _ in plan(bench, cells) if status in ("to run", "to score")]
    if not todo:
        CONSOLE.print("nothing to run")
        return
    settings = {key: value for key, _, value in pairs}
    jobs = parallel.submit(bench, todo, plugins, settings)
    CONSOLE.print(f"submitted {len(jobs)} cells: {jobs[0]} ... {jobs[-1]}")
