"""Concept masks."""

import pytest
import torch

from legible.metrics.network import Concepts


def pack(masks, **changes):
    count = masks.shape[1]
    arguments = {
        "names": [f"concept {k}" for k in range(count)],
        "categories": ["part"] * count,
        "landmark": [k == 0 for k in range(count)],
    }
    return Concepts.pack(masks, **arguments | changes)


@pytest.fixture
def masks():
    return torch.rand(6, 3, 5, 13, generator=torch.Generator().manual_seed(0)) < 0.4


@pytest.mark.parametrize("width", [1, 7, 8, 9, 13])
def test_packing_loses_nothing(masks, width):
    concepts = pack(masks[..., :width])
    assert concepts.packed.shape == (6, 3, 5, -(-width // 8))
    assert torch.equal(concepts.masks(), masks[..., :width])


def test_some_images(masks):
    concepts = pack(masks)
    for rows in (slice(1, 3), torch.tensor([4, 0])):
        assert torch.equal(concepts.masks(rows), masks[rows])
        assert torch.equal(concepts.images(rows).masks(), masks[rows])


def test_some_concepts(masks):
    concepts = pack(masks, of_class=[2, 0, -1, 1]).select([2, 0])
    assert concepts.names == ("concept 2", "concept 0") and len(concepts) == 2
    assert concepts.landmark == (False, True) and concepts.of_class == (0, 1, -1, -1)
    assert torch.equal(concepts.masks(), masks[:, [2, 0]])


def test_another_number_of_names_is_an_error(masks):
    with pytest.raises(ValueError, match="3 concept masks but 2 names, 3 categories and 3"):
        pack(masks, names=["a", "b"])
