"""A workspace: where runs, data and the device are, and what a run spec becomes there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from legible.bench.backbones import model_names
from legible.bench.backbones.model_names import LIBRARIES, PRETRAINED
from legible.bench.backbones.taps import Network
from legible.bench.backbones.weights import weights_digest
from legible.bench.data.base import DataMissing, Dataset, data_root
from legible.bench.data.dataset_checks import load_dataset
from legible.bench.errors import UserError, one_line
from legible.bench.execution.device import resolve_device, settle_device
from legible.bench.execution.published import PublishedTable
from legible.bench.execution.store import Run, Store
from legible.bench.plugins import registry
from legible.bench.plugins.faults import PluginFault, fault_text
from legible.bench.plugins.limits import RunLimits
from legible.bench.plugins.own_process import apart
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
from legible.bench.training.frozen import refusal
from legible.methods.base import Method, unmet
from legible.metrics.base import Probe

T = TypeVar("T")


@dataclass(frozen=True)
class Obstacle:
    """Why a run spec cannot run: its data is "missing", its plugin "failed", or it is "skipped" for
    another reason."""

    status: Literal["missing", "skipped", "failed"]
    reason: str


@dataclass(frozen=True)
class LoadedDataset:
    """A dataset on the device, the fingerprint of its content, and copies of its normalisation."""

    data: Dataset
    fingerprint: str
    moments: list[Tensor]


@dataclass
class Workspace:
    """Where runs, data and the device are. ``published`` holds published scores to be reused.

    Each dataset is loaded once and each source file is hashed once: editing a file while a suite
    runs does not change the names of its runs. What plugins do is done in processes of their own,
    within ``limits``; what they cannot do is tried once.
    """

    store: Store
    device: str = "cpu"
    root: Path = field(default_factory=data_root)
    limits: RunLimits = field(default_factory=RunLimits)
    datasets: dict[str, LoadedDataset] = field(default_factory=dict)
    identities: dict[str, dict[str, Any]] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)
    keys: dict[Path, str] = field(default_factory=dict)
    used_concepts: dict[str, frozenset[str]] = field(default_factory=dict)
    faults: dict[str, UserError] = field(default_factory=dict)
    obstacles: dict[str, Obstacle | None] = field(default_factory=dict)
    metric_keys: dict[tuple[str, ...], dict[str, str]] = field(default_factory=dict)
    published: PublishedTable | None = None

    def __post_init__(self) -> None:
        settle_device(self.device)

    def dataset(self, spec: RunSpec) -> Dataset:
        """The whole dataset of a run spec, on the device. Raises DataMissing, and UserError for
        any other error of its loader or data that is not sound."""
        return self._load_dataset(spec).data

    def fingerprint(self, spec: RunSpec) -> str:
        """The hash of a run spec's data. Raises what `dataset` raises."""
        return self._load_dataset(spec).fingerprint

    def _load_dataset(self, spec: RunSpec) -> LoadedDataset:
        key = f"{spec.dataset} {canonical(spec.data)}"
        if key in self.faults:
            raise self.faults[key]
        if key not in self.datasets:
            load = registry.get("datasets", spec.dataset)
            is_plugin = registry.plugin_of("datasets", spec.dataset) is not None
            try:
                data = _maybe_apart(
                    is_plugin, self.limits,
                    lambda: load_dataset(spec.dataset, lambda: load(self.root, **spec.data)),
                )  # fmt: skip
            except UserError as error:
                fault = error
                if isinstance(error, PluginFault):
                    fault = UserError(f"dataset '{spec.dataset}': {error}")
                self.faults[key] = fault
                raise fault from error
            moments = [part.clone() for part in _moments(data)]
            self.datasets[key] = LoadedDataset(data.to(self.device), data.fingerprint(), moments)
        return self.datasets[key]

    def refuse_changed_data(self, spec: RunSpec) -> None:
        """Raises PluginFault if a run spec's dataset is not as it was when it was loaded."""
        loaded = self._load_dataset(spec)
        try:
            moments = zip(loaded.moments, _moments(loaded.data), strict=True)
            same = loaded.data.fingerprint() == loaded.fingerprint and all(
                torch.equal(before, now.cpu()) for before, now in moments
            )
        except Exception:  # a tensor that can no longer be read
            same = False
        if not same:
            raise PluginFault("it changes the dataset in place: work on a copy")

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
            "backbone": self._backbone_identity(spec),
            "method": {"name": spec.method, "params": spec.params},
            "recipe": spec.recipe.identity(),
            "seed": spec.seed,
            "device": torch.device(self.device).type,
            "code": {"training": training, "method": method_file, "backbone": backbone},
        }
        if method.parent:
            identity["parent"] = self.identity(parent_of(spec))
        return json.loads(json.dumps(identity, default=str))

    def _backbone_identity(self, spec: RunSpec) -> dict[str, Any]:
        """What determines the network before training; weights count by their values."""
        identity: dict[str, Any] = {"name": spec.backbone, "params": dict(spec.net)}
        weights = spec.net.get("weights")
        if weights and weights != PRETRAINED:
            identity["params"]["weights"] = self._weights_digest(Path(weights))
        library = spec.backbone.partition(":")[0]
        if library in LIBRARIES:
            identity["library"] = version(library)
        if ":" in spec.backbone:
            identity["tracing"] = self.key(Path(model_names.__file__))
        return identity

    def _weights_digest(self, file: Path) -> str:
        if file not in self.keys:
            self.keys[file] = weights_digest(file)
        return self.keys[file]

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
        images = scoring_images(data, split, spec.stage, spec.probe, self.reserved(spec))
        probe = probe_network(network, method, images, spec.layers, seed=spec.seed)
        return replace(probe, history=self.run_of(spec).require_manifest().history)

    def reserved(self, spec: RunSpec) -> frozenset[str]:
        """The concepts that some method of the run's block is trained on: no row is scored on
        them."""
        names: set[str] = set()
        for name, params in spec.concept_users:
            cls = registry.get("methods", name)
            user = replace(spec, method=name, params=registry.parameters(cls, json.loads(params)))
            key = canonical({**self._place(spec), "method": name, "params": params})
            if key not in self.used_concepts:
                self.used_concepts[key] = self._used_concepts(user)
            names |= self.used_concepts[key]
        return frozenset(names)

    def _place(self, spec: RunSpec) -> dict[str, Any]:
        return {
            k: getattr(spec, k) for k in ("dataset", "data", "shots", "backbone", "net", "seed")
        }

    def _used_concepts(self, spec: RunSpec) -> frozenset[str]:
        if self.obstacle(spec):
            return frozenset()
        try:
            names = self.apart(spec, lambda: set(self.build(spec)[1].used_concepts()))
        except PluginFault:  # its own run fails with the reason
            return frozenset()
        return frozenset(names)

    def fresh_probe(self, spec: RunSpec) -> Probe:
        """Like `probe`, but shares no tensor with earlier probes."""
        scoring_images.cache_clear()
        return self.probe(spec)

    def obstacle(self, spec: RunSpec) -> Obstacle | None:
        """Why a run spec cannot run; None if it can. Raises UserError for built-in data that is
        not sound, and for parameters that the method refuses."""
        if spec.gpu and not self.device.startswith("cuda"):
            return Obstacle("missing", "its block is run on a GPU alone: --device cuda")
        try:
            self.dataset(spec)
        except DataMissing as error:
            return Obstacle("missing", str(error))
        except UserError as error:
            if registry.plugin_of("datasets", spec.dataset) is None:
                raise
            return Obstacle("failed", str(error))
        row = (spec.dataset, spec.data, spec.backbone, spec.net, spec.method, spec.params)
        more = {"layers": spec.layers, "shots": spec.shots, "freeze": spec.recipe.freeze}
        key = canonical({"row": row, **more})
        if key not in self.obstacles:
            try:
                self.obstacles[key] = self.apart(spec, lambda: self._obstacle(spec), registry.BRIEF)
            except PluginFault as fault:
                self.obstacles[key] = Obstacle("failed", str(fault))
        return self.obstacles[key]

    def _obstacle(self, spec: RunSpec) -> Obstacle | None:
        method = registry.make_method(spec.method, spec.params)
        try:
            network = self.bare_network(spec)
            resolve(network, spec.layers)
        except ValueError as error:
            return Obstacle("skipped", one_line(error).removeprefix(f"{type(error).__name__}: "))
        except Exception as error:
            is_plugin = registry.plugin_of("backbones", spec.backbone) is not None
            reason = f"'{spec.backbone}' cannot be built: {fault_text(error)}"
            return Obstacle("failed" if is_plugin else "skipped", reason)
        data = self.data_of(spec)
        try:
            reason = unmet(method, network, data.train) or refusal(network, method, spec.recipe)
        except ValueError as error:
            reason = one_line(error).removeprefix("ValueError: ")
        return Obstacle("skipped", reason) if reason else None

    def apart(self, spec: RunSpec, call: Callable[[], T], limits: RunLimits | None = None) -> T:
        """What ``call`` returns: from a process of its own, if a plugin takes part in a run spec.

        Raises what `legible.bench.plugins.own_process.apart` raises.
        """
        return _maybe_apart(uses_plugins(all_parts(spec)), limits or self.limits, call)

    def taps(self, spec: RunSpec) -> list[str]:
        """The names of the Taps of a run spec's network, in the network's order."""
        return self.apart(spec, lambda: list(self.bare_network(spec).taps), registry.BRIEF)

    def bare_network(self, spec: RunSpec) -> Network:
        """A new network without a method. Raises what the backbone raises."""
        data = self.data_of(spec)
        with torch.random.fork_rng(devices=[]):
            network: Network = registry.get("backbones", spec.backbone)(
                data.image, len(data.class_names), **spec.net
            )
        return network.to(self.device)


def open_workspace(
    device: str,
    plugins: Sequence[Path],
    runs: Path,
    root: Path | None,
    limits: RunLimits | None = None,
) -> Workspace:
    """Registers all plugins and opens the folder of runs. Raises UserError."""
    registry.load(plugins=plugins)
    return Workspace(Store(runs), resolve_device(device), data_root(root), limits or RunLimits())


def _maybe_apart(is_plugin: bool, limits: RunLimits, call: Callable[[], T]) -> T:
    return apart(call, limits) if is_plugin else call()


def _moments(data: Dataset) -> list[Tensor]:
    """The means and standard deviations by which images are normalised."""
    splits = (data.train, data.validation, data.test)
    return [part for split in splits for part in (split.mean, split.std)]


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


def all_parts(spec: RunSpec) -> list[Part]:
    """Kind and name of all that a run is made of and scored by."""
    return [*parts_of(spec), *(("metrics", name) for name in spec.metrics)]


def uses_plugins(parts: Iterable[Part]) -> bool:
    """Whether any of some parts is not built in."""
    return any(registry.plugin_of(*part) is not None for part in parts)


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
    """A hash of all that scores depend on besides the run and the metrics: layers, images,
    concepts, the probe's code, and the seed to compare with.

    The next seed in a suite is usually the seed plus one; only another partner changes the key.
    """
    halved = spec.stage or spec.concept_users
    files = [probe_file.__file__, *([splits_file.__file__] if halved else [])]
    code = [workspace.key(Path(file)) for file in files]
    partner = [] if spec.partner in (None, spec.seed + 1) else [spec.partner]
    users = [spec.concept_users] if spec.concept_users else []
    return short_hash((spec.layers, spec.probe, code, spec.stage, partner, *users))
