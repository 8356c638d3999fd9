"""A worker: trains and scores runs one after the other, and leaves out what is done."""

from __future__ import annotations

import functools
import math
import multiprocessing
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from legible.bench.backbones.taps import Network
from legible.bench.errors import shortened
from legible.bench.execution import stop
from legible.bench.execution.environment import read_environment
from legible.bench.execution.manifest import Manifest, now
from legible.bench.execution.marks import (
    FAILED,
    TRIED,
    Turn,
    read_marks,
    remove_marks,
    scored_mark,
    set_mark,
    turns_of,
)
from legible.bench.execution.pairs import others, scorable
from legible.bench.execution.progress import Event, Report
from legible.bench.execution.store import (
    MANIFEST,
    PLUGINS,
    TRAINING,
    Corrupt,
    Run,
    StoreError,
    one_line_errors,
    set_aside,
)
from legible.bench.execution.workspace import (
    Workspace,
    all_parts,
    parent_of,
    parts_of,
    probe_key,
    source_hashes,
    uses_plugins,
)
from legible.bench.files import write_bytes
from legible.bench.plugins import registry
from legible.bench.plugins.faults import PluginFault, fault_text
from legible.bench.plugins.own_process import can_fork, forked
from legible.bench.plugins.process_state import restored_settings
from legible.bench.plugins.provenance import Part, keep_sources, plugin_records
from legible.bench.scoring.probe import probe_network
from legible.bench.scoring.score import (
    MetricScores,
    errors,
    failed_scores,
    score_all,
    score_metric,
    stale_metrics,
)
from legible.bench.suites.run_spec import RunSpec
from legible.bench.training.checkpoint import State, snapshot
from legible.bench.training.fit import fit_network
from legible.bench.training.loop import Diverged, accuracy
from legible.methods.base import Method
from legible.metrics.base import Probe, Score

CHECKPOINT = 3.0  # seconds between two checkpoints, at least
LONGEST_TRACE = 100_000  # characters of error.txt

T = TypeVar("T")


def work_through(
    workspace: Workspace, specs: Sequence[RunSpec], report: Report, wait: bool = True
) -> None:
    """Does all runs in this process. A run that another worker holds is looked at again later;
    without ``wait`` it is left to that worker."""
    torch.set_num_threads(1)
    pending = list(specs)
    while pending:
        turn = in_turn(workspace, pending, report)
        locked_runs = [spec for spec in turn if not take_run(workspace, spec, report)]
        if not wait:
            return
        if locked_runs and len(locked_runs) == len(pending):
            time.sleep(0.5)
        pending = locked_runs


def in_turn(workspace: Workspace, specs: Iterable[RunSpec], report: Report) -> Iterator[RunSpec]:
    """Run specs in their order, but those last whose run has ended when their turn comes. Those
    that other workers do meanwhile are reported and left out."""
    turns = turns_of(workspace, specs)
    before = read_marks(workspace.store)
    while turns:
        marks = read_marks(workspace.store)
        left = []
        for turn in turns:
            if turn.left(marks) or marks.get(turn.name) == before.get(turn.name):
                left.append(turn)
            else:
                _report_other(workspace, turn, turn.failed(marks), report)
        turns = left
        fresh = next((turn for turn in turns if not turn.ended(marks)), None)
        if upcoming := fresh or next(iter(turns), None):
            turns.remove(upcoming)
            yield upcoming.spec


def _report_other(workspace: Workspace, turn: Turn, failed: bool, report: Report) -> None:
    """Reports a run that another worker has done, or failed at."""
    reason = ""
    if failed:
        manifest = workspace.run_of(turn.spec).readable_manifest()
        reason = (manifest.reason if manifest else "") or "it failed in another worker"
    report(Event("elsewhere", turn.spec.name, reason))


def take_run(workspace: Workspace, spec: RunSpec, report: Report) -> bool:
    """Does a run, unless another worker holds it; returns whether it was free."""
    run = workspace.run_of(spec)
    with workspace.store.lock(run) as mine:
        if mine:
            run.delete_parts()
            execute_run(workspace, spec, report)
    return mine


def execute_run(workspace: Workspace, spec: RunSpec, report: Report) -> None:
    """Trains and scores one run, unless that is done; the caller holds its lock.

    A failure is written to the run's manifest and reported, not raised; also one that a plugin
    causes with `sys.exit`. Raises StoreError, Stopped and the user's KeyboardInterrupt.
    """
    run = workspace.run_of(spec)
    try:
        starts = not is_trained(workspace, run, spec, report)
        if starts:
            report(Event("start", spec.name))
            with _settings_of_plugins(spec):
                train_run(workspace, spec, run, report)
        manifest = run.require_manifest()
        if manifest.status == "failed":
            set_mark(workspace.store, run, FAILED)
            report(Event("failed", spec.name, manifest.reason))
            return
        metrics = score_run(workspace, spec, run, report, starts)
        set_mark(workspace.store, run, scored_mark(workspace, spec, metrics))
    except (StoreError, stop.Stopped):
        raise
    except BaseException as error:
        stop.check()
        # Ctrl-C does not reach worker processes, so there a KeyboardInterrupt comes from a plugin
        in_worker = multiprocessing.parent_process() is not None
        if isinstance(error, KeyboardInterrupt) and not in_worker:
            raise
        reason = fault_text(error)
        file = run.folder / "error.txt"
        with one_line_errors("write", file):
            write_bytes(file, _trace().encode(errors="backslashreplace"))
        record_failure(workspace, spec, run, reason, final=False)
        set_mark(workspace.store, run, TRIED)
        report(Event("failed", spec.name, f"{reason} (see {file})"))
        return
    report(Event("done", spec.name, summary(workspace, run, spec)))


def _settings_of_plugins(spec: RunSpec) -> AbstractContextManager[None]:
    """Settings of the process that a plugin changes inside do not reach what comes after."""
    return restored_settings() if uses_plugins(parts_of(spec)) else nullcontext()


def _trace() -> str:
    """The present error with its traceback; without the middle if it is long."""
    return shortened(traceback.format_exc(), LONGEST_TRACE)


def record_failure(
    workspace: Workspace, spec: RunSpec, run: Run, reason: str, final: bool = True
) -> None:
    """Records why a run failed; why it could not be scored, if its network is trained."""
    manifest = run.readable_manifest()
    if manifest is None or manifest.status != "done":
        record(workspace, spec, run, "failed", reason, final)
    elif not run.scores(probe_key(workspace, spec)):
        run.finish(manifest.model_copy(update={"reason": reason, "final": final}))


def is_trained(workspace: Workspace, run: Run, spec: RunSpec, report: Report) -> bool:
    """Whether a run needs no more training. A corrupt folder is set aside and reported."""
    try:
        manifest = run.manifest()
        if manifest is not None and (run.done() or manifest.ended):
            return True
        run.state("cpu")  # raises where the checkpoint is corrupt
    except Corrupt as error:
        aside = workspace.store.set_aside(run)
        report(Event("note", spec.name, f"unreadable ({error}); set aside as {aside.name}, redone"))
    return False


def fail_run(workspace: Workspace, spec: RunSpec, reason: str, final: bool = True) -> None:
    """Records the failure of a run whose worker died; only `--retry` tries it again if it is
    ``final``. Its checkpoint stays. Does nothing if the run is scored or another worker holds it.
    """
    run = workspace.run_of(spec)
    for _ in range(20):  # what the worker started may hold the lock for a moment after its death
        with workspace.store.lock(run) as mine:
            if mine:
                record_failure(workspace, spec, run, reason, final)
                set_mark(workspace.store, run, FAILED if final else TRIED)
                return
        time.sleep(0.1)


def forget_failure(workspace: Workspace, spec: RunSpec) -> None:
    """Deletes the record of a failed run, so that it is tried again, from its checkpoint if there
    is one."""
    run = workspace.run_of(spec)
    with workspace.store.lock(run) as mine:
        manifest = run.readable_manifest()
        if mine and manifest is not None and manifest.status == "failed":
            run.delete(MANIFEST)
        elif mine and manifest is not None and manifest.reason:
            run.finish(manifest.model_copy(update={"reason": "", "final": True}))
        if mine:
            remove_marks(workspace.store, run)


def train_run(workspace: Workspace, spec: RunSpec, run: Run, report: Report) -> None:
    """Trains a network, or edits the parent's; saves the weights and the manifest."""
    network, method, data = workspace.build(spec)
    try:
        with stop.until_checkpoint():
            state = fit_network(
                network, method, data, spec.recipe, spec.seed,
                parent=lambda: parent_weights(workspace, spec, report),
                resume=run.state(workspace.device) if method.trains and not method.parent else None,
                after_epoch=AfterEpoch(workspace, spec, run, report, network, method),
            )  # fmt: skip
    except Diverged as error:
        record(workspace, spec, run, "failed", str(error))
        run.delete(TRAINING)
        return
    tensors = snapshot(network, method)
    if uses_plugins(parts_of(spec)):
        try:
            workspace.refuse_changed_data(spec)
        except PluginFault:
            run.delete(TRAINING)  # it was trained on the changed data
            raise
    if reason := not_finite(tensors):
        record(workspace, spec, run, "failed", reason)
        return
    weights = run.save_weights(tensors)
    validation = accuracy(network, method, data.validation)
    record(
        workspace, spec, run, "done", state=state, validation_accuracy=validation, weights=weights
    )


def not_finite(tensors: Mapping[str, Tensor]) -> str:
    """Which of a network's weights are infinite or NaN, as a reason; empty if none are."""
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        if part == "network" and not bool(tensor.isfinite().all()):
            return f"the trained network's '{rest}' is not finite"
    return ""


def parent_weights(workspace: Workspace, spec: RunSpec, report: Report) -> Mapping[str, Tensor]:
    """The weights of the run that this run edits; that run is trained first if necessary."""
    parent = parent_of(spec)
    run = workspace.run_of(parent)
    with workspace.store.lock(run, wait=True):
        if not is_trained(workspace, run, parent, report):
            train_run(workspace, parent, run, report)
    return run.weights(workspace.device)


@dataclass
class AfterEpoch:
    """Called after each epoch: adds watched metrics to the history, reports the epoch, and writes
    a checkpoint if the last one is at least `CHECKPOINT` seconds old or the process has to end."""

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
        if stop.requested() or time.monotonic() - self.saved >= CHECKPOINT:
            self.run.save_state(state)
            self.saved = time.monotonic()
        text = f"epoch {state.epoch}/{self.spec.recipe.epochs}  loss {line['loss']:.3f}"
        self.report(Event("epoch", self.spec.name, text, state.epoch))
        stop.check()


def watched_metrics(
    workspace: Workspace, spec: RunSpec, network: Network, method: Method
) -> dict[str, float]:
    """The recipe's watched metrics of the network as it is now, on validation images:
    ``watch.METRIC@LAYER`` -> value. Undefined values are left out."""
    if not spec.recipe.watch:
        return {}
    images = workspace.dataset(spec).validation
    rows = torch.arange(min(spec.probe, len(images)), device=images.labels.device)
    probe = probe_network(network, method, images.subset(rows), spec.layers, seed=spec.seed)
    scores: list[Score] = []
    for name in spec.recipe.watch:
        item = registry.get("metrics", name)
        with suppress(PluginFault):
            scores += _of_metric(workspace, name, functools.partial(score_metric, item, probe))
    return {f"watch.{s.metric}@{s.layer}": s.value for s in scores if math.isfinite(s.value)}


def record(
    workspace: Workspace,
    spec: RunSpec,
    run: Run,
    status: Literal["done", "failed"],
    reason: str = "",
    final: bool = True,
    state: State | None = None,
    validation_accuracy: float | None = None,
    weights: str = "",
) -> None:
    """Writes the manifest of a run that has ended, and copies its plugins' sources.

    A failure that is not ``final`` is tried again by the next call.
    """
    with one_line_errors("write", run.folder / PLUGINS):
        copies = keep_sources(parts_of(spec), run.folder / PLUGINS)
    state = state or State(0, {}, [])
    manifest = Manifest(
        status=status, reason=reason, final=final, spec=spec.to_json(),
        identity=workspace.identity(spec), sources=source_hashes(spec), history=state.history,
        seconds=state.seconds, validation_accuracy=validation_accuracy, weights=weights,
        plugins=plugin_records(parts_of(spec)), copies=copies,
        environment=read_environment(workspace.device), finished=now(),
    )  # fmt: skip
    run.finish(manifest)


def score_run(
    workspace: Workspace, spec: RunSpec, run: Run, report: Report, starts: bool = False
) -> list[str]:
    """Scores a trained run with each metric that has no score computed by the current code; returns
    the metrics that it can have now. ``starts``: the run's start was reported already."""
    key = probe_key(workspace, spec)
    try:
        run.verified_scores(key)
    except Corrupt as error:
        aside = set_aside(run.scores_file(key))
        report(Event("note", spec.name, f"unreadable ({error}); set aside as {aside.name}, redone"))
    mend_copies(spec, run, report)
    possible = scorable(workspace, spec)
    if not stale_metrics(run.score_keys(key), possible.metrics, possible.partner, spec.images):
        return possible.metrics
    if not starts:
        report(Event("start", spec.name, "scoring"))
    start = time.perf_counter()
    earlier = run.scores(key)
    with _settings_of_plugins(spec):
        probe = workspace.probe(spec)
    scores = dict(earlier)
    for names in _groups(possible.metrics):  # plugins come last, after the others are saved
        new = _score_group(workspace, spec, probe, names, earlier, possible.partner)
        scores |= new
        run.save_scores(key, scores)
    parts = all_parts(spec)
    before = run.require_manifest().score_seconds if earlier else 0.0
    seconds = before + time.perf_counter() - start
    copy_sources(run, parts, score_seconds=seconds, plugins=plugin_records(parts), reason="",
                 final=True)  # fmt: skip
    for name, reason in errors(scores).items():
        report(Event("note", spec.name, f"metric {name}: {reason}"))
    return possible.metrics


def mend_copies(spec: RunSpec, run: Run, report: Report) -> None:
    """Copies the plugins' sources again if a copy is damaged; the folder of copies is set aside."""
    try:
        run.verify_copies()
    except Corrupt as error:
        aside = set_aside(run.folder / PLUGINS)
        report(Event("note", spec.name, f"unreadable ({error}); set aside as {aside.name}, redone"))
        copy_sources(run, [*parts_of(spec), *(("metrics", name) for name in spec.metrics)])


def copy_sources(run: Run, parts: Sequence[Part], **updates: Any) -> None:
    """Copies the sources of all parts that are plugins, and notes it in the manifest with further
    values."""
    with one_line_errors("write", run.folder / PLUGINS):
        copies = keep_sources(parts, run.folder / PLUGINS)
    run.finish(run.require_manifest().model_copy(update={**updates, "copies": copies}))


def _groups(metrics: Sequence[str]) -> list[list[str]]:
    """Built-in metrics together, then each metric of a plugin by itself."""
    plugins = [name for name in metrics if registry.plugin_of("metrics", name) is not None]
    built_in = [name for name in metrics if name not in plugins]
    return [group for group in (built_in, *([name] for name in plugins)) if group]


def _score_group(
    workspace: Workspace,
    spec: RunSpec,
    probe: Probe,
    names: Sequence[str],
    earlier: Mapping[str, MetricScores],
    partner: str,
) -> dict[str, MetricScores]:
    """The scores of a group of metrics."""
    if registry.plugin_of("metrics", names[0]) is not None and not can_fork():
        probe = workspace.fresh_probe(spec)  # not what another plugin left

    def score() -> dict[str, MetricScores]:
        return score_all(probe, names, earlier, others(workspace, spec), partner, spec.images)

    try:
        return _of_metric(workspace, names[0], score)
    except PluginFault as fault:
        return {name: failed_scores(name, str(fault)) for name in names}


def _of_metric(workspace: Workspace, name: str, call: Callable[[], T]) -> T:
    """What ``call`` returns; if a metric is a plugin, from a process of its own."""
    if registry.plugin_of("metrics", name) is None:
        return call()
    if can_fork():
        return forked(call, workspace.limits.for_metric())
    with restored_settings():
        return call()


def summary(workspace: Workspace, run: Run, spec: RunSpec) -> str:
    """One line about a finished run: its accuracy and training time."""
    scores = run.scores(probe_key(workspace, spec)).get("accuracy")
    accuracy = scores.layers[0].value if scores else math.nan
    return f"accuracy {accuracy:.3f}  {sum(run.require_manifest().seconds):.1f} s"
