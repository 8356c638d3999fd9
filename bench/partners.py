"""What comparisons look at besides a run's own probe: its training images, and the next seed."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from bench.score import MISSING, Others, stale
from bench.store import Run
from bench.suite import Cell
from metrics.base import METRICS, Probe, scope

if TYPE_CHECKING:
    from bench.execute import Bench


class Due(NamedTuple):
    """Metrics that can be scored now, and the run of another seed that some look at ("": none)."""

    metrics: list[str]
    partner: str

    def stale(self, run: Run, key: str) -> list[str]:
        """Those that are not scored yet, or with another source or partner."""
        return stale(run.scores(key), self.metrics, self.partner)


def between_seeds(name: str) -> bool:
    """Whether a metric compares the networks of two seeds."""
    return scope(METRICS[name].function) == "seeds"


def due(bench: Bench, cell: Cell) -> Due:
    """What can be scored of a trained cell; comparisons of seeds wait for the next seed's run."""
    partner = partner_of(cell)
    if partner is None:
        return Due(cell.metrics, "")
    run = bench.run_of(partner)
    manifest = run.told()  # one that is corrupt is set aside and redone when its cell is taken
    ended = manifest.get("status") == "done" or manifest.get("final", False)
    return Due([n for n in cell.metrics if ended or not between_seeds(n)], run.name)


def partner_of(cell: Cell) -> Cell | None:
    """The same cell with the suite's next seed; None where the suite has one seed."""
    return None if cell.partner is None else replace(cell, seed=cell.partner)


def others(bench: Bench, cell: Cell) -> Others:
    """The other probes of a cell, each made when a metric first asks for it."""
    partner = partner_of(cell)

    @functools.cache
    def seeds() -> Probe | str:
        if partner is None:
            return MISSING["seeds"]
        if not bench.run_of(partner).done():
            return f"seed {partner.seed} has no trained network"
        return bench.probe(partner)

    return {"splits": functools.cache(lambda: bench.probe(cell, "train")), "seeds": seeds}
