"""Localisation, exclusivity and coverage of concepts, by hand."""

from dataclasses import replace

import pytest
import torch
from planted_probes import make_concepts, make_probe, scenes

from legible.metrics.base import Layer, Probe
from legible.metrics.detection import (
    concept_coverage,
    concept_localisation,
    concept_precision,
    scored_concepts,
    top_precision,
)
from legible.metrics.network import Concepts

IMAGES = 48


def corners(of_class: tuple[int, ...] = ()) -> Concepts:
    """Four concepts, a corner of 8 x 8 pixels each; image n contains concepts n and n + 1 mod 4."""
    masks = torch.zeros(IMAGES, 4, 16, 16, dtype=torch.bool)
    places = [(slice(0, 8), slice(0, 8)), (slice(0, 8), slice(8, 16)),
              (slice(8, 16), slice(0, 8)), (slice(8, 16), slice(8, 16))]  # fmt: skip
    for k, (rows, columns) in enumerate(places):
        for n in range(IMAGES):
            masks[n, k, rows, columns] = k in (n % 4, (n + 1) % 4)
    return replace(make_concepts(masks), of_class=of_class)


def detectors(concepts: Concepts, *combinations: tuple[int, ...]) -> tuple[Layer, Probe]:
    """A unit for each combination: it answers at one random position of each concept in it."""
    where = concepts.masks().reshape(IMAGES, 4, 4, 4, 4, 4).any(5).any(3).float()
    units = [where[:, list(k)].sum(1).clamp(max=1) if k else where[:, 0] * 0 for k in combinations]
    return make_probe(torch.stack(units, 1), torch.arange(IMAGES) % 4, concepts, 4)


# ----------------------------------------------------------------- which concepts


def test_concepts_that_define_no_class_are_scored():
    assert scored_concepts(corners((1, 3))).tolist() == [0, 2]
    assert scored_concepts(corners((0, 1, 2, 3))).tolist() == [0, 1, 2, 3]
    assert scored_concepts(corners()).tolist() == [0, 1, 2, 3]


def test_a_concept_in_fewer_than_ten_images_is_not_scored():
    masks = corners().masks()
    masks[9:, 2] = False
    assert scored_concepts(make_concepts(masks)).tolist() == [0, 1, 3]


# ----------------------------------------------------------------- localisation


def test_a_unit_that_finds_one_concept_of_four():
    layer, probe = detectors(corners(), (0,), (1,), (2,), (3,))
    # it finds its concept in all images with it, the other three units never do
    assert concept_localisation(layer, probe).tolist() == [0.75] * 4


def test_a_unit_that_finds_two_concepts_is_not_worse():
    layer, probe = detectors(corners(), (0, 1), (2,), (3,))
    one, two = concept_localisation(layer, probe)[[1, 0]].tolist()
    # concepts 0 and 1 are in one image of three with either; the region then covers both: IoU 1/2
    assert one == pytest.approx(2 / 3) and two == pytest.approx(2 / 3)


def test_one_map_for_all_units_finds_nothing():
    layer, probe = detectors(corners(), *[(0, 1, 2, 3)] * 5)
    assert concept_localisation(layer, probe).abs().max() < 1e-12


def test_a_dead_unit_is_undefined_and_does_not_count_in_the_mean():
    layer, probe = detectors(corners(), (0,), (1,), ())
    values = concept_localisation(layer, probe)
    assert values[2].isnan() and values[:2].tolist() == [0.5, 0.5]


def test_knowing_the_label_finds_nothing():
    layer, probe = scenes()
    label = (probe.labels[:, None] == torch.arange(layer.units)).float()
    constant = Layer("units", label[..., None, None].expand_as(layer.activation).contiguous())
    assert concept_localisation(constant, probe).mean() < 0.01
    assert concept_localisation(layer, probe).mean() > 0.5


# ----------------------------------------------------------------- exclusivity


def test_precision_above_chance():
    layer, probe = detectors(corners(), (0,), (0, 1), (0, 1, 2, 3))
    # a corner is an eighth of all positions; ties beyond 0.5 % count in proportion
    table = top_precision(layer, corners())
    p = torch.tensor([1, 1 / 2, 1 / 4]).double()
    torch.testing.assert_close(table[:, 0], (p - 1 / 8) / (1 - 1 / 8), atol=1e-6, rtol=0)
    assert concept_precision(layer, probe)[0].item() == pytest.approx(1)


def test_a_unit_with_fewer_positions_than_the_share_is_not_rewarded():
    layer, probe = scenes()
    keep = max(1, round(0.005 * layer.activation[:, 0].numel()))
    sparse = torch.zeros_like(layer.activation)
    image, position = (layer.activation[:, 0].flatten(1) > 0).nonzero()[0].tolist()
    sparse[image, 0].view(-1)[position] = 1.0
    value = top_precision(Layer("units", sparse), probe.concepts)[0, 0]
    chance = (1 / keep - value) / (1 - value)  # solves (1 / keep - b) / (1 - b) = value for b
    share = (layer.activation[:, 0] > 0).float().mean()
    assert chance == pytest.approx(share.item(), abs=0.02)


def test_a_concept_at_every_position_is_undefined():
    masks = corners().masks()
    masks[:, 3] = True
    concepts = make_concepts(masks)
    layer, _ = detectors(corners(), (0,))
    assert top_precision(layer, concepts)[0].isnan().tolist() == [False, False, False, True]


# ----------------------------------------------------------------- coverage


def test_units_that_cover_all_concepts():
    layer, probe = detectors(corners(), (0,), (1,), (2,), (3,))
    assert concept_coverage(layer, probe) == 1


def test_copies_cover_one_concept():
    layer, probe = detectors(corners(), (0,), (0,), (0,), (0,))
    assert concept_coverage(layer, probe) == 0.25


def test_a_layer_is_not_better_for_having_more_units():
    # a concept is missed by four random units with probability C(3n, 4) / C(4n, 4), n its units
    for units, missed in ((2, 15 / 70), (16, 194580 / 635376)):
        layer, probe = detectors(corners(), *[(k,) for k in range(4)] * units)
        assert concept_coverage(layer, probe) == pytest.approx(1 - missed, abs=0.08)


def test_a_dead_layer_covers_nothing():
    layer, probe = detectors(corners(), (), ())
    assert concept_coverage(layer, probe) != concept_coverage(layer, probe)  # NaN
