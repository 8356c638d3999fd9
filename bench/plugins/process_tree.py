"""A process with all processes that it started: their memory, and how to end them.

Other processes are found on Linux alone; elsewhere a tree is its root, and its memory counts as 0.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

PROC = Path("/proc")
_LINUX = sys.platform.startswith("linux")
#: Options of Linux's prctl: the signal at a parent's death, and becoming the parent of orphans.
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
#: The system ends a worker before other processes if memory is short (0 to 1000).
_OUT_OF_MEMORY_SCORE = b"500"


def become_root() -> None:
    """Makes this process the root of a tree of its own: all that it starts stays below it, and can
    be ended with it. A copy that `os.fork` makes of it ends with it by itself. A copy of a copy
    stays below this process while this one is there, and may go on when it has ended."""
    with suppress(OSError):  # it leads a group already
        os.setpgid(0, 0)
    if _LINUX:
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
        _end_copies_with_original()
        with suppress(OSError):
            (PROC / "self" / "oom_score_adj").write_bytes(_OUT_OF_MEMORY_SCORE)


def die_with_starter() -> None:
    """This process is killed when the thread that started it ends. Does nothing outside Linux."""
    if _LINUX:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _end_copies_with_original() -> None:
    """A forked copy of this process is killed when this process ends: the copy would hold the locks
    of its original, and might go on with its work."""
    original = os.getpid()
    forks = [False]  # whether it is the original that forks

    def before() -> None:
        forks[0] = os.getpid() == original

    def in_copy() -> None:
        if forks[0]:
            die_with_starter()
            if os.getppid() != original:  # it has ended already
                os._exit(1)

    os.register_at_fork(before=before, after_in_child=in_copy)


def tree(root: int) -> dict[int, str]:
    """The processes of a tree, each with the time of its start, which tells it from a later process
    of the same number."""
    members = {root: _start(root)}
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        for child in _children(pid):
            if child not in members:
                members[child] = _start(child)
                waiting.append(child)
    return members


def memory(processes: Iterable[int], enough: float = 0.0) -> float:
    """The memory of some processes in bytes; what they share counts once.

    Is 0 if it is at most ``enough``, which is quicker to see.
    """
    pids = list(processes)
    if sum(map(_resident, pids)) <= enough:
        return 0.0
    return float(sum(map(_proportional, pids)))


def end_tree(root: int, members: dict[int, str]) -> None:
    """Kills a process and all that it started; ``members`` are those that were seen earlier.

    Does nothing to another process that has the root's number by now, if ``members`` tells.
    """
    state = _state(root)
    is_ours = not state or members.get(root, state[-1]) == state[-1]
    if is_ours:
        _signal(root, signal.SIGSTOP)  # it starts no more
    for _ in range(100):
        everyone = members | tree(root) if is_ours else members
        if not sum(_kill(pid, start) for pid, start in everyone.items() if pid != root):
            break
        time.sleep(0.001)
    if is_ours:
        _signal(root, signal.SIGKILL)
        with suppress(OSError):
            os.killpg(root, signal.SIGKILL)


def _signal(pid: int, number: int) -> None:
    with suppress(OSError):
        os.kill(pid, number)


def end_own_tree() -> NoReturn:
    """Kills this process and all that it started."""
    for pid, start in tree(os.getpid()).items():
        if pid != os.getpid():
            _kill(pid, start)
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def cause_of(exit_code: int | None) -> str:
    """How a process died, as the end of a sentence."""
    if exit_code is None or exit_code >= 0:
        return f"left with exit code {exit_code}"
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:
        name = "signal"
    short = "; out of memory?" if -exit_code == signal.SIGKILL else ""
    return f"was killed by {name} (signal {-exit_code}{short})"


def _kill(pid: int, start: str) -> bool:
    """Kills a process unless it has ended; returns whether it was there."""
    state = _state(pid)
    if not start or not state or state[0] == "Z" or state[-1] != start:
        return False
    _signal(pid, signal.SIGKILL)
    return True


def _children(pid: int) -> list[int]:
    children: list[int] = []
    with suppress(OSError):
        for task in os.scandir(PROC / str(pid) / "task"):
            with suppress(OSError):
                text = (Path(task.path) / "children").read_text()
                children += map(int, text.split())
    return children


def _state(pid: int) -> list[str]:
    """The state of a process and the time of its start; empty if there is no such process."""
    try:
        fields = (PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []
    return [fields[0], fields[19]]


def _start(pid: int) -> str:
    return state[-1] if (state := _state(pid)) else ""


def _resident(pid: int) -> int:
    try:
        pages = int((PROC / str(pid) / "statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _proportional(pid: int) -> int:
    """The memory of a process; of what several processes share, its part."""
    with suppress(OSError, ValueError, IndexError):
        for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return 1024 * int(line.split()[1])
    return _resident(pid)
