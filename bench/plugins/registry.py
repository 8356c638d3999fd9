"""Finding what can run: built-in files, plugin files and entry points; checking parameters."""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import inspect
import pkgutil
import sys
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import CodeType
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from legible.bench.backbones.base import BACKBONES
from legible.bench.backbones.model_names import model_builder
from legible.bench.data.base import DATASETS
from legible.bench.errors import UserError, nearest, one_line
from legible.bench.plugins import own_process
from legible.bench.plugins.declarations import refuse_declaration
from legible.bench.plugins.faults import PluginFault
from legible.bench.plugins.limits import RunLimits
from legible.bench.plugins.process_state import (
    guarded_functions,
    refuse_patches,
    restored_settings,
)
from legible.bench.source_keys import (
    SNAPSHOTS,
    files_reached_by,
    import_root,
    is_ours,
    module_name,
    packages_of,
    source_bytes,
)
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
T = TypeVar("T")

#: What could not be imported, with the reason: listed, and no hindrance to the rest.
FAILED: dict[str, str] = {}


@dataclass(frozen=True)
class Origin:
    """Where a plugin came from: a distribution and its version, or a file (version: empty)."""

    source: str
    version: str = ""


#: By module: an entry point's top package, or the name a plugin file was imported under.
PLUGINS: dict[str, Origin] = {}
#: What importing a plugin may take.
IMPORT = RunLimits(seconds=600.0)
#: What a constructor of a plugin may take.
BRIEF = RunLimits(seconds=600.0)
#: Files of loaded plugins by module name, the plugin's helpers included, as they were loaded.
LOADED: dict[str, dict[Path, bytes]] = {}


def load(
    kinds: Iterable[str] = tuple(KINDS),
    plugins: Iterable[Path | str] = (),
    sources: Mapping[Path, bytes] | None = None,
) -> None:
    """Imports the built-in files of some kinds, every entry point, and the plugin files.

    ``sources`` are the contents that plugin files have in another process: they are compiled
    instead of what is on disk now, so that workers run the code that the run's name stands for.
    """
    for kind in kinds:
        for name in built_in_modules(kind):
            _guarded(name, functools.partial(importlib.import_module, name))
        for point in entry_points(group=f"legible.{kind}"):
            if point.dist is not None:
                origin = Origin(point.dist.name, point.dist.version)
                PLUGINS[point.module.partition(".")[0]] = origin
            _guarded(point.name, functools.partial(_load_point, kind, point))
    SNAPSHOTS.update(sources or {})
    for file in plugins:
        load_plugin(Path(file), as_on_disk=not sources)


def built_in_modules(kind: str) -> list[str]:
    """The names of the modules of the built-in files of a kind."""
    package = importlib.import_module(_FOLDERS[kind])
    return [item.name for item in pkgutil.iter_modules(package.__path__, f"{package.__name__}.")]


def load_plugin(path: Path, as_on_disk: bool = True) -> list[tuple[str, str]]:
    """Imports one plugin file and returns kind and name of all it registers.

    It may import helper modules beside it, and its own package. If one of these files has changed
    since it was loaded, all are imported again. With ``as_on_disk=False`` the contents passed to
    `load` are used instead of the disk. Raises UserError if the file is missing or cannot be
    imported; then nothing of it is registered.
    """
    path = path.expanduser().resolve()
    if path.suffix != ".py" or not (path.is_file() or path in SNAPSHOTS):
        raise UserError(f"no plugin file {path}: give the path of a .py file")
    name = _module_of(path)
    earlier = LOADED.get(name, {})
    if as_on_disk:
        for file in earlier:
            SNAPSHOTS.pop(file, None)
    files = _helpers(path)
    SNAPSHOTS.update(files)
    if earlier != files:
        forget({*files, *earlier})
        try:
            _refuse_twins(path)
            _rehearse(name, path)
            _import(name, path)
        except UserError:
            for file in files:  # the next call reads them again
                SNAPSHOTS.pop(file, None)
            SNAPSHOTS.update(earlier)
            raise
        LOADED[name] = files
        PLUGINS[name] = Origin(str(path))
    return [(k, n) for k, items in KINDS.items() for n in items if source(k, n) == path]


def _module_of(path: Path) -> str:
    """The name under which a plugin file is imported."""
    return module_name(path) if packages_of(path) else f"legible_plugin.{path.stem}"


def plugin_files() -> list[Path]:
    """The plugin files that are loaded."""
    return [Path(origin.source) for origin in PLUGINS.values() if not origin.version]


def changed_files() -> list[Path]:
    """Files of loaded plugins that have another content on disk by now, or are gone."""
    return [file for file, text in sorted(SNAPSHOTS.items())
            if not file.is_file() or file.read_bytes() != text]  # fmt: skip


def _helpers(path: Path) -> dict[Path, bytes]:
    """A plugin file and all it imports that is followed and not Legible's."""
    try:
        return {file: source_bytes(file) for file in files_reached_by([path]) if not is_ours(file)}
    except SyntaxError:
        return {path: source_bytes(path)}  # importing it says where


def forget(files: set[Path]) -> None:
    """Drops modules that were made from some files, and the packages around them, so that they
    are imported again."""
    packages = [
        root / "__init__.py" for file in files for root in file.parents[: len(packages_of(file))]
    ]
    made_from = files | set(packages)
    for name, module in list(sys.modules.items()):
        if (file := getattr(module, "__file__", None)) and _resolved(file) in made_from:
            del sys.modules[name]


@functools.cache
def _resolved(file: str) -> Path:
    return Path(file).resolve()


class _SnapshotLoader(SourceFileLoader):
    """Compiles a plugin's file from its snapshot, never from bytecode."""

    def get_code(self, fullname: str) -> CodeType:
        text = source_bytes(Path(self.path).resolve())
        return self.source_to_code(text, self.path)  # type: ignore[no-any-return]


class _SnapshotFinder:
    """Finds the helpers of plugins, to be compiled from their snapshots."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path, target)
        if spec is None or not spec.origin or Path(spec.origin).resolve() not in SNAPSHOTS:
            return None
        spec.loader = _SnapshotLoader(name, spec.origin)
        return spec


def _refuse_twins(path: Path) -> None:
    """Raises UserError if a file registers two classes or functions of one name, of which Python
    keeps the second alone."""
    try:
        tree = ast.parse(source_bytes(path))
    except (SyntaxError, ValueError):
        return  # importing it says where
    lines: dict[str, int] = {}
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and _is_registered(node):
            if node.name in lines:
                first, second = lines[node.name], node.lineno
                raise UserError(
                    f"plugin {path}: it registers '{node.name}' in line {first} and in line "
                    f"{second}: rename one"
                )
            lines[node.name] = node.lineno


def _is_registered(node: ast.ClassDef | ast.FunctionDef) -> bool:
    calls = [item.func if isinstance(item, ast.Call) else item for item in node.decorator_list]
    names = {call.attr if isinstance(call, ast.Attribute) else getattr(call, "id", "")
             for call in calls}  # fmt: skip
    return not names.isdisjoint(("register", "metric", "dataset", "backbone"))


def _rehearse(name: str, path: Path) -> None:
    """Imports a plugin in a process of its own, which may die of it. Raises UserError."""
    if own_process.can_fork() and not own_process.is_worker():
        try:
            own_process.forked(lambda: _import(name, path), IMPORT)
        except PluginFault as fault:
            raise UserError(f"plugin {path}: {fault}") from fault


def _import(name: str, path: Path) -> None:
    loader = _SnapshotLoader(name, str(path))
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None
    items_before = {kind: dict(items) for kind, items in KINDS.items()}
    for kind, items in KINDS.items():
        for item in [item for item in items if source(kind, item) == path]:
            del items[item]  # an earlier version of the file may have registered other names
    others = {kind: dict(items) for kind, items in KINDS.items()}
    if (root := str(import_root(path))) not in sys.path:
        sys.path.append(root)  # last, so that it hides nothing
    functions = guarded_functions()
    finder: Any = _SnapshotFinder
    importlib.invalidate_caches()  # files that were written a moment ago are seen
    sys.meta_path.insert(0, finder)
    try:
        with restored_settings():
            if packages_of(path):
                importlib.import_module(packages_of(path)[0])
                _refuse_other_package(path)
                importlib.import_module(name.rpartition(".")[0])
            sys.modules[name] = importlib.util.module_from_spec(spec)
            loader.exec_module(sys.modules[name])
        _refuse_mixed_helpers(path)
        refuse_patches(functions)
        _refuse_replaced(others)
        for kind, items in KINDS.items():
            for item in items:
                if item not in items_before[kind]:
                    refuse_declaration(kind, item, items[item])
    except (Exception, SystemExit) as error:
        sys.modules.pop(name, None)
        for kind, items in KINDS.items():
            items.clear()
            items.update(items_before[kind])
        raise UserError(f"plugin {path}: {_import_problem(error)}") from error
    finally:
        sys.meta_path.remove(finder)


def _refuse_replaced(others: Mapping[str, Mapping[str, Any]]) -> None:
    """Raises ValueError if something that another file registered is gone or another thing."""
    for kind, items in others.items():
        for name, item in items.items():
            if KINDS[kind].get(name) is not item:
                raise ValueError(
                    f"it replaces or removes the {kind.removesuffix('s')} '{name}': choose another "
                    "name"
                )


def _refuse_other_package(path: Path) -> None:
    """Raises ImportError if another package with the name of the plugin's package is imported."""
    top = packages_of(path)[0]
    places = [Path(place).resolve() for place in getattr(sys.modules[top], "__path__", [])]
    if import_root(path) / top not in places:
        raise ImportError(f"its package '{top}' is another package, in {places}: rename one")


def _refuse_mixed_helpers(path: Path) -> None:
    """Raises ImportError if another module with the same name is imported instead of a helper file
    beside the plugin."""
    root = import_root(path)
    for file in files_reached_by([path]):
        top = module_name(file).partition(".")[0]
        beside = [root / f"{top}.py", root / top / "__init__.py"]
        if import_root(file) != root and any(helper.is_file() for helper in beside):
            raise ImportError(f"'{top}' is imported from {file}, not from {root}: rename one")


def _import_problem(error: BaseException) -> str:
    """An import error in one line; for Legible's old module names, with the new ones."""
    name = (getattr(error, "name", None) or "") if isinstance(error, ImportError) else ""
    if name.partition(".")[0] in ("bench", "methods", "metrics") and "legible" not in str(error):
        return (f"there is no module '{name}': write `from legible import ...`, "
                f"or `from legible.{name} import ...`")  # fmt: skip
    return one_line(error)


def _load_point(kind: str, point: EntryPoint) -> None:
    before = {kind: dict(items) for kind, items in KINDS.items()}
    functions = guarded_functions()
    try:
        with restored_settings():
            point.load()
        refuse_patches(functions)
        _refuse_replaced(before)
        for name in set(KINDS[kind]) - set(before[kind]):
            refuse_declaration(kind, name, KINDS[kind][name])
    except BaseException:
        for each, items in KINDS.items():
            items.clear()
            items.update(before[each])
        raise


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
    items = KINDS[kind]
    if name in items:
        return items[name]
    if kind == "backbones" and ":" in name:
        return _model_backbone(name)
    if kind == "backbones" and name.endswith(".py"):
        raise UserError(f"{name}: name the function that returns the network, as in {name}:build")
    singular = kind.removesuffix("s")
    for module, reason in FAILED.items():
        if module.rpartition(".")[2] == name:
            raise UserError(f"{singular} '{name}' cannot be imported: {reason}")
    names = [*items, *(f"torchvision:{model}" for model in _models(kind))]
    raise UserError(
        f"no {singular} '{name}'{nearest(name, names) or ' (see: legible list ' + kind + ')'}"
    )


def _models(kind: str) -> list[str]:
    """The models of torchvision, for a backbone's name."""
    if kind != "backbones":
        return []
    from torchvision.models import list_models

    return list_models()


def _model_backbone(name: str) -> Callable[..., Any]:
    """Registers and returns the backbone of a model's name (see backbones/model_names.py)."""
    place, _, function = name.rpartition(":")
    if not place.endswith(".py"):
        build = model_builder(name)
    else:
        path = Path(place).expanduser().resolve()
        load_plugin(path)
        module = sys.modules[_module_of(path)]
        functions = {key: item for key, item in vars(module).items()
                     if inspect.isroutine(item) or inspect.isclass(item)}  # fmt: skip
        if function not in functions:
            raise UserError(f"{place} has no function '{function}'{nearest(function, functions)}")
        build = model_builder(name, functions[function])
        build.__module__ = module.__name__
        build.origin = str(path)  # type: ignore[attr-defined]
    BACKBONES[name] = build
    return build


def parameters(
    target: Callable[..., Any], given: Mapping[str, Any], skip: int = 0
) -> dict[str, Any]:
    """All parameters of a loader, builder or method, defaults filled in, types checked.

    ``skip`` leading arguments are not parameters. Parameters that reach a base class through
    ``**kwargs`` may be given; if they are not given, they are not in the result. Raises UserError
    for an unknown name (with the nearest), a wrong type, and a value that is not the same text in
    every process.
    """
    label = getattr(target, "name", "") or target.__name__
    own, further = _own_and_further(target, skip, label)
    for name in given:
        if name not in own and name not in further:
            names = [*own, *further]
            raise UserError(
                f"'{label}' has no parameter '{name}'"
                f"{nearest(name, names) or ' (it has: ' + (', '.join(names) or 'none') + ')'}"
            )
    fields = (*own, *(name for name in further if name in given))
    model = _checking_model(target, skip, label, fields)
    try:
        checked = model(**given)
        values = {name: getattr(checked, name) for name in fields}
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][:1])
        value = "is missing" if first["type"] == "missing" else f"= {first['input']!r}"
        raise UserError(f"'{label}': {where} {value}: {first['msg']}") from error
    for name, value in values.items():
        if not _is_plain(value):
            raise UserError(
                f"'{label}': parameter '{name}' is a {type(value).__name__}: use numbers, text, "
                "true or false, lists and tables, so that it can be written to a file"
            )
    return values


def _remembered(function: Callable[..., T]) -> Callable[..., T]:
    """A function whose results are kept, where all its arguments can be hashed."""
    cached = functools.cache(function)

    @functools.wraps(function)
    def remembered(*args: Any) -> T:
        try:
            hash(args)
        except TypeError:
            return function(*args)
        return cached(*args)

    return remembered


@_remembered
def _own_and_further(
    target: Callable[..., Any], skip: int, label: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Fields of a target's own parameters, and of those that reach a base class."""
    further = _base_parameters(target) if _takes_any(target) else {}
    return _fields(target, skip, label), further


@_remembered
def _checking_model(
    target: Callable[..., Any], skip: int, label: str, names: tuple[str, ...]
) -> type[BaseModel]:
    """The pydantic model that checks some parameters of a target."""
    own, further = _own_and_further(target, skip, label)
    fields = {name: (own | further)[name] for name in names}
    return create_model(label, __config__=ConfigDict(extra="forbid"), **fields)


def _fields(target: Callable[..., Any], skip: int, label: str) -> dict[str, Any]:
    """Type and default of each named parameter. UserError for what cannot be a parameter."""
    function = target.__init__ if inspect.isclass(target) else target
    items = list(inspect.signature(target).parameters.values())[skip:]
    hints = _hints(function)
    for item in items:
        if item.kind is item.VAR_POSITIONAL or item.kind is item.POSITIONAL_ONLY:
            raise UserError(
                f"'{label}': parameter '{item.name}' is positional-only or *args: make it an "
                "ordinary named parameter"
            )
        if item.kind is item.VAR_KEYWORD and not inspect.isclass(target):
            raise UserError(f"'{label}' has **{item.name}: declare every parameter by name")
    return {
        item.name: (hints.get(item.name, Any), ... if item.default is item.empty else item.default)
        for item in items
        if item.kind is not item.VAR_KEYWORD
    }


def _takes_any(target: Callable[..., Any]) -> bool:
    items = inspect.signature(target).parameters.values()
    return inspect.isclass(target) and any(item.kind is item.VAR_KEYWORD for item in items)


def _base_parameters(cls: Callable[..., Any]) -> dict[str, Any]:
    """The parameters of the next base class with a constructor of its own."""
    bases = typing.cast(type, cls).__mro__
    owner = next(i for i, base in enumerate(bases) if "__init__" in vars(base))
    base = next(base for base in bases[owner + 1 :] if "__init__" in vars(base))
    further = _base_parameters(base) if _takes_any(base) else {}
    return {**further, **_fields(base, 0, base.__name__)}


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """The types of a function's arguments; those that only a type checker imports are left out."""
    try:
        return typing.get_type_hints(function)
    except NameError:
        names: dict[str, Any] = {}
        for name, text in inspect.get_annotations(function).items():
            try:
                names[name] = eval(text, function.__globals__) if isinstance(text, str) else text
            except NameError:
                continue
        return names


def _is_plain(value: Any) -> bool:
    """Whether a value has the same JSON text in every process."""
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
    return value is None or isinstance(value, bool | int | float | str)


def source_of(target: Callable[..., Any]) -> str:
    """The file a loader or builder is defined in."""
    return inspect.getsourcefile(inspect.unwrap(target)) or target.__module__


def defaults(target: Callable[..., Any], skip: int = 0) -> dict[str, Any]:
    """The default of every parameter that has one."""
    return dict(_defaults(target, skip))


@_remembered
def _defaults(target: Callable[..., Any], skip: int) -> dict[str, Any]:
    signature = list(inspect.signature(target).parameters.values())[skip:]
    return {p.name: p.default for p in signature if p.default is not p.empty}


def ask_method(name: str, params: Mapping[str, Any], question: Callable[[Any], T]) -> T:
    """What a question about a method with some parameters gives; for a plugin, from a process of
    its own. Raises UserError where the method refuses its parameters, and PluginFault where a
    plugin does more than refuse."""
    get("methods", name)  # raises UserError, with the nearest name
    if plugin_of("methods", name) is None:
        return question(make_method(name, params))
    return own_process.apart(lambda: question(make_method(name, params)), BRIEF)


def make_method(name: str, params: Mapping[str, Any]) -> Any:
    """A method with checked parameters; UserError where its own checks refuse them."""
    cls = get("methods", name)
    try:
        return cls(**parameters(cls, params))
    except ValueError as error:
        raise UserError(f"method '{name}': {error}") from error
