"""What code a result depends on: hashes of syntax trees, followed through our own imports."""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("bench", "methods", "metrics")
ROOT = Path(__file__).resolve().parent.parent

_NOTHING = hashlib.sha256(ast.dump(ast.parse("")).encode()).hexdigest()[:12]


def source_hashes(files: Iterable[Path | str]) -> dict[str, str]:
    """Module name (or plugin file name) -> hash, for the files and what they import of ours, and
    of their own package.

    Comments, docstrings and formatting do not count.
    """
    return {name: _read(*_version(path))[0] for name, path in source_files(files).items()}


def source_files(files: Iterable[Path | str]) -> dict[str, Path]:
    """Module name (or plugin file name) -> path, imports followed as in `source_hashes`."""
    found: dict[str, Path] = {}
    todo = [Path(file).resolve() for file in files]
    while todo:
        path = todo.pop()
        name = module_name(path)
        if name not in found and _says_something(path):
            found[name] = path
            todo += [Path(p) for p in _read(*_version(path))[1]]
    return dict(sorted(found.items()))


def is_ours(path: Path) -> bool:
    """Whether a file is part of this distribution, and no plugin."""
    return path.is_relative_to(ROOT) and path.relative_to(ROOT).parts[0] in PACKAGES


@functools.cache
def module_name(path: Path) -> str:
    """``methods.sync`` for a file in a package, the file's name for any other."""
    package = package_of(path)
    if not package or (package[0] in PACKAGES and not is_ours(path)):
        return path.name
    return ".".join(package if path.stem == "__init__" else [*package, path.stem])


def package_of(path: Path) -> list[str]:
    """The packages a file stands in, the outermost first: folders with an __init__.py."""
    folder, parts = path.parent, []
    while (folder / "__init__.py").is_file():
        parts.append(folder.name)
        folder = folder.parent
    return parts[::-1]


def _says_something(path: Path) -> bool:
    """False for the empty __init__.py that most packages have."""
    return path.stem != "__init__" or _read(*_version(path))[0] != _NOTHING


def _version(path: Path) -> tuple[Path, int]:
    return path, path.stat().st_mtime_ns


@functools.cache
def _read(path: Path, modified: int) -> tuple[str, tuple[str, ...]]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    package = package_of(path)
    names = _imported(tree, package) | {".".join(package)}
    names |= {parent for name in names for parent in _parents(name)}  # their __init__ runs too
    imports = tuple(sorted({file for name in names if name and (file := _file(name))}))
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
            rest: list[ast.stmt] = [] if isinstance(node, ast.Module) else [ast.Pass()]
            node.body = node.body[1:] or rest


def _parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:i]) for i in range(1, len(parts))]


def _imported(tree: ast.AST, package: list[str]) -> set[str]:
    """Full names of what is imported of ours, or of the file's own package."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            names |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    roots = {*PACKAGES, *package[:1]}
    return {name for name in names if name.partition(".")[0] in roots}


def _file(module: str) -> str | None:
    try:
        spec = find_spec(module)
    except Exception:  # what looks like a module may be a name inside one
        return None
    return spec.origin if spec and spec.origin and spec.origin.endswith(".py") else None
