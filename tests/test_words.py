"""The words of CONTRIBUTING are kept: names say what a value is, one name is one thing."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from legible.bench.plugins import registry

ROOT = Path(__file__).parents[1]
FILES = [file for folder in ("bench", "methods", "metrics")
         for file in sorted((ROOT / folder).rglob("*.py"))]  # fmt: skip
TREES = {file: ast.parse(file.read_text(encoding="utf-8")) for file in FILES}
PARTICIPLES = {"found", "known", "told", "said", "chosen", "kept", "wanted", "asked", "shown"}


def bound_names(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Names of variables, arguments, fields and loop targets, with their lines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr, node.lineno


#: A column of ledger.csv, and what a frozen part has computed.
ALLOWED = {("ledger.py", "chosen"), ("frozen.py", "kept")}


def test_no_value_is_named_by_a_participle() -> None:
    places = [f"{file.relative_to(ROOT)}:{line} {name}" for file, tree in TREES.items()
              for name, line in bound_names(tree) if name in PARTICIPLES
              and (file.name, name) not in ALLOWED]  # fmt: skip
    assert places == []


def test_no_two_classes_share_a_name() -> None:
    names = Counter(node.name for tree in TREES.values() for node in ast.walk(tree)
                    if isinstance(node, ast.ClassDef))  # fmt: skip
    assert [name for name, count in names.items() if count > 1] == []


def test_no_module_is_named_like_its_function() -> None:
    """But for plugins, whose functions are named like their files, and the entry point."""
    registry.load()
    plugins = {*registry.DATASETS, *registry.BACKBONES, *registry.METRICS, "main"}
    places = [str(file.relative_to(ROOT)) for file, tree in TREES.items() for node in tree.body
              if isinstance(node, ast.FunctionDef) and node.name == file.stem
              and node.name not in plugins]  # fmt: skip
    assert places == []


def test_every_module_has_a_test_of_its_name() -> None:
    tests = {file.relative_to(ROOT / "tests") for file in (ROOT / "tests").rglob("test_*.py")}
    missing = []
    for file in FILES:
        path = file.relative_to(ROOT)
        if (
            file.stem != "__init__"
            and path.parent / f"test_{file.stem.lstrip('_')}.py" not in tests
        ):
            missing.append(str(path))
    assert missing == []
