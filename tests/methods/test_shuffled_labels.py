"""Shuffled labels: a permutation, the same at every call, and nothing at strength 0."""

import pytest
import torch

from legible.methods.shuffled_labels import ShuffledLabels


def shuffled(toy, strength=1.0, seed=0):
    method = ShuffledLabels(strength)
    method.generator = torch.Generator().manual_seed(seed)
    method.register_buffer("seed", torch.randint(2**62, (), generator=method.generator))
    return method


def test_labels_are_permuted_and_images_left(toy):
    data = shuffled(toy).training_data(toy.train)
    assert torch.equal(data.labels.bincount(), toy.train.labels.bincount())
    assert data.images is toy.train.images
    agreement = (data.labels == toy.train.labels).float().mean()
    assert 0.1 < agreement < 0.6  # a third by chance


def test_the_permutation_is_the_same_every_time_and_another_for_another_seed(toy):
    method = shuffled(toy)
    first, again = (method.training_data(toy.train).labels for _ in range(2))
    other = shuffled(toy, seed=1).training_data(toy.train).labels
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_strength_is_the_share_of_images_permuted(toy):
    assert torch.equal(shuffled(toy, 0.0).training_data(toy.train).labels, toy.train.labels)
    half = shuffled(toy, 0.5).training_data(toy.train).labels
    assert (half != toy.train.labels).sum() <= len(half) // 2
    with pytest.raises(ValueError, match="share"):
        ShuffledLabels(1.5)


def test_laws(check_laws):
    check_laws("shuffled_labels")
