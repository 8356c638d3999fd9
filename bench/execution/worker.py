"""Training and scoring runs, one after the other, as far as they are not done yet."""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from legible.bench.backbones.taps import Network
from legible.bench.errors import UserError, one_line
from legible.bench.execution.environment import read_environment
from legible.bench.execution.manifest import Manifest, now
from legible.bench.execution.pairs import due, others, unscored
from legible.bench.execution.progress import Event, Report
from legible.bench.execution.store import Corrupt, Run
from legible.bench.execution.workspace import (
    Workspace,
    parent_of,
    parts_of,
    probe_key,
    source_hashes,
)
from legible.bench.plugins import registry
from legible.bench.plugins.provenance import keep_sources, plugin_records
from legible.bench.scoring.probe import probe_network
from legible.bench.scoring.score import errors, score_all, score_metric
from legible.bench.suites.run_spec import RunSpec
from legible.bench.training.checkpoint import State, snapshot
from legible.bench.training.fit import fit
from legible.bench.training.loop import Diverged, accuracy
from legible.methods.base import Method

CHECKPOINT = 3.0  # seconds between checkpoints, where epochs are shorter


def work_through(workspace: Workspace, specs: Sequence[RunSpec], report: Report) -> None:
    """Takes runs that no other worker holds until all are done."""
    torch.set_num_threads(1)
    pending = list(specs)
    while pending:
        held = []
        for spec in pending:
            with workspace.store.lock(workspace.run_of(spec)) as mine:
                if mine:
                    execute_run(workspace, spec, report)
                else:
                    held.append(spec)
        if held and len(held) == len(pending):
            time.sleep(0.5)
        pending = held


def execute_run(workspace: Workspace, spec: RunSpec, report: Report) -> None:
    """Trains and scores one run, as far as that is not done yet; the caller holds its lock.

    A failure is recorded in the run's manifest and reported, not raised.
    """
    run = workspace.run_of(spec)
    try:
        if not is_trained(workspace, run, spec, report):
            report(Event("start", spec.name))
            train_run(workspace, spec, run, report)
        manifest = run.require_manifest()
        if manifest.status == "failed":
            report(Event("failed", spec.name, manifest.reason))
            return
        score_run(workspace, spec, run, report)
    except (KeyboardInterrupt, UserError):
        raise
    except Exception as error:
        run.folder.mkdir(parents=True, exist_ok=True)
        (run.folder / "error.txt").write_text(traceback.format_exc(), encoding="utf-8")
        reason = one_line(error)
        ended = run.readable_manifest()
        if ended is None or ended.status != "done":
            record(workspace, spec, run, failure(reason, final=False))
        report(Event("failed", spec.name, f"{reason} (see {run.folder / 'error.txt'})"))
        return
    report(Event("done", spec.name, summary(workspace, run, spec)))


def is_trained(workspace: Workspace, run: Run, spec: RunSpec, report: Report) -> bool:
    """Whether a run needs no more training; a corrupt folder is set aside and named."""
    try:
        manifest = run.manifest()
        if manifest is None:
            run.state("cpu")  # raises where the checkpoint is corrupt
            return False
        return run.done() or (manifest.status == "failed" and manifest.final)
    except Corrupt as error:
        aside = workspace.store.set_aside(run)
        report(Event("note", spec.name, f"unreadable ({error}); set aside as {aside.name}, redone"))
        return False


def train_run(workspace: Workspace, spec: RunSpec, run: Run, report: Report) -> None:
    """Trains (or edits the parent's network), keeps the weights, and records the run."""
    network, method, data = workspace.build(spec)
    try:
        state = fit(
            network, method, data, spec.recipe, spec.seed,
            parent=lambda: parent_weights(workspace, spec, report),
            resume=run.state(workspace.device) if method.trains and not method.parent else None,
            after_epoch=AfterEpoch(workspace, spec, run, report, network, method),
        )  # fmt: skip
    except Diverged as error:
        record(workspace, spec, run, failure(str(error)))
        return
    run.save_weights(snapshot(network, method))
    validation = accuracy(network, method, data.validation)
    record(workspace, spec, run, Result("done", state=state, validation_accuracy=validation))


def parent_weights(workspace: Workspace, spec: RunSpec, report: Report) -> Mapping[str, Tensor]:
    """The finished weights of the run that this one edits, which is trained where it is missing."""
    parent = parent_of(spec)
    run = workspace.run_of(parent)
    with workspace.store.lock(run, wait=True):
        if not is_trained(workspace, run, parent, report):
            train_run(workspace, parent, run, report)
    return run.weights(workspace.device)


@dataclass
class AfterEpoch:
    """Called after each epoch: adds watched metrics to the history, reports, and writes a
    checkpoint where the last one is some seconds old."""

    workspace: Workspace
    spec: RunSpec
    run: Run
    report: Report
    network: Network
    method: Method
    saved: float = -math.inf

    def __call__(self, state: State) -> None:
        line = state.history[-1]
        line |= watched_metrics(self.workspace, self.spec, self.network, self.method)
        if time.monotonic() - self.saved >= CHECKPOINT:
            self.run.save_state(state)
            self.saved = time.monotonic()
        text = f"epoch {state.epoch}/{self.spec.recipe.epochs}  loss {line['loss']:.3f}"
        self.report(Event("epoch", self.spec.name, text, state.epoch))


def watched_metrics(
    workspace: Workspace, spec: RunSpec, network: Network, method: Method
) -> dict[str, float]:
    """The metrics that the recipe watches, of the network as it is now, on validation images:
    ``watch.METRIC@LAYER`` -> value, undefined ones left out."""
    if not spec.recipe.watch:
        return {}
    images = workspace.dataset(spec).validation
    rows = torch.arange(min(spec.probe, len(images)), device=images.labels.device)
    probe = probe_network(network, method, images.subset(rows), spec.layers, seed=spec.seed)
    items = [registry.get("metrics", name) for name in spec.recipe.watch]
    scores = [score for item in items for score in score_metric(item, probe)]
    return {f"watch.{s.metric}@{s.layer}": s.value for s in scores if math.isfinite(s.value)}


@dataclass(frozen=True)
class Result:
    """How training ended, for the manifest."""

    status: str
    reason: str = ""
    final: bool = True
    state: State | None = None
    validation_accuracy: float | None = None


def failure(reason: str, final: bool = True) -> Result:
    """A failed training; unless ``final``, the next call tries again."""
    return Result("failed", reason, final)


def record(workspace: Workspace, spec: RunSpec, run: Run, result: Result) -> None:
    """Writes the manifest and keeps the plugins' sources."""
    keep_sources(parts_of(spec), run.folder / "plugins")
    state = result.state or State(0, {}, [])
    run.finish(
        Manifest.model_validate(
            {
                "status": result.status,
                "reason": result.reason,
                "final": result.final,
                "spec": spec.to_json(),
                "identity": workspace.identity(spec),
                "sources": source_hashes(spec),
                "history": state.history,
                "seconds": state.seconds,
                "validation_accuracy": result.validation_accuracy,
                "plugins": plugin_records(parts_of(spec)),
                "environment": read_environment(workspace.device),
                "finished": now(),
            }
        )
    )


def score_run(workspace: Workspace, spec: RunSpec, run: Run, report: Report) -> None:
    """Scores what is not scored yet, or was by metrics whose code has changed since."""
    if not unscored(workspace, spec, run):
        return
    key, start = probe_key(workspace, spec), time.perf_counter()
    earlier, now_due = run.scores(key), due(workspace, spec)
    probe = workspace.probe(spec)
    new = score_all(probe, now_due.metrics, earlier, others(workspace, spec), now_due.partner)
    scores = {**earlier, **new}
    run.save_scores(key, scores)
    parts = [*parts_of(spec), *(("metrics", name) for name in spec.metrics)]
    keep_sources(parts, run.folder / "plugins")
    changes = {
        "score_seconds": time.perf_counter() - start, "plugins": plugin_records(parts),
    }  # fmt: skip
    run.finish(run.require_manifest().model_copy(update=changes))
    for name, reason in errors(scores).items():
        report(Event("note", spec.name, f"metric {name}: {reason}"))


def summary(workspace: Workspace, run: Run, spec: RunSpec) -> str:
    """One line on a finished run."""
    entry = run.scores(probe_key(workspace, spec)).get("accuracy", {})
    values = entry.get("layers", [{}])[0].get("values") or [math.nan]
    accuracy = math.nan if values[0] is None else values[0]
    return f"accuracy {accuracy:.3f}  {sum(run.require_manifest().seconds):.1f} s"
