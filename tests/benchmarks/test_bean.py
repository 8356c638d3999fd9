"""BEAN's penalty, forward and backward, against the N x N x B form of its published code."""

import pytest
import torch

from legible.methods.bean import bean_penalty


@pytest.mark.parametrize("order", [1, 2])
def test_laplacian_form_against_pairs(compare, order):
    generator = torch.Generator().manual_seed(0)
    h = torch.rand(128, 400, generator=generator, requires_grad=True)
    w = torch.randn(120, 400, generator=generator, requires_grad=True)

    def pairs() -> torch.Tensor:
        gate = w.T.tanh().abs()
        m = gate @ gate.T
        m = m if order == 1 else m * m
        return (m * (h[:, :, None] - h[:, None, :]).square().mean(0)).mean()

    ours, theirs = bean_penalty(h, w, 1.0, order), pairs()
    assert torch.allclose(ours, theirs, rtol=1e-4)
    ratio = compare(
        f"BEAN's penalty of order {order}, 400 units, 128 images", "all pairs, as published",
        lambda: bean_penalty(h, w, 1.0, order).backward(), lambda: pairs().backward(), rounds=3,
    )  # fmt: skip
    assert ratio > 0
