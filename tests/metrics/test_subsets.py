"""Random subsets of units, of the same size for all layers of a block."""

import torch
from planted_probes import make_probe, random_probe

from legible.metrics.base import Layer
from legible.metrics.subsets import DRAWS, unit_subsets


def test_twenty_subsets_of_as_many_units_as_classes():
    layer, probe = random_probe(units=10, classes=3)
    subsets = unit_subsets(layer, probe)
    assert subsets.shape == (DRAWS, 3)
    assert all(len(set(row)) == 3 for row in subsets.tolist())
    assert set(subsets.flatten().tolist()) == set(range(10))
    assert torch.equal(subsets, unit_subsets(layer, probe))


def test_all_units_of_a_small_layer():
    layer, probe = random_probe(units=2, classes=3)
    assert {tuple(sorted(row)) for row in unit_subsets(layer, probe).tolist()} == {(0, 1)}


def test_the_order_of_units_does_not_matter():
    layer, probe = random_probe(units=8, classes=3)
    order = torch.tensor([5, 2, 7, 0, 1, 6, 3, 4])
    moved = Layer(layer.name, layer.activation[:, order])
    assert torch.equal(order[unit_subsets(moved, probe)], unit_subsets(layer, probe))


def test_every_unit_is_drawn_about_as_often():
    generator = torch.Generator().manual_seed(1)
    layer, probe = make_probe(torch.rand(40, 4, 3, 3, generator=generator), torch.arange(40) % 2)
    counts = torch.bincount(unit_subsets(layer, probe).flatten(), minlength=4)
    assert counts.sum() == 40 and counts.min() >= 5 and counts.max() <= 15
