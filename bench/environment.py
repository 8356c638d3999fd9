"""The versions, commit and hardware that a result was made with."""

from __future__ import annotations

import functools
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import torch


@functools.cache
def environment(device: str) -> dict[str, str]:
    """Versions, commit and hardware a result was made with."""
    packages = ("legible-bench", "torch", "torchvision", "numpy", "scipy", "pandas", "captum")
    found = {name: version(name) for name in packages}
    found["python"] = platform.python_version()
    found["commit"] = _commit()
    found["device"] = torch.cuda.get_device_name() if device.startswith("cuda") else _processor()
    return found


def _commit() -> str:
    folder = Path(__file__).resolve().parent
    told = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return told.stdout.strip() or "unknown"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"CPU, {names[0] if names else platform.processor() or platform.machine()}"
