"""Textured backgrounds."""

import torch

from legible.bench.data.backgrounds import textured_background


def backgrounds(count, size, seed=0):
    return textured_background(count, size, torch.Generator().manual_seed(seed))


def test_mean_0_and_standard_deviation_about_1():
    images = backgrounds(400, 32)
    assert images.shape == (400, 1, 32, 32)
    assert abs(images.mean()) < 0.05 and 0.8 < images.std() < 1.2


def test_the_generator_alone_decides():
    assert torch.equal(backgrounds(5, 28), backgrounds(5, 28))
    assert not torch.equal(backgrounds(5, 28), backgrounds(5, 28, seed=1))


def test_neighbouring_pixels_are_alike():
    images = backgrounds(100, 32)
    assert (images[..., 1:] - images[..., :-1]).square().mean() < 0.8 * 2 * images.var()
