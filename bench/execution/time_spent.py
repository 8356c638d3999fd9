"""Where the time of a command went: training, scoring by aspect, and the rest."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from legible.bench.execution.progress import Event, Report, minutes
from legible.bench.execution.workspace import Workspace, probe_key
from legible.bench.suites.run_spec import RunSpec
from legible.metrics.base import METRICS

#: Aspects that are named; the shorter ones are added up.
NAMED = 4


class Clock:
    """Measures, from its making on, what the workers of this command spend on runs.

    Call it with each event, under the names of the runs' folders; it passes them on to ``then``.
    ``specs`` are the runs that may be done, ``workers`` the number of workers. Runs that are done
    elsewhere meanwhile do not count.
    """

    def __init__(
        self, workspace: Workspace, specs: Sequence[RunSpec], workers: int, then: Report
    ) -> None:
        self.workspace, self.workers, self.then = workspace, workers, then
        self.specs = {workspace.run_of(spec).name: spec for spec in specs}
        self.start = time.monotonic()
        self.earlier = {name: self._keys(spec) for name, spec in self.specs.items()}
        self.trained: set[str] = set()
        self.ended: set[str] = set()

    def __call__(self, event: Event) -> None:
        """Takes in what a worker reports."""
        self.then(event)
        if event.kind == "epoch":  # a start may be that of scoring alone
            self.trained.add(event.run)
        elif event.kind in ("done", "failed"):
            self.ended.add(event.run)

    def line(self) -> str:
        """Where the time since then went, in one line; empty if no run ended."""
        if not self.ended:
            return ""
        elapsed = time.monotonic() - self.start
        return time_line(elapsed, self.workers, self.training(), self.scoring())

    def training(self) -> float:
        """Seconds of all epochs of the runs that were trained; those before a checkpoint count as
        well."""
        specs = [self.specs[name] for name in self.trained & self.ended & set(self.specs)]
        manifests = [self.workspace.run_of(spec).readable_manifest() for spec in specs]
        return sum(sum(manifest.seconds) for manifest in manifests if manifest is not None)

    def scoring(self) -> dict[str, float]:
        """Seconds by aspect of all metrics that were computed."""
        seconds: dict[str, float] = {}
        for run_name in self.ended & set(self.specs):
            spec = self.specs[run_name]
            stored = self.workspace.run_of(spec).scores(probe_key(self.workspace, spec))
            for name, scores in stored.items():
                if self.earlier[run_name].get(name) != scores.key and name in METRICS:
                    aspect = METRICS[name].aspect
                    spent = sum(score.seconds for score in scores.layers)
                    seconds[aspect] = seconds.get(aspect, 0.0) + spent
        return seconds

    def _keys(self, spec: RunSpec) -> dict[str, str]:
        return self.workspace.run_of(spec).score_keys(probe_key(self.workspace, spec))


def time_line(elapsed: float, workers: int, training: float, scoring: Mapping[str, float]) -> str:
    """What some workers did for ``elapsed`` seconds: "2 workers for 1:00: 0:50 training, ...".

    "Other" is what is left of the workers' time: starting, loading data, passing images through
    networks, and waiting for each other.
    """
    longest = sorted(scoring.items(), key=lambda item: -item[1])
    parts = [f"{name} {minutes(spent)}" for name, spent in longest[:NAMED]]
    if rest := longest[NAMED:]:
        parts.append(f"{len(rest)} more {minutes(sum(spent for _, spent in rest))}")
    scored = sum(scoring.values())
    by_aspect = f" ({', '.join(parts)})" if parts else ""
    other = max(0.0, elapsed * workers - training - scored)
    who = f"{workers} worker{'s' if workers > 1 else ''}"
    return (
        f"{who} for {minutes(elapsed)}: {minutes(training)} training, {minutes(scored)} scoring"
        f"{by_aspect}, {minutes(other)} other (start, data, waiting)"
    )
