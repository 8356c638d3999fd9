"""Calls a function of a plugin in a process of its own, so that what it does to its process stays
there: it may hang, leave, crash, or change settings and data.

The process is forked from this one, which takes milliseconds. On a machine with a GPU, and outside
Linux, forks are not possible; there the function is called in this process, whose settings are
restored after it.
"""

from __future__ import annotations

import io
import os
import pickle
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn, TypeVar

import numpy as np
import torch

from legible.bench.data.base import DataMissing
from legible.bench.errors import UserError, one_line
from legible.bench.plugins.faults import PluginFault, fault_text
from legible.bench.plugins.limits import RunLimits
from legible.bench.plugins.process_state import restored_settings
from legible.bench.plugins.process_tree import (
    become_root,
    cause_of,
    die_with_starter,
    end_tree,
    memory,
    tree,
)

T = TypeVar("T")
#: Seconds between two looks at the process.
GLANCE = 0.1
#: Seconds that a process may go on after it closed its files.
CLOSED = 2.0
#: Errors with a message for the user; they keep their type.
_FOR_USERS = (UserError, DataMissing, ValueError)


class _Here:
    """What this process is."""

    is_worker = False  # it does runs and may die


def mark_worker() -> None:
    """Says that this process is a worker, which may die: `apart` calls functions in it directly."""
    _Here.is_worker = True


def is_worker() -> bool:
    """Whether `mark_worker` was called in this process."""
    return _Here.is_worker


def can_fork() -> bool:
    """Whether a forked process can use torch: not on a machine with a GPU, and not on macOS."""
    return (
        sys.platform.startswith("linux")
        and not torch.cuda.is_available()  # autograd's threads would not be copied
    )


def apart(call: Callable[[], T], limits: RunLimits) -> T:
    """What a function of a plugin returns, called in a process of its own. In a worker, which is
    one already, it is called directly.

    Raises UserError, DataMissing and ValueError as the function does, the latter with a text of one
    line; PluginFault for any other error, and if the process dies or exceeds the limits.
    """
    if _Here.is_worker:
        return call()
    if can_fork():
        return forked(call, limits)
    with restored_settings():
        return _unpack(_outcome(call, KeyboardInterrupt))


def forked(call: Callable[[], T], limits: RunLimits) -> T:
    """Like `apart`, but always in a new process."""
    reader, writer = os.pipe()
    outcome: list[Any] = []
    stop = threading.Event()

    def supervise() -> None:
        # a new thread, because OpenMP hangs in a copy of a thread that has used it; it lives as
        # long as the process, because that dies with it
        try:
            outcome.append(_supervise(call, limits, reader, writer, stop))
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=supervise, daemon=True)
    for stream in (sys.__stdout__, sys.__stderr__):
        if stream is not None:
            with suppress(OSError, ValueError):
                stream.flush()
    try:
        with signals_blocked():
            thread.start()
        thread.join()
    finally:
        stop.set()
        thread.join()
        os.close(reader)
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    value: T = _unpack(outcome[0])
    return value


@contextmanager
def signals_blocked() -> Iterator[None]:
    """Inside, a process or thread starts that gets no signal before it is ready for it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# ----------------------------------------------------------------- what the function gives


def _outcome(call: Callable[[], Any], passes: type[BaseException] | tuple[()] = ()) -> Any:
    """What a function returns or raises, in a form that another process can read."""
    try:
        return ("value", call())
    except passes:
        raise
    except PluginFault as fault:
        return ("fault", str(fault))
    except (UserError, DataMissing) as error:
        return (type(error).__name__, one_line(error).removeprefix(f"{type(error).__name__}: "))
    except ValueError as error:
        return ("ValueError", one_line(error).removeprefix(f"{type(error).__name__}: "))
    except BaseException as error:
        return ("fault", fault_text(error))


def _unpack(outcome: Any) -> Any:
    kind, value = outcome
    if kind == "value":
        return value
    raise {error.__name__: error for error in _FOR_USERS}.get(kind, PluginFault)(value)


# ----------------------------------------------------------------- the new process


def _serve(call: Callable[[], Any], writer: int) -> NoReturn:
    try:
        die_with_starter()
        become_root()
        mark_worker()
        # a live progress bar may hold the lock of the streams that it puts in their place
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
        torch.set_num_threads(1)
        own = os.getpid()
        outcome = _outcome(call)
        if os.getpid() == own:
            _write(writer, outcome)
            os._exit(0)
    finally:
        os._exit(1)


def _write(writer: int, outcome: Any) -> None:
    buffer = io.BytesIO()
    try:
        _Pickler(buffer, protocol=5).dump(outcome)
    except Exception as error:
        buffer = io.BytesIO()
        pickle.dump(("fault", f"its result cannot be passed on: {one_line(error)}"), buffer)
    for data in (buffer.tell().to_bytes(8, "little"), buffer.getbuffer()):
        view = memoryview(data)
        while view:
            view = view[os.write(writer, view) :]


class _Pickler(pickle.Pickler):
    """Writes ordinary tensors as numpy arrays, which is several times faster."""

    def reducer_override(self, value: Any) -> Any:
        if type(value) is torch.Tensor and value.device.type == "cpu" and not value.requires_grad:
            with suppress(Exception):  # a dtype or layout that numpy does not have
                return torch.from_numpy, (np.ascontiguousarray(value.numpy()),)
        return NotImplemented


# ----------------------------------------------------------------- the old process


def _supervise(
    call: Callable[[], Any], limits: RunLimits, reader: int, writer: int, stop: threading.Event
) -> Any:
    """Starts the process and waits for what it gives; then no process of its tree is left."""
    pid = os.fork()
    if pid == 0:
        _serve(call, writer)
    os.close(writer)
    members: dict[int, str] = {}
    start = time.monotonic()
    closed = 0.0  # when it closed its end of the pipe
    data = bytearray()
    try:
        while not stop.is_set():
            if not closed and select.select([reader], [], [], GLANCE)[0]:
                part = os.read(reader, 2**20)
                data += part
                if len(data) >= 8 and len(data) - 8 >= int.from_bytes(data[:8], "little"):
                    return pickle.loads(memoryview(data)[8:])
                closed = 0.0 if part else time.monotonic()
            elif (code := _exit_code(pid)) is not None:
                raise PluginFault(f"its process {cause_of(code)}")
            elif closed:
                if time.monotonic() - closed > CLOSED:
                    raise PluginFault("its process closed its files and went on")
                time.sleep(0.005)
            members |= tree(pid)
            seconds = time.monotonic() - start
            if reason := limits.broken(seconds, memory(members, limits.memory)):
                raise PluginFault(reason)
        raise PluginFault("it was stopped")
    finally:
        end_tree(pid, members)
        os.waitpid(pid, 0)


def _exit_code(pid: int) -> int | None:
    """The exit code of a process that has ended, which is waited for later."""
    ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if ended is None:
        return None
    return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
