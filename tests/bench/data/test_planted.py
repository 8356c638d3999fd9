"""The dataset of the planted networks."""

import torch

from legible.bench.data.planted import PIXELS_PER_POSITION, planted


def test_each_image_shows_the_square_of_its_class(tmp_path):
    split = planted(tmp_path, parts=5).test
    masks = split.concepts.masks()
    assert torch.equal(255 * masks.byte(), split.images)
    assert (masks.flatten(2).sum(2) == 64 * torch.eye(5, dtype=int)[split.labels]).all()
    assert torch.equal(split.normalise(split.images), split.images / 255)


def test_aligned_squares_fill_positions(tmp_path):
    images = planted(tmp_path, parts=3, aligned=True, side=4).train.images.float()
    share = torch.nn.functional.avg_pool2d(images, PIXELS_PER_POSITION) / 255
    assert share.unique().tolist() == [0, 1] and (share.flatten(1).sum(1) == 1).all()


def test_noise_channels_are_constant_within_a_position(tmp_path):
    noise = planted(tmp_path, parts=2, noise=3).train.images[:, 2:]
    blocks = noise.unfold(2, 4, 4).unfold(3, 4, 4).flatten(4)
    assert torch.equal(blocks.amin(4), blocks.amax(4)) and len(blocks.unique()) > 200
