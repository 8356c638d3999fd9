"""Marks: empty files whose names tell what has ended, so that one listing of a folder tells a
worker which of thousands of runs are left.

A mark only saves looking into a run: `legible run` verifies the files of each run and corrects its
mark; workers on a cluster rely on marks.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from legible.bench.execution.pairs import between_seeds, partner_of
from legible.bench.execution.store import Run, Store
from legible.bench.execution.workspace import Workspace, probe_key
from legible.bench.files import make_folder, take_group
from legible.bench.scoring.score import metric_keys, short_hash
from legible.bench.suites.run_spec import RunSpec, canonical

#: Marks of a run that failed: for good, and until the next call of `legible run`.
FAILED, TRIED = "failed", "tried"

#: The marks of each run, by the name of its folder.
Marks = Mapping[str, frozenset[str]]


def marks_folder(store: Store) -> Path:
    """Where the marks are."""
    return store.root / ".marks"


def read_marks(store: Store) -> Marks:
    """All marks, from one listing; none where the folder is missing or may not be read."""
    marks: dict[str, frozenset[str]] = {}
    with contextlib.suppress(OSError):
        for entry in marks_folder(store).iterdir():
            name, _, mark = entry.name.rpartition(".")
            marks[name] = marks.get(name, frozenset()) | {mark}
    return marks


def trusted_marks(store: Store) -> Marks:
    """The marks of runs whose folders are there."""
    try:
        folders = {path.name for path in store.root.iterdir()}
    except OSError:
        folders = set()
    return {name: marks for name, marks in read_marks(store).items() if name in folders}


def set_mark(store: Store, run: Run, mark: str, marks: Marks | None = None) -> None:
    """Marks a run, in the place of its other marks, which are read unless they are given as
    ``marks``. Nothing happens in a folder that may not be written."""
    with contextlib.suppress(OSError):
        folder = marks_folder(store)
        make_folder(folder)
        path = folder / f"{run.name}.{mark}"
        path.touch()
        take_group(path)
        _remove(store, run, mark, marks)


def remove_marks(store: Store, run: Run, marks: Marks | None = None) -> None:
    """Removes all marks of a run, which are read unless they are given."""
    with contextlib.suppress(OSError):
        _remove(store, run, "", marks)


def _remove(store: Store, run: Run, keep: str, marks: Marks | None) -> None:
    marks = read_marks(store) if marks is None else marks
    for mark in marks.get(run.name, frozenset()) - {keep}:
        (marks_folder(store) / f"{run.name}.{mark}").unlink(missing_ok=True)


# ----------------------------------------------------------------- what a mark says


def scored_mark(workspace: Workspace, spec: RunSpec, metrics: Sequence[str]) -> str:
    """The mark of a run that is scored with some of its metrics by the present code."""
    pairs = any(map(between_seeds, metrics))
    partner = partner_of(spec) if pairs else None
    other = "" if partner is None else workspace.run_of(partner).name
    return short_hash((probe_key(workspace, spec), _metrics_key(workspace, spec, metrics), other))


def _metrics_key(workspace: Workspace, spec: RunSpec, metrics: Sequence[str]) -> str:
    """A hash of the code of some metrics."""
    names = (*metrics, canonical(spec.images))
    if names not in workspace.metric_keys:
        workspace.metric_keys[names] = metric_keys(metrics, images=spec.images)
    return short_hash(sorted(workspace.metric_keys[names].items()))


@dataclass(frozen=True, eq=False)
class Turn:
    """A run spec with what marks say about its run. ``alone`` is the mark of a run that is scored
    as far as possible without the next seed's run, ``whole`` that of a run with all scores;
    ``partner`` is the name of the next seed's run ("" if there is nothing to compare)."""

    spec: RunSpec
    name: str
    alone: str
    whole: str
    partner: str

    def due(self, marks: Marks) -> str:
        """The mark that the run has when nothing is left to do on it now."""
        partner = marks.get(self.partner, frozenset())
        return self.whole if partner - {TRIED} or not self.partner else self.alone

    def ended(self, marks: Marks) -> bool:
        """Whether the run has ended, well or not."""
        return self.name in marks

    def failed(self, marks: Marks) -> bool:
        """Whether the run failed."""
        return bool(marks.get(self.name, frozenset()) & {FAILED, TRIED})

    def left(self, marks: Marks) -> bool:
        """Whether there is something to do on the run now."""
        own = marks.get(self.name, frozenset())
        return not self.failed(marks) and not {self.whole, self.due(marks)} & own


def turns_of(workspace: Workspace, specs: Iterable[RunSpec]) -> list[Turn]:
    """The turn of each run spec; none of them may have an obstacle."""
    return [turn_of(workspace, spec) for spec in specs]


def turn_of(workspace: Workspace, spec: RunSpec) -> Turn:
    """The turn of a run spec without obstacle."""
    names = spec.metrics
    alone = [name for name in names if not between_seeds(name)]
    partner = partner_of(spec) if len(alone) < len(names) else None
    whole = scored_mark(workspace, spec, names)
    return Turn(
        spec, workspace.run_of(spec).name,
        alone=scored_mark(workspace, spec, alone) if partner else whole,
        whole=whole,
        partner="" if partner is None else workspace.run_of(partner).name,
    )  # fmt: skip
