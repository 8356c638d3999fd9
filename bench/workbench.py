"""Where runs, data and devices are, and what a cell of a suite stands for there."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from bench import registry
from bench.data.base import DataMissing, Dataset, data_root
from bench.plugins import Part
from bench.probe import probe, resolve
from bench.registry import UserError
from bench.score import stream_hash
from bench.sources import source_hashes
from bench.stages import chosen_images
from bench.state import restore
from bench.store import Run, Store
from bench.suite import Cell
from bench.taps import Network
from bench.train import attach, initialise
from methods.base import Method, unmet
from metrics.base import Probe


@dataclass
class Bench:
    """Where runs, data and devices are; datasets are loaded once."""

    store: Store
    device: str = "cpu"
    root: Path = field(default_factory=data_root)
    loaded: dict[str, tuple[Dataset, str]] = field(default_factory=dict)
    identities: dict[str, dict[str, Any]] = field(default_factory=dict)

    def dataset(self, name: str, params: dict[str, Any]) -> tuple[Dataset, str]:
        """A dataset on the device, with its fingerprint. Raises DataMissing, and UserError for
        parameters that it refuses."""
        key = stream_hash((name, json.dumps(params, sort_keys=True, default=str)))
        if key not in self.loaded:
            try:
                data = registry.get("datasets", name)(self.root, **params)
            except ValueError as error:
                raise UserError(f"dataset '{name}': {error}") from error
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
            resolve(network, cell.layers)
        except ValueError as error:
            return "skipped", str(error)
        except Exception as error:  # a third party's backbone may refuse in its own way
            return "skipped", f"'{cell.backbone}' cannot be built: {registry.one_line(error)}"
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
    """What scores depend on besides the run and the metrics: layers, images, and the probe.

    The last seed of a suite is compared with its first: as other suites go on to another seed,
    such scores are kept apart.
    """
    files = ["probe.py", "stages.py"] if cell.stage else ["probe.py"]
    sources = source_hashes([Path(__file__).with_name(file) for file in files])
    more: tuple[Any, ...] = (cell.stage,) if cell.stage else ()
    if cell.partner not in (None, cell.seed + 1):
        more = (*more, cell.partner)
    return stream_hash((cell.layers, cell.probe, sorted(sources.items()), *more))
