"""Runs on disk: one folder a run, named by a hash of all that determines it."""

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
from legible.bench.training.checkpoint import State

WEIGHTS = "network.safetensors"
TRAINING = "training.safetensors"
MANIFEST = "manifest.json"
ASIDE = ".corrupt-"  # in the name of a folder that was set aside


class Corrupt(Exception):
    """A run folder holds something that cannot be read."""


def digest(identity: Mapping[str, Any]) -> str:
    """Twelve hexadecimal digits that stand for an identity."""
    text = json.dumps(identity, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def write_bytes(path: Path, data: bytes) -> None:
    """Writes beside and renames, so that no reader ever sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_bytes(data)
    beside.replace(path)


def write_json(path: Path, value: Any) -> None:
    """JSON with sorted keys, written whole or not at all."""
    text = json.dumps(value, sort_keys=True, indent=1, default=str) + "\n"
    write_bytes(path, text.encode())


def read_json(path: Path) -> Any:
    """The parsed file, or None where there is none. Raises Corrupt for anything unreadable."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, OSError) as error:
        raise Corrupt(f"{path.name}: {error}") from error


def write_tensors(path: Path, tensors: Mapping[str, Tensor], note: str = "") -> None:
    """A safetensors file, written whole or not at all."""
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


def _is_score(entry: Any) -> bool:
    """Whether this is what `scoring.score` keeps of one metric."""
    if not isinstance(entry, dict) or not isinstance(entry.get("layers"), list):
        return False
    return all(isinstance(line, dict) for line in entry["layers"])


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
        """Like `manifest`, but raises Corrupt where there is none."""
        manifest = self.manifest()
        if manifest is None:
            raise Corrupt(f"no {MANIFEST}")
        return manifest

    def readable_manifest(self) -> Manifest | None:
        """Like `manifest`, but None where it cannot be read; for tables and reports."""
        try:
            return self.manifest()
        except Corrupt:
            return None

    def finish(self, manifest: Manifest) -> None:
        """Records the end of the run, and drops the checkpoint that resume needed."""
        write_json(self.folder / MANIFEST, manifest.to_json())
        (self.folder / TRAINING).unlink(missing_ok=True)

    def done(self) -> bool:
        """Whether the run ended well and its weights are there and readable. Raises Corrupt."""
        manifest = self.manifest()
        if manifest is None or manifest.status != "done":
            return False
        try:
            with safe_open(self.folder / WEIGHTS, "pt") as file:
                return len(list(file.keys())) > 0
        except (SafetensorError, OSError) as error:
            raise Corrupt(f"{WEIGHTS}: {error}") from error

    def save_weights(self, tensors: Mapping[str, Tensor]) -> None:
        """Writes the finished network and method."""
        write_tensors(self.folder / WEIGHTS, tensors)

    def weights(self, device: str) -> dict[str, Tensor]:
        """The finished network and method. Raises Corrupt."""
        return read_tensors(self.folder / WEIGHTS, device)[0]

    def save_state(self, state: State) -> None:
        """Writes a resumable checkpoint: one file, so that tensors and history agree."""
        note = json.dumps(
            {"epoch": state.epoch, "history": state.history, "seconds": state.seconds}
        )
        write_tensors(self.folder / TRAINING, state.tensors, note)

    def state(self, device: str) -> State | None:
        """The last checkpoint, if there is one. Raises Corrupt."""
        path = self.folder / TRAINING
        if not path.exists():
            return None
        tensors, note = read_tensors(path, device)
        try:
            record = json.loads(note)
            return State(record["epoch"], tensors, record["history"], record["seconds"])
        except (ValueError, KeyError) as error:
            raise Corrupt(f"{path.name}: {error}") from error

    def scores(self, key: str) -> dict[str, Any]:
        """Scores of one probe, by metric; empty where there are none or they are unreadable
        (they can always be made again)."""
        try:
            value = read_json(self.folder / f"scores-{key}.json")
        except Corrupt:
            return {}
        entries = value.items() if isinstance(value, dict) else ()
        return {name: entry for name, entry in entries if _is_score(entry)}

    def save_scores(self, key: str, scores: Mapping[str, Any]) -> None:
        """Writes the scores of one probe."""
        write_json(self.folder / f"scores-{key}.json", scores)


class Store:
    """All runs below one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        try:
            (root / ".locks").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot write runs to {root}: {error.strerror}") from error

    def run(self, name: str, identity: Mapping[str, Any]) -> Run:
        """The folder for an identity, whether it exists or not."""
        return Run(self.root / f"{name}-{digest(identity)}")

    def find(self, name: str) -> Run:
        """A run by its folder's name, path or unique beginning or hash. Raises UserError."""
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
            raise UserError(f"'{name}' fits {len(hits)} runs: {', '.join(sorted(hits)[:3])}, ...")
        raise UserError(f"no run '{name}' in {self.root}{nearest(name, names)}")

    @contextlib.contextmanager
    def lock(self, run: Run, wait: bool = False) -> Iterator[bool]:
        """Holds a run's lock; yields False where another worker has it and ``wait`` is off."""
        held = FileLock(self.root / ".locks" / f"{run.name}.lock")
        try:
            held.acquire(timeout=-1 if wait else 0)
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            held.release()

    def set_aside(self, run: Run) -> Path:
        """Moves a corrupt run folder out of the way and returns where it went."""
        number = 1
        while (aside := run.folder.with_name(f"{run.name}{ASIDE}{number}")).exists():
            number += 1
        run.folder.rename(aside)
        return aside
