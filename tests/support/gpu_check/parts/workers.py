"""Runs an hour of `quick` with several workers on one device."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import torch

from gpu_check.networks import open_place, quick_suite, trains
from gpu_check.record import Check
from gpu_check.setting import Case, Setting
from legible.bench.execution.progress import Event
from legible.bench.execution.schedule import do_runs
from legible.bench.plugins import registry
from legible.bench.suites.run_spec import RunSpec, expand

PART = "throughput"
JOBS = (1, 8, 4)
#: The number of workers that is compared with one, and tried with MPS too.
MANY = 8
#: The program that starts and ends NVIDIA's multi-process service.
MPS = "nvidia-cuda-mps-control"
#: How many times one worker's runs an hour the best number of workers should give.
GOAL = 5.0
#: Seconds that workers need at most to end after the time is over.
ENDING = 4.0


class TimeOver(BaseException):
    """The time of a measurement is over. It is no fault of the run that it ends."""


@dataclass
class Watch:
    """Notes when runs start and end, samples the device's memory, and raises TimeOver."""

    device: str
    deadline: float
    starts: dict[str, float] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)  # of the runs that ended
    failures: list[str] = field(default_factory=list)
    memory: float = 0.0

    def __call__(self, event: Event) -> None:
        """Takes in what a worker reports."""
        now = time.monotonic()
        if event.kind == "start":
            self.starts.setdefault(event.run, now)
        elif event.kind == "done":
            self.seconds.append(now - self.starts[event.run])
        elif event.kind == "failed":
            self.failures.append(f"{event.run}: {event.text}")
        if self.device.startswith("cuda"):
            free, total = torch.cuda.mem_get_info()
            self.memory = max(self.memory, (total - free) / 2**20)
        if now > self.deadline:
            raise TimeOver


def cases(setting: Setting) -> dict[str, Case]:
    """A case for each number of workers, which share the time that is left equally."""
    specs = mixed_runs(setting)
    single: list[float] = []
    tries = [(count, False) for count in ((1, 2) if setting.rehearse else JOBS)]
    if setting.device == "cuda" and shutil.which(MPS):
        tries.insert(2, (MANY, True))
    return {
        name_of(*each): lambda each=each, number=number: measure(
            setting, specs, *each, setting.left / (len(tries) - number), single
        )
        for number, each in enumerate(tries)
    }


def name_of(jobs: int, shared: bool) -> str:
    """The name of a case."""
    return f"{jobs} worker{'s' if jobs > 1 else ''}{', MPS' if shared else ''}"


@contextlib.contextmanager
def sharing_the_card() -> Iterator[None]:
    """A context in which NVIDIA's multi-process service (MPS) runs: kernels of several processes
    are on the card at the same time, which they otherwise take in turn."""
    names = ("CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY")
    with tempfile.TemporaryDirectory(prefix="mps-") as folder:
        os.environ |= dict.fromkeys(names, folder)
        subprocess.run([MPS, "-d"], check=True, timeout=20)
        try:
            yield
        finally:
            subprocess.run([MPS], input="quit\n", text=True, timeout=20)
            for name in names:
                del os.environ[name]


def mixed_runs(setting: Setting) -> list[RunSpec]:
    """The runs of `quick` that train a network, by seed, so that any number of them holds the same
    mixture of methods."""
    registry.load()
    specs = expand(quick_suite(setting))
    trained = [spec for spec in specs if trains(registry.get("methods", spec.method))]
    return trained[:4] if setting.rehearse else trained


def measure(
    setting: Setting, specs: Sequence[RunSpec], jobs: int, shared: bool, seconds: float,
    single: list[float],
) -> Iterable[Check]:  # fmt: skip
    """Runs an hour and memory of one number of workers; ``single`` holds those of one worker."""
    case = name_of(jobs, shared)
    begin = time.monotonic()
    deadline = begin + min(seconds, setting.left) - ENDING
    watch = Watch(setting.device, deadline)
    over = False
    try:
        with sharing_the_card() if shared else contextlib.nullcontext():
            do_runs(open_place(setting), specs, jobs, [], watch)
    except TimeOver:
        over = True
    rate = runs_an_hour(watch.seconds, jobs)
    single += [rate] if jobs == 1 else []
    text = f"{len(watch.seconds)} runs" + ("; stopped when its time was over" if over else "")
    yield Check(PART, case, "runs an hour", "note", rate, single[0] if single else rate, text)
    if watch.starts:
        first = min(watch.starts.values()) - begin
        yield Check(PART, case, "first run starts after, s", "note", first)
    for failure in watch.failures[:1]:
        yield Check(PART, case, "failed runs", "bad", len(watch.failures), 0.0, failure[:300])
    if watch.memory:
        yield Check(PART, case, "peak memory of the card, MiB", "note", watch.memory)
    if jobs == MANY and single:
        verdict = "ok" if rate >= GOAL * single[0] else "bad"
        yield Check(PART, case, "times one worker's", verdict, rate / single[0], GOAL)


def runs_an_hour(seconds: Sequence[float], jobs: int) -> float:
    """Runs an hour of workers that are never idle, from the seconds of the runs that ended; NaN if
    none ended. The start of the workers' processes is not counted."""
    return 3600 * jobs * len(seconds) / sum(seconds) if seconds else float("nan")
