"""The best unit of each concept, and the pictures of the best units."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_networks import small_network

from legible.bench.one_network.image_data import load_images
from legible.bench.one_network.reading import read_network
from legible.bench.one_network.subject import with_taps
from legible.bench.one_network.unit_concepts import (
    COLUMNS,
    DRAWN,
    best_concepts_of_units,
    best_units,
    precision_table,
    unit_galleries,
)
from legible.bench.scoring.oracle import oracle_layer
from legible.metrics.base import Layer
from legible.metrics.detection import top_precision


@pytest.fixture
def data(toy):
    return load_images(toy)


@pytest.fixture
def probe(data):
    """Of a small network; unit 2 of layer "4" is the mask of the second concept."""
    network, names = with_taps(small_network(), data)
    probe = read_network(network, names, data)
    layer = probe.layers["4"]
    activation = layer.activation.clone()
    activation[:, 2] = 9 * oracle_layer(data.concepts, activation.shape[2:]).activation[:, 1]
    activation[:, 0] = 0
    return replace(probe, layers={**probe.layers, "4": Layer("4", activation)}, memo={})


def test_a_unit_that_is_the_mask_is_the_best_for_its_concept(probe):
    precisions = precision_table(probe)
    assert list(precisions) == COLUMNS and precisions["precision"].is_monotonic_decreasing
    best = best_units(precisions).set_index("concept").loc["square1"]
    assert (best["layer"], best["unit"], best["images"]) == ("4", 2, 20)
    table = top_precision(probe.layers["4"], probe.concepts)
    assert best["precision"] == pytest.approx(float(table[2, 1]))
    of_units = best_concepts_of_units(precisions).set_index(["layer", "unit"])
    assert of_units.loc[("4", 2), "concept"] == "square1"
    assert not (of_units["precision"] > 0)[of_units["concept"] == ""].any()
    assert (of_units["concept"] != "")[of_units["precision"] > 0].all()
    live = sum(int((~layer.dead).sum()) for layer in probe.layers.values())
    assert len(of_units) == live and ("4", 0) not in of_units.index  # a dead unit has no concept


def test_the_best_unit_of_the_twin_stands_beside(probe):
    precisions = precision_table(probe)
    twin = precisions.assign(precision=precisions["precision"] / 2)
    best = best_units(precisions, twin[twin["concept"] != "square0"])
    expected = best["precision"].where(best["concept"] != "square0") / 2
    assert np.array_equal(best["untrained"], expected, equal_nan=True)
    assert best_units(precisions, twin.iloc[:0])["untrained"].isna().all()


def test_pictures_show_the_best_unit_of_each_concept_and_its_mask(probe, data):
    precisions = precision_table(probe)
    gallery = unit_galleries(probe, data, precisions)["4"]
    assert gallery.by_concept and len({e.unit for e in gallery.examples}) == len(gallery.examples)
    (example,) = (e for e in gallery.examples if e.concept == "square1")
    assert (example.unit, example.measure) == (2, "precision")
    peaks = probe.layers["4"].activation[:, 2].flatten(1).amax(1)
    top = peaks.topk(len(example.images)).indices
    assert np.allclose(example.images, data.images[top].numpy() / 255)
    assert np.array_equal(example.masks, data.concepts.masks(top)[:, 1].numpy())


def test_without_masks_the_most_active_units_are_drawn(probe, data):
    bare = replace(probe, concepts=None, memo={})
    assert precision_table(bare).empty
    gallery = unit_galleries(bare, data, precision_table(bare))["4"]
    assert not gallery.by_concept and gallery.examples[0].unit == 2
    assert len(gallery.examples) <= DRAWN and all(e.masks is None for e in gallery.examples)
    dead = replace(bare, layers={"4": Layer("4", torch.zeros(60, 3, 4, 4))}, memo={})
    assert unit_galleries(dead, data, precision_table(dead)) == {}


def test_normalised_images_are_drawn_from_0_to_1(probe, data):
    images = (data.images.float() - 60) / 20
    gallery = unit_galleries(probe, replace(data, images=images), precision_table(probe))["4"]
    for example in gallery.examples:
        assert example.images.min() >= 0 and example.images.max() <= 1
