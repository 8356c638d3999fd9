"""Checks all that a GPU changes: ``make gpu``, which runs ``python -m gpu_check``.

It installs nothing. It writes one table, README.md and checks.csv, into results/gpu, in six
minutes, or in the time of ``--seconds``.
``--rehearse`` does the same in tiny sizes on a CPU and writes to another folder, which it names.
The exit code is 1 if a check failed, and 2 if the check could not start.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from gpu_check.packages import FOLDER, MOST_BYTES, advice, missing
from gpu_check.record import Check, PartEnd, as_csv, as_page, read_lines

ROOT = Path(__file__).parents[3]
RESULTS = ROOT / "results" / "gpu"
#: Seconds of each part; the throughput, which gains from time, gets what is left of the whole time.
BUDGETS = {"tests": 60.0, "metrics": 90.0, "methods": 60.0, "large layer": 60.0}
LAST, WHOLE, LEAST = "throughput", 360.0, 20.0
#: Seconds of each part in a rehearsal.
REHEARSAL = 60.0
#: Seconds after its time in which a part may still write what it has.
GRACE = 3.0


def main(words: Sequence[str] | None = None) -> int:
    """Runs the parts and writes the table; returns the exit code."""
    arguments = _parser().parse_args(words)
    if names := missing():
        print(advice(names), file=sys.stderr)
        return 2
    if problem := refusal(arguments.device, arguments.rehearse):
        print(f"gpu_check: {problem}", file=sys.stderr)
        return 2
    folder = arguments.out or (
        Path(tempfile.mkdtemp(prefix="legible-gpu-rehearsal-")) if arguments.rehearse else RESULTS
    )
    if arguments.rehearse and folder.resolve() == RESULTS.resolve():
        print("gpu_check: a rehearsal is never written to results/gpu: name another folder with "
              "--out", file=sys.stderr)  # fmt: skip
        return 2
    ends, records = run_parts(arguments)
    write_page(folder, arguments, ends, records)
    failures = [record for record in records if record.verdict == "bad"]
    for record in failures:
        print(f"bad: {record.part}: {record.case}: {record.quantity}: {record.text}")
    ended_badly = [end for end in ends if end.reason]
    print(f"{len(records)} checks, {len(failures)} bad; written to {folder}")
    return int(bool(failures or ended_badly))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gpu_check", description=__doc__)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--rehearse", action="store_true", help="tiny sizes, on a CPU")
    parser.add_argument("--out", type=Path, help="the folder of the table")
    parser.add_argument("--parts", default="", help="some parts alone: tests,metrics")
    parser.add_argument(
        "--seconds",
        type=float,
        default=WHOLE,
        help="the whole time, which the parts share in the same proportions",
    )
    return parser


def refusal(device: str, rehearse: bool) -> str:
    """Why the check cannot start here, as one line; empty if it can."""
    if (device == "cpu") != rehearse:
        return ("a CPU can only rehearse: add ARGS=--rehearse" if device == "cpu"
                else "a rehearsal runs on a CPU: add DEVICE=cpu")  # fmt: skip
    if device == "cuda" and not _torch().cuda.is_available():
        return ("torch sees no GPU here; `make gpu DEVICE=cpu ARGS=--rehearse` tries the check "
                "itself")  # fmt: skip
    return ""


def run_parts(arguments: argparse.Namespace) -> tuple[list[PartEnd], list[Check]]:
    """Runs one part after the other, each in a process of its own within its time."""
    start = time.monotonic()
    ends: list[PartEnd] = []
    records: list[Check] = []
    parts = arguments.parts.split(",") if arguments.parts else [*BUDGETS, LAST]
    for part in parts:
        seconds = seconds_of(part, time.monotonic() - start, arguments.rehearse, arguments.seconds)
        if seconds < LEAST:
            ends.append(PartEnd(part, 0.0, 0.0, ("all",), "no time was left"))
            continue
        print(f"{part}: at most {seconds:.0f} s", flush=True)
        end, new = run_part(part, arguments.device, arguments.rehearse, seconds)
        ends.append(end)
        records += new
    return ends, records


def seconds_of(part: str, elapsed: float, rehearse: bool, whole: float = WHOLE) -> float:
    """The seconds that a part has; ``elapsed`` is the time since the check's start."""
    if rehearse:
        return REHEARSAL
    left = whole - elapsed
    return min(BUDGETS.get(part, WHOLE) * whole / WHOLE, left)


def run_part(part: str, device: str, rehearse: bool, seconds: float) -> tuple[PartEnd, list[Check]]:
    """How a part ended, and its records. Its process is killed when its time is over."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="legible-gpu-") as name:
        file = Path(name) / "records"
        log = Path(name) / "output"
        words = [sys.executable, "-m", "gpu_check.parts", part, "--device", device, "--seconds",
                 str(seconds - GRACE), "--file", str(file)]  # fmt: skip
        with log.open("wb") as out:
            process = subprocess.Popen(
                [*words, *(["--rehearse"] if rehearse else [])], stdout=out, stderr=out,
                start_new_session=True,
                env=environment(name),
            )  # fmt: skip
            reason = _wait(process, start + seconds)
        cases, records = read_lines(file)
        if process.returncode and not reason:
            last = (log.read_text(errors="replace").strip().splitlines() or ["no output"])[-1]
            reason = f"it ended with {process.returncode}: {last[:300]}"
    cut = cut_cases(cases, records)
    return PartEnd(part, seconds, time.monotonic() - start, cut, reason), records


def environment(temporary: str) -> dict[str, str]:
    """The environment of a part: where modules are found, its temporary files, one thread."""
    paths = [ROOT / FOLDER, ROOT, Path(__file__).parents[1], os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, filter(None, paths))),
            "TMPDIR": temporary, "OMP_NUM_THREADS": "1"}  # fmt: skip


def _wait(process: subprocess.Popen[bytes], deadline: float) -> str:
    """Waits for a process and ends its whole group; returns a reason if its time was over."""
    reason = ""
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        reason = "stopped when its time was over"
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return reason


def cut_cases(cases: Sequence[str], records: Sequence[Check]) -> tuple[str, ...]:
    """The cases of a part without a record. A test's name starts with its file's."""
    begun = {record.case.partition("::")[0] for record in records}
    return tuple(name for name in cases if name not in begun)


def write_page(
    folder: Path, arguments: argparse.Namespace, ends: Sequence[PartEnd],
    records: Sequence[Check],
) -> None:  # fmt: skip
    """Writes README.md and checks.csv."""
    folder.mkdir(parents=True, exist_ok=True)
    command = "make gpu" + (" DEVICE=cpu ARGS=--rehearse" if arguments.rehearse else "")
    if not arguments.rehearse and (arguments.parts or arguments.seconds != WHOLE):
        parts = f" --parts {arguments.parts}" if arguments.parts else ""
        command += f' ARGS="--seconds {arguments.seconds:g}{parts}"'
    page = as_page(facts(arguments.device), ends, records, command)
    (folder / "README.md").write_text(page, encoding="utf-8")
    (folder / "checks.csv").write_text(as_csv(records), encoding="utf-8")


def facts(device: str) -> Mapping[str, str]:
    """Where the check ran."""
    torch = _torch()
    card = {}
    if device == "cuda":
        memory = torch.cuda.get_device_properties(0).total_memory / 2**30
        card = {"GPU": f"{torch.cuda.get_device_name()}, {memory:.0f} GiB",
                "CUDA": str(torch.version.cuda)}  # fmt: skip
    carried = sum(p.stat().st_size for p in (ROOT / FOLDER).rglob("*") if p.is_file())
    size = f"{carried / 2**20:.0f} of at most {MOST_BYTES / 2**20:.0f} MiB"
    return {
        **card, "device": device, "cores": str(os.cpu_count()), "torch": torch.__version__,
        "Python": sys.version.split()[0], "packages carried along": size,
        "finished": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
    }  # fmt: skip


def _torch():
    import torch

    return torch


if __name__ == "__main__":
    sys.exit(main())
