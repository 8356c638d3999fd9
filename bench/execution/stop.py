"""Ending at a checkpoint on SIGTERM, which Slurm and the system send, and on SIGUSR1, by which
Slurm warns of a job's time limit; and on Ctrl-C, always."""

from __future__ import annotations

import _thread
import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

#: Seconds that a training has to reach the end of its epoch.
GRACE = 10.0
#: Exit code of a command that SIGUSR1 ended: its job is to be queued again.
REQUEUE = 75


class Stopped(BaseException):
    """This process was asked to end with SIGTERM or SIGUSR1; ``code`` is its exit code."""

    def __init__(self) -> None:
        self.code = REQUEUE if _Request.limit else 128 + signal.SIGTERM
        super().__init__(self.code)


class _Request:
    """What the handler of SIGTERM and the training say to each other."""

    arrived = False  # a signal came
    limit = False  # it was SIGUSR1
    late = False  # the time to reach a checkpoint is over
    training = False  # checkpoints are being written


def check() -> None:
    """Raises Stopped if a signal came; called where a checkpoint was just written."""
    if _Request.arrived:
        raise Stopped


def requested() -> bool:
    """Whether SIGTERM or SIGUSR1 came."""
    return _Request.arrived


@contextlib.contextmanager
def until_checkpoint() -> Iterator[None]:
    """Inside, a signal waits for `check` or `GRACE` seconds; elsewhere it ends the work at once."""
    _Request.training = True
    try:
        yield
    finally:
        _Request.training = False


@contextlib.contextmanager
def sure_ctrl_c() -> Iterator[None]:
    """Inside, no Ctrl-C and no SIGTERM is lost.

    Their exceptions are raised wherever the main thread is. In a finalizer or a callback Python
    prints them and goes on; here the signal is sent once more instead.
    """
    before = sys.unraisablehook

    def raise_again(unraisable: sys.UnraisableHookArgs) -> None:
        signals = {KeyboardInterrupt: signal.SIGINT, Stopped: signal.SIGTERM}
        number = signals.get(unraisable.exc_type)
        if number is None:
            before(unraisable)
        else:  # from a thread and a little later, when the finalizer has ended
            timer = threading.Timer(0.05, _thread.interrupt_main, [number])
            timer.daemon = True
            timer.start()

    sys.unraisablehook = raise_again
    try:
        yield
    finally:
        sys.unraisablehook = before


@contextlib.contextmanager
def stop_on_sigterm() -> Iterator[None]:
    """Inside, SIGTERM and SIGUSR1 raise Stopped. Does nothing outside the main thread, which gets
    no signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ended = threading.Event()

    def hurry() -> None:
        while not ended.wait(GRACE):
            _Request.late = True
            _thread.interrupt_main(signal.SIGTERM)

    def on_signal(number: int, frame: FrameType | None) -> None:
        if not _Request.arrived:
            _Request.limit = number == signal.SIGUSR1
            _Request.arrived = True
            threading.Thread(target=hurry, daemon=True).start()
        if _Request.late or not _Request.training:
            raise Stopped

    numbers = (signal.SIGTERM, signal.SIGUSR1)
    before = {number: signal.signal(number, on_signal) for number in numbers}
    try:
        yield
    finally:
        ended.set()
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        _Request.arrived = _Request.late = _Request.limit = False
