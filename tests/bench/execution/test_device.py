"""Which device is used, and the settings of a process that uses a GPU."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from legible.bench.errors import UserError
from legible.bench.execution.device import resolve_device
from legible.bench.execution.workspace import open_workspace


def test_devices_are_checked(monkeypatch, tmp_path):
    with pytest.raises(UserError, match="no device 'gpu': use auto, cpu or cuda"):
        open_workspace("gpu", [], tmp_path, None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == resolve_device("cpu") == "cpu"
    with pytest.raises(UserError, match="no usable GPU"):
        resolve_device("cuda")


SETTINGS = """
import os, torch
from legible.bench.execution.device import settle_device
torch.cuda.is_available = lambda: {gpu}
settle_device("{device}")
backends = torch.backends.cudnn
print(os.environ.get("CUBLAS_WORKSPACE_CONFIG"), backends.allow_tf32, backends.deterministic,
      torch.are_deterministic_algorithms_enabled())
"""


@pytest.mark.parametrize(
    ("device", "gpu", "settings"),
    [
        ("cuda", True, ":4096:8 False True True"),
        ("cuda", False, "None True False False"),
        ("cpu", True, "None True False False"),
    ],
)
def test_a_process_that_uses_a_gpu_repeats_its_results(device, gpu, settings):
    """Whether they repeat on a GPU is tested by `make gpu`."""
    code = SETTINGS.format(device=device, gpu=gpu)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == settings, done.stderr
