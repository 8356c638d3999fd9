"""Attribution metrics on networks whose evidence is known."""

from __future__ import annotations

import functools
import math
from pathlib import Path

import pytest
import torch
from planted_probes import make_concepts, make_probe, probe_planted, random_probe
from torch import nn

from legible.bench.backbones import planted as networks
from legible.bench.backbones.taps import Network, Tap
from legible.bench.data.planted import planted
from legible.metrics import attribution, explainers
from legible.metrics.base import METRICS, Layer, Probe
from legible.metrics.explainers import ALGORITHMS, explanations

ORDER = list(ALGORITHMS)
NAMES = [n for n, item in METRICS.items() if item.aspect == "attribution" and item.per == "network"]


def of(metric: str, probe: Probe) -> dict[str, float]:
    values = METRICS[metric].function(probe.network, probe)
    return dict(zip(ORDER, values.tolist(), strict=True))


@functools.cache
def localizer(down: int = 0, right: int = 0) -> Probe:
    data = planted(Path(), side=4, aligned=True)
    return probe_planted(networks.planted_localizer(data.image, 12, down, right), data)


# ----------------------------------------------------------------- where


@pytest.mark.parametrize("name", ["input_x_gradient", "integrated_gradients", "deep_lift"])
def test_all_relevance_of_a_localizer_lies_on_its_part(name):
    probe = localizer()
    assert of("pointing_game", probe)[name] == 1
    assert of("relevance_mass", probe)[name] == pytest.approx(1)
    assert of("relevance_rank", probe)[name] == 1
    assert of("attribution_sparseness", probe)[name] == pytest.approx(1 - 16 / 1024)


def test_baselines_know_no_network():
    probe = localizer()
    chance = attribution.relevance_chance(probe.network, probe)
    assert chance == pytest.approx(16 / 1024)
    assert attribution.relevance_mass_edges(probe.network, probe) > 5 * chance
    assert 0 <= attribution.pointing_game_edges(probe.network, probe) <= 1


def test_relevance_leaves_the_evidence_as_the_network_looks_elsewhere():
    """A head that reads random units is explanations by parts that the image does not show."""
    data = planted(Path(), parts=4, noise=4)
    masses = []
    for dose in (0.0, 1.0, 4.0):
        network = networks.planted_parts(data.image, 4)
        first = network.trunk[1]
        with torch.no_grad():
            first.weight[:, 4:] = dose * 0.2 * torch.eye(4)[:, :, None, None]
        masses.append(of("relevance_mass", probe_planted(network, data))["input_x_gradient"])
    assert masses == sorted(masses, reverse=True) and masses[0] == pytest.approx(1)
    assert masses[-1] < 0.3


def test_without_evidence_places_are_undefined():
    _, probe = random_probe()
    assert all(math.isnan(v) for v in of("relevance_mass", probe).values())
    assert math.isnan(attribution.relevance_chance(probe.network, probe))
    assert math.isnan(attribution.relevance_mass_edges(probe.network, probe))
    assert not math.isnan(of("attribution_sparseness", probe)["saliency"])


def test_a_map_of_zeros_counts_as_chance():
    """Blank images: input times gradient says nothing."""
    _, probe = make_probe(torch.zeros(20, 3, 6, 6), torch.arange(20) % 3)
    probe.concepts = make_concepts(torch.ones(20, 3, 24, 24, dtype=torch.bool))
    values = {m: of(m, probe)["input_x_gradient"] for m in ("silent_attributions", "infidelity")}
    assert values == {"silent_attributions": 1, "infidelity": 1}
    assert of("attribution_sparseness", probe)["input_x_gradient"] == 0
    assert of("sensitivity_max", probe)["input_x_gradient"] == pytest.approx(2**0.5)


def test_an_explainer_that_is_always_silent_scores_like_a_random_map(monkeypatch):
    data = planted(Path(), parts=4, noise=4)
    network = networks.planted_parts(data.image, 4)
    with torch.no_grad():  # the units also read noise, so that some images are difficult
        network.trunk[1].weight[:, 4:] = 0.5 * torch.eye(4)[:, :, None, None]
    honest = probe_planted(network, data)
    before = of("pointing_game", honest)["occlusion"]
    monkeypatch.setitem(ALGORITHMS, "occlusion", lambda model, x, y: x * 0)
    silent = probe_planted(network, data)
    chance = attribution.relevance_chance(silent.network, silent)
    assert of("silent_attributions", silent)["occlusion"] == 1
    for metric in ("pointing_game", "relevance_mass", "relevance_rank"):
        assert of(metric, silent)["occlusion"] == pytest.approx(chance), metric
    assert before > chance + 0.1


# ----------------------------------------------------------------- what the network does


def linear(seed: int = 0) -> Probe:
    """Images straight into a linear head: the gradient is the whole truth."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(40, 2, 8, 8, generator=generator)
    modules = nn.Sequential(nn.AvgPool2d(2), Tap("units"), nn.Flatten(), nn.Linear(32, 3))
    with torch.no_grad():
        modules[3].weight.normal_(generator=generator)
    network = Network(modules, list(modules), (2, 8, 8)).eval()
    out = network(images)
    layer = Layer("units", out.activations["units"].detach())
    labels = torch.arange(40) % 3
    return Probe(network, images, labels, out.logits.detach(), {"units": layer})


@pytest.mark.parametrize("name", sorted(explainers.TIMES_INPUT))
def test_a_linear_network_is_fully_explained(name):
    probe = linear()
    assert of("infidelity", probe)[name] == pytest.approx(0, abs=1e-4)
    assert of("infidelity", probe)["saliency"] > 0.5  # |gradient| has lost the sign
    assert of("sensitivity_max", probe)["saliency"] == 0  # the gradient is the same everywhere
    assert 0 < of("sensitivity_max", probe)[name] < 0.1


def test_deletion_falls_before_and_insertion_rises_before_chance():
    data = planted(Path(), parts=6)
    network = networks.planted_parts(data.image, 6)
    with torch.no_grad():
        network.taps["parts"].outgoing[0].weight.weight.mul_(100)  # sure of its answers
    probe = probe_planted(network, data)
    deletion, insertion = of("deletion", probe), of("insertion", probe)
    for name in ("input_x_gradient", "integrated_gradients", "deep_lift", "occlusion"):
        assert deletion[name] < 0.35 and insertion[name] > 0.85, name


# ----------------------------------------------------------------- units, audit, order


def test_conductance_agrees_with_lesions():
    data = planted(Path(), parts=4, noise=16)
    network = networks.planted_blocks(data.image, 4)
    with torch.no_grad():  # units of uneven weight, so that there is an order to agree on
        head = network.taps["dense"].outgoing[0].weight.weight
        head.mul_(torch.linspace(0.5, 2, 16))
    probe = probe_planted(network, data)
    for layer in probe.layers.values():
        assert attribution.conductance_agreement(layer, probe) > 0.9


def test_conductance_is_that_of_the_units_that_lesions_silence():
    """A dictionary at the Tap: four units of its own, decoded to the two that the head reads."""
    probe = linear()
    tap = probe.network.taps["units"]
    tap.install(lambda x: torch.cat([x, -x], 1).relu(), before=True)
    tap.install(lambda x: x[:, :2] - x[:, 2:])
    layer = Layer("units", probe.network(probe.images).activations["units"].detach())
    assert layer.units == 4
    assert attribution.conductance_agreement(layer, probe) == pytest.approx(1)


def test_what_fails_the_audit_is_left_out(monkeypatch):
    monkeypatch.setitem(ALGORITHMS, "occlusion", lambda model, x, y: x * float("nan"))
    probe = probe_planted(*_parts())
    assert explanations(probe).faults == {"occlusion": "attributions are missing or not finite"}
    passed = of("attribution_audit", probe)
    assert passed.pop("occlusion") == 0 and set(passed.values()) == {1}
    for metric in ("relevance_mass", "deletion", "infidelity", "sensitivity_max"):
        values = of(metric, probe)
        assert math.isnan(values.pop("occlusion"))
        assert not any(math.isnan(v) for v in values.values()), metric


def test_an_algorithm_that_raises_costs_only_its_own_values(monkeypatch):
    sound = {metric: of(metric, probe_planted(*_parts())) for metric in ("deletion", "infidelity")}

    def fails(model, x, y):
        raise RuntimeError("module runs twice")

    monkeypatch.setitem(ALGORITHMS, "deep_lift", fails)
    probe = probe_planted(*_parts())
    assert explanations(probe).faults == {"deep_lift": "raises RuntimeError: module runs twice"}
    assert of("attribution_audit", probe) == {name: name != "deep_lift" for name in ORDER}
    for metric, before in sound.items():
        values = of(metric, probe)
        assert math.isnan(values.pop("deep_lift"))
        assert values == {name: before[name] for name in values}


def test_an_algorithm_that_raises_on_perturbed_images_has_no_sensitivity(monkeypatch):
    probe = probe_planted(*_parts())
    before = of("sensitivity_max", probe)

    def fails(model, x, y):
        raise RuntimeError("not these images")

    monkeypatch.setitem(ALGORITHMS, "saliency", fails)
    after = of("sensitivity_max", probe)
    assert math.isnan(after.pop("saliency"))
    assert after == {name: before[name] for name in after}


def _parts() -> tuple[Network, object]:
    data = planted(Path(), parts=6)
    return networks.planted_parts(data.image, 6), data


@functools.cache
def blocks(moved: bool) -> Probe:
    """A planted network; ``moved``: with its units in another order and scale."""
    data = planted(Path(), parts=4, noise=16)
    network = networks.planted_blocks(data.image, 4)
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(16, generator=generator)
    scale = torch.exp(2 * torch.rand(16, generator=generator) - 1)
    first, hidden = network.trunk[1], network.taps["parts"].outgoing[0].weight
    if moved:
        with torch.no_grad():
            first.weight.copy_(first.weight[order] * scale[:, None, None, None])
            hidden.weight.copy_(hidden.weight[:, order] / scale)
    return probe_planted(network, data)


@pytest.mark.parametrize("name", NAMES)
def test_the_order_and_scale_of_units_make_no_difference(name):
    before, after = (
        torch.as_tensor(METRICS[name].function(probe.network, probe))
        for probe in (blocks(moved=False), blocks(moved=True))
    )
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-3, equal_nan=True)
