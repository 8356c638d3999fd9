"""A sparse autoencoder on activations."""

import pytest
import torch

from legible.methods.posthoc_sae import PosthocSae


def fitted(samples, atoms, seed=0, **params):
    method = PosthocSae(**params)
    method.generator = torch.Generator().manual_seed(seed)
    method.create(atoms, samples.shape[1])
    method.fit(samples)
    return method


@pytest.fixture
def planted():
    """Sums of few of eight random directions in ten dimensions."""
    generator = torch.Generator().manual_seed(0)
    atoms = torch.randn(8, 10, generator=generator)
    atoms = atoms / atoms.norm(dim=1, keepdim=True)
    code = 1 + torch.rand(8000, 8, generator=generator)
    code *= torch.rand(8000, 8, generator=generator) < 0.15
    return code @ atoms, atoms


def test_planted_directions_are_found(planted):
    samples, atoms = planted
    method = fitted(samples, 16, l1=0.1, steps=800)
    match = (method.decoder @ atoms.T).max(0).values
    assert (match > 0.9).float().mean() >= 0.75
    error = (samples - method.decode(method.encode(samples))).square().sum()
    assert error < 0.1 * (samples - samples.mean(0)).square().sum()


def test_the_loss_by_hand():
    method = PosthocSae(l1=0.5)
    method.create(2, 2)
    method.encoder.copy_(torch.tensor([[1.0, 0.0], [0.0, -1.0]]))
    method.threshold.copy_(torch.tensor([0.0, 0.5]))
    method.centre.copy_(torch.tensor([1.0, 0.0]))
    # (3, 1) - centre = (2, 1); code = (2, relu(-1 + .5)) = (2, 0); back = (2, 0) + (1, 0)
    torch.testing.assert_close(method.loss(torch.tensor([[3.0, 1.0]])), torch.tensor(1 + 0.5 * 2))


def test_decoder_directions_have_unit_norm_and_scale_does_not_matter(planted):
    samples = planted[0][:2000]
    method, larger = fitted(samples, 8, steps=50), fitted(100 * samples, 8, steps=50)
    torch.testing.assert_close(method.decoder.norm(dim=1), torch.ones(8))
    torch.testing.assert_close(method.decoder, larger.decoder, atol=1e-2, rtol=1e-2)
    code, bigger = method.encode(samples), larger.encode(100 * samples)
    torch.testing.assert_close(100 * code, bigger, atol=3, rtol=0.05)
    assert not method.decoder.requires_grad


def test_more_l1_is_sparser(planted):
    active = [
        (fitted(planted[0], 16, l1=l1, steps=100).encode(planted[0]) > 1e-3).float().mean()
        for l1 in (0.0, 0.3)
    ]
    assert active[1] < active[0]


def test_parameters_are_checked():
    with pytest.raises(ValueError, match="lr"):
        PosthocSae(lr=0.0)
