"""The data of pictures of planted networks show what was planted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from legible.bench.leaderboard.figures.network_pictures import draw_pictures
from legible.bench.leaderboard.figures.picture_data import gather_picture_data, spread_units
from legible.bench.plugins import registry
from legible.bench.scoring.probe import probe_network as probe
from legible.bench.suites.run_spec import Block, RowKey
from legible.methods.base import METHODS

PARTS = 4


@pytest.fixture(scope="module")
def planted():
    registry.load()
    return registry.get("datasets", "planted")(Path(), parts=PARTS, noise=4 * PARTS, test=80)


@pytest.fixture(scope="module")
def gathered(planted):
    def of(backbone):
        network = registry.get("backbones", backbone)(planted.image, PARTS)
        probed = probe(network, METHODS["plain"](), planted.test, ["all"])
        images = planted.test.images[:, :3].float() / 255
        return gather_picture_data(probed, images, planted.class_names), probed

    return of


def test_a_unit_s_examples_show_its_part(gathered, planted):
    data, _ = gathered("planted_parts")
    assert sorted(example.unit for example in data.units) == list(range(PARTS))
    for example in data.units:
        assert example.concept == f"part {example.unit}"
        assert example.match > 0.3
        peaks = example.maps.reshape(len(example.maps), -1).max(1)
        assert (np.diff(peaks) <= 1e-6).all()
    ious = [example.match for example in data.units]
    assert ious == sorted(ious, reverse=True)


def test_a_unit_s_masks_are_those_of_its_concept(gathered, planted):
    data, _ = gathered("planted_parts")
    for example in data.units:
        assert example.masks.any((1, 2)).all() and example.masks.mean() < 0.5
        height = example.masks.shape[1] // example.maps.shape[1]
        for mask, area in zip(example.masks, example.maps, strict=True):
            row, column = np.unravel_index(area.argmax(), area.shape)
            at = (
                slice(row * height, (row + 1) * height),
                slice(column * height, (column + 1) * height),
            )
            assert mask[at].any()  # the peak lies in the concept


def test_a_planted_module_s_wall_shows_its_class(gathered, planted):
    data, probed = gathered("planted_blocks")
    sizes = [wall.units for wall in data.modules.walls]
    assert len(sizes) == PARTS and sizes == sorted(sizes, reverse=True)
    for wall in data.modules.walls:
        effects = data.lesions.effects[wall.module]
        rows = [int(np.abs(probed_images(planted) - image).max((1, 2, 3)).argmin())
                 for image in wall.images]  # fmt: skip
        assert (probed.labels[rows] == int(effects.argmax())).all()


def probed_images(planted):
    return planted.test.images[:, :3].double().numpy() / 255


def test_the_view_of_an_image_is_the_unit_of_its_class(gathered):
    data, _ = gathered("planted_parts")
    assert data.strongest.units.tolist() == list(range(PARTS))
    assert list(data.strongest.concepts) == [f"part {k}" for k in range(PARTS)]


def test_a_lesion_of_a_planted_block_costs_its_own_class_alone(gathered):
    data, _ = gathered("planted_blocks")
    effects = data.lesions.effects
    assert effects.shape == (PARTS, PARTS)
    assert sorted(effects.argmax(1).tolist()) == list(range(PARTS))
    assert (np.sort(effects, 1)[:, -1] > 0.9).all()
    assert (np.sort(effects, 1)[:, :-1] < 0.1).all()


def test_dead_units_are_not_shown(gathered):
    data, probed = gathered("planted_faults")
    dead = set(probed.layers["parts"].dead.nonzero()[:, 0].tolist())
    assert dead == {0}
    assert dead.isdisjoint(example.unit for example in data.units)
    assert np.isfinite(data.modules.correlation).all()


def test_attributions_are_drawn_when_asked_for(gathered, planted):
    _, probed = gathered("planted_parts")
    images = planted.test.images[:, :3].float() / 255
    data = gather_picture_data(probed, images, planted.class_names, attributions=True)
    grid = data.attribution
    assert grid.images.min() >= 0
    assert grid.images.max() <= 1
    assert grid.masks.any((1, 2)).all()
    maps = grid.maps["input_x_gradient"]
    inside = (maps * grid.masks).sum((1, 2)) / maps.sum((1, 2))
    assert (inside > 0.5).all()
    drawn = draw_pictures(data, Block("planted", "net"), RowKey("plain", "{}"), "plain")
    assert "attribution" in {picture.kind for picture in drawn}


def test_a_dead_layer_has_no_pictures(gathered):
    _, probed = gathered("planted_parts")
    probed.layers["parts"].activation.zero_()
    probed.layers["parts"].memo.clear()
    data = gather_picture_data(probed, torch.zeros(len(probed.labels), 1, 8, 8), ["a"] * PARTS)
    assert draw_pictures(data, Block("planted", "net"), RowKey("plain", "{}"), "plain") == []


def test_units_are_spread_from_best_to_worst():
    score = torch.tensor([0.1, 0.9, float("nan"), 0.5, 0.3])
    live = torch.tensor([True, True, True, True, False])
    assert spread_units(score, live, 4).tolist() == [1, 3, 0, 2]
    assert spread_units(score, live, 1).tolist() == [1]
    assert spread_units(score, torch.zeros(5, dtype=torch.bool)).tolist() == []


def test_a_planted_network_has_every_kind_of_picture_but_attributions(gathered):
    data, _ = gathered("planted_blocks")
    row = RowKey("plain", "{}")
    drawn = draw_pictures(data, Block("planted", "net"), row, "plain", baseline=data)
    kinds = {picture.kind for picture in drawn}
    assert kinds == {"views", "units", "modules", "members", "lesions", "focus"}
