"""The store: runs on disk, one folder for each, named by a hash of all that determines it."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import torch as safetensors
from torch import Tensor

from legible.bench.errors import UserError, nearest
from legible.bench.execution.manifest import Manifest
from legible.bench.files import checksum, delete_abandoned, make_folder, take_group, write_bytes
from legible.bench.locks import NoLocks, hold
from legible.bench.scoring.score import MetricScores
from legible.bench.training.checkpoint import State

WEIGHTS = "network.safetensors"
TRAINING = "training.safetensors"
MANIFEST = "manifest.json"
PLUGINS = "plugins"  # the folder of copies of plugins' sources
ASIDE = ".corrupt-"  # in the name of a folder or file that was set aside


class Corrupt(Exception):
    """A file in a run's folder is damaged, or belongs to another run."""


class StoreError(UserError):
    """A file or folder that cannot be read, written or locked: no permission, or a full disk."""


@contextlib.contextmanager
def one_line_errors(action: str, path: Path) -> Iterator[None]:
    """Turns any OSError inside into a StoreError: cannot ACTION PATH, and the system's reason."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"cannot {action} {path}: {error.strerror or error}") from error


# ----------------------------------------------------------------- files


def digest(identity: Mapping[str, Any]) -> str:
    """Twelve hexadecimal digits: a hash of JSON values."""
    text = json.dumps(identity, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def read_bytes(path: Path) -> bytes | None:
    """The content of a file, or None if it does not exist. Raises StoreError if it may not be read,
    and Corrupt if it is no file, or a link that leads nowhere."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        if path.is_symlink():
            raise Corrupt(f"{path.name}: a link that leads nowhere") from None
        return None
    except OSError as error:
        if error.errno in (errno.EISDIR, errno.ENOTDIR, errno.ELOOP):
            raise Corrupt(f"{path.name}: {error.strerror}") from error
        raise StoreError(f"cannot read {path}: {error.strerror or error}") from error


def read_json(path: Path) -> Any:
    """The content of a JSON file, or None if it does not exist. Raises Corrupt, and StoreError if
    it may not be read."""
    data = read_bytes(path)
    return None if data is None else _parse_json(path.name, data)


def _parse_json(name: str, data: bytes) -> Any:
    try:
        return json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise Corrupt(f"{name}: {error}") from error


# ----------------------------------------------------------------- checksums


def write_sealed(path: Path, owner: str, value: Mapping[str, Any]) -> None:
    """Writes JSON together with its owner's name and a checksum. Raises StoreError."""
    with one_line_errors("write", path):
        write_bytes(path, sealed_bytes(path.name, owner, value))


def sealed_bytes(name: str, owner: str, value: Mapping[str, Any]) -> bytes:
    """JSON with its owner's name and a checksum: the content of the file of that name."""
    plain = json.loads(json.dumps(value, default=str))
    seal = {"owner": owner, "checksum": _checksum_of_json(name, owner, plain)}
    return (json.dumps(plain | seal, sort_keys=True, indent=1) + "\n").encode()


def read_sealed(path: Path, owner: str) -> dict[str, Any] | None:
    """What `write_sealed` wrote, or None if there is no such file.

    Raises Corrupt if the content changed or belongs to another owner or file, and StoreError if
    the file may not be read.
    """
    data = read_bytes(path)
    return None if data is None else _parse_sealed(path.name, owner, data)


def _parse_sealed(name: str, owner: str, data: bytes) -> dict[str, Any]:
    """The content of a sealed file. Raises Corrupt."""
    value = _parse_json(name, data)
    if not isinstance(value, dict) or "checksum" not in value:
        raise Corrupt(f"{name}: it has no checksum")
    if (other := value.pop("owner", "")) != owner:
        raise Corrupt(f"{name}: it belongs to {other}")
    if value.pop("checksum") != _checksum_of_json(name, owner, value):
        raise Corrupt(f"{name}: its checksum differs")
    return value


@functools.lru_cache(maxsize=4096)
def _parse_manifest(owner: str, data: bytes) -> Manifest:
    """The manifest in the bytes of a file; the same bytes are parsed once. Raises Corrupt."""
    try:
        return Manifest.from_json(_parse_sealed(MANIFEST, owner, data))
    except ValueError as error:
        raise Corrupt(f"{MANIFEST}: {error}") from error


def _checksum_of_json(name: str, owner: str, value: Mapping[str, Any]) -> str:
    return checksum(name, owner, json.dumps(value, sort_keys=True))


def _checksum_of_tensors(owner: str, tensors: Mapping[str, Tensor], note: Any) -> str:
    """A hash of a checkpoint: its run's name, all tensors, and the record beside them."""
    parts: list[bytes | str] = [owner, json.dumps(note, sort_keys=True)]
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        parts.append(f"{name} {tensor.dtype} {tuple(tensor.shape)}")
        parts.append(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return checksum(*parts)


def _parse_tensors(path: Path, data: bytes, device: str) -> tuple[dict[str, Tensor], str]:
    """Tensors and note of a safetensors file. Raises Corrupt."""
    try:
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        tensors = safetensors.load(data)
        note = header.get("__metadata__", {}).get("note", "")
    except Exception as error:  # the parser's own errors, and those of damaged values
        raise Corrupt(f"{path.name}: {error}") from error
    return {name: tensor.to(device) for name, tensor in tensors.items()}, note


#: Files whose checksum agreed, with the state in which they were read. In one process a file that
#: has not been written since is hashed once.
_VERIFIED: dict[Path, tuple[str, tuple[int, ...]]] = {}


def _state_of(path: Path) -> tuple[int, ...]:
    stat = path.stat()
    return (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


# ----------------------------------------------------------------- runs


class Run:
    """One run's folder. Each file in it is bound to the run by a checksum.

    Reading raises Corrupt for a file that is damaged or belongs to another run; reading and writing
    raise StoreError for a file that the system does not let this process read or write.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def owner(self) -> str:
        """The name that is in the run's files; the folder's name, also after it was set aside."""
        return self.name.partition(ASIDE)[0]

    def manifest(self) -> Manifest | None:
        """The record of the run; None before it has ended. Raises Corrupt."""
        if self.folder.is_symlink() and not self.folder.exists():
            raise Corrupt("a link that leads nowhere")
        data = read_bytes(self.folder / MANIFEST)
        return None if data is None else _parse_manifest(self.owner, data)

    def require_manifest(self) -> Manifest:
        """Like `manifest`, but raises Corrupt if there is none."""
        manifest = self.manifest()
        if manifest is None:
            raise Corrupt(f"no {MANIFEST}")
        return manifest

    def readable_manifest(self) -> Manifest | None:
        """Like `manifest`, but None if it is corrupt; used by tables and reports."""
        try:
            return self.manifest()
        except Corrupt:
            return None

    def finish(self, manifest: Manifest) -> None:
        """Writes the manifest. The checkpoint of a run that is done is deleted: it is no longer
        needed."""
        write_sealed(self.folder / MANIFEST, self.owner, manifest.to_json())
        if manifest.status == "done":
            self.delete(TRAINING)

    def delete(self, name: str) -> None:
        """Deletes a file of the run, if it exists."""
        with one_line_errors("delete", self.folder / name):
            (self.folder / name).unlink(missing_ok=True)

    def delete_parts(self) -> None:
        """Deletes temporary files that killed processes left."""
        delete_abandoned(self.folder)

    def done(self) -> bool:
        """Whether the run ended without failure. Raises Corrupt if its weights are damaged."""
        manifest = self.manifest()
        if manifest is None or manifest.status != "done":
            return False
        path = self.folder / WEIGHTS
        try:
            verified = _VERIFIED.get(path) == (manifest.weights, _state_of(path))
        except OSError:
            verified = False  # reading says why
        if not verified:
            self._weights_file()
        return True

    def _weights_file(self) -> bytes:
        """The bytes of the weights, verified against the manifest if there is one."""
        path = self.folder / WEIGHTS
        manifest = self.manifest()
        state: tuple[int, ...] = ()
        with contextlib.suppress(OSError):
            state = _state_of(path)
        data = read_bytes(path)
        if data is None:
            raise Corrupt(f"no {WEIGHTS}")
        if manifest is not None:
            if checksum(data) != manifest.weights:
                raise Corrupt(f"{WEIGHTS}: its checksum differs from the manifest's")
            _VERIFIED[path] = (manifest.weights, state)
        return data

    def verify_copies(self) -> None:
        """Raises Corrupt if a copy of a plugin's source is missing or not as it was written."""
        manifest = self.require_manifest()
        for name, expected in manifest.copies.items():
            data = read_bytes(self.folder / PLUGINS / name)
            if data is None or checksum(data) != expected:
                what = "missing" if data is None else "its checksum differs from the manifest's"
                raise Corrupt(f"{PLUGINS}/{name}: {what}")

    def save_weights(self, tensors: Mapping[str, Tensor]) -> str:
        """Writes the weights of the trained network and method; returns their checksum, which
        belongs into the manifest."""
        data = safetensors.save(dict(tensors))
        with one_line_errors("write", self.folder / WEIGHTS):
            write_bytes(self.folder / WEIGHTS, data)
        return checksum(data)

    def weights(self, device: str) -> dict[str, Tensor]:
        """The weights of the trained network and method. Raises Corrupt."""
        return _parse_tensors(self.folder / WEIGHTS, self._weights_file(), device)[0]

    def save_state(self, state: State) -> None:
        """Writes a checkpoint to resume from; a single file, so that tensors and history agree."""
        record = {"epoch": state.epoch, "history": state.history, "seconds": state.seconds}
        seal = _checksum_of_tensors(self.owner, state.tensors, record)
        note = json.dumps({**record, "checksum": seal})
        data = safetensors.save(dict(state.tensors), {"note": note})
        with one_line_errors("write", self.folder / TRAINING):
            write_bytes(self.folder / TRAINING, data)

    def state(self, device: str) -> State | None:
        """The last checkpoint, or None. Raises Corrupt."""
        path = self.folder / TRAINING
        data = read_bytes(path)
        if data is None:
            return None
        tensors, note = _parse_tensors(path, data, device)
        try:
            record = json.loads(note)
            seal = record.pop("checksum")
            state = State(record["epoch"], tensors, record["history"], record["seconds"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Corrupt(f"{path.name}: {error}") from error
        if seal != _checksum_of_tensors(self.owner, tensors, record):
            raise Corrupt(f"{path.name}: its checksum differs, or it belongs to another run")
        return state

    def scores_file(self, key: str) -> Path:
        """Where the scores of one probe are."""
        return self.folder / f"scores-{key}.json"

    def scores(self, key: str) -> dict[str, MetricScores]:
        """Scores of one probe, by metric; without those that are missing or corrupt, which are
        computed again."""
        try:
            return self.verified_scores(key)
        except Corrupt:
            return {}

    def verified_scores(self, key: str) -> dict[str, MetricScores]:
        """Like `scores`, but raises Corrupt for a damaged file."""
        scores: dict[str, MetricScores] = {}
        for name, entry in self._score_entries(key).items():
            with contextlib.suppress(ValueError):
                scores[name] = MetricScores.from_json(name, entry)
        return scores

    def score_keys(self, key: str) -> dict[str, str]:
        """What each metric's scores of one probe depend on (`MetricScores.key`), by metric."""
        try:
            entries = self._score_entries(key)
        except Corrupt:
            return {}
        return {
            name: entry["key"]
            for name, entry in entries.items()
            if isinstance(entry, dict) and {"key", "layers"} <= entry.keys()
        }

    def _score_entries(self, key: str) -> dict[str, Any]:
        value = read_sealed(self.scores_file(key), self.owner)
        entries = {} if value is None else value.get("scores")
        if not isinstance(entries, dict):
            raise Corrupt(f"{self.scores_file(key).name}: it holds no scores")
        return entries

    def save_scores(self, key: str, scores: Mapping[str, MetricScores]) -> None:
        """Writes the scores of one probe."""
        value = {name: entry.to_json() for name, entry in scores.items()}
        write_sealed(self.scores_file(key), self.owner, {"scores": value})


def set_aside(path: Path) -> Path:
    """Renames a corrupt file or folder and returns its new path. Raises StoreError."""
    number = 1
    while os.path.lexists(aside := path.with_name(f"{path.name}{ASIDE}{number}")):
        number += 1
    with one_line_errors("rename", path):
        path.rename(aside)
    return aside


class Store:
    """A folder that holds all runs."""

    def __init__(self, root: Path) -> None:
        self.root = root
        try:
            make_folder(root / ".locks")
        except OSError as error:
            if not root.is_dir():  # a folder that may only be read is enough for tables
                raise StoreError(f"cannot make {root / '.locks'}: {error.strerror}") from error

    def run(self, name: str, identity: Mapping[str, Any]) -> Run:
        """The run of an identity; its folder may not exist yet."""
        return Run(self.root / f"{name}-{digest(identity)}")

    def find(self, name: str) -> Run:
        """A run by the path or name of its folder, or by the beginning or the end of its name if no
        other run has the same. Raises UserError."""
        path = Path(name)
        with one_line_errors("read", self.root):
            if os.path.isfile(path / MANIFEST):  # noqa: PTH113  (False for a folder not allowed)
                return Run(path.absolute())
            names = [p.name for p in self.root.iterdir() if os.path.lexists(p / MANIFEST)]
        hits = [n for n in names if n == name] or [
            n for n in names if ASIDE not in n and (n.startswith(name) or n.endswith(name))
        ]
        if len(hits) == 1:
            return Run(self.root / hits[0])
        if hits:
            raise UserError(
                f"'{name}' matches {len(hits)} runs: give more of the name "
                f"({', '.join(sorted(hits)[:3])}, ...)"
            )
        raise UserError(f"no run '{name}' in {self.root}{nearest(name, names)}")

    @contextlib.contextmanager
    def lock(self, run: Run, wait: bool = False) -> Iterator[bool]:
        """Holds a run's lock; yields False if another worker holds it and ``wait`` is False.

        Raises StoreError if the lock's file cannot be opened or the file system has no locks.
        """
        path = self.root / ".locks" / f"{run.name}.lock"
        with contextlib.ExitStack() as stack:
            with one_line_errors("lock", path):
                make_folder(path.parent)
                try:
                    mine = stack.enter_context(hold(path, wait))
                except NoLocks as error:
                    error.strerror = (
                        f"{error.strerror}; put the runs elsewhere with --runs, or give each "
                        "machine a folder of its own and --shard I/N"
                    )
                    raise
                with contextlib.suppress(OSError):
                    take_group(path)
            yield mine

    def set_aside(self, run: Run) -> Path:
        """Renames the folder of a corrupt run and returns its new path. Raises StoreError."""
        return set_aside(run.folder)
