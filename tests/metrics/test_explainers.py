"""Captum's algorithms: batches make no difference, and the audit finds what it must."""

from __future__ import annotations

import pytest
import torch
from planted_probes import make_probe, random_probe, scenes
from torch import nn

from legible.bench.backbones.taps import Network, Tap
from legible.metrics import explainers
from legible.metrics.explainers import (
    ALGORITHMS,
    HOOKED,
    Logits,
    Model,
    audit,
    explain,
    explanations,
)


def small(activation: list[nn.Module]) -> Network:
    """A small convolutional network with these activations after its two convolutions."""
    torch.manual_seed(0)
    modules = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), activation[0], Tap("first"), nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3, padding=1), activation[1], Tap("second"),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4),
    )  # fmt: skip
    return Network(modules, list(modules), (3, 16, 16)).eval()


@pytest.fixture(scope="module")
def model() -> Model:
    network = small([nn.ReLU(), nn.ReLU()])
    return Model(Logits(network), network.taps["second"])


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(1))


LABELS = torch.arange(6) % 4


@pytest.mark.parametrize("name", ALGORITHMS)
def test_batches_make_no_difference(name, model, images, monkeypatch):
    together = explain(name, model, images, LABELS)
    assert together.shape[-2:] == images.shape[-2:] and together.isfinite().all()
    monkeypatch.setattr(explainers, "BATCH", 1)
    torch.testing.assert_close(explain(name, model, images, LABELS), together, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_nothing_is_changed_and_nothing_left_behind(name, model, images):
    before, state = images.clone(), [p.clone() for p in model.logits.parameters()]
    generator = torch.get_rng_state()
    attributions = explain(name, model, images, LABELS)
    assert audit(name, model, images, LABELS, attributions) == ""
    assert (
        torch.equal(images, before) and not images.requires_grad and not attributions.requires_grad
    )
    assert all(torch.equal(a, b) for a, b in zip(state, model.logits.parameters(), strict=True))
    assert all(p.grad is None for p in model.logits.parameters())
    assert torch.equal(torch.get_rng_state(), generator)


def test_completeness_of_integrated_gradients_and_deep_lift(model, images):
    with torch.no_grad():
        due = model.logits(images) - model.logits(torch.zeros(1, 3, 16, 16))
    due = due.gather(1, LABELS[:, None])[:, 0]
    for name in explainers.COMPLETE:
        total = explain(name, model, images, LABELS).flatten(1).sum(1)
        torch.testing.assert_close(total, due, rtol=0.1, atol=0.01)


# ----------------------------------------------------------------- audit


def fault(name: str, network: Network, images: torch.Tensor) -> str:
    faulty = Model(Logits(network), network.taps["second"])
    try:
        attributions = explain(name, faulty, images, LABELS)
    except RuntimeError:  # what the audit is there to foresee
        attributions = torch.zeros_like(images)
    return audit(name, faulty, images, LABELS, attributions)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_reused_relu_and_one_in_place_fail_what_redefines_it(name, images):
    shared = nn.ReLU()
    reused = fault(name, small([shared, shared]), images)
    in_place = fault(name, small([nn.ReLU(), nn.ReLU(inplace=True)]), images)
    if name in HOOKED:
        assert "more than once" in reused and "in place" in in_place
    else:
        assert "more than once" not in reused and "in place" not in in_place


@pytest.mark.parametrize(
    "broken, reason",
    [
        (lambda model, x, y: x * float("nan"), "not finite"),
        (lambda model, x, y: x[:0], "missing"),
        (lambda model, x, y: x - x.mean(0), "batch"),
        (lambda model, x, y: x.mul_(2), "input"),
        (lambda model, x, y: 10 * x, "of the answer"),
        (
            lambda model, x, y: (model.logits.register_forward_hook(lambda *_: None), x)[1],
            "hooks",
        ),
    ],
)
def test_a_faulty_algorithm_fails_its_audit(broken, reason, images, monkeypatch):
    monkeypatch.setitem(ALGORITHMS, "integrated_gradients", broken)
    network = small([nn.ReLU(), nn.ReLU()])
    model = Model(Logits(network), network.taps["second"])
    attributions = explain("integrated_gradients", model, images, LABELS)
    assert reason in audit("integrated_gradients", model, images, LABELS, attributions)


def test_a_network_without_maps_has_no_gradcam():
    _, probe = make_probe(torch.rand(20, 5), torch.arange(20) % 2)
    sample = explanations(probe)
    assert sample.faults == dict.fromkeys(explainers.MAPPED, "no Tap has a map")
    assert set(sample.attributions) == set(ALGORITHMS) - explainers.MAPPED


# ----------------------------------------------------------------- the sample


def test_the_sample_shows_its_evidence():
    _, probe = scenes()
    sample = explanations(probe)
    assert len(sample.images) == explainers.SAMPLE and sample.evidence is not None
    assert sample.evidence.flatten(1).any(1).all()
    row = (probe.images == sample.images[0]).flatten(1).all(1).nonzero()[0, 0]
    mask = probe.concepts.masks(row[None])[0, probe.labels[row]]
    assert torch.equal(sample.evidence[0], mask)


def test_without_concepts_that_define_classes_there_is_no_evidence():
    _, probe = random_probe()
    assert explanations(probe).evidence is None
