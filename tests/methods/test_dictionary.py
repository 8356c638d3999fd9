"""The parts that the three post-hoc methods share: a dictionary in place of the units."""

import functools

import pytest
import torch

from legible.bench.backbones.taps import Network
from legible.bench.training.checkpoint import restore, snapshot
from legible.bench.training.loop import accuracy

NAMES = ("posthoc_nmf", "posthoc_pca", "posthoc_sae")
SHORT = {"posthoc_nmf": {"steps": 100}, "posthoc_sae": {"steps": 300}}


@pytest.fixture(scope="module")
def cached_fit(fit):
    """Trained networks that several tests read."""
    return functools.cache(lambda name: fit(name, SHORT.get(name)))


@pytest.fixture(scope="module")
def images(toy):
    return next(iter(toy.test.batches(24)))[1]


@pytest.mark.parametrize("name", NAMES)
def test_the_units_are_codes_and_the_network_runs_on_the_reconstruction(cached_fit, images, name):
    plain, fitted = cached_fit("plain"), cached_fit(name)
    method, (tap,) = fitted.method, fitted.method.taps
    activation = plain.network(images).activations[tap]
    vectors = activation.movedim(1, -1).flatten(0, -2)
    code = method.encode(vectors)
    out = fitted.network(images)
    assert out.activations[tap].shape[1] == code.shape[1] == fitted.network.taps[tap].units
    torch.testing.assert_close(out.activations[tap].movedim(1, -1).flatten(0, -2), code)
    back = method.decode(code).view_as(activation.movedim(1, -1)).movedim(-1, 1)
    torch.testing.assert_close(out.transformed[tap], back)
    torch.testing.assert_close(out.logits, plain.network.continue_from(tap, back))
    torch.testing.assert_close(
        out.logits, fitted.network.continue_from(tap, out.activations[tap]), rtol=0, atol=0
    )
    error = (vectors - method.decode(code)).square().sum()
    assert error < 0.5 * (vectors - vectors.mean(0)).square().sum()


@pytest.mark.parametrize("name", NAMES)
def test_the_network_itself_is_the_plain_one(cached_fit, name):
    plain = snapshot(cached_fit("plain").network, cached_fit("plain").method)
    after = snapshot(cached_fit(name).network, cached_fit(name).method)
    assert all(torch.equal(after[k], v) for k, v in plain.items())


@pytest.mark.parametrize("name", NAMES)
def test_loading_a_run_gives_the_same_logits(cached_fit, fit, images, name):
    fitted, fresh = cached_fit(name), fit(name, SHORT.get(name), 1)
    assert not torch.equal(fitted.network(images).logits, fresh.network(images).logits)
    restore(snapshot(fitted.network, fitted.method), fresh.network, fresh.method)
    assert torch.equal(fitted.network(images).logits, fresh.network(images).logits)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_run_twice_is_the_same(cached_fit, fit, name):
    pair = cached_fit(name), fit(name, SHORT.get(name))
    first, again = (snapshot(f.network, f.method) for f in pair)
    assert all(torch.equal(first[k], again[k]) for k in first)


@pytest.mark.parametrize("name", NAMES)
def test_atoms_have_no_outgoing_weights(cached_fit, name):
    fitted = cached_fit(name)
    assert fitted.network.taps[fitted.method.taps[0]].outgoing == ()


@pytest.mark.parametrize("name", NAMES)
def test_bf16_does_not_reach_the_code(cached_fit, images, name):
    network: Network = cached_fit(name).network
    with torch.autocast("cpu", torch.bfloat16):
        out = network(images)
    full = network(images)
    assert out.logits.isfinite().all()
    torch.testing.assert_close(out.logits.float(), full.logits, atol=0.1, rtol=0.1)


def test_an_incomplete_reconstruction_lowers_the_accuracy(fit, toy):
    plain = fit("plain", epochs=8)
    few = fit("posthoc_nmf", {"atoms": 1}, epochs=8)
    full = accuracy(plain.network, plain.method, toy.train)
    assert full > 0.9
    assert accuracy(few.network, few.method, toy.train) < full


def test_a_dictionary_stands_at_one_tap(fit):
    with pytest.raises(ValueError, match="one Tap"):
        fit("posthoc_pca", {"taps": ["conv1", "conv2"]})
    with pytest.raises(ValueError, match="atoms"):
        fit("posthoc_nmf", {"atoms": 0})
