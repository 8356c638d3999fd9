"""Running cells: in this process or in worker processes that take cells from the store."""

from __future__ import annotations

import datetime
import math
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from bench import registry
from bench.environment import environment
from bench.partners import due, others
from bench.plugins import keep_sources, used
from bench.probe import probe
from bench.registry import UserError
from bench.score import errors, score, score_all
from bench.state import State, restore, snapshot
from bench.store import Corrupt, Run
from bench.suite import Cell
from bench.taps import Network
from bench.train import Diverged, accuracy, train
from bench.workbench import Bench, parent_of, parts_of, probe_key
from methods.base import Method


@dataclass(frozen=True)
class Event:
    """Something a worker tells: a cell started, ended an epoch, was done, failed, ..."""

    kind: str  # "start" | "epoch" | "done" | "failed" | "note"
    cell: str
    text: str = ""
    epochs: int = 0


Report = Callable[[Event], None]
CHECKPOINT = 3.0  # seconds between checkpoints, where epochs are shorter


def run_cell(bench: Bench, cell: Cell, report: Report) -> None:
    """Trains and scores one cell, as far as that is not done yet; the caller holds its lock.

    A failure is recorded in the run's manifest and reported, not raised.
    """
    run = bench.run_of(cell)
    try:
        if not finished(bench, run, cell, report):
            report(Event("start", cell.name))
            train_cell(bench, cell, run, report)
        manifest = run.manifest()
        if manifest["status"] == "failed":
            report(Event("failed", cell.name, manifest["reason"]))
            return
        score_cell(bench, cell, run, report)
    except (KeyboardInterrupt, UserError):
        raise
    except Exception as error:
        run.folder.mkdir(parents=True, exist_ok=True)
        (run.folder / "error.txt").write_text(traceback.format_exc(), encoding="utf-8")
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        trained = run.manifest().get("status") == "done"
        if not trained:
            record(bench, cell, run, State(0, {}, []), "failed", reason, final=False)
        report(Event("failed", cell.name, f"{reason} (see {run.folder / 'error.txt'})"))
        return
    report(Event("done", cell.name, summary(run, cell)))


def finished(bench: Bench, run: Run, cell: Cell, report: Report) -> bool:
    """Whether a run needs no more training; a corrupt folder is set aside and named."""
    try:
        manifest = run.manifest()
        run.state("cpu") if not manifest else None
        return run.done() or (manifest.get("status") == "failed" and manifest.get("final", False))
    except Corrupt as error:
        aside = bench.store.set_aside(run)
        report(Event("note", cell.name, f"unreadable ({error}); set aside as {aside.name}, redone"))
        return False


def train_cell(bench: Bench, cell: Cell, run: Run, report: Report) -> None:
    """Trains (or edits the parent's network) and records the run."""
    network, method, data = bench.build(cell)
    state = State(0, {}, [])
    if method.parent:
        parent = parent_of(cell)
        with bench.store.lock(bench.run_of(parent), wait=True):
            if not finished(bench, bench.run_of(parent), parent, report):
                train_cell(bench, parent, bench.run_of(parent), report)
        tensors = bench.run_of(parent).weights(bench.device)
        own = {k: v for k, v in snapshot(network, method).items() if k.startswith("method.")}
        restore({**tensors, **own}, network, method)
    elif method.trains:
        try:
            state = train(
                network, method, data, cell.recipe, cell.seed,
                resume=run.state(bench.device),
                after_epoch=AfterEpoch(bench, cell, run, report, network, method),
            )  # fmt: skip
        except Diverged as error:
            record(bench, cell, run, state, "failed", str(error))
            return
    method.after_training(network, data.train)
    run.save_weights(snapshot(network, method))
    validation = accuracy(network, method, data.validation)
    record(bench, cell, run, state, "done", extra={"validation_accuracy": validation})


@dataclass
class AfterEpoch:
    """Ends an epoch: watches, tells, and writes a checkpoint if the last one is seconds old."""

    bench: Bench
    cell: Cell
    run: Run
    report: Report
    network: Network
    method: Method
    saved: float = -math.inf

    def __call__(self, state: State) -> None:
        line = state.history[-1]
        line |= watched(self.bench, self.cell, self.network, self.method)
        if time.monotonic() - self.saved >= CHECKPOINT:
            self.run.save_state(state)
            self.saved = time.monotonic()
        text = f"epoch {state.epoch}/{self.cell.recipe.epochs}  loss {line['loss']:.3f}"
        self.report(Event("epoch", self.cell.name, text, state.epoch))


def watched(bench: Bench, cell: Cell, network: Network, method: Method) -> dict[str, float]:
    """The metrics that the recipe watches, of the network as it stands, on validation images:
    ``watch.METRIC@LAYER`` -> value, undefined ones left out."""
    if not cell.recipe.watch:
        return {}
    held = bench.dataset(cell.dataset, cell.data)[0].validation
    rows = torch.arange(min(cell.probe, len(held)), device=held.labels.device)
    probed = probe(network, method, held.subset(rows), cell.layers, seed=cell.seed)
    scores = [s for name in cell.recipe.watch for s in score(registry.get("metrics", name), probed)]
    return {f"watch.{s.metric}@{s.layer}": s.value for s in scores if math.isfinite(s.value)}


def record(
    bench: Bench,
    cell: Cell,
    run: Run,
    state: State,
    status: str,
    reason: str = "",
    final: bool = True,
    extra: dict[str, Any] | None = None,
) -> None:
    """Writes the manifest: identity, history, versions, hardware; keeps the plugins' sources."""
    keep_sources(parts_of(cell), run.folder / "plugins")
    run.finish(
        {
            "status": status,
            "reason": reason,
            "final": final,
            "cell": {
                "dataset": cell.dataset, "data": cell.data, "backbone": cell.backbone,
                "net": cell.net, "method": cell.method, "given": cell.given,
                "recipe": cell.recipe.model_dump(), "seed": cell.seed,
                "layers": list(cell.layers), "probe": cell.probe, "aspects": list(cell.aspects),
                "shots": cell.shots,
            },
            "identity": bench.identity(cell),
            "history": state.history,
            "seconds": state.seconds,
            "plugins": used(parts_of(cell)),
            "environment": environment(bench.device),
            "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            **(extra or {}),
        }
    )  # fmt: skip


def score_cell(bench: Bench, cell: Cell, run: Run, report: Report) -> None:
    """Scores what is not scored yet, or by metrics whose source has changed."""
    key = probe_key(cell)
    known = run.scores(key)
    now = due(bench, cell)
    if now.stale(run, key):
        start = time.perf_counter()
        probed = bench.probe(cell)
        new = score_all(probed, now.metrics, known, others(bench, cell), now.partner)
        scores = {**known, **new}
        run.save_scores(key, scores)
        parts = [*parts_of(cell), *(("metrics", name) for name in cell.metrics)]
        keep_sources(parts, run.folder / "plugins")
        took = time.perf_counter() - start
        run.finish({**run.manifest(), "score_seconds": took, "plugins": used(parts)})
        for name, reason in errors(scores).items():
            report(Event("note", cell.name, f"metric {name}: {reason}"))


def summary(run: Run, cell: Cell) -> str:
    """One line on a finished cell."""
    scores = run.scores(probe_key(cell)).get("accuracy", {}).get("layers", [{}])
    values = scores[0].get("values") or [float("nan")]
    seconds = sum(run.manifest().get("seconds", []))
    return f"accuracy {values[0]:.3f}  {seconds:.1f} s"


def worker(bench: Bench, cells: Sequence[Cell], report: Report) -> None:
    """Takes cells that nobody else holds until all are done."""
    torch.set_num_threads(1)
    pending = list(cells)
    while pending:
        held = []
        for cell in pending:
            with bench.store.lock(bench.run_of(cell)) as mine:
                if mine:
                    run_cell(bench, cell, report)
                else:
                    held.append(cell)
        if held and len(held) == len(pending):
            time.sleep(0.5)
        pending = held
