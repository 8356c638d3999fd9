"""Principal components of activations."""

import torch

from legible.methods.posthoc_pca import PosthocPca


def fitted(samples):
    method = PosthocPca()
    method.create(samples.shape[1], samples.shape[1])
    method.double().fit(samples)
    return method


def test_components_are_those_of_the_covariance():
    generator = torch.Generator().manual_seed(1)
    mixing = torch.randn(5, 5, generator=generator, dtype=torch.float64)
    samples = torch.rand(400, 5, generator=generator, dtype=torch.float64) @ mixing + 3
    method = fitted(samples)
    code = method.encode(samples)
    covariance = torch.cov(code.T)
    assert (covariance - covariance.diagonal().diag()).abs().max() < 1e-9
    assert (covariance.diagonal().diff() <= 0).all()
    assert code.mean(0).abs().max() < 1e-9
    torch.testing.assert_close(method.decode(code), samples)


def test_the_longer_tail_is_positive():
    generator = torch.Generator().manual_seed(2)
    samples = torch.rand(1000, 4, generator=generator, dtype=torch.float64).pow(4)
    code = fitted(-samples).encode(-samples)
    assert (code.pow(3).mean(0) >= 0).all()


def test_the_network_computes_what_it_did(fit, toy):
    images = next(iter(toy.test.batches(24)))[1]
    out = [fit(name).network(images).logits for name in ("plain", "posthoc_pca")]
    torch.testing.assert_close(*out, atol=1e-5, rtol=1e-5)
