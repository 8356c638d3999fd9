"""`legible new method NAME`: a commented file to start from, which passes `legible check`."""

from __future__ import annotations

import keyword
from pathlib import Path
from string import Template

from legible.bench.errors import UserError, nearest, reason_of
from legible.bench.plugins import registry
from legible.bench.plugins.declarations import NAME

TEMPLATES = Path(__file__).parent / "templates"
KINDS = ("method", "metric", "dataset")


def write_plugin(kind: str, name: str, folder: Path | str = ".") -> Path:
    """Writes ``folder/NAME.py`` and returns its path.

    Raises UserError, in one line, for an unknown kind, a name that is no identifier or already
    taken, and a file that is there.
    """
    if kind not in KINDS:
        raise UserError(
            f"no template for a '{kind}'{nearest(kind, KINDS) or ': ' + ', '.join(KINDS)}"
        )
    if not name.isidentifier() or not name.isascii() or keyword.iskeyword(name):
        raise UserError(f"'{name}' is no Python name: use letters, digits and _, like my_{kind}")
    if not NAME.fullmatch(name):
        raise UserError(f"'{name}' does not start with a letter, or has more than 60 characters")
    if name != name.lower():
        raise UserError(f"'{name}' has capitals: the file would be {name.lower()}.py")
    registry.load([f"{kind}s"])
    if name in registry.KINDS[f"{kind}s"]:
        other_file = registry.source(f"{kind}s", name)
        raise UserError(f"there is a {kind} '{name}' already ({other_file}): choose another name")
    folder = Path(folder)
    path = folder / f"{name}.py"
    text = (TEMPLATES / f"new_{kind}.py.txt").read_text(encoding="utf-8")
    cls = "".join(part.capitalize() for part in name.split("_")) or name
    _write_new(path, Template(text).substitute(name=name, cls=cls))
    return path


def _write_new(path: Path, text: str) -> None:
    """Writes a new file. Raises UserError if there is one, or it cannot be written; then no part
    of it is left."""
    new = False
    try:
        if not path.parent.is_dir():
            raise UserError(f"no folder {path.parent}")
        with path.open("x", encoding="utf-8") as file:
            new = True
            file.write(text)
    except FileExistsError:
        raise UserError(f"{path} exists: choose another name, or remove it") from None
    except OSError as error:
        if new:
            path.unlink(missing_ok=True)
        raise UserError(f"cannot write {path}: {reason_of(error)}") from error
