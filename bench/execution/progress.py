"""Progress of runs: the events that workers report, a live bar, and the time left."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from legible.bench.plugins import registry
from legible.bench.suites.run_spec import RunSpec

#: Prints to the terminal; never takes what it prints as markup: ``[x]`` and ``:x:`` stay.
CONSOLE = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)


@dataclass(frozen=True)
class Event:
    """What a worker reports about a run: its start, the end of an epoch, its end, its end in a
    worker elsewhere (``text``: why it failed there, if it did), or a note.

    ``run`` is the run spec's name, ``epochs`` the number of epochs that are done.
    """

    kind: Literal["start", "epoch", "done", "failed", "elsewhere", "note"]
    run: str
    text: str = ""
    epochs: int = 0


Report = Callable[[Event], None]


class Monitor:
    """Shows the progress of runs, and collects the names of those that failed.

    Call it with each event inside ``with monitor.bar``. In a terminal it draws a live bar;
    elsewhere it prints a line for each run that ends.
    """

    def __init__(self, specs: Sequence[RunSpec]) -> None:
        self.failures: list[str] = []
        self.own: set[str] = set()  # ended in workers of this command
        self.ended: set[str] = set()
        self.runs = len(specs)
        self.weights = {spec.name: work(spec) for spec in specs}
        self.total = max(1, sum(self.weights.values()))
        self.done = dict.fromkeys(self.weights, 0)
        self.start = time.monotonic()
        self.bar = Progress(
            TextColumn("{task.fields[ended]}/" + str(self.runs) + " runs"), BarColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("{task.fields[last]}", markup=False),
            console=CONSOLE, disable=not CONSOLE.is_terminal,
        )  # fmt: skip
        self.task = self.bar.add_task("", total=self.total, ended=0, last="")

    def __call__(self, event: Event) -> None:
        """Takes in what a worker reports."""
        if event.kind == "epoch":
            self.done[event.run] = max(self.done.get(event.run, 0), event.epochs)
        if event.kind in ("done", "failed", "elsewhere"):
            if event.run in self.ended:
                return  # two workers saw the same run end
            self.ended.add(event.run)
            self.done[event.run] = self.weights.get(event.run, 0)
            if event.kind != "elsewhere":
                self.own.add(event.run)
            if event.kind == "failed" or (event.kind == "elsewhere" and event.text):
                self.failures.append(event.run)
        self.bar.update(self.task, completed=sum(self.done.values()), ended=len(self.ended),
                        last=f"{event.run} {event.text}")  # fmt: skip
        self._print(event)

    def _print(self, event: Event) -> None:
        if event.kind in ("failed", "note"):
            CONSOLE.print(f"{event.kind}: {event.run}: {event.text}")
        elif event.kind == "elsewhere" and event.text:
            CONSOLE.print(f"failed in another worker: {event.run}: {event.text}")
        elif event.kind == "done" and not CONSOLE.is_terminal:
            share = sum(self.done.values()) / self.total
            left = time_left(time.monotonic() - self.start, share)
            line = f"[{len(self.ended)}/{self.runs}] {event.run}  {event.text}  (left {left})"
            CONSOLE.print(line)


def time_left(elapsed: float, share: float) -> str:
    """The estimated time left as ``m:ss``, if a share of the work took ``elapsed`` seconds."""
    return minutes(elapsed * (1 - share) / share) if share else "?"


def minutes(seconds: float) -> str:
    """Seconds as ``m:ss``, rounded."""
    whole = round(seconds)
    return f"{whole // 60}:{whole % 60:02d}"


def work(spec: RunSpec) -> int:
    """The weight of a run in the progress: its number of epochs, plus one for scoring."""
    method = registry.get("methods", spec.method)
    return 1 + (spec.recipe.epochs if method.trains and not method.parent else 0)
