"""Where a part of the check runs, and how much time it has."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from gpu_check.record import Check

#: What does one case of a part.
Case = Callable[[], Iterable[Check]]


@dataclass(frozen=True)
class Setting:
    """The device of a part, its time in seconds from now on, and whether it is a rehearsal.

    In a rehearsal all sizes are tiny.
    """

    device: str
    seconds: float
    rehearse: bool = False
    start: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self.start + self.seconds - time.monotonic()

    def folder(self) -> Path:
        """A new empty folder for runs; it goes with the machine's temporary files."""
        return Path(tempfile.mkdtemp(prefix="legible-gpu-"))


def do_cases(part: str, cases: dict[str, Case], setting: Setting) -> Iterable[Check]:
    """The records of cases, one case after the other until the time is over.

    The error of a case is its record, and the other cases go on.
    """
    for name, case in cases.items():
        if setting.left <= 0:
            return
        try:
            yield from case()
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            yield Check(part, name, "runs", "bad", text=text[:300])
