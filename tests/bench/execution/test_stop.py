"""SIGTERM: at once outside of training, at the next checkpoint inside."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest

from legible.bench.execution import stop


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_outside_of_training_it_stops_at_once() -> None:
    with pytest.raises(stop.Stopped), stop.stop_on_sigterm():
        terminate()
        raise AssertionError("not reached")


def test_inside_it_stops_at_the_next_checkpoint() -> None:
    reached = []
    with pytest.raises(stop.Stopped), stop.stop_on_sigterm(), stop.until_checkpoint():
        stop.check()  # nothing came yet
        terminate()
        reached.append(stop.requested())
        stop.check()
        reached.append("beyond")
    assert reached == [True]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGUSR1, 75)])
def test_the_signal_gives_the_exit_code(number: int, code: int) -> None:
    with pytest.raises(stop.Stopped) as stopped, stop.stop_on_sigterm():
        os.kill(os.getpid(), number)
        raise AssertionError("not reached")
    assert stopped.value.code == code
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL


def test_a_training_without_a_checkpoint_is_stopped_after_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stop, "GRACE", 0.05)
    with pytest.raises(stop.Stopped), stop.stop_on_sigterm(), stop.until_checkpoint():
        terminate()
        for _ in range(10**9):
            pass


def test_the_handler_before_is_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stop.stop_on_sigterm():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before
    assert not stop.requested()


class Careless:
    """Calls a function when it is collected."""

    def __init__(self, action: Callable[[], None]) -> None:
        self.action = action

    def __del__(self) -> None:
        self.action()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_a_finalizer_is_not_lost(
    number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with (
            pytest.raises((KeyboardInterrupt, stop.Stopped)),
            stop.sure_ctrl_c(), stop.stop_on_sigterm(),
        ):  # fmt: skip
            Careless(lambda: os.kill(os.getpid(), number))
            time.sleep(5)
            raise AssertionError("it was lost")
    finally:
        signal.signal(signal.SIGINT, before)
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_a_library_turns_into_its_own_error_is_not_lost(number: int) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with (
            pytest.raises((KeyboardInterrupt, stop.Stopped)) as caught,
            stop.sure_ctrl_c(), stop.stop_on_sigterm(),
        ):  # fmt: skip
            try:
                os.kill(os.getpid(), number)
                time.sleep(5)
            except BaseException as error:  # as a serializer written in another language does
                raise TypeError(f"cannot build the schema: {error!r}") from None
    finally:
        signal.signal(signal.SIGINT, before)
    assert (caught.type is KeyboardInterrupt) == (number == signal.SIGINT)
    stop.check()  # nothing is left of it


def test_an_error_without_a_signal_stays_as_it_is() -> None:
    with pytest.raises(TypeError), stop.sure_ctrl_c(), stop.stop_on_sigterm():
        raise TypeError
