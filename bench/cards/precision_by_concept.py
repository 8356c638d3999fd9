"""How precisely units respond to each single concept: the parts of animals, for example.

`python -m legible.bench.cards.precision_by_concept SUITE --runs RUNS` reads the finished runs of a
suite and writes results/cards/precision_by_concept.csv, in which the rows of other suites stay.
Metrics of semantics are means over concepts; this table keeps concepts apart.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from legible.bench.execution.workspace import open_workspace
from legible.bench.one_network.unit_concepts import best_concepts_of_units, precision_table
from legible.bench.plugins import registry
from legible.bench.suites.run_spec import expand
from legible.bench.suites.schema import find_suite, read_suite
from legible.bench.text import listed
from legible.metrics.base import Probe

FILE = "precision_by_concept.csv"
#: ``mean`` and ``best``: over the live units of the layer, the precision for the concept
#: (`precision_table`). ``units``: the share of them that respond to it more precisely than to any
#: other concept.
COLUMNS = [
    "suite", "method", "params", "seed", "layer", "concept", "images", "mean", "best", "units",
]  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the table; prints how far it is."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("suite")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--results", type=Path, default=Path("results"))
    options = parser.parse_args(arguments)
    registry.load()
    suite = read_suite(find_suite(options.suite))
    workspace = open_workspace("cpu", (), options.runs, None)
    specs = [
        spec for spec in expand(suite)
        if not workspace.obstacle(spec) and workspace.run_of(spec).readable_manifest()
    ]  # fmt: skip
    tables = []
    for number, spec in enumerate(specs, 1):
        table = by_concept(workspace.probe(spec))
        row = {"suite": suite.name, "method": spec.row.method, "params": spec.row.params}
        tables.append(table.assign(**row, seed=spec.seed)[COLUMNS])
        print(f"[{number}/{len(specs)}] {spec.name}", flush=True)
    if not tables:
        parser.error(f"no finished run of {suite.name} in {options.runs}")
    path = options.results / "cards" / FILE
    if path.exists():
        earlier = pd.read_csv(path)
        tables.append(earlier[earlier["suite"] != suite.name])
    whole = pd.concat(tables, ignore_index=True).sort_values(COLUMNS[:6], kind="stable")
    whole.to_csv(path, index=False, float_format="%.4g", lineterminator="\n")
    print(f"{path}: {listed(sorted({spec.method for spec in specs}))}")


def by_concept(probe: Probe) -> pd.DataFrame:
    """The table of one network, with the last columns of `COLUMNS`, from ``layer`` on."""
    precisions = precision_table(probe)
    own = best_concepts_of_units(precisions)
    counts = own.groupby(["layer", "concept"]).size()
    alive = own.groupby("layer").size()
    table = precisions.groupby(["layer", "concept"], as_index=False).agg(
        images=("images", "first"), mean=("precision", "mean"), best=("precision", "max")
    )
    shares = [
        counts.get((layer, concept), 0) / alive[layer]
        for layer, concept in zip(table["layer"], table["concept"], strict=True)
    ]
    return table.assign(units=shares)


if __name__ == "__main__":
    main()
