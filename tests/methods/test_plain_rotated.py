"""Rotation of the last units: another basis, the same function."""

import torch

from legible.methods.plain_rotated import random_rotation


def test_rotations_are_orthogonal_and_uniform():
    generator = torch.Generator().manual_seed(0)
    turns = torch.stack([random_rotation(4, generator) for _ in range(2000)])
    torch.testing.assert_close(turns @ turns.mT, torch.eye(4).expand_as(turns))
    # Haar: entries have mean 0 and variance 1 / units; without the signs the diagonal has a mean
    assert turns.mean(0).abs().max() < 0.05
    assert (turns.var(0) - 0.25).abs().max() < 0.03


def test_units_are_mixed_and_logits_stay(fit, toy):
    plain, turned = fit("plain").network, fit("plain_rotated")
    images = next(iter(toy.test.batches(24)))[1]
    with torch.no_grad():
        before, after = plain(images), turned.network(images)
    torch.testing.assert_close(after.logits, before.logits, rtol=1e-4, atol=1e-4)
    tap = turned.method.taps[0]
    rotation = turned.method.rotation
    expected = torch.einsum("ij,bjhw->bihw", rotation, before.activations[tap])
    torch.testing.assert_close(after.activations[tap], expected, rtol=1e-4, atol=1e-4)
    assert rotation.abs().max() < 0.99  # no unit is left alone
