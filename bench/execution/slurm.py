"""Workers on a Slurm cluster: a readable script beside the runs, submitted as arrays of jobs.

Each job starts `legible run SUITE --worker`, which does runs until none is left. Slurm starts a job
again after a failure of its node or a preemption (``--requeue``), and the script itself does where
the time limit is near.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from legible.bench.errors import UserError
from legible.bench.execution.stop import REQUEUE
from legible.bench.execution.store import Store, one_line_errors
from legible.bench.files import write_bytes

#: Seconds before a job's time limit at which its worker is asked to stop: at most so many, and this
#: share of the limit.
NOTICE, NOTICE_SHARE = 120, 0.2
#: Where one option ends and the next begins; other commas belong to a value.
_NEXT = re.compile(r",(?=[a-z][a-z0-9-]*=)")
_OPTION = re.compile(r"[a-z][a-z0-9-]*")
_TIME = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?")
#: The length of an array that every Slurm allows, where it does not say its limit.
SHORT_ARRAY = 1000


@dataclass(frozen=True)
class SlurmOptions:
    """What a user asks of Slurm: long options of sbatch with their values (None: none), the lines
    of the script before the workers start, and the number of workers."""

    options: Mapping[str, str | None]
    setup: Sequence[str] = ()
    workers: int = 1

    @property
    def wants_gpu(self) -> bool:
        """Whether the options ask for a GPU."""
        return any(
            name.startswith("gpus") or (name == "gres" and "gpu" in (value or ""))
            for name, value in self.options.items()
        )


def read_options(texts: Sequence[str], setup: Sequence[str] = ()) -> SlurmOptions:
    """Options from texts like ``partition=gpu,gpus=1,workers=16`` or ``exclusive``.

    A comma begins the next option where ``name=`` follows; other commas belong to the value. Raises
    UserError.
    """
    options: dict[str, str | None] = {}
    for part in (part for text in texts for part in _NEXT.split(text)):
        name, equals, value = part.partition("=")
        if not _OPTION.fullmatch(name):
            raise UserError(
                f"--slurm '{part}': write long options of sbatch, like partition=gpu,time=2:00:00"
            )
        if name == "array":
            raise UserError("--slurm array=...: give the number of workers instead, like workers=4")
        if name in options:
            raise UserError(f"--slurm {name}: it is given twice")
        options[name] = value if equals else None
    for text in [*setup, *(value or "" for value in options.values())]:
        if re.search(r"[\x00-\x1f\x7f]", text):
            raise UserError(f"--slurm '{text}': control characters cannot be passed on")
    return SlurmOptions(options, setup, _workers(options))


def _workers(options: dict[str, str | None]) -> int:
    """Takes the number of workers out of the options."""
    text = options.pop("workers", "1") or ""
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text[:9]) <= 100_000:
        raise UserError(f"--slurm workers={text}: write a number from 1 to 100000, like workers=16")
    return int(text)


# ----------------------------------------------------------------- the script


def script(
    name: str, command: Sequence[str], wish: SlurmOptions, output: Path, folder: Path
) -> str:
    """The script of one job; ``name`` is the suite's, ``command`` starts a worker, ``output`` is
    the pattern of the files of what workers print, ``folder`` is where they work."""
    ours = {
        "job-name": f"legible-{name}", "output": str(output), "open-mode": "append",
        "requeue": None, "signal": f"USR1@{_notice(wish.options.get('time'))}",
    }  # fmt: skip
    own = wish.options.keys() | ({"requeue"} if "no-requeue" in wish.options else set())
    options = {k: v for k, v in ours.items() if k not in own} | dict(wish.options)
    lines = [_option_line(option, value) for option, value in options.items()]
    return "\n".join([
        "#!/bin/bash",
        *lines,
        *wish.setup,
        "",
        f"cd {shlex.quote(str(folder))} || exit 1",
        f"srun --kill-on-bad-exit=0 {shlex.join(command)}",
        "code=$?",
        f"# {REQUEUE}: stopped near the time limit. The next start goes on from the checkpoints.",
        f'if [ "$code" -eq {REQUEUE} ]; then scontrol requeue "$SLURM_JOB_ID"; fi',
        'exit "$code"',
        "",
    ])  # fmt: skip


def _option_line(option: str, value: str | None) -> str:
    return f"#SBATCH --{option}" + ("" if value is None else f"={shlex.quote(value)}")


def _notice(limit: str | None) -> int:
    """Seconds before a time limit at which Slurm sends its signal."""
    seconds = time_in_seconds(limit or "")
    return NOTICE if seconds is None else max(1, min(NOTICE, int(NOTICE_SHARE * seconds)))


def time_in_seconds(text: str) -> int | None:
    """A time as Slurm writes it (``90``, ``2:00:00``, ``1-12``) in seconds; None for other
    text."""
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    days, *rest = match.groups()
    numbers = [int(part) for part in rest if part is not None]
    if days is not None:  # days-hours[:minutes[:seconds]]
        hours, minutes, seconds = [*numbers, 0, 0][:3]
    elif len(numbers) == 3:
        hours, minutes, seconds = numbers
    else:  # minutes[:seconds]
        hours, (minutes, seconds) = 0, [*numbers, 0][:2]
    return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds


# ----------------------------------------------------------------- Slurm's commands


def refuse_missing() -> None:
    """Raises UserError on a machine without Slurm."""
    if shutil.which("sbatch") is None:
        raise UserError("--slurm: no Slurm on this machine (no sbatch); use --jobs N instead")


def call(*words: str) -> str:
    """What a command of Slurm prints. Raises UserError with the reason if it fails."""
    try:
        result = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"{words[0]}: {error}") from error
    if result.returncode:
        lines = [line for line in result.stderr.splitlines() if line.strip()]
        reason = lines[0] if lines else f"error: exit code {result.returncode}"
        raise UserError(f"{words[0]}: {reason.removeprefix(f'{words[0]}: ')}")
    return result.stdout


def longest_array() -> int:
    """The number of jobs that an array may have on this cluster."""
    match = re.search(r"MaxArraySize\s*=\s*(\d+)", call("scontrol", "show", "config"))
    return max(1, int(match[1])) if match else SHORT_ARRAY


def submit_workers(
    store: Store, name: str, command: Sequence[str], wish: SlurmOptions, workers: int
) -> tuple[Path, list[str]]:
    """Writes the script of a suite's workers and submits it; returns its path and the numbers of
    the jobs. Arrays are as long as the cluster allows. Raises UserError."""
    folder = slurm_folder(store)
    path = _next_path(folder, name)
    output = Path(f"{str(path.with_suffix('')).replace('%', '%%')}.%A_%a.out")
    text = script(name, command, wish, output, Path.cwd())
    with one_line_errors("write", path):
        write_bytes(path, text.encode())
        longest = longest_array()
        jobs: list[str] = []
        for start in range(0, workers, longest):
            last = min(longest, workers - start) - 1
            answer = call("sbatch", "--parsable", f"--array=0-{last}", str(path))
            jobs.append(answer.strip().partition(";")[0])
            write_bytes(path.with_suffix(".jobs"), "".join(f"{job}\n" for job in jobs).encode())
    return path, jobs


def slurm_folder(store: Store) -> Path:
    """Where scripts, numbers of jobs, and what workers print are."""
    return store.root.absolute() / ".slurm"


def _next_path(folder: Path, name: str) -> Path:
    number = 1
    while (path := folder / f"{name}-{number}.sh").exists():
        number += 1
    return path


def submitted_jobs(store: Store, name: str) -> list[str]:
    """The numbers of all jobs that were submitted for a suite."""
    jobs = []
    for path in sorted(slurm_folder(store).glob("*.jobs")):
        if re.fullmatch(rf"{re.escape(name)}-\d+", path.stem):
            with one_line_errors("read", path):
                jobs += path.read_text().split()
    return jobs


@dataclass(frozen=True)
class QueuedJob:
    """A job of a suite in Slurm's queue: its number, its state (``PENDING``, ``RUNNING``, ...) and
    why it waits."""

    number: str
    state: str
    reason: str


def queued_jobs(store: Store, name: str) -> list[QueuedJob]:
    """The jobs of a suite that wait or run; none where there is no Slurm."""
    jobs = submitted_jobs(store, name)
    if not jobs or shutil.which("squeue") is None:
        return []
    out = call("squeue", "--noheader", "--array", "--me", "--format=%F|%i|%T|%r")
    rows = [line.strip().split("|") for line in out.splitlines() if line.count("|") == 3]
    return [QueuedJob(number, state, reason) for first, number, state, reason in rows
            if first in jobs]  # fmt: skip


def cancel_jobs(store: Store, name: str) -> list[str]:
    """Cancels the jobs of a suite that wait or run; returns their numbers. Their workers stop at a
    checkpoint."""
    numbers = sorted({job.number.partition("_")[0] for job in queued_jobs(store, name)})
    if numbers:
        call("scancel", *numbers)
    return numbers


def worker_command(
    python: str, suite: str, options: Mapping[str, object], flags: Mapping[str, bool]
) -> list[str]:
    """The command of a worker; options that are None are left out, lists are repeated."""
    words = [python, "-m", "legible", "run", suite, "--worker"]
    for name, value in options.items():
        values = value if isinstance(value, list) else [] if value is None else [value]
        words += [word for one in values for word in (name, str(one))]
    return words + [name for name, is_set in flags.items() if is_set]
