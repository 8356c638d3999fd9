"""Augments a whole batch on the device; each image is shifted and flipped independently."""

from __future__ import annotations

import torch
from jaxtyping import Int, UInt8
from torch import Tensor


def pad(images: UInt8[Tensor, "n c h w"], shift: int) -> UInt8[Tensor, "n c H W"]:
    """Pads images by ``shift`` pixels on each side, repeating the edge pixels."""
    if not shift:
        return images
    rows, columns = (
        torch.arange(-shift, size + shift, device=images.device).clamp(0, size - 1)
        for size in images.shape[-2:]
    )
    return images[:, :, rows][..., columns]


def augment_batch(
    padded: UInt8[Tensor, "n c H W"],
    indices: Int[Tensor, "batch"],
    shift: int,
    flip: bool,
    generator: torch.Generator,
    size: tuple[int, ...],
) -> UInt8[Tensor, "batch channels height width"]:
    """Returns the images at ``indices``, each shifted and flipped at random.

    padded: all images, from `pad` with the same ``shift``.
    shift: the largest shift in each direction, in pixels.
    flip: whether half of the images are mirrored left to right.
    size: height and width of the result.
    """
    if shift:
        windows = padded.unfold(2, size[0], 1).unfold(3, size[1], 1)
        corners = torch.randint(
            2 * shift + 1, (2, len(indices)), generator=generator, device=padded.device
        )
        images = windows[indices, :, corners[0], corners[1]]
    else:
        images = padded[indices]
    if flip:
        mirror = torch.rand(len(indices), generator=generator, device=padded.device) < 0.5
        images = torch.where(mirror.view(-1, 1, 1, 1), images.flip(-1), images)
    return images
