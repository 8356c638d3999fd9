"""What code a result depends on: hashes of syntax trees, followed through our own imports."""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("bench", "methods", "metrics")


def source_hashes(files: Iterable[Path | str]) -> dict[str, str]:
    """Module name (or plugin file name) -> hash, for the files and all of ours they import.

    Comments, docstrings and formatting do not count.
    """
    found: dict[str, str] = {}
    todo = [Path(file).resolve() for file in files]
    while todo:
        path = todo.pop()
        name = module_name(path)
        if name not in found:
            digest, imports = _read(path, path.stat().st_mtime_ns)
            found[name] = digest
            todo += [Path(p) for p in imports]
    return dict(sorted(found.items()))


def module_name(path: Path) -> str:
    """``methods.sync`` for a file of ours, the file's name for any other."""
    parts = list(path.with_suffix("").parts)
    root = Path(__file__).resolve().parent.parent
    if path.is_relative_to(root) and path.relative_to(root).parts[0] in PACKAGES:
        parts = list(path.relative_to(root).with_suffix("").parts)
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    return path.name


@functools.cache
def _read(path: Path, modified: int) -> tuple[str, tuple[str, ...]]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imports = tuple(sorted({file for name in _imported(tree) if (file := _file(name))}))
    for node in ast.walk(tree):
        _drop_docstring(node)
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:12], imports


def _drop_docstring(node: ast.AST) -> None:
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        first = node.body[0] if node.body else None
        if (
            isinstance(first, ast.Expr)
            and isinstance(first.value, ast.Constant)
            and isinstance(first.value.value, str)
        ):
            node.body = node.body[1:] or [ast.Pass()]


def _imported(tree: ast.AST) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in names if name.partition(".")[0] in PACKAGES}


@functools.cache
def _file(module: str) -> str | None:
    try:
        spec = find_spec(module)
    except ModuleNotFoundError:
        return None
    return spec.origin if spec and spec.origin else None
