"""Non-negative matrix factorisation of activations."""

import pytest
import torch
from scipy.optimize import nnls

from legible.methods.posthoc_nmf import PosthocNmf, factorise, project


@pytest.fixture
def planted():
    """Sparse codes of four atoms that are each active on units of their own."""
    generator = torch.Generator().manual_seed(0)
    parts = torch.zeros(4, 12, dtype=torch.float64)
    for k in range(4):
        parts[k, 3 * k : 3 * k + 3] = torch.rand(3, generator=generator, dtype=torch.float64) + 0.2
    code = torch.rand(300, 4, generator=generator, dtype=torch.float64)
    code *= torch.rand(300, 4, generator=generator) < 0.5
    return code @ parts, parts / parts.norm(dim=1, keepdim=True)


def test_planted_atoms_are_found(planted):
    samples, parts = planted
    atoms = factorise(samples, 4, 300, torch.Generator().manual_seed(3))
    match = atoms @ parts.T
    assert (match.max(1).values > 0.99).all()
    assert sorted(match.argmax(1).tolist()) == [0, 1, 2, 3]
    torch.testing.assert_close(atoms.norm(dim=1), torch.ones(4, dtype=torch.float64))


def test_the_loss_never_rises(planted):
    samples, _ = planted

    def loss(steps):
        parts = factorise(samples, 3, steps, torch.Generator().manual_seed(3))
        return (samples - project(samples, parts, 500) @ parts).square().sum()

    losses = [loss(steps) for steps in (2, 10, 50, 200)]
    assert losses == sorted(losses, reverse=True)


def test_one_update_by_hand():
    target = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64)
    generator = torch.Generator().manual_seed(5)
    scale = (target.mean() / 1).sqrt()
    h, d = (scale * (0.1 + torch.rand(s, generator=generator).double()) for s in ((2, 1), (1, 2)))
    for i in range(2):
        h[i, 0] *= (target[i] * d[0]).sum() / (h[i, 0] * d[0].square().sum())
    for j in range(2):
        d[0, j] *= (h[:, 0] * target[:, j]).sum() / (h[:, 0].square().sum() * d[0, j])
    got = factorise(target, 1, 1, torch.Generator().manual_seed(5))
    torch.testing.assert_close(got, d / d.norm())


def test_codes_are_non_negative_least_squares():
    generator = torch.Generator().manual_seed(4)
    parts = torch.rand(6, 10, generator=generator, dtype=torch.float64)
    samples = torch.randn(20, 10, generator=generator, dtype=torch.float64) + 0.5
    code = project(samples, parts, 3000)
    for row, sample in zip(code, samples, strict=True):
        exact, _ = nnls(parts.T.numpy(), sample.numpy())
        torch.testing.assert_close(row, torch.from_numpy(exact), atol=1e-5, rtol=1e-5)


def test_dead_units_and_dead_atoms_stay_finite():
    samples = torch.zeros(10, 4)
    parts = factorise(samples, 2, 10, torch.Generator().manual_seed(0))
    assert parts.isfinite().all()
    assert torch.equal(project(torch.ones(1, 4), torch.zeros(2, 4), 10), torch.zeros(1, 2))


def test_half_as_many_atoms_as_units_by_default():
    assert PosthocNmf().default_atoms(16) == 8
    assert PosthocNmf().default_atoms(1) == 1
