"""Consistency of modules and units: laws, comparisons by scope, matching between networks."""

import warnings

import pytest
import torch

from legible.metrics import consistency
from legible.metrics.base import METRICS, Layer, as_values, scope
from legible.metrics.consistency import cross_correlation, matched_agreement, matched_correlation

ari, ari_null, ari_null_low, ari_null_high, consistency_coverage = (
    METRICS[name].function
    for name in ("ari", "ari_null", "ari_null_low", "ari_null_high", "consistency_coverage")
)
NAMES = [name for name, item in METRICS.items() if item.function.__module__ == consistency.__name__]


def layers(noise, seed=0, sizes=(6, 6, 6), images=120):
    """The same planted modules on two sets of images."""
    generator = torch.Generator().manual_seed(seed)
    owner = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    halves = []
    for _ in range(2):
        source = torch.randn(images, len(sizes), 2, 2, generator=generator)
        own = torch.randn(images, len(owner), 2, 2, generator=generator)
        halves.append(Layer("x", (source[:, owner] + noise * own).relu()))
    return halves


def test_the_same_modules_on_other_images_agree_and_noise_takes_it_away():
    first, second = layers(0.2)
    assert ari(first, second) == 1
    assert consistency_coverage(first, second) == 1
    assert ari_null_low(first, second) < ari_null(first, second) < ari_null_high(first, second)

    def mean(noise):
        return sum(agreement_of(*layers(noise, seed)) for seed in range(5)) / 5

    def agreement_of(first, second):
        value = ari(first, second)
        return value if value == value else 0.0

    dose = [mean(noise) for noise in (0.2, 1.5, 3.0, 12.0)]
    assert dose == sorted(dose, reverse=True)
    assert abs(dose[-1]) < 0.3


@pytest.mark.parametrize("name", NAMES)
def test_permuting_and_rescaling_units(name):
    first, second = layers(1.2)
    score = METRICS[name].function
    order = torch.randperm(18, generator=torch.Generator().manual_seed(1))
    scale = torch.logspace(-3, 3, 18)[:, None, None]
    changed = [Layer("x", (half.activation * scale)[:, order]) for half in (first, second)]
    assert score(*changed) == pytest.approx(score(first, second), abs=1e-9)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "activation",
    [
        torch.zeros(6, 4),
        torch.full((6, 4), float("nan")),
        torch.ones(6, 4),
        torch.rand(6, 1, generator=torch.Generator().manual_seed(0)),
        torch.rand(6, 2, generator=torch.Generator().manual_seed(0)),
        torch.rand(1, 4, generator=torch.Generator().manual_seed(0)),
    ],
    ids=["dead", "nan", "constant", "one unit", "two units", "one image"],
)
def test_degenerate_layers_never_crash(name, activation):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        value = METRICS[name].function(Layer("x", activation), Layer("x", activation.clone()))
    assert len(as_values(value)) == 1


def test_the_same_metrics_compare_halves_splits_and_seeds():
    scopes = [scope(METRICS[name].function) for name in NAMES]
    assert [scopes.count(kind) for kind in ("halves", "splits", "seeds")] == [9, 9, 12]


# ----------------------------------------------------------------- between networks


def test_a_network_with_its_units_in_another_order_matches_itself():
    layer, _ = layers(0.5)
    order = torch.randperm(18, generator=torch.Generator().manual_seed(2))
    other = Layer("x", layer.activation[:, order] * 3)
    assert matched_correlation(layer, other) == pytest.approx(1)
    values = matched_agreement(layer, other)
    assert values["ari"] == 1
    assert values["coverage"] == 1


def test_matching_is_by_correlation_on_the_same_images():
    layer, _ = layers(0.5)
    other = Layer("x", layer.activation.flip(1))
    rho = cross_correlation(layer, other)
    stacked = torch.cat([layer.activation, other.activation], 1).movedim(1, 0).flatten(1)
    torch.testing.assert_close(rho, torch.corrcoef(stacked.double())[:18, 18:])


def test_unrelated_networks_match_at_the_level_of_chance():
    first, second = layers(0.5, images=400)
    assert matched_correlation(first, second) < 0.2
    assert abs(matched_agreement(first, second)["ari"]) < 0.3


def test_dead_units_match_with_correlation_zero():
    layer, _ = layers(0.5)
    other = layer.activation.clone()
    other[:, :9] = 0
    assert matched_correlation(layer, Layer("x", other)) == pytest.approx(0.5, abs=0.05)


def test_other_images_cannot_be_matched():
    layer, _ = layers(0.5)
    with pytest.raises(ValueError, match="same images"):
        cross_correlation(layer, layer.images(slice(0, 5)))
