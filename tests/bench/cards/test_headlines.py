"""The list of candidates for the headline of each aspect."""

from __future__ import annotations

from legible.bench.cards.headlines import candidates, heads
from legible.bench.plugins import registry
from legible.bench.scores.headline_conditions import REPEATS, Condition

registry.load(["metrics"])


def rows(metric: str, head: str, reliability: float, *holds: str) -> list[Condition]:
    base = Condition(head, metric, False, "scenes", "vgg", "conv", "")
    fault = base._replace(condition="oracle", ours=0.5, theirs=0.4)
    repeats = base._replace(condition=REPEATS, ours=reliability)
    return [fault._replace(holds=text) for text in holds] + [repeats]


def test_heads_are_aspects_and_their_parts():
    names = heads()
    place = names.index("semantics")
    assert names[place : place + 4] == ["semantics", "localisation", "exclusivity", "coverage"]
    assert names[0] == "task"


def test_candidates_are_in_order_of_faults_and_reliability():
    text = candidates([
        *rows("concept_auc", "localisation", 0.9, "no"),
        *rows("concept_localisation", "localisation", 0.8, "yes"),
        *rows("part_interpretability", "localisation", 0.95, "yes"),
        *rows("modularity_excess", "structure", 0.95, ""),
    ])  # fmt: skip
    lines = [line.split() for line in text.strip().splitlines()]
    assert lines[0] == ["localisation"]
    assert [line[0] if line[0] != "*" else line[1] for line in lines[1:]] == [
        "part_interpretability", "concept_localisation", "concept_auc",
    ]  # fmt: skip
    assert lines[2][0] == "*"  # the headline of today
    assert "fails nothing" in text and "oracle on scenes (0.5 against 0.4)" in text
    assert "structure" not in text  # it has no direction
