"""`pytest --legible FILE` in a project of its own, whose folders are named like ours."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

METHOD = '''
"""A valid method."""
import torch
from legible import Method, Step, register


@register
class Small(Method):
    """Penalises activation.

    Equation: L = CE + s * mean |a|.
    Paper: none. Repository: none. Differences: none.
    """

    target_reason = "has no metric"

    def penalty(self, step: Step) -> dict[str, torch.Tensor]:
        return {"l1": self.strength * step.activations[self.taps[0]].abs().mean()}
'''

OWN_TEST = """
import bench
import methods.own
import metrics


def test_own_modules_come_first():
    assert (bench.OWNER, methods.own.OWNER, metrics.OWNER) == ("project",) * 3
"""


OWN_CHECK = """
import pytest
from legible import checks


@pytest.mark.parametrize("law", checks("small.py"), ids=str)
def test_small(law):
    law()
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with its own ``metrics.py``, ``methods/`` and ``bench/``, and a plugin file."""
    for file in ("metrics.py", "methods/__init__.py", "methods/own.py", "bench/__init__.py"):
        path = tmp_path / file
        path.parent.mkdir(exist_ok=True)
        path.write_text('OWNER = "project"\n')
    (tmp_path / "small.py").write_text(METHOD)
    (tmp_path / "test_own.py").write_text(OWN_TEST)
    return tmp_path


def run_pytest(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", project,
         *arguments],
        cwd=project, env={**os.environ, "PYTHONPATH": "."},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_a_valid_plugin_passes_beside_the_projects_own_tests(project: Path) -> None:
    result = run_pytest(project, "--legible", "small.py", "-rs")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "failed" not in result.stdout
    passed = int(result.stdout.splitlines()[-1].split(" passed")[0].split()[-1])
    assert passed > 20
    assert "claims no modules" in result.stdout


@pytest.mark.slow
def test_a_test_file_can_check_the_laws_itself(project: Path) -> None:
    (project / "test_small.py").write_text(OWN_CHECK)
    result = run_pytest(project, "test_small.py", "-vv", "-k", "strength_0 or claimed")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "test_small.py::test_small[method-small-strength_0_is_plain] PASSED" in result.stdout
    assert "1 passed, 1 skipped" in result.stdout


@pytest.mark.slow
def test_a_broken_law_fails_with_its_reason_and_can_be_selected(project: Path) -> None:
    wrong = METHOD.replace("self.strength * ", "")
    (project / "wrong.py").write_text(wrong)
    result = run_pytest(
        project, "--legible", "small.py", "--legible", "wrong.py", "-k", "strength_0 or tiny"
    )
    assert result.returncode == 1
    assert "1 failed, 2 passed, 1 skipped" in result.stdout, result.stdout + result.stderr
    assert "legible/wrong.py::method-wrong-strength_0_is_plain" in result.stdout
    assert "multiply all that is added by self.strength" in result.stdout


def test_a_missing_file_is_a_usage_error_in_one_line(project: Path) -> None:
    result = run_pytest(project, "--legible", "nowhere.py", "test_own.py")
    assert result.returncode == 4
    assert "ERROR: --legible nowhere.py: no plugin file" in result.stdout + result.stderr
