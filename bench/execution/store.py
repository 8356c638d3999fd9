"""The store: runs on disk, one folder for each, named by a hash of all that determines it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from legible.bench.errors import UserError, nearest
from legible.bench.execution.manifest import Manifest
from legible.bench.scoring.score import MetricScores
from legible.bench.training.checkpoint import State

WEIGHTS = "network.safetensors"
TRAINING = "training.safetensors"
MANIFEST = "manifest.json"
ASIDE = ".corrupt-"  # in the name of a folder that was set aside


class Corrupt(Exception):
    """A file in a run's folder cannot be read."""


def digest(identity: Mapping[str, Any]) -> str:
    """Twelve hexadecimal digits: a hash of JSON values."""
    text = json.dumps(identity, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a temporary file and renames it, so that no reader sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_bytes(data)
    beside.replace(path)


def write_json(path: Path, value: Any) -> None:
    """Writes JSON with sorted keys, like `write_bytes`."""
    text = json.dumps(value, sort_keys=True, indent=1, default=str) + "\n"
    write_bytes(path, text.encode())


def read_json(path: Path) -> Any:
    """The content of a JSON file, or None if it does not exist. Raises Corrupt."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, OSError) as error:
        raise Corrupt(f"{path.name}: {error}") from error


def write_tensors(path: Path, tensors: Mapping[str, Tensor], note: str = "") -> None:
    """Writes a safetensors file, like `write_bytes`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    save_file(dict(tensors), beside, metadata={"note": note})
    beside.replace(path)


def read_tensors(path: Path, device: str = "cpu") -> tuple[dict[str, Tensor], str]:
    """Tensors and note of a safetensors file. Raises Corrupt."""
    try:
        with safe_open(path, "pt") as file:
            note = (file.metadata() or {}).get("note", "")
        return load_file(path, device), note
    except (SafetensorError, OSError, RuntimeError) as error:
        raise Corrupt(f"{path.name}: {error}") from error


class Run:
    """One run's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    def manifest(self) -> Manifest | None:
        """The record of the run; None before it has ended. Raises Corrupt."""
        value = read_json(self.folder / MANIFEST)
        try:
            return None if value is None else Manifest.from_json(value)
        except ValueError as error:
            raise Corrupt(f"{MANIFEST}: {error}") from error

    def require_manifest(self) -> Manifest:
        """Like `manifest`, but raises Corrupt if there is none."""
        manifest = self.manifest()
        if manifest is None:
            raise Corrupt(f"no {MANIFEST}")
        return manifest

    def readable_manifest(self) -> Manifest | None:
        """Like `manifest`, but None if it cannot be read; used by tables and reports."""
        try:
            return self.manifest()
        except Corrupt:
            return None

    def finish(self, manifest: Manifest) -> None:
        """Writes the manifest and deletes the checkpoint, which is no longer needed."""
        write_json(self.folder / MANIFEST, manifest.to_json())
        (self.folder / TRAINING).unlink(missing_ok=True)

    def done(self) -> bool:
        """Whether the run ended without failure. Raises Corrupt if its weights cannot be read."""
        manifest = self.manifest()
        if manifest is None or manifest.status != "done":
            return False
        try:
            with safe_open(self.folder / WEIGHTS, "pt") as file:
                return len(list(file.keys())) > 0
        except (SafetensorError, OSError) as error:
            raise Corrupt(f"{WEIGHTS}: {error}") from error

    def save_weights(self, tensors: Mapping[str, Tensor]) -> None:
        """Writes the weights of the trained network and method."""
        write_tensors(self.folder / WEIGHTS, tensors)

    def weights(self, device: str) -> dict[str, Tensor]:
        """The weights of the trained network and method. Raises Corrupt."""
        return read_tensors(self.folder / WEIGHTS, device)[0]

    def save_state(self, state: State) -> None:
        """Writes a checkpoint to resume from; a single file, so that tensors and history agree."""
        note = json.dumps(
            {"epoch": state.epoch, "history": state.history, "seconds": state.seconds}
        )
        write_tensors(self.folder / TRAINING, state.tensors, note)

    def state(self, device: str) -> State | None:
        """The last checkpoint, or None. Raises Corrupt."""
        path = self.folder / TRAINING
        if not path.exists():
            return None
        tensors, note = read_tensors(path, device)
        try:
            record = json.loads(note)
            return State(record["epoch"], tensors, record["history"], record["seconds"])
        except (ValueError, KeyError) as error:
            raise Corrupt(f"{path.name}: {error}") from error

    def scores(self, key: str) -> dict[str, MetricScores]:
        """Scores of one probe, by metric; without those that are missing or unreadable, which
        are computed again."""
        try:
            value = read_json(self.folder / f"scores-{key}.json")
        except Corrupt:
            return {}
        scores: dict[str, MetricScores] = {}
        for name, entry in value.items() if isinstance(value, dict) else ():
            with contextlib.suppress(ValueError):
                scores[name] = MetricScores.from_json(name, entry)
        return scores

    def save_scores(self, key: str, scores: Mapping[str, MetricScores]) -> None:
        """Writes the scores of one probe."""
        value = {name: entry.to_json() for name, entry in scores.items()}
        write_json(self.folder / f"scores-{key}.json", value)


class Store:
    """A folder that holds all runs."""

    def __init__(self, root: Path) -> None:
        self.root = root
        try:
            (root / ".locks").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot write runs to {root}: {error.strerror}") from error

    def run(self, name: str, identity: Mapping[str, Any]) -> Run:
        """The run of an identity; its folder may not exist yet."""
        return Run(self.root / f"{name}-{digest(identity)}")

    def find(self, name: str) -> Run:
        """A run by the path or name of its folder, or by the beginning or the end of its name if no
        other run has the same. Raises UserError."""
        path = Path(name)
        if (path / MANIFEST).is_file():
            return Run(path)
        names = [p.name for p in self.root.iterdir() if (p / MANIFEST).is_file()]
        hits = [n for n in names if n == name] or [
            n for n in names if ASIDE not in n and (n.startswith(name) or n.endswith(name))
        ]
        if len(hits) == 1:
            return Run(self.root / hits[0])
        if hits:
            raise UserError(
                f"'{name}' stands for {len(hits)} runs: {', '.join(sorted(hits)[:3])}, ..."
            )
        raise UserError(f"no run '{name}' in {self.root}{nearest(name, names)}")

    @contextlib.contextmanager
    def lock(self, run: Run, wait: bool = False) -> Iterator[bool]:
        """Holds a run's lock; yields False if another worker holds it and ``wait`` is False."""
        file_lock = FileLock(self.root / ".locks" / f"{run.name}.lock")
        try:
            file_lock.acquire(timeout=-1 if wait else 0)
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            file_lock.release()

    def set_aside(self, run: Run) -> Path:
        """Renames the folder of a corrupt run and returns its new path."""
        number = 1
        while (aside := run.folder.with_name(f"{run.name}{ASIDE}{number}")).exists():
            number += 1
        run.folder.rename(aside)
        return aside
