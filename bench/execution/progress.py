"""Progress of long work: what workers report, live bars, and the time left."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from legible.bench.plugins import registry
from legible.bench.suites.run_spec import RunSpec

CONSOLE = Console(highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class Event:
    """Something a worker reports of a run: it started, ended an epoch, is done, failed, or a note.

    ``run`` is the run spec's name; ``epochs`` is how many epochs are done.
    """

    kind: Literal["start", "epoch", "done", "failed", "note"]
    run: str
    text: str = ""
    epochs: int = 0


Report = Callable[[Event], None]


@contextmanager
def progress(specs: Sequence[RunSpec], failures: list[str]) -> Iterator[Report]:
    """A report function that draws live progress, or prints lines where there is no terminal.

    Names of failed runs are added to ``failures``.
    """
    weight = {spec.name: work(spec) for spec in specs}
    total = max(1, sum(weight.values()))
    reached = dict.fromkeys(weight, 0)
    ended: set[str] = set()
    start = time.monotonic()
    bar = Progress(
        TextColumn("{task.fields[ended]}/" + str(len(specs)) + " runs"), BarColumn(),
        TimeRemainingColumn(elapsed_when_finished=True), TextColumn("{task.fields[last]}"),
        console=CONSOLE, disable=not CONSOLE.is_terminal,
    )  # fmt: skip

    def report(event: Event) -> None:
        if event.kind == "epoch":
            reached[event.run] = max(reached.get(event.run, 0), event.epochs)
        if event.kind in ("done", "failed"):
            if event.run in ended:
                return
            ended.add(event.run)
            reached[event.run] = weight.get(event.run, 0)
            if event.kind == "failed":
                failures.append(event.run)
        share = sum(reached.values()) / total
        bar.update(task, completed=sum(reached.values()), ended=len(ended),
                   last=f"{event.run} {event.text}")  # fmt: skip
        if event.kind in ("failed", "note"):
            CONSOLE.print(f"{event.kind}: {event.run}: {event.text}", markup=False)
        elif event.kind == "done" and not CONSOLE.is_terminal:
            left = time_left(time.monotonic() - start, share)
            line = f"[{len(ended)}/{len(specs)}] {event.run}  {event.text}  (left {left})"
            CONSOLE.print(line, markup=False)

    with bar:
        task = bar.add_task("", total=total, ended=0, last="")
        yield report


def time_left(elapsed: float, share: float) -> str:
    """Minutes and seconds left, as ``m:ss``, after ``elapsed`` seconds for a share of the work."""
    if not share:
        return "?"
    seconds = int(elapsed * (1 - share) / share)
    return f"{seconds // 60}:{seconds % 60:02d}"


def work(spec: RunSpec) -> int:
    """How much a run counts in the progress: its epochs, and one for scoring."""
    method = registry.get("methods", spec.method)
    return 1 + (spec.recipe.epochs if method.trains and not method.parent else 0)
