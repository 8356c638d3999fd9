"""Running `legible` in a forked process, which spares the seconds that importing torch takes."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torture.outcomes import Outcome

TRACE = "Traceback (most recent call last)"


@dataclass(frozen=True)
class Ended:
    """How a command ended. ``code`` is negative for a signal."""

    code: int
    text: str
    seconds: float

    @property
    def errors(self) -> list[str]:
        """The lines in which a command says why it failed."""
        return [line for line in self.text.splitlines() if line.startswith("legible: ")]


class Command:
    """A command that runs in a session of its own, with its output in a file."""

    def __init__(
        self, folder: Path, *words: object, user: int = 0, log: Path | None = None,
        modules: Path | None = None, setting: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        self.words = [str(word) for word in words]
        self.log = log or folder / ".output"
        self.start = time.monotonic()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        self.pid = os.fork()
        if self.pid == 0:
            _become(self.words, folder, self.log, user, modules, setting)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Sends a signal to the command, not to its workers."""
        os.kill(self.pid, number)

    def running(self) -> bool:
        """Whether the command has not ended; it stays to be waited for."""
        info = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return info is None

    def wait(self, limit: float = 300.0) -> Ended:
        """Waits for the end. A command that takes longer than ``limit`` seconds is killed."""
        while self.running():
            if time.monotonic() - self.start > limit:
                self.kill()
            time.sleep(0.01)
        _, status = os.waitpid(self.pid, 0)
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return Ended(os.waitstatus_to_exitcode(status), text, time.monotonic() - self.start)

    def workers(self) -> list[int]:
        """Living processes of the command's session, besides itself."""
        return [pid for pid in _session(self.pid) if pid != self.pid]

    def workers_that_outlive(self, seconds: float = 5.0) -> list[int]:
        """Workers that are alive after some seconds; they are killed."""
        deadline = time.monotonic() + seconds
        while (left := self.workers()) and time.monotonic() < deadline:
            time.sleep(0.05)
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        return left


def legible(folder: Path, *words: object, user: int = 0, log: Path | None = None) -> Ended:
    """Runs a command to its end; ``user``: as another user, if it is not 0."""
    return Command(folder, *words, user=user, log=log).wait()


def import_what_it_needs(folder: Path, *words: object) -> None:
    """Runs a command and imports here what it imported: another user, in whose name it is forked
    later, may not be allowed to read the standard library."""
    names = folder.parent / "modules"
    Command(folder, *words, modules=names).wait()
    for name in names.read_text().split("\n"):
        if name not in sys.modules and not name.startswith(("legible_plugin", "mine", "helper")):
            with contextlib.suppress(Exception):
                importlib.import_module(name)


def check_text(outcome: Outcome, ended: Ended) -> None:
    """A command prints no stack trace, and at most one line of error."""
    at = ended.text.find(TRACE)
    trace = " ".join(ended.text[at : at + 3000].split())[-400:] if at >= 0 else ""
    outcome.require(at < 0, "stack trace", trace)
    outcome.require(len(ended.errors) <= 1, "other", f"several lines: {ended.errors}")


def _drop_rights(user: int) -> None:
    if user:
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)


def _become(
    words: list[str], folder: Path, log: Path, user: int, modules: Path | None,
    setting: Callable[[], None],
) -> None:  # fmt: skip
    """Turns this forked process into the command; it does not return. ``modules``: a file for the
    names of all modules that it imported. ``setting`` changes the process before."""
    code = 1
    try:
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT
                          else signal.SIG_DFL)  # fmt: skip
        os.chdir(folder)
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        os.dup2(out, 1)
        os.dup2(out, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.stdout = sys.__stdout__ = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115
        sys.stderr = sys.__stderr__ = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
        _drop_rights(user)
        setting()
        sys.argv = ["legible", *words]
        from legible.bench.cli.main import main

        main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(bool(end.code))
    except BaseException:
        traceback.print_exc()
    finally:
        if modules is not None:
            modules.write_text("\n".join(sorted(sys.modules)))
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):
                code = code or 120
        os._exit(code)


def _session(leader: int) -> list[int]:
    """Living processes of a session, without those that have ended and were not waited for."""
    members = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                text = (entry / "stat").read_text()
            except OSError:
                continue
            state, _, _, session = text.rpartition(")")[2].split()[:4]
            if int(session) == leader and state not in "ZX":
                members.append(int(entry.name))
    return members
