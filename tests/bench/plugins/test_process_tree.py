"""A process with all that it started: found, measured and ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from legible.bench.plugins.process_tree import cause_of, end_tree, memory, tree

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")

#: Starts a child in a session of its own, which starts another, and prints their numbers.
FAMILY = """
import os, sys, time
sys.path.insert(0, {path!r})
{root}
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        block = bytearray(50 * 2**20)
        print(os.getpid(), flush=True)
        time.sleep(100)
    {middle}
time.sleep(100)
"""


def family(root: str = "", middle: str = "time.sleep(100)") -> tuple[subprocess.Popen[str], int]:
    """A process, and the number of its grandchild."""
    code = FAMILY.format(path=os.getcwd(), root=root, middle=middle)  # noqa: PTH109
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    return process, first_number(process)


def first_number(process: subprocess.Popen[str]) -> int:
    """The number that a process prints first."""
    assert process.stdout is not None
    with process.stdout as out:
        return int(out.readline())


def is_there(pid: int) -> bool:
    """Whether a process is there and has not ended."""
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(pid: int) -> bool:
    """Whether a process ends within a second."""
    for _ in range(100):
        if not is_there(pid):
            return True
        time.sleep(0.01)
    return False


def test_a_tree_is_found_measured_and_ended():
    process, grandchild = family()
    members = tree(process.pid)
    assert len(members) == 3 and {process.pid, grandchild} < set(members)
    size = memory(members)
    assert 50 * 2**20 < size < 500 * 2**20
    assert memory(members, enough=2**40) == 0
    end_tree(process.pid, {})
    assert process.wait(5) == -signal.SIGKILL
    assert all(map(gone, members))


def test_what_a_dead_process_left_is_ended():
    process, grandchild = family()
    members = tree(process.pid)
    process.kill()
    time.sleep(0.05)
    assert is_there(grandchild)
    end_tree(process.pid, members)
    process.wait(5)
    assert gone(grandchild)


def test_orphans_stay_below_the_root():
    become = "from legible.bench.plugins.process_tree import become_root; become_root()"
    process, grandchild = family(become, middle="os._exit(0)")
    time.sleep(0.05)
    assert grandchild in tree(process.pid)
    end_tree(process.pid, {})
    process.wait(5)
    assert gone(grandchild)


@pytest.mark.parametrize("pause", [0, 0.3])
def test_a_copy_of_a_root_ends_with_it(pause):
    code = (
        "import os, time\n"
        "from legible.bench.plugins.process_tree import become_root\n"
        "become_root()\n"
        f"os.fork() and (time.sleep({pause}), os._exit(0))\n"  # the copy goes on
        "print(os.getpid(), flush=True)\n"
        "time.sleep(100)\n"
    )
    # ends when the copy has closed its output; it may print before it is ended
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=20)
    assert result.returncode == 0


def test_another_process_of_the_same_number_is_spared():
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"])
    other = subprocess.Popen([sys.executable, "-c", "pass"])
    end_tree(other.pid, {process.pid: "1"})  # it started at another time
    other.wait(5)
    assert is_there(process.pid)
    process.kill()
    process.wait(5)


def test_a_process_ends_itself_with_all_that_it_started():
    code = (
        "import subprocess\n"
        "from legible.bench.plugins.process_tree import end_own_tree\n"
        "print(subprocess.Popen(['sleep', '100'], start_new_session=True).pid, flush=True)\n"
        "end_own_tree()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    pid = first_number(process)
    assert process.wait(5) == -signal.SIGKILL and gone(pid)


def test_causes_of_death_are_said():
    assert cause_of(0) == "left with exit code 0"
    assert cause_of(-signal.SIGSEGV) == "was killed by SIGSEGV (signal 11)"
    assert cause_of(-signal.SIGKILL) == "was killed by SIGKILL (signal 9; out of memory?)"
    assert cause_of(-64).endswith("(signal 64)")
