"""The scores of impostors, built from the plain networks of suite `cards`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from legible.bench.execution.pairs import others
from legible.bench.execution.workspace import Workspace
from legible.bench.plugins import registry
from legible.bench.scores.collect import ORACLE, score_row
from legible.bench.scores.headline_conditions import IMPOSTOR
from legible.bench.scores.score_table import ScoreRow
from legible.bench.scoring.impostors import IMPOSTORS, impostor_probe, reads_activations
from legible.bench.scoring.oracle import common, oracle_layer
from legible.bench.scoring.score import Others, score_metric
from legible.bench.suites.run_spec import RunSpec
from legible.metrics.base import Metric, Probe, scope


def impostor_rows(workspace: Workspace, specs: Sequence[RunSpec]) -> list[ScoreRow]:
    """The scores of every impostor in each metric that reads activations, for each plain run.

    Also the oracle's scores in the aspects in which a suite does not score it.
    """
    rows: list[ScoreRow] = []
    for spec in specs:
        if spec.method == "plain" and workspace.run_of(spec).done():
            rows += _of_run(workspace, spec)
    return rows


def _of_run(workspace: Workspace, spec: RunSpec) -> Iterator[ScoreRow]:
    items = [registry.get("metrics", name) for name in spec.metrics]
    items = [item for item in items if reads_activations(item)]
    probe, others_of_run = workspace.probe(spec), others(workspace, spec)
    for name in IMPOSTORS:
        built = impostor_probe(name, probe)
        if built is not None:
            yield from _scored(spec, name, items, built, _impostors_of(name, built, others_of_run))
    if oracle := _oracle(probe):
        rest = [m for m in items if scope(m.function) == "layer" and not _scored_elsewhere(m)]
        for item in rest:
            for score in score_metric(item, oracle):
                yield score_row(spec, "", score).model_copy(update=ORACLE)


def _scored(
    spec: RunSpec, name: str, items: Sequence[Metric], probe: Probe, others_of_run: Others
) -> Iterator[ScoreRow]:
    own = {"method": IMPOSTOR + name, "label": IMPOSTOR + name, "kind": "null", "params": "{}"}
    for item in items:
        for score in score_metric(item, probe, others_of_run):
            yield score_row(spec, "", score).model_copy(update=own)


def _impostors_of(name: str, probe: Probe, others_of_run: Others) -> Others:
    """The other probes of comparisons, with the same impostor in place of their layers.

    On other images fewer concepts may be common, so that two-concept units cannot be compared.
    """

    def built(kind: str) -> Probe | str:
        other = others_of_run[kind]()
        if isinstance(other, str):
            return other
        impostor = impostor_probe(name, other)
        alike = impostor is not None and all(
            layer.units == probe.layers[key].units for key, layer in impostor.layers.items()
        )
        return impostor if impostor is not None and alike else "no such impostor there"

    cache: dict[str, Probe | str] = {}

    def of(kind: str) -> Probe | str:
        if kind not in cache:
            cache[kind] = built(kind)
        return cache[kind]

    return {kind: (lambda kind=kind: of(kind)) for kind in others_of_run}


def _scored_elsewhere(item: Metric) -> bool:
    """Whether the suite itself scores the oracle with a metric (`collect.oracle_rows`)."""
    return item.aspect in ("focus", "semantics")


def _oracle(probe: Probe) -> Probe | None:
    """The oracle in place of each layer with a map; None without concepts."""
    concepts = None if probe.concepts is None else common(probe.concepts)
    layers = {
        name: replace(oracle_layer(concepts, layer.activation.shape[2:]), name=name)
        for name, layer in probe.layers.items()
        if concepts is not None and len(concepts) and layer.spatial
    }
    return replace(probe, layers=layers, memo={}) if layers else None
