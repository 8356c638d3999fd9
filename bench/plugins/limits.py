"""The limits of a run: how long it may take, and how much memory it may use."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from legible.bench.errors import UserError

_SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86400}
_BYTES = {"MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
#: Files that say how much memory the processes of a container may use.
_CGROUPS = (Path("/sys/fs/cgroup/memory.max"),
            Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))  # fmt: skip


def machine_memory() -> int:
    """The memory of this machine, or of the container, in bytes; 1 TiB where nothing says it."""
    sizes = [2**40]
    with suppress(OSError, ValueError, IndexError):
        sizes.append(1024 * int(Path("/proc/meminfo").read_text().split()[1]))
    for file in _CGROUPS:
        with suppress(OSError, ValueError):  # there is none, or it says "max"
            sizes.append(int(file.read_text()))
    return min(sizes)


@dataclass(frozen=True)
class RunLimits:
    """What a run may take: ``seconds``, by default a day, and ``memory`` in bytes, by default nine
    tenths of the machine's. Runs that exceed it are stopped and fail."""

    seconds: float | int = 86400.0
    memory: float | int = field(default_factory=lambda: 0.9 * machine_memory())

    def for_metric(self) -> RunLimits:
        """What a plugin's metric may take: a tenth of the time, three quarters of the memory."""
        return RunLimits(0.1 * self.seconds, 0.75 * self.memory)

    def broken(self, seconds: float, memory: float) -> str:
        """Which limit is exceeded, with its value; empty if none is."""
        if seconds > self.seconds:
            return f"was over the time limit of {_spoken(self.seconds, _SECONDS)}"
        if memory > self.memory:
            return f"was over the memory limit of {_spoken(self.memory, _BYTES)}"
        return ""


def read_limits(time: str | None = None, memory: str | None = None) -> RunLimits:
    """Limits from text like ``90min`` and ``16GiB``; None stands for the default.

    Raises UserError for anything else.
    """
    default = RunLimits()
    return RunLimits(
        default.seconds if time is None else _amount("time limit", time, _SECONDS, "2h"),
        default.memory if memory is None else _amount("memory limit", memory, _BYTES, "16GiB"),
    )


def _amount(name: str, text: str, units: dict[str, int], example: str) -> float:
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?) ?([A-Za-z]+)", text.strip(), re.ASCII)
    if match is None or match[2] not in units or not float(match[1]):
        raise UserError(
            f"{name} '{text}': write a number with one of {', '.join(units)}, like {example}"
        )
    return float(match[1]) * units[match[2]]


def _spoken(amount: float, units: dict[str, int]) -> str:
    """An amount with the largest unit of which there is one."""
    unit = max((u for u in units if units[u] <= amount), key=units.__getitem__, default="")
    unit = unit or min(units, key=units.__getitem__)
    return f"{amount / units[unit]:.3g} {unit}"
