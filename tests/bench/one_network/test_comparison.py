"""Scores of a network beside its twin and the impostors, and the reasons of missing ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_networks import Branching, small_network

from legible.bench.errors import UserError
from legible.bench.one_network.comparison import (
    NETWORK,
    TWIN,
    UNKNOWN_EVIDENCE,
    compare,
    metric_names,
)
from legible.bench.one_network.image_data import load_images
from legible.bench.one_network.reading import read_network
from legible.bench.one_network.subject import given_subject, with_taps
from legible.bench.plugins import registry
from legible.bench.scores.headline_conditions import IMPOSTOR
from legible.bench.scoring.oracle import measurability
from legible.bench.scoring.score import score_metric
from legible.metrics.base import ASPECTS, METRICS

registry.load(["metrics"])
FEW = ["accuracy", "focus_compactness", "concept_localisation", "own_unit_share",
       "matched_dimensions", "pruning_area", "class_selectivity", "effective_units"]  # fmt: skip


def scores(model, data, metrics=FEW, **options):
    comparison = compare(given_subject(model, ""), data, metrics=metrics, **options)
    rows = {(row.method, row.metric, row.layer): row for row in comparison.rows}
    assert len(rows) == len(comparison.rows)
    return comparison, rows


def test_the_network_s_numbers_are_those_of_its_probe(toy):
    data, model = load_images(toy), small_network()
    comparison, rows = scores(model, data)
    assert comparison.layers == ["1", "4"] and comparison.reason == ""
    with torch.no_grad():
        answers = model(data.batch(slice(None))).argmax(1)
    accuracy = float((answers == data.labels).double().mean())
    assert rows[NETWORK, "accuracy", ""].value == pytest.approx(accuracy)
    network, names = with_taps(small_network(), data)
    probe = read_network(network, names, data)
    for score in score_metric(METRICS["focus_compactness"], probe):
        row = rows[NETWORK, "focus_compactness", score.layer]
        assert row.value == pytest.approx(score.value) and row.count == len(score.values)
        assert rows[TWIN, "focus_compactness", score.layer].value != pytest.approx(score.value)


def test_impostors_are_scored_with_what_reads_activations(toy):
    _, rows = scores(small_network(), load_images(toy))
    assert rows[IMPOSTOR + "label", "class_selectivity", "4"].value == 1
    assert rows[IMPOSTOR + "energy", "concept_localisation", "1"].value == pytest.approx(0)
    for name in ("accuracy", "own_unit_share", "pruning_area", "effective_units"):
        row = rows[IMPOSTOR + "copies", name, ""]
        assert row.value is None and row.reason.startswith("reads weights or runs the network")
    assert "second network" in rows[NETWORK, "matched_dimensions", ""].reason


def test_a_map_that_is_too_coarse_is_said_with_the_oracle_s_scores(toy):
    data = load_images(toy)
    _, rows = scores(small_network(), data, ["concept_localisation"])
    gate = measurability(data.concepts, (8, 8))
    reason = rows[NETWORK, "concept_localisation", "4"].reason
    assert "on 8 x 8 positions" in reason and not gate.passes
    assert f"IoU {gate.iou:.2f} (needed: 0.4)" in reason
    assert f"interpretability {gate.interpretability:.2f} (needed: 0.9)" in reason


def test_coarse_maps_are_said_before_anything_is_scored(toy):
    lines: list[str] = []
    data = load_images(toy)
    compare(given_subject(small_network(), ""), data, metrics=["accuracy"], report=lines.append)
    assert lines[0].startswith("forward pass")
    (line,) = [line for line in lines if "too coarse" in line]
    assert lines.index(line) == 1
    assert line.startswith("layer 4: its map of 8 x 8 positions is too coarse for the masks")
    assert line.endswith("; 16 x 16 would do: read an earlier layer, or larger images")
    assert measurability(data.concepts, (16, 16)).passes


def test_answers_are_counted(toy):
    data = load_images(toy)
    model = small_network()
    comparison, rows = scores(model, data, ["accuracy"])
    assert comparison.correct == round(rows[NETWORK, "accuracy", ""].value * len(data))
    with torch.no_grad():
        assert comparison.different == len(model(data.batch(slice(None))).argmax(1).unique())


def test_two_runs_give_the_same_numbers(toy):
    first, second = (scores(small_network(), load_images(toy))[0].rows for _ in range(2))
    assert first == second


def test_without_a_common_head_answers_are_not_compared(toy):
    _, rows = scores(small_network(classes=7), load_images(toy))
    for name in ("accuracy", "own_unit_share", "pruning_area"):
        row = rows[NETWORK, name, ""]
        assert row.value is None and "7 outputs are not the data's 3 classes" in row.reason
    for name in ("class_selectivity", "focus_compactness", "concept_localisation",
                 "effective_units"):  # fmt: skip
        assert rows[NETWORK, name, "1"].value is not None


def test_a_class_map_joins_answers_and_labels(toy):
    data = load_images(toy)
    class_map = {"a": [4], "b": [0, 1], "c": [6]}
    _, rows = scores(small_network(classes=7), data, class_map=class_map)
    with torch.no_grad():
        logits = small_network(classes=7)(data.batch(slice(None)))
    parts = [logits[:, 4], logits[:, :2].amax(1), logits[:, 6]]
    right = (torch.stack(parts, 1).argmax(1) == data.labels).double().mean()
    assert rows[NETWORK, "accuracy", ""].value == pytest.approx(float(right))
    assert rows[NETWORK, "pruning_area", ""].value is not None


def test_a_network_that_cannot_be_traced_keeps_what_reads_activations(toy):
    model, data = Branching(), load_images(toy)
    comparison, rows = scores(model, data)
    assert comparison.reason.startswith("cannot be traced after 'lt'")
    for name, layer in (("pruning_area", ""), ("own_unit_share", "body.4"),
                        ("effective_units", "body.4")):  # fmt: skip
        row = rows[NETWORK, name, layer]
        assert row.value is None and "cannot be traced after 'lt'" in row.reason
    _, traced = scores(small_network(), data)
    for name in ("accuracy", "focus_compactness", "concept_localisation", "class_selectivity"):
        own = rows[NETWORK, name, "" if name == "accuracy" else "body.1"].value
        other = traced[NETWORK, name, "" if name == "accuracy" else "1"].value
        assert own == pytest.approx(other, rel=1e-5)


def test_relevance_is_not_computed_without_evidence(toy):
    masks = load_images(toy).concepts.masks()
    concepts = type(load_images(toy).concepts).pack(masks, "xyz", ["part"] * 3, [True] * 3)
    data = load_images((toy.test.images.float(), toy.test.labels), concepts=concepts)
    _, rows = scores(small_network(), data, ["relevance_mass"])
    assert rows[NETWORK, "relevance_mass", ""].reason == UNKNOWN_EVIDENCE


def test_metrics_are_headlines_all_or_named():
    headlines = metric_names("headline")
    assert "accuracy" in headlines and all(METRICS[name].headline for name in headlines)
    everything = metric_names("all")
    assert set(headlines) < set(everything)
    assert {METRICS[name].aspect for name in everything} == set(ASPECTS)
    assert "claimed_modularity" not in everything and "selected_accuracy" not in everything
    assert metric_names("modularity") == ["modularity"]
    assert metric_names(["accuracy", "modularity"]) == ["accuracy", "modularity"]
    with pytest.raises(UserError, match="no metric 'acuracy'; did you mean 'accuracy'"):
        metric_names("acuracy")


@pytest.mark.slow
def test_every_metric_has_a_number_or_a_reason(toy):
    """All metrics, on a network whose classes are the data's."""
    _, rows = scores(small_network(), load_images(toy, most=24), metric_names("all"))
    for row in rows.values():
        assert (row.value is None) or np.isfinite(row.value)
        assert row.value is not None or row.reason or row.undefined == row.count
        assert not row.reason.startswith("error:"), row


def test_a_metric_that_is_undefined_for_every_unit_has_no_number(toy):
    """It had the number that undefined units count as: of ten images, none has a concept often
    enough, and each column said 0."""
    data = load_images(toy, most=10)
    said = []
    _, rows = scores(small_network(), data, ["concept_localisation"], report=said.append)
    assert all(row.value is None for row in rows.values())
    line = "no concept is in 10 of these 10 images, which metrics of semantics need"
    assert any(line in text for text in said)


def test_layers_without_a_map_or_with_negative_activations_are_said(toy):
    said = []
    comparison, _ = scores(small_network(), load_images(toy), ["accuracy"], layers=["3", "7"],
                           report=said.append)  # fmt: skip
    assert [note for note in comparison.notes if note in said] == comparison.notes
    assert any("layer 3: " in n and "activations are negative" in n for n in comparison.notes)
    assert any("layer 7 has no map" in note for note in comparison.notes)
