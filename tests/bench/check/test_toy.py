"""The toy data and networks of the check."""

from __future__ import annotations

import pytest
import torch

from legible.bench.check.toy import COUNTS, NETWORKS, builder, flatten_units, toy_data, with_blanks
from legible.bench.plugins import registry
from legible.bench.training.fit import initialise

registry.load(["backbones"])


def test_masks_lie_on_what_they_name() -> None:
    """A dot and the class's own shape are brighter than the rest of their image."""
    data = toy_data()
    assert {name: len(getattr(data, name)) for name in COUNTS} == COUNTS
    light = data.train.images[:, 0].float()
    masks = data.train.concepts.masks()
    for k, label in enumerate(data.train.labels.tolist()):
        own = masks[k, label]
        assert own.any() and light[k][own].mean() > light[k][~own].mean() + 20
        others = [c for c in range(3) if c != label]
        assert not masks[k, others].any()


def test_concepts_can_be_left_out() -> None:
    assert toy_data(concepts=False).train.concepts is None
    assert torch.equal(toy_data(concepts=False).train.images, toy_data().train.images)


def test_every_fourth_image_is_black() -> None:
    data = toy_data()
    blank = with_blanks(data).train.images
    assert not blank[::4].any()
    assert torch.equal(blank[1::4], data.train.images[1::4])


@pytest.mark.parametrize("name", NETWORKS)
def test_units_are_made_dead_and_constant(name: str) -> None:
    data = toy_data()
    network = initialise(builder(name, data), 0, "cpu").eval()
    flatten_units(network)
    out = network(data.test.normalise(data.test.images))
    flat = [tap for tap in network.taps.values() if tap.norm is not None or tap.incoming]
    assert flat
    first = out.activations[next(iter(network.taps))]
    assert not first[:, 0].any()
    assert first[:, 1].unique().numel() == 1
