"""The environment of a result: versions, commit and hardware."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict

PACKAGES = ("legible-bench", "torch", "torchvision", "numpy", "scipy", "pandas", "captum")


class Environment(BaseModel):
    """Versions, commit and hardware of one process. ``packages`` maps distributions to versions."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    packages: dict[str, str]
    python: str
    commit: str
    device: str

    def facts(self) -> dict[str, str]:
        """All values by name, for a table."""
        return {
            **self.packages, "python": self.python, "commit": self.commit, "device": self.device,
        }  # fmt: skip


@functools.cache
def read_environment(device: str) -> Environment:
    """The environment of this process; ``device`` is cpu or cuda."""
    return Environment(
        packages={name: _version(name) for name in PACKAGES},
        python=platform.python_version(),
        commit=_commit(),
        device=torch.cuda.get_device_name() if device.startswith("cuda") else _processor(),
    )


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"


def _commit() -> str:
    """Legible's commit; "unknown" if it does not lie in its own repository, or without git."""
    folder = Path(__file__).resolve().parents[2]  # the repository's root, if it is one
    if not (folder / ".git").exists():
        return "unknown"
    try:
        result = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
    except OSError:
        return "unknown"
    return result.stdout.strip() or "unknown"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"CPU, {names[0] if names else platform.processor() or platform.machine()}"


def usable_cores() -> int:
    """The number of cores that this process may use: those of its affinity (taskset, Slurm), and no
    more than the quota of its cgroup (containers)."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return max(1, min(cores, math.ceil(_quota())))


def _quota(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> float:
    """The cores that the cgroup of this process and those above it leave to it; infinite without a
    limit."""
    quotas = [math.inf]
    with contextlib.suppress(OSError):
        for line in own.read_text().splitlines():
            _, controllers, name = line.split(":", 2)
            folder = Path(name.lstrip("/"))
            for part in (folder, *folder.parents):
                if not controllers:  # cgroup 2
                    quotas.append(_ratio(root / part / "cpu.max"))
                elif "cpu" in controllers.split(","):
                    quotas.append(_ratio(root / "cpu" / part / "cpu.cfs_quota_us",
                                         root / "cpu" / part / "cpu.cfs_period_us"))  # fmt: skip
    return min(quotas)


def _ratio(*files: Path) -> float:
    """Quota by period, which one file or two hold; infinite if there is no limit."""
    try:
        quota, period = (int(text) for file in files for text in file.read_text().split())
    except (OSError, ValueError):  # ValueError: "max"
        return math.inf
    return quota / period if quota > 0 and period > 0 else math.inf
