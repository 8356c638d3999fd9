"""The entry point: quick help, one-line errors, and folders with names like Legible's own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_suites import TOY_PLUGIN, toy_suite, write_suite

ROOT = Path(__file__).parents[3]


def python(*arguments: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs Python in a folder."""
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env={**os.environ, **environment},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_help_imports_nothing_large(tmp_path):
    script = (
        "import sys, legible.bench.cli.main\n"
        "assert not {'torch', 'numpy', 'pandas'} & set(sys.modules)"
    )
    result = python("-c", script, folder=tmp_path)
    assert result.returncode == 0, result.stderr


def test_help_takes_under_half_a_second(tmp_path):
    times = []
    for _ in range(3):
        start = time.perf_counter()
        assert python("-m", "legible", "--help", folder=tmp_path).returncode == 0
        times.append(time.perf_counter() - start)
    assert min(times) < 0.5


def test_a_run_imports_nothing_that_draws(tmp_path):
    """Captum imports matplotlib, so it is looked for before any metric is imported."""
    script = (
        "import sys\n"
        "from legible.bench.execution import pool, schedule, slurm\n"
        "from legible.bench.tuning import tune\n"
        "assert 'matplotlib' not in sys.modules\n"
        "from legible.bench import api\n"
        "from legible.bench.scores import adopt, exchange\n"
        "assert 'legible.bench.leaderboard' not in sys.modules"
    )
    result = python("-c", script, folder=tmp_path)
    assert result.returncode == 0, result.stderr


def test_commands_are_listed_in_the_order_in_which_one_needs_them(legible):
    _, out, _ = legible("--help")
    lines = out[out.index("Commands") :].splitlines()
    names = [line.split()[1] for line in lines if line.startswith("│ ") and line[2].isalpha()]
    assert names == [
        "run", "status", "cancel", "publish", "score", "list", "check", "new", "show", "why",
        "tune", "adopt", "export", "merge", "verify",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "quik"], "no suite 'quik'; did you mean 'quick'?"),
        (["frobnicate"], "No such command"),
        (["run"], "Missing argument"),
        (["why", "nothing"], "no run 'nothing'"),
    ],
)
def test_a_wrong_argument_is_one_line(empty, legible, arguments, message):
    code, _, err = legible(*arguments)
    assert code == 2 and message in err and len(err.strip().splitlines()) == 1


MINE = '''
from legible import Method, register
from metrics import half

@register
class Mine(Method):
    """Small activations."""

    def penalty(self, step):
        return {"mean": half() * self.strength * step.activations[self.taps[0]].mean()}
'''


@pytest.fixture
def project(tmp_path):
    """A project that has a `metrics.py`, a folder `methods` and a folder `bench` of its own."""
    (tmp_path / "metrics.py").write_text("def half():\n    return 0.5\n")
    for package in ("methods", "bench"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("raise SystemExit('not Legible')\n")
    (tmp_path / "mine.py").write_text(MINE)
    write_suite(tmp_path, toy_suite(top=f'plugins = ["{TOY_PLUGIN}"]'))
    return tmp_path


@pytest.mark.slow
class TestInAProjectWithFoldersOfTheSameNames:
    @pytest.mark.parametrize("environment", [{}, {"PYTHONPATH": "."}])
    def test_suites_are_listed(self, project, environment):
        command = Path(sys.executable).with_name("legible")
        for words in (["-m", "legible"], [str(command)]):
            result = python(*words, "list", "suites", folder=project, **environment)
            assert result.returncode == 0, result.stderr
            assert "quick" in result.stdout

    def test_a_plugin_that_imports_the_project_s_module_runs_in_worker_processes(self, project):
        words = ["-m", "legible", "run", "tiny.toml", "--plugin", "mine.py", "--device", "cpu"]
        result = python(*words, "--jobs", "2", folder=project, PYTHONPATH=".")
        assert result.returncode == 0, result.stdout + result.stderr
        assert "2 of 2 runs to do" in result.stdout and "-mine-s0" in result.stdout
        (run,) = project.glob("runs/*-mine-s0-*")
        assert {path.name for path in (run / "plugins").iterdir()} == {
            "mine.py", "metrics.py", "toy_plugin.py",
        }  # fmt: skip

    def test_a_script_beside_them_uses_legible(self, project):
        (project / "script.py").write_text(
            "import legible\nfrom metrics import half\n"
            "if __name__ == '__main__':\n"
            "    table = legible.run('tiny.toml', device='cpu', jobs=1)\n"
            "    print(half(), sorted(set(table['method'])))\n"
        )
        result = python("script.py", folder=project)
        assert result.returncode == 0, result.stderr
        assert "0.5 ['oracle', 'plain']" in result.stdout


@pytest.mark.slow
def test_ctrl_c_stops_cleanly_and_leaves_a_checkpoint(tmp_path):
    text = toy_suite(epochs=400, top=f'plugins = ["{TOY_PLUGIN}"]')
    write_suite(tmp_path, text, "long")
    command = [sys.executable, "-m", "legible", "run", "long.toml", "--device", "cpu"]
    process = subprocess.Popen(
        [*command, "--jobs", "1"], cwd=tmp_path, stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # CI may ignore it
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("runs/*/training.safetensors")) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "the same command continues" in err
    assert "Traceback" not in err
    assert list(tmp_path.glob("runs/*/training.safetensors"))
