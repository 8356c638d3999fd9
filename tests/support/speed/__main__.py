"""Measures speed and writes the page: ``make speed``, which runs ``python -m speed``.

The page is written only if nothing else runs on the machine; otherwise the table is printed alone.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from speed.comparison import Comparison
from speed.growth import growth_section
from speed.page import as_page, table

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "performance.md"
#: The mean number of running processes at the start above which times are not published.
BUSY = 1.0


def main(words: Sequence[str] | None = None) -> int:
    """Runs the comparisons, prints the table, and writes the page if the machine is idle."""
    parser = argparse.ArgumentParser(prog="speed", description=__doc__)
    parser.add_argument("--out", type=Path, default=PAGE, help="the page to write")
    parser.add_argument("--only", default="", help="names of benchmarks, as pytest's -k takes them")
    arguments = parser.parse_args(words)
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "benchmarks.json"
        # within a worker of xdist, pytest-benchmark would refuse to measure
        env = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_XDIST")}
        code = subprocess.run(command(file, arguments.only), cwd=ROOT, env=env).returncode
        comparisons = read_comparisons(json.loads(file.read_text())) if file.exists() else []
    if code or not comparisons:
        print("speed: the benchmarks failed; no page is written", file=sys.stderr)
        return 1
    print(table([c for c in comparisons if not c.missing]))
    if load > BUSY:
        print(f"speed: {arguments.out} is not written, because other programs were running (load "
              f"{load:.1f} at the start): stop them and run it again", file=sys.stderr)  # fmt: skip
        return 1
    page = as_page(comparisons, facts(load)) + growth_section()
    arguments.out.write_text(page, encoding="utf-8")
    print(f"written to {arguments.out}")
    return 0


def command(file: Path, only: str) -> list[str]:
    """The command that runs the benchmarks in which we are compared with a peer."""
    return [
        sys.executable, "-m", "pytest", "tests/benchmarks", "--benchmark-only", "-n", "0", "-q",
        "-o", "addopts=-p no:legible --import-mode=importlib", "-m", "not slow",
        f"--benchmark-json={file}", *(["-k", only] if only else []),
    ]  # fmt: skip


def read_comparisons(report: Mapping[str, Any]) -> list[Comparison]:
    """The comparisons in a report of pytest-benchmark, in the report's order."""
    entries = (entry["extra_info"].get("comparison") for entry in report["benchmarks"])
    return [Comparison(**entry) for entry in entries if entry is not None]


def facts(load: float) -> dict[str, str]:
    """Where and with what it was measured."""
    from legible.bench.execution.environment import read_environment

    environment = read_environment("cpu")
    return {
        "processor": environment.device,
        "threads": "1",
        "torch": environment.packages["torch"],
        "Python": environment.python,
        "commit": environment.commit,
        "load before it started": f"{load:.1f}",
    }


if __name__ == "__main__":
    sys.exit(main())
