"""The oracle, and the measurability gate."""

import math
from dataclasses import replace

import pytest
import torch
from planted_probes import make_concepts

from legible.bench.scoring.oracle import common, measurability, oracle_layer
from legible.metrics.semantics import concept_aucs


def squares(side: int, images: int = 240, concepts: int = 12, of_class: tuple[int, ...] = ()):
    """Concepts on 32 x 32 pixels: image n contains concept n mod concepts, a random square."""
    corner = torch.randint(33 - side, (images, 2, 1), generator=torch.Generator().manual_seed(0))
    line = torch.arange(32)
    inside = (line >= corner) & (line < corner + side)
    square = inside[:, 0, :, None] & inside[:, 1, None, :]
    contains = torch.nn.functional.one_hot(torch.arange(images) % concepts, concepts).bool()
    masks = square[:, None] & contains[:, :, None, None]
    return replace(make_concepts(masks), of_class=of_class)


def test_oracle_units_are_the_masks_averaged_over_positions():
    concepts = squares(8, images=30)
    layer = oracle_layer(concepts, (4, 4))
    masks = concepts.masks().float().reshape(30, 12, 4, 8, 4, 8)
    assert layer.name == "oracle"
    torch.testing.assert_close(layer.activation, masks.mean((3, 5)))


def test_a_concept_is_common_from_ten_images_on():
    concepts = squares(8, images=12 * 9 + 5)
    assert common(concepts).names == concepts.names[:5]
    layer = oracle_layer(common(concepts), (8, 8))
    assert concept_aucs(layer, concepts).nan_to_num().amax(1).eq(1).all()
    assert len(common(concepts.images(slice(0)))) == 0


def test_finer_maps_are_more_measurable():
    concepts = squares(8)
    by_size = {size: measurability(concepts, (size, size)) for size in (2, 4, 8, 16, 32)}
    ious = [gate.iou for gate in by_size.values()]
    assert ious == sorted(ious)
    assert [gate.passes for gate in by_size.values()] == [False, True, True, True, True]
    assert by_size[32][1:] == (1, 1)


def test_the_concepts_that_define_classes_decide():
    small, large = squares(6).masks(), torch.ones(240, 1, 32, 32, dtype=torch.bool)
    both = make_concepts(torch.cat([small, large], 1), ["part"] * 12 + ["background"])
    assert measurability(both, (8, 8)).passes
    gate = measurability(replace(both, of_class=(12,)), (8, 8))
    # the concept fills the whole image, so its unit has the same value everywhere
    assert gate.passes and gate.interpretability == 1
    half = both.masks()
    half[:, 12, :, :16] = False
    half[:, 12] &= torch.rand(240, 32, 32, generator=torch.Generator().manual_seed(0)) < 0.9
    half = make_concepts(half, ["part"] * 12 + ["background"])
    gate = measurability(replace(half, of_class=(12, -1)), (8, 8))
    assert not gate.passes and gate.iou < 0.1 and gate.interpretability < 0.9


@pytest.mark.parametrize("empty", ["images", "masks", "concepts"])
def test_without_images_masks_or_concepts_the_gate_is_not_passed(empty):
    masks = torch.zeros(0 if empty == "images" else 4, 0 if empty == "concepts" else 2, 32, 32)
    gate = measurability(make_concepts(masks.bool()), (8, 8))
    assert not gate.passes and math.isnan(gate.iou) and math.isnan(gate.interpretability)
