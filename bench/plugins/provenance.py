"""What a run owes to plugins: where each came from, and a copy of its source."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from legible.bench.files import checksum, write_bytes
from legible.bench.plugins import registry
from legible.bench.source_keys import (
    content_key,
    files_reached_by,
    is_ours,
    module_name,
    source_bytes,
)

#: A kind and a registered name.
Part = tuple[str, str]


class PluginRecord(BaseModel):
    """A plugin that a run used. The version of a plugin file is its content key."""

    model_config = ConfigDict(frozen=True)

    kind: str
    name: str
    origin: str
    version: str


def plugin_records(parts: Iterable[Part]) -> list[PluginRecord]:
    """A record of each part that is a plugin."""
    records = []
    for kind, name in sorted(set(parts)):
        origin = registry.plugin_of(kind, name)
        if origin is not None:
            version = origin.version or content_key(registry.source(kind, name))
            records.append(
                PluginRecord(
                    kind=kind.removesuffix("s"), name=name, origin=origin.source, version=version
                )
            )
    return records


def keep_sources(parts: Iterable[Part], folder: Path) -> dict[str, str]:
    """Copies the files of the parts that are plugins, with the helper modules they import.

    Returns the checksum of each copy by its name. Raises OSError.
    """
    plugins = [part for part in parts if registry.plugin_of(*part) is not None]
    files = files_reached_by(registry.source(*part) for part in plugins)
    sources = {f"{module_name(f)}.py": source_bytes(f) for f in sorted(files) if not is_ours(f)}
    for name, data in sources.items():
        write_bytes(folder / name, data)
    return {name: checksum(data) for name, data in sources.items()}
