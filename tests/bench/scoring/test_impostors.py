"""Impostors are what they say, and each loses in the headlines of which it is a cheat."""

from __future__ import annotations

import functools
from dataclasses import replace

import pytest
import torch
from planted_probes import make_probe, random_probe, scenes

from legible.bench.plugins import registry
from legible.bench.scoring.impostors import (
    CHEATS,
    IMPOSTORS,
    impostor_probe,
    reads_activations,
)
from legible.bench.scoring.score import score_metric
from legible.metrics.base import METRICS, PARTS, Layer, Probe

registry.load(["metrics"])
HEADLINES = [m.name for m in METRICS.values() if m.headline and m.better != "neither"]


# ----------------------------------------------------------------- what they are


def test_a_label_unit_is_active_everywhere_on_one_class():
    layer, probe = random_probe(units=5, classes=3)
    label = IMPOSTORS["label"](layer, probe)
    assert label.activation.shape == layer.activation.shape
    own = (probe.labels[:, None] == torch.tensor([0, 1, 2, 0, 1])).float()
    assert torch.equal(label.activation, own[..., None, None].expand_as(layer.activation))


def test_energy_is_the_sum_of_all_units():
    activation = torch.tensor([[[[1.0, 2]], [[3, -5]]]])  # one image, two units, 1 x 2 positions
    layer, probe = make_probe(activation, torch.zeros(1).long())
    assert IMPOSTORS["energy"](layer, probe).activation.tolist() == [[[[4, 2]], [[4, 2]]]]


def test_copies_are_a_tenth_of_the_units():
    layer, probe = random_probe(units=20)
    copies = IMPOSTORS["copies"](layer, probe)
    originals = [next(k for k in range(20) if torch.equal(layer.activation[:, k], unit))
                 for unit in copies.activation.unbind(1)]  # fmt: skip
    assert len(originals) == 20 and len(set(originals)) == 2
    assert sorted(originals.count(k) for k in set(originals)) == [10, 10]


def test_two_concepts_are_the_oracle_s_units_in_pairs():
    layer, probe = scenes(parts=5)
    pairs = IMPOSTORS["two concepts"](layer, probe).activation
    masks = torch.nn.functional.adaptive_avg_pool2d(probe.concepts.masks().float(), 8)
    expected = [torch.maximum(masks[:, i], masks[:, j]) for i, j in [(0, 1), (2, 3), (4, 0)]]
    assert torch.equal(pairs, torch.stack(expected, 1))


def test_without_concepts_there_are_no_pairs():
    layer, probe = make_probe(torch.rand(20, 3, 4, 4), torch.arange(20) % 2)
    assert IMPOSTORS["two concepts"](layer, probe) is None
    assert impostor_probe("two concepts", probe) is None


def test_noise_keeps_a_hundredth_of_the_positions():
    layer, probe = make_probe(torch.ones(400, 4, 8, 8), torch.arange(400) % 2)
    noise = IMPOSTORS["noise"](layer, probe).activation
    assert set(noise.unique().tolist()) == {0, 1}
    assert noise.mean().item() == pytest.approx(0.01, rel=0.1)


def test_the_network_and_the_probe_are_left_as_they_were():
    layer, probe = random_probe()
    before = layer.activation.clone()
    for name in IMPOSTORS:
        built = impostor_probe(name, probe)
        assert built.layers["units"] is not layer and built.network is probe.network
        assert torch.equal(impostor_probe(name, probe).layers["units"].activation,
                           built.layers["units"].activation)  # fmt: skip
    assert torch.equal(layer.activation, before) and probe.layers["units"] is layer


# ----------------------------------------------------------------- what they are scored with


def test_metrics_that_read_activations_are_told_from_those_that_do_not():
    for name in ("concept_auc", "class_selectivity", "modularity", "matched_dimensions", "ari"):
        assert reads_activations(METRICS[name]), name
    for name in ("accuracy", "own_unit_share", "weight_ncut", "lesion_specificity", "pruning_area",
                 "relevance_mass", "claimed_modularity", "conductance_agreement"):  # fmt: skip
        assert not reads_activations(METRICS[name]), name


def test_cheats_are_known_impostors_of_known_aspects():
    heads = {m.heads for m in METRICS.values()} | {p for parts in PARTS.values() for p in parts}
    assert set(CHEATS) <= heads
    assert {name for names in CHEATS.values() for name in names} == set(IMPOSTORS)


# ----------------------------------------------------------------- each cheat loses


@functools.cache
def trained(seed: int) -> Probe:
    """Units that each find one part in scenes of four, with a blurred, noisy map; every part has a
    second unit that is nearly a copy. Another seed has other noise and another order of units.
    The label is the first part; the last twelve parts define no class."""
    layer, probe = scenes(parts=24, others=3)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(layer.units, generator=generator)
    blurred = torch.nn.functional.avg_pool2d(layer.activation, 3, stride=1, padding=1)
    noise = torch.rand(layer.activation.shape, generator=torch.Generator().manual_seed(seed + 1))
    activation = (layer.activation + blurred + 0.2 * noise * (noise > 0.95))[:, order]
    concepts = replace(probe.concepts, of_class=tuple(range(12)))
    labels = probe.labels % 12
    return make_probe(activation, labels, concepts, 12)[1]


def value(name: str, probe: Probe, other: Probe) -> float:
    item = METRICS[name]
    (score,) = score_metric(item, probe, {"seeds": lambda: other})
    return score.null if score.reason else score.value


@pytest.mark.parametrize(
    ("name", "cheat"),
    [
        (name, cheat)
        for name in HEADLINES
        if reads_activations(METRICS[name])
        for cheat in CHEATS.get(METRICS[name].heads, ())
    ],
)
def test_each_cheat_scores_worse_than_units_that_find_parts(name, cheat):
    first, second = trained(0), trained(1)
    honest = value(name, first, second)
    cheats = [impostor_probe(cheat, probe) for probe in (first, second)]
    sign = 1 if METRICS[name].better == "higher" else -1
    assert sign * value(name, *cheats) < sign * honest - 0.1 * abs(honest)


def test_the_law_can_fail():
    """The headline of before, concept AUC, is won by units that know the label."""
    layer, probe = scenes(parts=12, others=3)
    noisy = layer.activation + 0.5 * torch.rand(
        layer.activation.shape, generator=torch.Generator().manual_seed(0)
    )
    plain = make_probe(noisy, probe.labels, probe.concepts, 12)[1]
    label = impostor_probe("label", plain)
    scores = [score_metric(METRICS["class_selectivity"], p)[0].value for p in (label, plain)]
    assert scores[0] > scores[1]


def test_an_impostor_of_a_flat_layer_is_flat():
    flat = Layer("dense", torch.rand(12, 4))
    _, probe = random_probe(images=12, classes=3)
    assert IMPOSTORS["label"](flat, probe).activation.shape == (12, 4)
    assert IMPOSTORS["two concepts"](flat, probe) is None
