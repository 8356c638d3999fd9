"""Ending on SIGTERM, which Slurm and the system send, at a checkpoint; and on Ctrl-C, always."""

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


class Stopped(BaseException):
    """This process was asked to end with SIGTERM."""


class _Request:
    """What the handler of SIGTERM and the training say to each other."""

    arrived = False  # SIGTERM came
    late = False  # the time to reach a checkpoint is over
    training = False  # checkpoints are being written


def check() -> None:
    """Raises Stopped if SIGTERM came; called where a checkpoint was just written."""
    if _Request.arrived:
        raise Stopped


def requested() -> bool:
    """Whether SIGTERM came."""
    return _Request.arrived


@contextlib.contextmanager
def until_checkpoint() -> Iterator[None]:
    """Inside, SIGTERM waits for `check` or `GRACE` seconds; elsewhere it ends the work at once."""
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
    """Inside, SIGTERM raises Stopped. Does nothing outside the main thread, which gets no
    signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ended = threading.Event()

    def hurry() -> None:
        while not ended.wait(GRACE):
            _Request.late = True
            _thread.interrupt_main(signal.SIGTERM)

    def on_sigterm(number: int, frame: FrameType | None) -> None:
        if not _Request.arrived:
            _Request.arrived = True
            threading.Thread(target=hurry, daemon=True).start()
        if _Request.late or not _Request.training:
            raise Stopped

    before = signal.signal(signal.SIGTERM, on_sigterm)
    try:
        yield
    finally:
        ended.set()
        signal.signal(signal.SIGTERM, before if before is not None else signal.SIG_DFL)
        _Request.arrived = _Request.late = False
