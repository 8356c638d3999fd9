"""`legible new method NAME`: a commented file to start from, which passes `legible check`."""

from __future__ import annotations

import keyword
from pathlib import Path
from string import Template

from legible.bench.errors import UserError, nearest
from legible.bench.plugins import registry

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
    if name != name.lower():
        raise UserError(f"'{name}' has capitals: the file would be {name.lower()}.py")
    registry.load([f"{kind}s"])
    if name in registry.KINDS[f"{kind}s"]:
        taken = registry.source(f"{kind}s", name)
        raise UserError(f"there is a {kind} '{name}' already ({taken}): choose another name")
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"no folder {folder}")
    path = folder / f"{name}.py"
    if path.exists():
        raise UserError(f"{path} exists: choose another name, or remove it")
    text = (TEMPLATES / f"new_{kind}.py.txt").read_text(encoding="utf-8")
    cls = "".join(part.capitalize() for part in name.split("_")) or name
    path.write_text(Template(text).substitute(name=name, cls=cls), encoding="utf-8")
    return path
