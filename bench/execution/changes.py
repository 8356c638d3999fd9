"""What changed between a stored run and the run that the current code would make."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from legible.bench.errors import UserError
from legible.bench.execution.manifest import Manifest
from legible.bench.execution.store import Corrupt, Run
from legible.bench.execution.workspace import Workspace, source_hashes
from legible.bench.suites.run_spec import RunSpec


def describe_changes(workspace: Workspace, name: str) -> list[str]:
    """A line for each difference between a stored run and the run that its spec would make now.

    Changed code is named by module. No lines: the next `legible run` would reuse the run. Raises
    UserError."""
    _, spec, manifest = stored_run(workspace, name)
    old = {**manifest.identity, "code": manifest.sources}
    new = {**workspace.identity(spec), "code": source_hashes(spec)}
    if "parent" in old and "parent" in new:  # the parent's modules are among this run's own
        old["parent"], new["parent"] = ({**p, "code": ""} for p in (old["parent"], new["parent"]))
    lines = [f"{path}: {before} -> {after}" for path, before, after in differences(old, new)]
    if not lines and manifest.identity["code"] != workspace.identity(spec)["code"]:
        lines.append("code: an import now resolves to a different function")
    return lines


def stored_run(workspace: Workspace, name: str) -> tuple[Run, RunSpec, Manifest]:
    """A run by name, its run spec as the current code reads it, and its manifest. Raises
    UserError."""
    run = workspace.store.find(name)
    try:
        manifest = run.require_manifest()
        return run, RunSpec.from_json(manifest.spec), manifest
    except (Corrupt, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{run.name}: {error}; the next `legible run` makes it again") from error


def differences(old: Any, new: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Where two JSON values differ: (path, old value, new value)."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            inner = f"{path}.{key}" if path else key
            yield from differences(old.get(key, "absent"), new.get(key, "absent"), inner)
    elif old != new:
        yield path, old, new
