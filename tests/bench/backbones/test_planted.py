"""Planted networks: their units have the activations that they are built for."""

import pytest
import torch

from legible.bench.backbones.planted import (
    PIXELS_PER_POSITION,
    planted_blocks,
    planted_faults,
    planted_localizer,
    planted_parts,
)
from legible.bench.data import planted as data

IMAGE = (3, 16, 16)


def test_data_and_networks_have_positions_of_one_size():
    assert data.PIXELS_PER_POSITION == PIXELS_PER_POSITION


def square(channel, row, column):
    """An image with one square that fills a position."""
    image = torch.zeros(1, *IMAGE)
    rows, columns = (slice(PIXELS_PER_POSITION * i, PIXELS_PER_POSITION * (i + 1))
                     for i in (row, column))  # fmt: skip
    image[:, channel, rows, columns] = 1
    return image


def active(network, image):
    """Unit, row and column of all active positions."""
    return network(image).activations["parts"][0].nonzero().tolist()


def test_a_unit_detects_its_parts():
    network = planted_parts(IMAGE, 3, each=2)
    assert active(network, square(1, 2, 3)) == [[0, 2, 3], [1, 2, 3]]
    assert planted_parts(IMAGE, 3)(square(2, 0, 0)).logits.argmax() == 2


def test_faults():
    image = torch.cat([square(c, 1, 1) for c in range(3)]).sum(0, keepdim=True)
    image = torch.cat([image, image[:, :1]], 1)
    response = planted_faults((4, 16, 16), 4)(image).activations["parts"][0]
    assert response[0].max() == 0 and torch.equal(response[1], response[2])
    assert (response[3] == 1).all() and response[2].max() > 0


def test_a_localizer_is_active_beside_its_part():
    network = planted_localizer(IMAGE, 3, down=1, right=-1)
    assert active(network, square(0, 1, 2)) == [[0, 2, 1]]
    assert active(network, square(0, 3, 2)) == []  # the position below is outside the image


def test_the_units_of_a_block_drive_one_class():
    network = planted_blocks((10, 16, 16), 2)
    head = network.taps["dense"].outgoing[0].weight
    assert torch.equal(head.weight.argmax(0), torch.arange(2).repeat_interleave(4))
    with pytest.raises(ValueError, match=r"planted\(noise=8\)"):
        planted_blocks((2, 16, 16), 2)
