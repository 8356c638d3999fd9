"""The other networks that comparisons look at: the run's training images, and the next seed."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

from legible.bench.execution.store import Run
from legible.bench.execution.workspace import Workspace, probe_key
from legible.bench.scoring.score import MISSING, Others, stale_metrics
from legible.bench.suites.run_spec import RunSpec
from legible.metrics.base import METRICS, Probe, scope


@dataclass(frozen=True)
class Due:
    """What can be scored of a run now: metrics, and the name of the run of another seed that some
    of them look at ("": none)."""

    metrics: list[str]
    partner: str


def between_seeds(name: str) -> bool:
    """Whether a metric compares the networks of two seeds."""
    return scope(METRICS[name].function) == "seeds"


def due(workspace: Workspace, spec: RunSpec) -> Due:
    """What can be scored of a trained run; comparisons of seeds wait for the next seed's run."""
    partner = partner_of(spec)
    if partner is None:
        return Due(spec.metrics, "")
    run = workspace.run_of(partner)
    # a corrupt partner counts as not there: it is redone when its own turn comes
    manifest = run.readable_manifest()
    ended = manifest is not None and manifest.ended
    return Due([n for n in spec.metrics if ended or not between_seeds(n)], run.name)


def unscored(workspace: Workspace, spec: RunSpec, run: Run | None = None) -> list[str]:
    """Metrics that can be scored now and are not, or were with other code or another partner."""
    run = run or workspace.run_of(spec)
    now = due(workspace, spec)
    return stale_metrics(run.scores(probe_key(workspace, spec)), now.metrics, now.partner)


def partner_of(spec: RunSpec) -> RunSpec | None:
    """The same run spec with the suite's next seed; None where the suite has one seed."""
    return None if spec.partner is None else replace(spec, seed=spec.partner)


def others(workspace: Workspace, spec: RunSpec) -> Others:
    """The other probes of a run, each made when a metric first asks for it."""
    partner = partner_of(spec)

    @functools.cache
    def seeds() -> Probe | str:
        if partner is None:
            return MISSING["seeds"]
        if not workspace.run_of(partner).done():
            return f"seed {partner.seed} has no trained network"
        return workspace.probe(partner)

    return {"splits": functools.cache(lambda: workspace.probe(spec, "train")), "seeds": seeds}
