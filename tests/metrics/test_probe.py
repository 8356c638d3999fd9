"""Layers and probes."""

import torch
from planted_probes import random_probe

from legible.metrics.base import Layer, remember


def test_dead_units_are_never_positive_or_not_finite():
    activation = torch.tensor([[1.0, 0.0, -1.0, 2.0], [0.0, 0.0, -3.0, torch.inf]])
    layer = Layer("x", activation)
    assert layer.dead.tolist() == [False, True, True, True]
    assert layer.finite and not Layer("x", activation[:, 3:]).finite


def test_pooled_is_the_mean_of_positive_activations():
    layer = Layer("x", torch.tensor([[[[1.0, -1.0], [3.0, 0.0]]]]))
    assert layer.pooled.tolist() == [[1.0]] and layer.spatial
    assert not Layer("x", torch.zeros(2, 3, 1, 4)).spatial


def test_chunks_hold_each_image_once():
    layer = Layer("x", torch.randn(10, 3, generator=torch.Generator().manual_seed(0)))
    rows, parts = zip(*layer.chunks(4), strict=True)
    assert [part.start for part in rows] == [0, 4, 8]
    assert torch.equal(torch.cat(parts), layer.activation.clamp(min=0))


def test_halves_are_disjoint_and_always_the_same():
    _, probe = random_probe(images=31)
    probe.images[:, 0, 0, 0] = torch.arange(31.0)
    first, second = (half.images[:, 0, 0, 0].tolist() for half in probe.halves())
    assert len(first) == len(second) == 15 and not set(first) & set(second)
    again = probe.halves()[0]
    assert again.images[:, 0, 0, 0].tolist() == first
    rows = torch.tensor(first).long()
    assert torch.equal(again.layers["units"].activation, probe.layers["units"].activation[rows])
    assert torch.equal(again.concepts.masks(), probe.concepts.masks(rows))


def test_each_use_has_its_own_random_numbers():
    _, probe = random_probe()
    draws = [torch.rand(3, generator=probe.generator(name)).tolist() for name in ("a", "b", "a")]
    assert draws[0] == draws[2] != draws[1]


def test_results_are_computed_once_for_each_key():
    layer, _ = random_probe()
    results = [remember(layer, key, object) for key in ("a", "b", "a")]
    assert results[0] is results[2] is not results[1]
