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
    ctrl_c = False  # a Ctrl-C came


def check() -> None:
    """Raises Stopped if a signal came, and KeyboardInterrupt if a Ctrl-C came.

    Called where a checkpoint was just written, and where an error is about to be handled: a library
    may have turned the exception of a signal into one of its own.
    """
    if _Request.arrived:
        raise Stopped
    if _Request.ctrl_c:
        raise KeyboardInterrupt


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
    prints them and goes on; here the signal is sent once more instead. If a library turned a
    Ctrl-C into an error of its own, KeyboardInterrupt is raised instead of that error.
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

    def on_ctrl_c(number: int, frame: FrameType | None) -> None:
        _Request.ctrl_c = True
        raise KeyboardInterrupt

    sys.unraisablehook = raise_again
    handler = signal.getsignal(signal.SIGINT)
    is_usual = handler is signal.default_int_handler  # a shell may have it ignored
    if is_usual:
        signal.signal(signal.SIGINT, on_ctrl_c)
    try:
        yield
    except Exception:
        check()
        raise
    finally:
        sys.unraisablehook = before
        if is_usual:
            signal.signal(signal.SIGINT, handler)
        _Request.ctrl_c = False


@contextlib.contextmanager
def stop_on_sigterm() -> Iterator[None]:
    """Inside, SIGTERM and SIGUSR1 raise Stopped, also if a library turned Stopped into an error of
    its own. Does nothing outside the main thread, which gets no signals."""
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
    except Exception:
        check()
        raise
    finally:
        ended.set()
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        _Request.arrived = _Request.late = _Request.limit = False
