"""Finding what can run: built-in files, plugin files and entry points; checking parameters."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import pkgutil
import sys
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from importlib.metadata import entry_points
from pathlib import Path
from types import CodeType
from typing import Any

from pydantic import ConfigDict, ValidationError, create_model

from legible.bench.backbones.base import BACKBONES
from legible.bench.source_keys import followed, import_root, is_ours, module_name, packages_of
from legible.bench.data.base import DATASETS
from legible.bench.errors import UserError, nearest, one_line
from legible.methods.base import METHODS
from legible.metrics.base import METRICS

KINDS: dict[str, dict[str, Any]] = {
    "methods": METHODS,
    "metrics": METRICS,
    "datasets": DATASETS,
    "backbones": BACKBONES,
}
_FOLDERS = {
    "methods": "legible.methods",
    "metrics": "legible.metrics",
    "datasets": "legible.bench.data",
    "backbones": "legible.bench.backbones",
}
#: What could not be imported, with the reason: listed, and no hindrance to the rest.
FAILED: dict[str, str] = {}


@dataclass(frozen=True)
class Origin:
    """Where a plugin came from: a distribution and its version, or a file (version: empty)."""

    source: str
    version: str = ""


#: By module: an entry point's top package, or the name a plugin file was imported under.
PLUGINS: dict[str, Origin] = {}
#: Files of loaded plugins by module name, the plugin's helpers included, as they were loaded.
LOADED: dict[str, dict[Path, bytes]] = {}


def load(kinds: Iterable[str] = tuple(KINDS), plugins: Iterable[Path | str] = ()) -> None:
    """Imports the built-in files of some kinds, every entry point, and the plugin files."""
    for kind in kinds:
        package = importlib.import_module(_FOLDERS[kind])
        for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
            _guarded(module.name, functools.partial(importlib.import_module, module.name))
        for point in entry_points(group=f"legible.{kind}"):
            if point.dist is not None:
                origin = Origin(point.dist.name, point.dist.version)
                PLUGINS[point.module.partition(".")[0]] = origin
            _guarded(point.name, point.load)
    for file in plugins:
        load_plugin(Path(file))


def load_plugin(path: Path) -> list[tuple[str, str]]:
    """Imports one plugin file and returns kind and name of all it registers.

    It may import helper modules that lie beside it, and its own package. Where a file of these has
    changed since, all are imported again. Raises UserError when the file is missing or cannot be
    imported; nothing of it is then registered.
    """
    path = path.expanduser().resolve()
    if path.suffix != ".py" or not path.is_file():
        raise UserError(f"no plugin file {path}: give the path of a .py file")
    name = module_name(path) if packages_of(path) else f"legible_plugin.{path.stem}"
    files = _helpers(path)
    if LOADED.get(name) != files:
        _forget(set(files) | set(LOADED.get(name, ())))
        _import(name, path)
        LOADED[name] = files
        PLUGINS[name] = Origin(str(path))
    return [(k, n) for k, items in KINDS.items() for n in items if source(k, n) == path]


def _helpers(path: Path) -> dict[Path, bytes]:
    """A plugin file and all it imports that is followed and not Legible's."""
    try:
        return {file: file.read_bytes() for file in followed([path]) if not is_ours(file)}
    except SyntaxError:
        return {path: path.read_bytes()}  # importing it says where


def _forget(files: set[Path]) -> None:
    """Drops modules that were made from some files, so that they are imported again."""
    for name, module in list(sys.modules.items()):
        if (file := getattr(module, "__file__", None)) and Path(file).resolve() in files:
            del sys.modules[name]


class _Uncached(SourceFileLoader):
    """Compiles the source each time: bytecode files are keyed by whole seconds, and would hide a
    quick edit."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)  # type: ignore[no-any-return]


def _import(name: str, path: Path) -> None:
    loader = _Uncached(name, str(path))
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None
    registered = {kind: dict(items) for kind, items in KINDS.items()}
    for kind, items in KINDS.items():
        for item in [item for item in items if source(kind, item) == path]:
            del items[item]  # an earlier version of the file may have registered other names
    if (root := str(import_root(path))) not in sys.path:
        sys.path.append(root)  # last, so that it hides nothing
    try:
        if packages_of(path):
            importlib.import_module(name.rpartition(".")[0])
        sys.modules[name] = importlib.util.module_from_spec(spec)
        loader.exec_module(sys.modules[name])
        _refuse_mixed_helpers(path)
    except (Exception, SystemExit) as error:
        sys.modules.pop(name, None)
        for kind, items in KINDS.items():
            items.clear()
            items.update(registered[kind])
        raise UserError(f"plugin {path}: {_import_problem(error)}") from error


def _refuse_mixed_helpers(path: Path) -> None:
    """ImportError where another module of its name hides a helper beside the plugin."""
    root = import_root(path)
    for file in followed([path]):
        top = module_name(file).partition(".")[0]
        beside = [root / f"{top}.py", root / top / "__init__.py"]
        if import_root(file) != root and any(helper.is_file() for helper in beside):
            raise ImportError(f"'{top}' is {file} here, not the one in {root}: rename one of them")


def _import_problem(error: BaseException) -> str:
    """An import error in one line; for Legible's old module names, with the new ones."""
    name = (getattr(error, "name", None) or "") if isinstance(error, ImportError) else ""
    if name.partition(".")[0] in ("bench", "methods", "metrics") and "legible" not in str(error):
        return (f"there is no module '{name}': write `from legible import ...`, "
                f"or `from legible.{name} import ...`")  # fmt: skip
    return one_line(error)


def plugin_of(kind: str, name: str) -> Origin | None:
    """Where a registered thing came from; None for what is built in."""
    item = KINDS[kind][name]
    module = getattr(item, "function", item).__module__
    return PLUGINS.get(module) or PLUGINS.get(module.partition(".")[0])


def source(kind: str, name: str) -> Path:
    """The file a registered thing is defined in."""
    item = KINDS[kind][name]
    return Path(getattr(item, "origin", None) or source_of(item))


def _guarded(name: str, action: Callable[[], Any]) -> None:
    try:
        action()
        FAILED.pop(name, None)
    except (Exception, SystemExit) as error:
        if isinstance(error, ValueError) and " is defined in " in str(error):
            raise UserError(str(error)) from error  # a name collision must not pass in silence
        FAILED[name] = one_line(error)


def get(kind: str, name: str) -> Any:
    """The registered thing of that name; UserError with the nearest name for a typo."""
    known = KINDS[kind]
    if name in known:
        return known[name]
    singular = kind.removesuffix("s")
    for failed, reason in FAILED.items():
        if failed.rpartition(".")[2] == name:
            raise UserError(f"{singular} '{name}' cannot be imported: {reason}")
    raise UserError(
        f"no {singular} '{name}'{nearest(name, known) or ' (see: legible list ' + kind + ')'}"
    )


def parameters(
    target: Callable[..., Any], given: Mapping[str, Any], skip: int = 0
) -> dict[str, Any]:
    """All parameters of a loader, builder or method, defaults filled in, types checked.

    ``skip`` leading arguments are not parameters. Raises UserError for an unknown name (with the
    nearest) or a wrong type.
    """
    function = target.__init__ if inspect.isclass(target) else target
    signature = list(inspect.signature(target).parameters.values())[skip:]
    hints = typing.get_type_hints(function)
    fields: dict[str, Any] = {p.name: (hints.get(p.name, Any), p.default) for p in signature}
    label = getattr(target, "name", "") or target.__name__
    for name in given:
        if name not in fields:
            raise UserError(
                f"'{label}' has no parameter '{name}'"
                f"{nearest(name, fields) or ' (it has: ' + (', '.join(fields) or 'none') + ')'}"
            )
    model = create_model(label, __config__=ConfigDict(extra="forbid"), **fields)
    try:
        return {k: getattr(model(**given), k) for k in fields}
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][:1])
        raise UserError(f"'{label}': {where} = {first['input']!r}: {first['msg']}") from error


def source_of(target: Callable[..., Any]) -> str:
    """The file a loader or builder is defined in."""
    return inspect.getsourcefile(inspect.unwrap(target)) or target.__module__


def defaults(target: Callable[..., Any], skip: int = 0) -> dict[str, Any]:
    """The default of every parameter that has one."""
    signature = list(inspect.signature(target).parameters.values())[skip:]
    return {p.name: p.default for p in signature if p.default is not p.empty}


def make_method(name: str, params: Mapping[str, Any]) -> Any:
    """A method with checked parameters; UserError where its own checks refuse them."""
    cls = get("methods", name)
    try:
        return cls(**parameters(cls, params))
    except ValueError as error:
        raise UserError(f"method '{name}': {error}") from error
