"""Padding, and shifts and flips of each image."""

import torch

from legible.bench.training.augment import augment_batch, pad


def test_padding_repeats_the_edges():
    images = torch.arange(6, dtype=torch.uint8).reshape(1, 1, 2, 3)
    assert pad(images, 1)[0, 0].tolist() == [
        [0, 0, 1, 2, 2], [0, 0, 1, 2, 2], [3, 3, 4, 5, 5], [3, 3, 4, 5, 5],
    ]  # fmt: skip
    assert pad(images, 0) is images


def test_each_image_is_shifted_by_its_own_draw():
    images = torch.arange(2 * 36, dtype=torch.uint8).reshape(2, 1, 6, 6).repeat(20, 1, 1, 1)
    padded = pad(images, 2)
    assert padded.shape[-2:] == (10, 10)
    generator = torch.Generator().manual_seed(0)
    out = augment_batch(padded, torch.arange(40), 2, False, generator, (6, 6))
    corners = torch.randint(5, (2, 40), generator=torch.Generator().manual_seed(0)).T.tolist()
    for i, (dy, dx) in enumerate(corners):
        assert torch.equal(out[i], padded[i, :, dy : dy + 6, dx : dx + 6])
    assert len({tuple(corner) for corner in corners}) > 5


def test_about_half_of_the_images_are_flipped():
    images = torch.arange(4, dtype=torch.uint8).reshape(1, 1, 1, 4).repeat(200, 1, 1, 1)
    generator = torch.Generator().manual_seed(0)
    out = augment_batch(images, torch.arange(200), 0, True, generator, (1, 4))
    assert 70 < (out[:, 0, 0, 0] == 3).sum() < 130
    assert {tuple(row) for row in out[:, 0, 0].tolist()} == {(0, 1, 2, 3), (3, 2, 1, 0)}


def test_without_shift_and_flip_images_are_only_selected():
    images = torch.randint(256, (9, 3, 4, 4), dtype=torch.uint8)
    indices = torch.tensor([3, 0, 3])
    out = augment_batch(images, indices, 0, False, torch.Generator(), (4, 4))
    assert torch.equal(out, images[indices])
