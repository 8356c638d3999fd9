"""Images that are read in batches are those that are asked for, whoever reads them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from fits import RECIPE, fit_toy, same_weights

from legible.bench.data.base import Dataset
from legible.bench.data.streaming import AHEAD, BatchReader
from legible.bench.plugins import registry

registry.load(["methods"])


def streamed(data: Dataset) -> Dataset:
    """The same data, all of it streamed."""
    parts = {name: replace(getattr(data, name), streamed=True) for name in ("train", "validation",
                                                                            "test")}  # fmt: skip
    return replace(data, **parts)


def test_a_reader_gives_the_rows_in_any_order_and_reads_a_plan_ahead():
    images = torch.arange(40, dtype=torch.uint8).view(40, 1, 1, 1)
    reader = BatchReader(images, torch.device("cpu"))
    batches = torch.randperm(40, generator=torch.Generator().manual_seed(0)).split(4)
    reader.plan(batches)
    assert len(reader.reading) == AHEAD
    for rows in batches:
        assert torch.equal(reader(rows), images[rows])
        assert reader(rows) is reader(rows)  # a second view costs no second reading
    assert not reader.reading
    other = torch.tensor([3, 3, 9])
    assert torch.equal(reader(other), images[other])
    reader.plan(batches)
    assert torch.equal(reader(batches[1]), images[batches[1]])  # not the one that comes first
    assert torch.equal(reader(batches[0]), images[batches[0]])


@pytest.mark.parametrize("method", ["plain", "sync", "concept_whitening", "icnn"])
def test_a_training_on_streamed_images_gives_the_same_bits(toy, method):
    assert (toy.shift, toy.flip) != (0, False)  # so that augmentation is compared as well
    first, second = (fit_toy(data, method) for data in (toy, streamed(toy)))
    assert same_weights(first.network, second.network)
    assert first.state.history == second.state.history


def test_a_subset_of_a_streamed_split_lies_in_memory(toy):
    rows = torch.tensor([5, 2])
    part, same = streamed(toy).test.subset(rows), toy.test.subset(rows)
    assert not part.streamed
    assert torch.equal(part.images, same.images)
    assert torch.equal(part.concepts.packed, same.concepts.packed)
    assert all(
        torch.equal(one, two)
        for (_, one), (_, two) in zip(part.batches(1), same.batches(1), strict=True)
    )


def test_validation_reads_streamed_images(toy):
    recipe = RECIPE.model_copy(update={"validate_every": 1})
    histories = [fit_toy(data, recipe=recipe).state.history for data in (toy, streamed(toy))]
    assert histories[0] == histories[1]
    assert "validation_accuracy" in histories[0][-1]
