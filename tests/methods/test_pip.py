"""PIP-Net's two terms against loops."""

import math

import pytest
import torch

from legible.methods.pip import Pip, align_loss, likeness, tanh_loss


@pytest.fixture
def shares():
    generator = torch.Generator().manual_seed(0)
    maps = 3 * torch.randn(2, 3, 4, 3, 3, generator=generator, dtype=torch.float64)
    first, second = maps.requires_grad_().softmax(2)
    return first, second


def test_align_by_loops_with_gradient(shares):
    first, second = shares
    total = 0.0
    for b in range(3):
        for y in range(3):
            for x in range(3):
                product = sum(first[b, c, y, x] * second[b, c, y, x].detach() for c in range(4))
                total = total - torch.log(product + 1e-12) / 27
    got = align_loss(first, second)
    torch.testing.assert_close(got, total)
    gradients = [torch.autograd.grad(v, first, retain_graph=True)[0] for v in (got, total)]
    torch.testing.assert_close(*gradients)
    assert torch.autograd.grad(got, second, allow_unused=True)[0] is None


def test_tanh_by_loops_with_gradient(shares):
    first = shares[0]
    total = 0.0
    for c in range(4):
        presence = sum(first[b, c].max() for b in range(3))
        total = total - torch.log(torch.tanh(presence) + 1e-8) / 4
    got = tanh_loss(first)
    torch.testing.assert_close(got, total)
    gradients = [torch.autograd.grad(v, first, retain_graph=True)[0] for v in (got, total)]
    torch.testing.assert_close(*gradients)


def test_matching_within_a_radius_by_loops(shares):
    first, second = (share.detach() for share in shares)
    got = likeness(first, second, 1)
    for b in range(3):
        for y in range(3):
            for x in range(3):
                best = max(
                    float(first[b, :, y, x] @ second[b, :, v, u])
                    for v in range(max(0, y - 1), min(3, y + 2))
                    for u in range(max(0, x - 1), min(3, x + 2))
                )
                assert math.isclose(float(got[b, y, x]), best)


def test_shifted_and_mirrored_views_can_be_matched():
    shares = 1e-3 + torch.zeros(1, 2, 1, 4)
    shares[0, 0, 0, :1] = shares[0, 1, 0, 1:] = 1 - 1e-3
    shifted, mirrored = shares.roll(1, -1), shares.flip(-1)
    shifted[..., 0] = shares[..., 0]  # the edge pixel is repeated
    assert align_loss(shares, shares) < 0.01
    assert align_loss(shares, shifted) > 1
    assert align_loss(shares, shifted, radius=1) < 0.01
    assert align_loss(shares, mirrored, radius=1) > 1
    assert align_loss(shares, mirrored, mirror=True) < 0.01


def test_one_hot_and_dead_channels_stay_finite():
    maps = torch.zeros(2, 3, 2, 2)
    maps[:, 0] = 200.0
    maps.requires_grad_()
    shares = maps.softmax(1)
    other = torch.zeros(2, 3, 2, 2)
    other[:, 1] = 1
    loss = align_loss(shares, other) + tanh_loss(shares)
    loss.backward()
    assert loss.isfinite()
    assert maps.grad.isfinite().all()


def test_training_aligns_the_views(fit, step_on):
    method = Pip(1.0)
    method.taps = ["conv6"]
    losses = [
        sum(method.penalty(step_on(fit(*call).network)).values())
        for call in (("pip", {"strength": 3.0}), ("plain",))
    ]
    assert losses[0] < losses[1] - 0.02


@pytest.mark.parametrize("params", [{}, {"radius": 0, "mirror": False}])
def test_laws(check_laws, params):
    check_laws("pip", params)


def test_what_it_refuses(toy):
    with pytest.raises(ValueError, match="radius"):
        Pip(radius=-1)
