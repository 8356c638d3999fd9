"""What a run owes to plugins: where each came from, and a copy of its source."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from bench import registry
from bench.sources import is_ours, source_files, source_hashes

#: A kind and a registered name.
Part = tuple[str, str]


def used(parts: Iterable[Part]) -> list[dict[str, str]]:
    """Kind, name, origin and version of the parts that are plugins.

    The version of a plugin file is the hash of its source.
    """
    found = []
    for kind, name in sorted(set(parts)):
        plugin = registry.plugin_of(kind, name)
        if plugin is not None:
            version = plugin.version or source_hashes([plugin.origin])[Path(plugin.origin).name]
            found.append({"kind": kind.removesuffix("s"), "name": name,
                          "origin": plugin.origin, "version": version})  # fmt: skip
    return found


def keep_sources(parts: Iterable[Part], folder: Path) -> None:
    """Copies the files of the parts that are plugins, with what they import of their package."""
    for kind, name in parts:
        if registry.plugin_of(kind, name) is None:
            continue
        for module, path in source_files([registry.source(kind, name)]).items():
            if not is_ours(path):
                folder.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, folder / f"{module.removesuffix('.py')}.py")
