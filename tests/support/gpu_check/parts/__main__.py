"""Does one part of the check: ``python -m gpu_check.parts PART ...``; `make gpu` calls it."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

from gpu_check.record import write_line
from gpu_check.setting import Setting, do_cases

#: The parts and their modules, which are imported one at a time: pytest must see legible first.
PARTS = {
    "tests": "marked_tests", "metrics": "metrics_there", "methods": "steps",
    "throughput": "workers", "large layer": "large_layer",
}  # fmt: skip


def main() -> int:
    """Appends the names of the part's cases and its records to a file."""
    parser = argparse.ArgumentParser(prog="gpu_check.parts", description=__doc__)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--device", required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--rehearse", action="store_true")
    parser.add_argument("--file", type=Path, required=True)
    words = parser.parse_args()
    if words.part != "tests":  # those settle their own
        importlib.import_module("legible.bench.execution.device").settle_device(words.device)
    setting = Setting(words.device, words.seconds, words.rehearse)
    cases = importlib.import_module(f"gpu_check.parts.{PARTS[words.part]}").cases(setting)
    write_line(words.file, list(cases))
    for record in do_cases(words.part, cases, setting):
        write_line(words.file, record)
    return 0


if __name__ == "__main__":
    sys.exit(main())
