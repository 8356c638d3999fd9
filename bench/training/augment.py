"""Augmentation of a whole batch on the device, each image by its own draw."""

from __future__ import annotations

import torch
from jaxtyping import Int, UInt8
from torch import Tensor


def pad(images: UInt8[Tensor, "n c h w"], shift: int) -> UInt8[Tensor, "n c H W"]:
    """Images with their edge pixels repeated ``shift`` times outwards, once for all epochs."""
    if not shift:
        return images
    rows, columns = (
        torch.arange(-shift, size + shift, device=images.device).clamp(0, size - 1)
        for size in images.shape[-2:]
    )
    return images[:, :, rows][..., columns]


def augmented(
    padded: Tensor,
    indices: Int[Tensor, "batch"],
    shift: int,
    flip: bool,
    generator: torch.Generator,
    size: tuple[int, ...],
) -> UInt8[Tensor, "batch channels height width"]:
    """A batch, each image shifted and flipped by its own draw."""
    if shift:
        windows = padded.unfold(2, size[0], 1).unfold(3, size[1], 1)
        drawn = torch.randint(
            2 * shift + 1, (2, len(indices)), generator=generator, device=padded.device
        )
        images = windows[indices, :, drawn[0], drawn[1]]
    else:
        images = padded[indices]
    if flip:
        flipped = torch.rand(len(indices), generator=generator, device=padded.device) < 0.5
        images = torch.where(flipped.view(-1, 1, 1, 1), images.flip(-1), images)
    return images
