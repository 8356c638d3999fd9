"""Functions that are called in a process of their own: their results, and their deaths."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from legible.bench.data.base import DataMissing
from legible.bench.errors import UserError
from legible.bench.plugins import own_process
from legible.bench.plugins.faults import PluginFault
from legible.bench.plugins.limits import RunLimits
from legible.bench.plugins.own_process import apart, can_fork, forked, mark_worker

pytestmark = pytest.mark.skipif(not can_fork(), reason="needs forks")
LIMITS = RunLimits(seconds=60.0)


class Unprintable(Exception):
    def __str__(self) -> str:
        raise KeyboardInterrupt


def fails(error: BaseException) -> object:
    """A function that raises an error."""

    def call() -> None:
        raise error

    return call


def test_the_result_comes_back():
    assert apart(lambda: {"a": [1, 2]}, LIMITS) == {"a": [1, 2]}
    for value in (torch.arange(6).view(2, 3).T, torch.ones(2, dtype=torch.bfloat16), torch.ones(0)):
        back = apart(lambda value=value: value, LIMITS)
        assert torch.equal(back, value) and back.dtype == value.dtype
        back += 1  # it can be written to


def test_data_settings_and_folder_stay_as_they_are(tmp_path):
    data = torch.arange(10)

    def call() -> int:
        data.zero_()
        os.chdir("/")
        torch.set_default_dtype(torch.float64)
        os.environ["HOSTILE"] = "1"
        return int(data.sum())

    before = os.getcwd()  # noqa: PTH109
    assert apart(call, LIMITS) == 0
    assert data.tolist() == list(range(10))
    assert os.getcwd() == before and "HOSTILE" not in os.environ  # noqa: PTH109
    assert torch.get_default_dtype() == torch.float32


@pytest.mark.parametrize("error", [UserError("a"), DataMissing("a"), ValueError("a")])
def test_errors_for_users_keep_their_type(error):
    with pytest.raises(type(error), match=r"^a$"):
        apart(fails(error), LIMITS)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError("no file"), "OSError: no file"),
        (SystemExit(0), "SystemExit: 0"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (Unprintable(), "Unprintable: "),
        (RecursionError("deep"), "RecursionError: deep"),
    ],
)
def test_other_errors_are_faults(error, text):
    with pytest.raises(PluginFault, match=text):
        apart(fails(error), LIMITS)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: os._exit(0), "left with exit code 0"),
        (os.abort, "SIGABRT"),
        (lambda: ctypes.string_at(0), "SIGSEGV"),
        (lambda: os.closerange(3, 999), "left with exit code 1"),
        (lambda: (os.closerange(3, 999), time.sleep(60)), "closed its files and went on"),
        (lambda: lambda: 1, "its result cannot be passed on"),
        (lambda: os.fork() and os._exit(0), "left with exit code 0"),
    ],
)
def test_deaths_are_faults(call, text):
    with pytest.raises(PluginFault, match=text):
        apart(call, LIMITS)


def test_a_hang_ends_at_the_limit_with_all_that_it_started():
    def hang() -> None:
        subprocess.Popen(["sleep", "4711"], start_new_session=True)
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while True:
            pass

    start = time.monotonic()
    with pytest.raises(PluginFault, match=r"over the time limit of 1 s"):
        apart(hang, RunLimits(seconds=1.0))
    assert time.monotonic() - start < 10
    names = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    assert "sleep 4711" not in names


def test_memory_has_a_limit():
    with pytest.raises(PluginFault, match=r"over the memory limit of 1[.]95 GiB"):
        apart(lambda: [time.sleep(0.01) or bytearray(2**26) for _ in range(100)],
              RunLimits(memory=2000 * 2.0**20))  # fmt: skip


def test_a_worker_calls_directly(monkeypatch):
    monkeypatch.setattr(own_process._Here, "is_worker", False)
    mark_worker()
    assert apart(os.getpid, LIMITS) == os.getpid()
    assert forked(os.getpid, LIMITS) != os.getpid()


def test_without_forks_settings_are_restored(monkeypatch):
    monkeypatch.setattr(own_process, "can_fork", lambda: False)

    def call() -> int:
        torch.set_default_dtype(torch.float64)
        return os.getpid()

    assert apart(call, LIMITS) == os.getpid()
    assert torch.get_default_dtype() == torch.float32
    with pytest.raises(PluginFault, match="SystemExit"):
        apart(sys.exit, LIMITS)


def test_it_dies_with_the_process_that_started_it(tmp_path):
    code = (
        "import time\nfrom pathlib import Path\n"
        "from legible.bench.plugins.own_process import apart\n"
        "from legible.bench.plugins.limits import RunLimits\nimport os\n"
        f"def call():\n    Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid()))\n"
        "    time.sleep(100)\n"
        "apart(call, RunLimits())\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    while not (tmp_path / "pid").is_file() or not (tmp_path / "pid").read_text():
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    pid = int((tmp_path / "pid").read_text())
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.02)
    raise AssertionError("it is still there")
