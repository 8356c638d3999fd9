"""What went wrong in a plugin, as one line that names the hook."""

from __future__ import annotations

import inspect
import linecache
import re
from collections.abc import Iterator
from types import FrameType
from typing import Any

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
    try:
        place = _place(error)
    except BaseException:  # objects of plugins may do anything when they are looked at
        place = ""
    return f"in {place}: {one_line(error)}" if place else one_line(error)


def _place(error: BaseException) -> str:
    """The hook in which an error was raised, or the function of a plugin's file; empty if it was
    raised elsewhere."""
    files = {str(file) for file in SNAPSHOTS}
    for frame, line in _frames(error):
        name, file = frame.f_code.co_name, frame.f_code.co_filename
        owner = frame.f_locals.get("self")
        if name in HOOKS and issubclass(type(owner), Method):
            return _hook(name, owner)
        if file in files:
            return f"{name} of {file.rpartition('/')[2]}"
        # a hook that returns what the line that calls it cannot use
        call = re.search(r"\bmethod\.(\w+)\(", linecache.getline(file, line))
        method = frame.f_locals.get("method", getattr(owner, "method", None))
        if call and call[1] in HOOKS and issubclass(type(method), Method):
            return _hook(call[1], method)
    return ""


def _hook(name: str, method: Any) -> str:
    owner = type(method).name
    owner = owner if isinstance(owner, str) else type(method).__name__
    return f"{'the constructor' if name == '__init__' else name} of method '{owner}'"


def _frames(error: BaseException) -> Iterator[tuple[FrameType, int]]:
    """The frames that an error passed, the outermost first, each with its line."""
    trace = error.__traceback__
    while trace is not None:
        yield trace.tb_frame, trace.tb_lineno
        trace = trace.tb_next
