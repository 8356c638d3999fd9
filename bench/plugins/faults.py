"""What went wrong in a plugin, as one line that names the hook."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import FrameType

from legible.bench.errors import UserError, one_line
from legible.bench.source_keys import SNAPSHOTS
from legible.methods.base import Method

#: The methods of `Method` that a plugin defines.
HOOKS = ("__init__", *(name for name, item in vars(Method).items()
                       if inspect.isfunction(item) and name[0] != "_"))  # fmt: skip


class PluginFault(UserError):
    """What a plugin did that it must not, or the error that it raised."""


def fault_text(error: BaseException) -> str:
    """An error in one line, after the hook in which it was raised:
    ``in penalty of method 'x': OSError: no file``."""
    if isinstance(error, PluginFault):
        return str(error)
    place = _place(error)
    return f"in {place}: {one_line(error)}" if place else one_line(error)


def _place(error: BaseException) -> str:
    """The hook in which an error was raised, or the function of a plugin's file; empty if it was
    raised elsewhere."""
    files = {str(file) for file in SNAPSHOTS}
    for frame in _frames(error):
        name = frame.f_code.co_name
        owner = frame.f_locals.get("self")
        if name in HOOKS and issubclass(type(owner), Method):
            return f"{'the constructor' if name == '__init__' else name} of method '{_name(owner)}'"
        if frame.f_code.co_filename in files:
            return f"{name} of {frame.f_code.co_filename.rpartition('/')[2]}"
    return ""


def _name(method: object) -> str:
    name = type(method).name  # type: ignore[attr-defined]
    return name if isinstance(name, str) else type(method).__name__


def _frames(error: BaseException) -> Iterator[FrameType]:
    """The frames that an error passed, the outermost first."""
    trace = error.__traceback__
    while trace is not None:
        yield trace.tb_frame
        trace = trace.tb_next
