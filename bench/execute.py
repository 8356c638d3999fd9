"""Running cells: in this process or in worker processes that take cells from the store."""

from __future__ import annotations

import datetime
import functools
import json
import math
import platform
import subprocess
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from bench import registry
from bench.data.base import DataMissing, Dataset, data_root
from bench.partners import due, others
from bench.plugins import Part, keep_sources, used
from bench.probe import probe
from bench.registry import UserError
from bench.score import errors, score, score_all, stream_hash
from bench.sources import source_hashes
from bench.stages import chosen_images
from bench.state import State, restore, snapshot
from bench.store import Corrupt, Run, Store
from bench.suite import Cell
from bench.taps import Network
from bench.train import Diverged, accuracy, attach, initialise, train
from methods.base import Method, unmet
from metrics.base import Probe


@dataclass(frozen=True)
class Event:
    """Something a worker tells: a cell started, ended an epoch, was done, failed, ..."""

    kind: str  # "start" | "epoch" | "done" | "failed" | "note"
    cell: str
    text: str = ""
    epochs: int = 0


Report = Callable[[Event], None]
CHECKPOINT = 3.0  # seconds between checkpoints, where epochs are shorter


@dataclass
class Bench:
    """Where runs, data and devices are; datasets are loaded once."""

    store: Store
    device: str = "cpu"
    root: Path = field(default_factory=data_root)
    loaded: dict[str, tuple[Dataset, str]] = field(default_factory=dict)
    identities: dict[str, dict[str, Any]] = field(default_factory=dict)

    def dataset(self, name: str, params: dict[str, Any]) -> tuple[Dataset, str]:
        """A dataset on the device, with its fingerprint. Raises DataMissing."""
        key = stream_hash((name, json.dumps(params, sort_keys=True, default=str)))
        if key not in self.loaded:
            data = registry.get("datasets", name)(self.root, **params)
            self.loaded[key] = (data.to(self.device), data.fingerprint())
        return self.loaded[key]

    def identity(self, cell: Cell) -> dict[str, Any]:
        """All that determines a run's weights; read once, so that editing a file while a suite
        runs does not change what its runs are called."""
        key = repr(cell)
        if key not in self.identities:
            self.identities[key] = self._identity(cell)
        return self.identities[key]

    def _identity(self, cell: Cell) -> dict[str, Any]:
        method = registry.get("methods", cell.method)
        build = registry.get("backbones", cell.backbone)
        files = [Path(__file__).with_name("train.py"), method.origin, registry.source_of(build)]
        identity = {
            "dataset": {"name": cell.dataset, "params": cell.data, "shots": cell.shots},
            "fingerprint": self.dataset(cell.dataset, cell.data)[1],
            "backbone": {"name": cell.backbone, "params": cell.net},
            "method": {"name": cell.method, "params": cell.params},
            "recipe": cell.recipe.model_dump(),
            "seed": cell.seed,
            "device": torch.device(self.device).type,
            "sources": source_hashes(files),
        }
        if method.parent:
            identity["parent"] = self.identity(parent_of(cell))
        return json.loads(json.dumps(identity, default=str))

    def data_of(self, cell: Cell) -> Dataset:
        """What a cell is trained and scored on: the dataset, or its few shots. Raises ValueError
        where a class has not as many images."""
        data, _ = self.dataset(cell.dataset, cell.data)
        return data.few(cell.shots, cell.seed) if cell.shots else data

    def run_of(self, cell: Cell) -> Run:
        """Where a cell's run lies."""
        return self.store.run(cell.name, self.identity(cell))

    def build(self, cell: Cell) -> tuple[Network, Method, Dataset]:
        """A fresh network with the method attached, and the data."""
        data = self.data_of(cell)
        builder = registry.get("backbones", cell.backbone)
        network = initialise(
            lambda: builder(data.image, len(data.class_names), **cell.net), cell.seed, self.device
        )
        method = registry.get("methods", cell.method)(**cell.params)
        return network, attach(method, network, data.train, cell.seed), data

    def load(self, cell: Cell) -> tuple[Network, Method, Dataset]:
        """A finished run's network, method and data. Raises Corrupt."""
        network, method, data = self.build(cell)
        restore(self.run_of(cell).weights(self.device), network, method)
        network.eval()
        method.eval()
        return network, method, data

    def probe(self, cell: Cell, split: str = "test") -> Probe:
        """A finished run probed on the first images of a split; "test" means the images that
        the cell's stage is judged on."""
        network, method, data = self.load(cell)
        held = chosen_images(data, split, cell.stage, cell.probe)
        probed = probe(network, method, held, cell.layers, seed=cell.seed)
        return replace(probed, history=self.run_of(cell).manifest()["history"])

    def why_not(self, cell: Cell) -> tuple[str, str]:
        """("missing" | "skipped", reason) where a cell cannot run, else ("", "")."""
        try:
            self.dataset(cell.dataset, cell.data)
        except DataMissing as error:
            return "missing", str(error)
        builder = registry.get("backbones", cell.backbone)
        method = registry.make_method(cell.method, cell.params)
        try:
            data = self.data_of(cell)
            with torch.random.fork_rng(devices=[]):
                network = builder(data.image, len(data.class_names), **cell.net)
        except ValueError as error:
            return "skipped", str(error)
        reason = unmet(method, network, data.train)
        return ("skipped", reason) if reason else ("", "")


def parent_of(cell: Cell) -> Cell:
    """The cell whose finished run this one edits."""
    name = registry.get("methods", cell.method).parent
    params = registry.parameters(registry.get("methods", name), {})
    return replace(cell, method=name, params=params, given={})


def parts_of(cell: Cell) -> list[Part]:
    """What a run is made of, each of which may be a plugin."""
    parent = registry.get("methods", cell.method).parent
    methods = [("methods", name) for name in (cell.method, parent) if name]
    return [*methods, ("datasets", cell.dataset), ("backbones", cell.backbone)]


def probe_key(cell: Cell) -> str:
    """What scores depend on besides the run and the metrics: layers, images, and the probe."""
    files = ["probe.py", "stages.py"] if cell.stage else ["probe.py"]
    sources = source_hashes([Path(__file__).with_name(file) for file in files])
    stage = (cell.stage,) if cell.stage else ()
    return stream_hash((cell.layers, cell.probe, sorted(sources.items()), *stage))


# ----------------------------------------------------------------- one cell


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


@functools.cache
def environment(device: str) -> dict[str, str]:
    """Versions, commit and hardware a result was made with."""
    packages = ("legible-bench", "torch", "torchvision", "numpy", "scipy", "pandas", "captum")
    found = {name: version(name) for name in packages}
    found["python"] = platform.python_version()
    found["commit"] = _commit()
    found["device"] = torch.cuda.get_device_name() if device.startswith("cuda") else _processor()
    return found


def _commit() -> str:
    folder = Path(__file__).resolve().parent
    told = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return told.stdout.strip() or "unknown"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"CPU, {names[0] if names else platform.processor() or platform.machine()}"


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
