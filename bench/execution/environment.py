"""The environment of a result: versions, commit and hardware."""

from __future__ import annotations

import functools
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
    """Legible's commit; "unknown" if it does not lie in its own repository, or without git.

    git does not read a repository of another user unless it is called safe. Legible runs the code
    of that folder, so it is: a group may share one copy.
    """
    folder = Path(__file__).resolve().parents[2]  # the repository's root, if it is one
    if not (folder / ".git").exists():
        return "unknown"
    try:
        result = subprocess.run(
            ["git", "-c", f"safe.directory={folder}",
             "describe", "--always", "--dirty", "--abbrev=12"],
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
