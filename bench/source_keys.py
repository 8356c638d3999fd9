"""Keys of source code by content: what a run, a score or a cached file depends on.

The key of a file is a hash of its syntax tree without docstrings. A followed import adds two
things to the key: the key of the file that defines the imported name, and the name. So the key
changes when any reached code changes, but not when a module or file is renamed. An import cycle
counts as one file.

Three kinds of files are followed: Legible's own, a plugin's own package, and modules that a plugin
imports from outside the standard library and site-packages. All other imports are not followed:
only their name counts, and for a plugin's imports also the version. Files are found by path;
nothing is imported.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import site
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import packages_distributions, version
from importlib.util import find_spec
from pathlib import Path

#: The folders of Legible's own code, by name.
FOLDERS = {name: Path(__file__).resolve().parents[1] / name
           for name in ("bench", "methods", "metrics")}  # fmt: skip
#: Lists what `from legible import ...` gives; read for names, never part of a key.
PUBLIC_NAMES = Path(__file__).absolute().parents[1] / "__init__.pyi"


@dataclass(frozen=True)
class Import:
    """One imported name: where it is bound, and what it is.

    ``file``: the file that defines ``name``; None if the code is not followed. ``name``: the name
    in that file, "" if the module itself is imported; if ``file`` is None, the full dotted name,
    perhaps with the version.
    """

    bound_as: str
    name: str
    file: Path | None


@dataclass(frozen=True)
class Source:
    """A parsed file: its syntax tree as text, imports replaced by their number; its imports."""

    body: str
    imports: tuple[Import, ...]


#: The syntax tree of a file with nothing but perhaps a docstring.
_EMPTY = ast.dump(ast.Module([], []))


def content_key(file: Path | str) -> str:
    """Twelve hexadecimal digits for a file's code and all followed code that it reaches."""
    return _keys(files_reached_by([file]))[_path(file)]


def content_hashes(files: Iterable[Path | str]) -> dict[str, str]:
    """Module name -> hash of that file alone, for files and all they reach: for `legible why`."""
    return {
        module_name(file): _digest(parse(file).body) for file in sorted(files_reached_by(files))
    }


def files_reached_by(files: Iterable[Path | str]) -> set[Path]:
    """The files themselves and every file that they reach through followed imports."""
    out: set[Path] = set()
    waiting = [_path(file) for file in files]
    while waiting:
        file = waiting.pop()
        if file not in out:
            out.add(file)
            waiting += [item.file for item in parse(file).imports if item.file]
    return out


def is_ours(file: Path) -> bool:
    """Whether a file belongs to Legible and to no plugin."""
    return _own_name(file) != ""


def module_name(file: Path) -> str:
    """``legible.methods.sync`` for our own file, ``package.module`` or ``module`` for another."""
    if own := _own_name(file):
        return own
    parts = [*packages_of(file), *([] if file.stem == "__init__" else [file.stem])]
    return ".".join(parts)


def packages_of(file: Path) -> list[str]:
    """Names of the packages that contain a file, outermost first (folders with __init__.py)."""
    names: list[str] = []
    folder = file.parent
    while (folder / "__init__.py").is_file():
        names.insert(0, folder.name)
        folder = folder.parent
    return names


def import_root(file: Path) -> Path:
    """The folder that must be on the path for a file's own package, or its neighbours."""
    return file.parents[len(packages_of(file))]


# ----------------------------------------------------------------- keys


def _keys(files: set[Path]) -> dict[Path, str]:
    """The key of each file of a set that is closed under imports."""
    import networkx

    graph = networkx.DiGraph()
    graph.add_nodes_from(files)
    graph.add_edges_from(
        (file, item.file) for file in files for item in parse(file).imports if item.file
    )
    keys: dict[Path, str] = {}
    cycles = networkx.condensation(graph)
    for number in reversed(list(networkx.topological_sort(cycles))):
        members: set[Path] = cycles.nodes[number]["members"]
        # inside a cycle a file first counts by itself, then by the files that it imports
        alone = {file: _hashed(parse(file), keys) for file in members}
        joint = {file: _hashed(parse(file), {**keys, **alone}) for file in members}
        whole = _digest("".join(sorted(joint.values()))) if len(members) > 1 else ""
        keys |= {file: _digest(whole + joint[file]) if whole else joint[file] for file in members}
    return keys


def _hashed(source: Source, keys: dict[Path, str]) -> str:
    lines = [source.body]
    for item in source.imports:
        origin = keys.get(item.file, "cycle") if item.file else ""
        lines.append(f"{item.bound_as}={origin}:{item.name}")
    return _digest("\n".join(lines))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def _path(file: Path | str) -> Path:
    return Path(file).resolve()


# ----------------------------------------------------------------- reading one file


#: Contents of plugin files when they were loaded: later changes on disk do not change their keys.
SNAPSHOTS: dict[Path, bytes] = {}


def source_bytes(file: Path) -> bytes:
    """A file's content: for a plugin's file as it was loaded, for any other as it is on disk."""
    return SNAPSHOTS[file] if file in SNAPSHOTS else file.read_bytes()


def parse(file: Path) -> Source:
    """A file's tree and imports. The cache goes by content: two edits of a file can have the same
    size and time."""
    return _parse_text(file, source_bytes(file))


@functools.lru_cache(maxsize=4096)
def _parse_text(file: Path, text: bytes) -> Source:
    tree = ast.parse(text)
    imports = list(_package_imports(file))
    for node in ast.walk(tree):
        _drop_docstring(node)
    tree = _Numbered(file, imports).visit(tree)
    return Source(ast.dump(tree), tuple(imports))


def _package_imports(file: Path) -> Iterator[Import]:
    """A plugin's packages run their own code when it is imported; ours hold none."""
    if is_ours(file):
        return
    folder = file.parent
    for _ in packages_of(file):
        init = folder / "__init__.py"
        if init != file and parse(init).body != _EMPTY:
            yield Import("", "", init)
        folder = folder.parent


class _Numbered(ast.NodeTransformer):
    """Replaces each imported name by its number in ``imports``; drops what is for type checkers
    alone."""

    def __init__(self, file: Path, imports: list[Import]) -> None:
        self.file, self.imports = file, imports

    def visit_If(self, node: ast.If) -> ast.AST:
        test = node.test
        name = test.id if isinstance(test, ast.Name) else getattr(test, "attr", "")
        if name == "TYPE_CHECKING":
            node.body = [ast.Pass()]
        return self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> ast.AST:
        return self._numbers([self._module(alias) for alias in node.names])

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        module = node.module or ""
        if node.level:
            packages = module_name(self.file).split(".")
            above = node.level if self.file.stem != "__init__" else node.level - 1
            module = ".".join([*packages[: len(packages) - above], *filter(None, [module])])
        return self._numbers([self._name(module, alias) for alias in node.names])

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        """``legible.Method`` after ``import legible`` counts as an import of Method."""
        if isinstance(node.value, ast.Name) and node.value.id in self._legible_names():
            self.imports.append(self._name("legible", ast.alias(node.attr)))
        return self.generic_visit(node)

    def _legible_names(self) -> set[str]:
        return {item.bound_as for item in self.imports if item.name == "legible" and not item.file}

    def _numbers(self, items: list[Import]) -> ast.Expr:
        first = len(self.imports)
        self.imports += items
        return ast.Expr(ast.Constant(f"imports {first} to {len(self.imports) - 1}"))

    def _module(self, alias: ast.alias) -> Import:
        bound_as = alias.asname or alias.name.partition(".")[0]
        file = find_file(alias.name, self.file)
        if file == PUBLIC_NAMES:
            return Import(bound_as, "legible", None)
        if file is None:
            return Import(bound_as, _unfollowed(alias.name, self.file), None)
        return Import(bound_as, "", file)

    def _name(self, module: str, alias: ast.alias) -> Import:
        bound_as = alias.asname or alias.name
        if (file := find_file(f"{module}.{alias.name}", self.file)) is not None:
            return Import(bound_as, "", file)
        if (file := find_file(module, self.file)) is None:
            return Import(bound_as, f"{_unfollowed(module, self.file)}:{alias.name}", None)
        file, name = _definition(file, alias.name, set())
        if file == PUBLIC_NAMES:
            return Import(bound_as, f"legible:{name}", None)
        return Import(bound_as, name, file)


def _definition(file: Path, name: str, seen: set[Path]) -> tuple[Path, str]:
    """The file that defines a name, and its name there: imports of imports are followed."""
    node = _imported_from(source_bytes(file)).get(name)
    if node is None or file in seen:
        return file, name
    item = _Numbered(file, [])
    item.visit_ImportFrom(node)
    target = item.imports[0]
    if target.file is None:
        return file, name
    return _definition(target.file, target.name, {*seen, file})


@functools.lru_cache(maxsize=4096)
def _imported_from(text: bytes) -> dict[str, ast.ImportFrom]:
    """What a file imports from other modules on its top level, one statement a name."""
    return {
        alias.asname or alias.name: ast.ImportFrom(node.module, [alias], node.level)
        for node in ast.parse(text).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def _drop_docstring(node: ast.AST) -> None:
    if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return
    first = node.body[0] if node.body else None
    text = first.value if isinstance(first, ast.Expr) else None
    if isinstance(text, ast.Constant) and isinstance(text.value, str):
        rest: list[ast.stmt] = [] if isinstance(node, ast.Module) else [ast.Pass()]
        node.body = node.body[1:] or rest


# ----------------------------------------------------------------- finding files


def find_file(module: str, importer: Path) -> Path | None:
    """The file of a module that is followed when ``importer`` imports it; None for all others."""
    top, _, rest = module.partition(".")
    if top == "legible":
        folder, _, inner = rest.partition(".")
        if not rest:
            return PUBLIC_NAMES
        return _below(FOLDERS[folder], inner) if folder in FOLDERS else None
    if is_ours(importer) or top in sys.stdlib_module_names:
        return None
    if packages_of(importer)[:1] == [top]:
        return _below(import_root(importer) / top, rest)
    return _below_any(_places(top, import_root(importer)), rest)


def _places(top: str, beside: Path) -> list[Path]:
    """Where a top-level module lies, if its code is followed: without ``.py``."""
    try:
        spec = find_spec(top)  # a top-level name: nothing is imported
    except (ImportError, ValueError, AttributeError):
        spec = None
    if spec is None:
        return [beside / top]
    if spec.submodule_search_locations is not None:
        places = [Path(place) for place in spec.submodule_search_locations]
    else:
        places = [Path(spec.origin).with_suffix("")] if spec.origin else []
    return [place.resolve() for place in places if not _installed(place)]


def _below_any(places: list[Path], rest: str) -> Path | None:
    return next((file for place in places if (file := _below(place, rest))), None)


def _below(place: Path, rest: str) -> Path | None:
    """``place`` is a module without ``.py``, or a package; ``rest`` a dotted name inside."""
    path = place.joinpath(*rest.split(".")) if rest else place
    for file in (path.with_name(path.name + ".py"), path / "__init__.py"):
        if file.is_file():
            return file.resolve()
    return None


@functools.cache
def _installed_folders() -> tuple[Path, ...]:
    paths = sysconfig.get_paths()
    folders = {paths["purelib"], paths["platlib"], paths["stdlib"], paths["platstdlib"]}
    folders |= {*site.getsitepackages(), site.getusersitepackages()}
    return tuple(Path(folder).resolve() for folder in folders)


def _installed(place: Path) -> bool:
    return any(place.resolve().is_relative_to(folder) for folder in _installed_folders())


def _unfollowed(module: str, importer: Path) -> str:
    """A module that is not followed, as it counts: by name, for plugins with the version."""
    top = module.partition(".")[0]
    if is_ours(importer) or top in sys.stdlib_module_names:
        return module
    return f"{module}=={_version(top)}" if _version(top) else module


@functools.cache
def _version(top: str) -> str:
    names = sorted(set(_distributions().get(top, ())))
    return ",".join(version(name) for name in names)


@functools.cache
def _distributions() -> dict[str, list[str]]:
    return dict(packages_distributions())


@functools.lru_cache(maxsize=4096)
def _own_name(file: Path) -> str:
    """``legible.methods.sync`` for a file of ours, else nothing."""
    for name, folder in FOLDERS.items():
        if file.is_relative_to(folder):
            parts = file.relative_to(folder).with_suffix("").parts
            return ".".join(["legible", name, *(part for part in parts if part != "__init__")])
    return ""
