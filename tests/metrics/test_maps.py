"""Positions, pixels, peaks, centroids and thresholds of maps."""

import math

import pytest
import torch
from planted_probes import make_concepts, make_probe, random_masks, random_probe

from legible.metrics import maps
from legible.metrics.base import Layer


@pytest.mark.parametrize(
    "map_size, pixels", [((4, 4), (32, 32)), ((8, 8), (28, 28)), ((3, 5), (20, 9))]
)
def test_a_pixel_belongs_to_the_position_from_which_it_is_upsampled(map_size, pixels):
    generator = torch.Generator().manual_seed(0)
    masks = torch.rand(2, 3, *pixels, generator=generator) < 0.4
    index = torch.arange(map_size[0] * map_size[1]).reshape(1, 1, *map_size).float()
    owner = torch.nn.functional.interpolate(index, pixels, mode="nearest-exact")[0, 0].long()
    expected = torch.zeros(2, 3, map_size[0] * map_size[1])
    expected.index_add_(2, owner.flatten(), masks.flatten(2).float())
    assert torch.equal(maps.pixels_per_position(masks, map_size), expected)


@pytest.mark.parametrize("cached", [0, 2**24])
def test_counts_of_all_masks_come_in_chunks_cached_or_not(cached, monkeypatch):
    masks = random_masks(7, 3, 16, torch.Generator().manual_seed(0))
    concepts = make_concepts(masks)
    monkeypatch.setattr(maps, "CACHED", cached)
    monkeypatch.setattr(maps, "BUDGET", 2 * 2 * 3 * 16 * 16)  # two images a chunk
    chunks = list(maps.mask_counts(concepts, (4, 4)))
    assert [rows.start for rows, _ in chunks] == [0, 2, 4, 6]
    assert torch.equal(
        torch.cat([counts for _, counts in chunks]), maps.pixels_per_position(masks, (4, 4))
    )


def test_centres_are_half_a_position_from_the_border():
    centres = maps.position_centres((2, 4), (8, 8))
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


# ----------------------------------------------------------------- regions


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_threshold_leaves_half_a_percent(chunk, monkeypatch):
    layer, _ = random_probe(images=200, units=3)
    layer.activation += torch.rand(200, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    chunks = type(layer).chunks
    monkeypatch.setattr(type(layer), "chunks", lambda self, size=256: chunks(self, chunk))
    region = layer.activation >= maps.thresholds(layer)[:, None, None]
    assert region.sum((0, 2, 3)).tolist() == [36] * 3  # 0.5 % of 200 * 36


def test_threshold_of_saturated_sparse_and_dead_units():
    activation = torch.zeros(100, 3, 4, 4)
    activation[:50, 0] = 1.0  # half of all positions at the same value
    activation[0, 1, 0, :2] = torch.tensor([0.5, 0.2])  # 2 of 1,600, where 0.5 % are 8
    layer, _ = make_probe(activation, torch.arange(100) % 2)
    assert maps.thresholds(layer).tolist() == [1.0, pytest.approx(0.2), math.inf]


@pytest.mark.parametrize("kind", ["noise", "sparse", "saturated", "peaked"])
@pytest.mark.parametrize("images", [3, 150])
@pytest.mark.parametrize("size", [(16, 20), (48, 56)])  # of the larger one, a sample is drawn
def test_pixel_threshold_is_the_kth_largest_of_all_pixels(kind, images, size, monkeypatch):
    monkeypatch.setattr(maps, "FEWEST_SAMPLES", 5)
    generator = torch.Generator().manual_seed(0)
    a = torch.rand(images, 5, 6, 6, generator=generator, dtype=torch.float64)
    if kind == "sparse":  # positive at fewer pixels than the share
        a = torch.where(torch.arange(images)[:, None, None, None] == 1, a - 0.98, 0).clamp(min=0)
    if kind == "saturated":
        a = (a > 0.3).double()
    if kind == "peaked":  # the highest image holds all
        a[1] *= 100
    a[:, 4] = 0
    pixels = maps.upsample(a, size).movedim(1, 0).flatten(1)
    keep = max(1, round(0.005 * pixels.shape[1]))
    top = pixels.topk(keep).values
    expected = top.masked_fill(top <= 0, math.inf).amin(1)
    assert expected.isfinite().any()
    for budget in (1, 2**20):
        monkeypatch.setattr(maps, "BUDGET", budget)
        result = maps.pixel_thresholds(Layer("x", a), size)
        torch.testing.assert_close(result, expected, rtol=1e-9, atol=0)


def test_upsampling_is_bilinear():
    a = torch.rand(2, 3, 5, 7, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.interpolate(a, (32, 28), mode="bilinear", align_corners=False)
    torch.testing.assert_close(maps.upsample(a, (32, 28)), expected)
