"""Finding what can run: built-in files, plugin files and entry points, and checking parameters."""

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
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, ValidationError, create_model

from bench.backbones.base import BACKBONES
from bench.data.base import DATASETS
from methods.base import METHODS, nearest
from metrics.base import METRICS

KINDS: dict[str, dict[str, Any]] = {
    "methods": METHODS,
    "metrics": METRICS,
    "datasets": DATASETS,
    "backbones": BACKBONES,
}
_FOLDERS = {
    "methods": "methods",
    "metrics": "metrics",
    "datasets": "bench.data",
    "backbones": "bench.backbones",
}
#: What could not be imported, with the reason: listed, and no hindrance to the rest.
FAILED: dict[str, str] = {}


@dataclass(frozen=True)
class Plugin:
    """Where a plugin came from: a distribution and its version, or a file (version: empty)."""

    origin: str
    version: str = ""


#: By module: an entry point's top package, or the name a plugin file was imported under.
PLUGINS: dict[str, Plugin] = {}
_FILES = "legible_plugin"


class UserError(Exception):
    """Something the user can mend; the message is one line and says how."""


def load(kinds: Iterable[str] = tuple(KINDS), plugins: Iterable[Path | str] = ()) -> None:
    """Imports the built-in files of some kinds, every entry point, and the plugin files."""
    for kind in kinds:
        package = importlib.import_module(_FOLDERS[kind])
        for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
            _guarded(module.name, functools.partial(importlib.import_module, module.name))
        for point in entry_points(group=f"legible.{kind}"):
            if point.dist is not None:
                plugin = Plugin(point.dist.name, point.dist.version)
                PLUGINS[point.module.partition(".")[0]] = plugin
            _guarded(point.name, point.load)
    for file in plugins:
        load_plugin(Path(file))


def load_plugin(path: Path) -> list[tuple[str, str]]:
    """Imports one plugin file and returns kind and name of all it registers.

    A file that has changed since is imported again. Raises UserError when it is missing or cannot
    be imported; nothing of it is then registered.
    """
    path = path.expanduser().resolve()
    if path.suffix != ".py" or not path.is_file():
        raise UserError(f"no plugin file {path}: give the path of a .py file")
    name = f"{_FILES}.{path.stem}"
    seen = sys.modules.get(name)
    stamp = path.stat().st_mtime_ns
    if seen is None or seen.__file__ != str(path) or vars(seen).get("_stamp") != stamp:
        _import(name, path)
        vars(sys.modules[name])["_stamp"] = stamp
        PLUGINS[name] = Plugin(str(path))
    return [(k, n) for k, known in KINDS.items() for n in known if source(k, n) == path]


def _import(name: str, path: Path) -> None:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    before = {kind: dict(known) for kind, known in KINDS.items()}
    seen = sys.modules.get(name)
    sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        # not exec_module: bytecode is keyed by whole seconds, and would hide a quick edit
        exec(compile(path.read_bytes(), path, "exec"), vars(sys.modules[name]))
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        if seen is not None:
            sys.modules[name] = seen
        for kind, known in KINDS.items():
            known.clear()
            known.update(before[kind])
        raise UserError(f"plugin {path}: {one_line(error)}") from error


def plugin_of(kind: str, name: str) -> Plugin | None:
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


def one_line(error: BaseException) -> str:
    """An error's kind and text without line breaks."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


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
