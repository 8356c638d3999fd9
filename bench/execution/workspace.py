"""A workspace: where runs, data and the device are, and what a run spec becomes there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch

from legible.bench.backbones.taps import Network
from legible.bench.data.base import DataMissing, Dataset, data_root
from legible.bench.data.dataset_checks import load_dataset
from legible.bench.errors import UserError, one_line
from legible.bench.execution.published import PublishedTable
from legible.bench.execution.store import Run, Store
from legible.bench.plugins import registry
from legible.bench.plugins.provenance import Part
from legible.bench.scoring import probe as probe_file
from legible.bench.scoring import splits as splits_file
from legible.bench.scoring.probe import probe_network, resolve
from legible.bench.scoring.score import short_hash
from legible.bench.scoring.splits import scoring_images
from legible.bench.source_keys import content_hashes, content_key
from legible.bench.suites.run_spec import RunSpec, canonical
from legible.bench.training import fit as fit_file
from legible.bench.training.checkpoint import restore
from legible.bench.training.fit import build_network
from legible.methods.base import Method, unmet
from legible.metrics.base import Probe


@dataclass(frozen=True)
class Obstacle:
    """Why a run spec cannot run: its data is "missing", or it is "skipped" for another reason."""

    status: Literal["missing", "skipped"]
    reason: str


@dataclass(frozen=True)
class LoadedDataset:
    """A dataset on the device, and the fingerprint of its content."""

    data: Dataset
    fingerprint: str


@dataclass
class Workspace:
    """Where runs, data and the device are. ``published`` holds published scores to be reused.

    Each dataset is loaded once and each source file is hashed once: editing a file while a suite
    runs does not change the names of its runs.
    """

    store: Store
    device: str = "cpu"
    root: Path = field(default_factory=data_root)
    datasets: dict[str, LoadedDataset] = field(default_factory=dict)
    identities: dict[str, dict[str, Any]] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)
    keys: dict[Path, str] = field(default_factory=dict)
    obstacles: dict[str, Obstacle | None] = field(default_factory=dict)
    metric_keys: dict[tuple[str, ...], dict[str, str]] = field(default_factory=dict)
    published: PublishedTable | None = None

    def dataset(self, spec: RunSpec) -> Dataset:
        """The whole dataset of a run spec, on the device. Raises DataMissing, and UserError for
        any other error of its loader or data that is not sound."""
        return self._load_dataset(spec).data

    def fingerprint(self, spec: RunSpec) -> str:
        """The hash of a run spec's data. Raises what `dataset` raises."""
        return self._load_dataset(spec).fingerprint

    def _load_dataset(self, spec: RunSpec) -> LoadedDataset:
        key = f"{spec.dataset} {canonical(spec.data)}"
        if key not in self.datasets:
            load = registry.get("datasets", spec.dataset)
            data = load_dataset(spec.dataset, lambda: load(self.root, **spec.data))
            self.datasets[key] = LoadedDataset(data.to(self.device), data.fingerprint())
        return self.datasets[key]

    def identity(self, spec: RunSpec) -> dict[str, Any]:
        """All that determines a run's weights, as JSON values; the run's name is a hash of it."""
        if spec.key not in self.identities:
            self.identities[spec.key] = self._identity(spec)
        return self.identities[spec.key]

    def _identity(self, spec: RunSpec) -> dict[str, Any]:
        method = registry.get("methods", spec.method)
        training, method_file, backbone = map(self.key, source_files(spec))
        identity = {
            "dataset": {"name": spec.dataset, "params": spec.data, "shots": spec.shots},
            "fingerprint": self._fingerprint(spec),
            "backbone": {"name": spec.backbone, "params": spec.net},
            "method": {"name": spec.method, "params": spec.params},
            "recipe": spec.recipe.model_dump(),
            "seed": spec.seed,
            "device": torch.device(self.device).type,
            "code": {"training": training, "method": method_file, "backbone": backbone},
        }
        if method.parent:
            identity["parent"] = self.identity(parent_of(spec))
        return json.loads(json.dumps(identity, default=str))

    def _fingerprint(self, spec: RunSpec) -> str:
        """The hash of a run spec's data; the published one where the data is missing here."""
        try:
            return self.fingerprint(spec)
        except DataMissing:
            data = self.published.data if self.published else {}
            if spec.dataset_label not in data:
                raise
            return data[spec.dataset_label]

    def key(self, file: Path) -> str:
        """A source file's content key, computed at the first call."""
        if file not in self.keys:
            self.keys[file] = content_key(file)
        return self.keys[file]

    def data_of(self, spec: RunSpec) -> Dataset:
        """The data that a run is trained and scored on: the dataset, with few training images
        where the run spec has ``shots``. Raises ValueError if a class has too few images."""
        data = self.dataset(spec)
        return data.few(spec.shots, spec.seed) if spec.shots else data

    def run_of(self, spec: RunSpec) -> Run:
        """The run of a run spec; its folder may not exist yet."""
        if spec.key not in self.runs:
            self.runs[spec.key] = self.store.run(spec.name, self.identity(spec))
        return self.runs[spec.key]

    def build(self, spec: RunSpec) -> tuple[Network, Method, Dataset]:
        """A new, untrained network with the method attached, the method, and the data."""
        data = self.data_of(spec)
        builder = registry.get("backbones", spec.backbone)
        method = registry.get("methods", spec.method)(**spec.params)
        network = build_network(
            lambda: builder(data.image, len(data.class_names), **spec.net),
            method, data.train, spec.seed,
        )  # fmt: skip
        return network, method, data

    def load(self, spec: RunSpec) -> tuple[Network, Method, Dataset]:
        """A finished run's trained network, its method and its data. Raises Corrupt."""
        network, method, data = self.build(spec)
        restore(self.run_of(spec).weights(self.device), network, method)
        network.eval()
        method.eval()
        return network, method, data

    def probe(self, spec: RunSpec, split: str = "test") -> Probe:
        """The probe of a finished run on the first images of a split; "test" stands for the images
        that the run's stage is judged on."""
        network, method, data = self.load(spec)
        images = scoring_images(data, split, spec.stage, spec.probe)
        probe = probe_network(network, method, images, spec.layers, seed=spec.seed)
        return replace(probe, history=self.run_of(spec).require_manifest().history)

    def obstacle(self, spec: RunSpec) -> Obstacle | None:
        """Why a run spec cannot run; None if it can. Run specs that differ in the seed alone are
        judged once."""
        key = replace(spec, seed=0, partner=None).key
        if key not in self.obstacles:
            self.obstacles[key] = self._obstacle(spec)
        return self.obstacles[key]

    def _obstacle(self, spec: RunSpec) -> Obstacle | None:
        try:
            self.dataset(spec)
        except DataMissing as error:
            return Obstacle("missing", str(error))
        builder = registry.get("backbones", spec.backbone)
        method = registry.make_method(spec.method, spec.params)
        try:
            data = self.data_of(spec)
            with torch.random.fork_rng(devices=[]):
                network = builder(data.image, len(data.class_names), **spec.net)
            resolve(network, spec.layers)
        except ValueError as error:
            return Obstacle("skipped", str(error))
        except Exception as error:  # a third party's backbone may refuse in its own way
            return Obstacle("skipped", f"'{spec.backbone}' cannot be built: {one_line(error)}")
        reason = unmet(method, network, data.train)
        return Obstacle("skipped", reason) if reason else None


def open_workspace(
    device: str, plugins: Sequence[Path], runs: Path, root: Path | None
) -> Workspace:
    """Registers all plugins and opens the folder of runs. Raises UserError."""
    registry.load(plugins=plugins)
    return Workspace(Store(runs), resolve_device(device), data_root(root))


def resolve_device(device: str) -> str:
    """The device to use: "auto" is cuda if this machine has a GPU, else cpu. Raises UserError for
    an unknown device, and for cuda without a GPU."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device not in ("cpu", "cuda"):
        raise UserError(f"no device '{device}': use auto, cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: this machine has no usable GPU; use --device cpu")
    return device


def parent_of(spec: RunSpec) -> RunSpec:
    """The run spec of the finished network that this run spec's method edits."""
    return with_method(spec, registry.get("methods", spec.method).parent)


def with_method(spec: RunSpec, name: str) -> RunSpec:
    """The same run spec with another method at its default parameters."""
    params = registry.parameters(registry.get("methods", name), {})
    return replace(spec, method=name, params=params, given={})


def parts_of(spec: RunSpec) -> list[Part]:
    """Kind and name of all that a run is made of: method, parent method, dataset, backbone."""
    parent = registry.get("methods", spec.method).parent
    methods = [("methods", name) for name in (spec.method, parent) if name]
    return [*methods, ("datasets", spec.dataset), ("backbones", spec.backbone)]


def source_files(spec: RunSpec) -> tuple[Path, Path, Path]:
    """The files that a run's weights depend on, with all they import: the training loop's, the
    method's and the backbone's."""
    return (
        Path(fit_file.__file__), registry.source("methods", spec.method),
        registry.source("backbones", spec.backbone),
    )  # fmt: skip


def source_hashes(spec: RunSpec) -> dict[str, str]:
    """Module name -> hash, for all code that a run depends on: what `legible why` compares."""
    return content_hashes(source_files(spec))


def probe_key(workspace: Workspace, spec: RunSpec) -> str:
    """A hash of all that scores depend on besides the run and the metrics: layers, images, the
    probe's code, and the seed to compare with.

    The next seed in a suite is usually the seed plus one; only another partner changes the key.
    """
    files = [probe_file.__file__, *([splits_file.__file__] if spec.stage else [])]
    code = [workspace.key(Path(file)) for file in files]
    partner = [] if spec.partner in (None, spec.seed + 1) else [spec.partner]
    return short_hash((spec.layers, spec.probe, code, spec.stage, partner))
