"""A real Slurm on this machine: its daemons with all their files in one folder."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

CONFIG = """
ClusterName=local
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmdTimeout=5
SlurmdParameters=config_overrides
KillWait=15
MaxArraySize=4
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
NodeName={host} NodeAddr=127.0.0.1 CPUs=3 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def obstacle() -> str:
    """Why no Slurm can be started here; empty if one can."""
    if os.geteuid() != 0:
        return "needs root, to start Slurm's daemons"
    missing = [name for name in ("slurmctld", "slurmd", "munged", "sbatch") if not _path(name)]
    return f"needs {', '.join(missing)} (apt-get install slurm-wlm)" if missing else ""


class OneNodeSlurm:
    """Slurm with one node of three cores and arrays of at most four jobs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.host = socket.gethostname().partition(".")[0]
        self.daemons: dict[str, subprocess.Popen[bytes]] = {}
        for name in ("state", "spool", "munge"):
            (folder / name).mkdir()
        (folder / "munge" / "key").write_bytes(os.urandom(1024))
        (folder / "munge" / "key").chmod(0o600)
        self.config = folder / "slurm.conf"
        self.config.write_text(
            CONFIG.format(host=self.host, folder=folder, ports=(_free_port(), _free_port()))
        )
        self.environment = {"SLURM_CONF": str(self.config)}

    def start(self) -> None:
        """Starts all daemons and waits until the node is idle."""
        munge = self.folder / "munge"
        self._start("munged", "--foreground", "--force", f"--socket={munge}/socket",
                    f"--key-file={munge}/key", f"--pid-file={munge}/pid",
                    f"--log-file={munge}/log", f"--seed-file={munge}/seed")  # fmt: skip
        wait_for(lambda: (munge / "socket").exists())
        self._start("slurmctld", "-D", "-f", str(self.config))
        self.start_node()

    def start_node(self) -> None:
        """Starts the node's daemon and waits until the node takes jobs."""
        self._start("slurmd", "-D", "-f", str(self.config), "-N", self.host)
        wait_for(lambda: self.call("sinfo", "--noheader", "--format=%T").strip()
                 in ("idle", "mixed", "allocated"))  # fmt: skip

    def kill_node(self) -> None:
        """Kills the node's daemon and all jobs on it, as a crash of the machine does, and says so
        to Slurm, which would else notice it some time later."""
        self.daemons["slurmd"].kill()
        self.daemons["slurmd"].wait()
        for job in self.steps():
            _end_tree(job)
        self.call("scontrol", "update", f"NodeName={self.host}", "State=DOWN", "Reason=killed")

    def steps(self) -> list[int]:
        """The processes that look after the steps of jobs."""
        return [pid for pid in _processes() if _command_of(pid).startswith("slurmstepd: [")
                and str(self.config) in _environment_of(pid)]  # fmt: skip

    def call(self, *words: str) -> str:
        """What a command of Slurm prints."""
        result = subprocess.run(words, env={**os.environ, **self.environment}, check=False,
                                capture_output=True, text=True, timeout=60)  # fmt: skip
        return result.stdout

    def states(self) -> dict[str, str]:
        """The state of each job in the queue, by its number."""
        out = self.call("squeue", "--noheader", "--array", "--format=%i|%T")
        return dict(line.strip().split("|") for line in out.splitlines() if "|" in line)

    def stop(self) -> None:
        """Ends all daemons and jobs."""
        for job in self.steps():
            _end_tree(job)
        for process in reversed(self.daemons.values()):
            process.kill()
            process.wait()

    def _start(self, name: str, *words: str) -> None:
        with (self.folder / f"{name}.out").open("ab") as out:
            self.daemons[name] = subprocess.Popen(
                [_path(name), *words], stdout=out, stderr=out,
                env={**os.environ, **self.environment}, start_new_session=True,
            )  # fmt: skip


def wait_for(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Waits until a condition holds; raises AssertionError if it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.1)


def _path(name: str) -> str:
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") or ""


def _free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def _processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _command_of(pid: int) -> str:
    return _read(pid, "cmdline").replace("\0", " ")


def _environment_of(pid: int) -> str:
    return _read(pid, "environ")


def _read(pid: int, name: str) -> str:
    try:
        return (Path("/proc") / str(pid) / name).read_text(errors="replace")
    except OSError:
        return ""


def _end_tree(root: int) -> None:
    """Kills a process and all that it started."""
    members = [root]
    for pid in members:
        members += [child for child in _processes() if _parent_of(child) == pid]
    for pid in members:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def _parent_of(pid: int) -> int:
    fields = _read(pid, "stat").rpartition(")")[2].split()
    return int(fields[1]) if fields else 0
