"""Pairs of probes for metrics that compare: test with training images, a seed with the next."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

from legible.bench.execution.store import Corrupt, Run
from legible.bench.execution.workspace import Workspace, probe_key
from legible.bench.scoring.score import MISSING, Others, stale_metrics
from legible.bench.suites.run_spec import RunSpec
from legible.metrics.base import METRICS, Probe, scope


@dataclass(frozen=True)
class Scorable:
    """The metrics that a run can be scored with now. ``partner`` is the name of the other seed's
    run that some of them compare with ("" if there is none)."""

    metrics: list[str]
    partner: str


def between_seeds(name: str) -> bool:
    """Whether a metric compares the networks of two seeds."""
    return _scope(METRICS[name].function) == "seeds"


_scope = functools.lru_cache(maxsize=4096)(scope)


def scorable(workspace: Workspace, spec: RunSpec) -> Scorable:
    """The metrics that a trained run can be scored with now; metrics that compare seeds have to
    wait until the next seed's run has ended."""
    partner = partner_of(spec)
    if partner is None:
        return Scorable(spec.metrics, "")
    run = workspace.run_of(partner)
    try:
        manifest = run.manifest()
        ended = manifest is not None and (run.done() or manifest.ended)
    except Corrupt:  # it counts as missing, and is made again when its own turn comes
        ended = False
    return Scorable([n for n in spec.metrics if ended or not between_seeds(n)], run.name)


def unscored(workspace: Workspace, spec: RunSpec, run: Run | None = None) -> list[str]:
    """The scorable metrics that have no score computed by the current code with this partner."""
    run = run or workspace.run_of(spec)
    possible = scorable(workspace, spec)
    keys = run.score_keys(probe_key(workspace, spec))
    return stale_metrics(keys, possible.metrics, possible.partner, spec.images)


def partner_of(spec: RunSpec) -> RunSpec | None:
    """The same run spec with the suite's next seed; None if the suite has one seed."""
    return None if spec.partner is None else replace(spec, seed=spec.partner)


def others(workspace: Workspace, spec: RunSpec) -> Others:
    """The probes that a run is compared with, each made when a metric first needs it."""
    partner = partner_of(spec)

    @functools.cache
    def seeds() -> Probe | str:
        if partner is None:
            return MISSING["seeds"]
        if not workspace.run_of(partner).done():
            return f"seed {partner.seed} has no trained network"
        return workspace.probe(partner)

    return {"splits": functools.cache(lambda: workspace.probe(spec, "train")), "seeds": seeds}
