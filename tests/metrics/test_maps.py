"""Cells, pixels, peaks and centroids."""

import pytest
import torch

from metrics import maps
from metrics.base import Layer
from planted.probes import make_concepts, random_masks, random_probe


@pytest.mark.parametrize(
    "cells, pixels", [((4, 4), (32, 32)), ((8, 8), (28, 28)), ((3, 5), (20, 9))]
)
def test_a_pixel_belongs_to_the_cell_that_upsampling_gives_it(cells, pixels):
    generator = torch.Generator().manual_seed(0)
    masks = torch.rand(2, 3, *pixels, generator=generator) < 0.4
    index = torch.arange(cells[0] * cells[1]).reshape(1, 1, *cells).float()
    owner = torch.nn.functional.interpolate(index, pixels, mode="nearest-exact")[0, 0].long()
    expected = torch.zeros(2, 3, cells[0] * cells[1])
    expected.index_add_(2, owner.flatten(), masks.flatten(2).float())
    assert torch.equal(maps.per_cell(masks, cells), expected)


def test_cell_centres_are_half_a_cell_from_the_border():
    centres = maps.cell_centres((2, 4), (8, 8))
    assert centres[0].tolist() == [2, 1] and centres[-1].tolist() == [6, 7]


def test_concept_centres_are_centroids_and_chunks_do_not_matter(monkeypatch):
    masks = random_masks(7, 3, 16, torch.Generator().manual_seed(0))
    masks[0, 0] = False
    masks[0, 1] = False
    masks[0, 1, 4:8, 12:16] = True  # rows 4 to 8, columns 12 to 16
    concepts = make_concepts(masks)
    centres = maps.concept_centres(concepts)
    assert centres[0, 0].isnan().all() and centres[0, 1].tolist() == [6, 14]
    monkeypatch.setattr(maps, "BUDGET", 1)
    assert torch.equal(maps.concept_centres(concepts).nan_to_num(-1), centres.nan_to_num(-1))


def test_peaks_take_the_first_of_equals_and_clip_at_zero():
    activation = torch.tensor([[[[0.0, 2], [2, 1]], [[-3, -1], [-2, -5]]]])
    value, position = maps.peaks(Layer("x", activation))
    assert value.tolist() == [[2, 0]] and position.tolist() == [[1, 0]]


def test_peaks_of_chunks_are_those_of_the_whole():
    layer, _ = random_probe(images=300)
    value, position = maps.peaks(layer)
    whole = layer.activation.flatten(2).max(2)
    assert torch.equal(value, whole.values) and torch.equal(position, whole.indices)
