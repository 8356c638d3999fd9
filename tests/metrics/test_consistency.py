"""Consistency of modules and units: laws, comparisons by scope, matching between networks."""

import math
import warnings

import pytest
import torch
from planted_probes import make_probe

from legible.metrics import consistency
from legible.metrics.base import METRICS, Layer, as_values, scope
from legible.metrics.consistency import (
    cross_correlation,
    distinct_units,
    matched_agreement,
    matched_correlation,
    matched_dimensions,
    residual_correlation,
)

ari, ari_null, ari_null_low, ari_null_high, consistency_coverage = (
    METRICS[name].function
    for name in ("ari", "ari_null", "ari_null_low", "ari_null_high", "consistency_coverage")
)
ALL = [name for name, item in METRICS.items() if item.function.__module__ == consistency.__name__]
#: Those that need two layers alone, and no labels.
NAMES = [name for name in ALL if name != "matched_dimensions"]


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
    scopes = [scope(METRICS[name].function) for name in ALL]
    assert [scopes.count(kind) for kind in ("halves", "splits", "seeds")] == [9, 9, 13]


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


# ----------------------------------------------------------------- matched dimensions


def network(activation, labels, classes=3):
    layer, probe = make_probe(activation, labels, classes=classes)
    return layer, probe


def independent(units=9, images=240, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(images, units, 3, 3, generator=generator) ** 2


LABELS = torch.arange(240) % 3


def test_the_same_distinct_units_in_another_order_match():
    activation = independent()
    mine, probe = network(activation, LABELS)
    theirs = Layer("units", activation.flip(1) * torch.logspace(-2, 2, 9)[:, None, None])
    chance = matched_dimensions(mine, Layer("units", independent(seed=1)), probe)
    assert matched_dimensions(mine, theirs, probe) == pytest.approx(1, abs=0.15)
    assert abs(chance) < 0.05


def test_residual_correlation_is_that_of_responses_less_their_class_means():
    first, second = independent(4), independent(3, seed=2) + 0.3 * LABELS[:, None, None, None]
    mine, probe = network(first, LABELS)
    theirs = Layer("units", second)
    order = torch.randperm(240, generator=torch.Generator().manual_seed(3))
    for new_order in (None, order):
        rows = slice(None) if new_order is None else new_order

        def centred(x, labels):
            means = torch.stack([x[labels == c].mean((0, 2, 3)) for c in range(3)])
            return (x - means[labels][..., None, None]).movedim(1, 0).flatten(1).double()

        a, b = centred(first, LABELS), centred(second, LABELS)
        b = b.view(3, 240, 9)[:, rows].flatten(1)
        expected = (a @ b.T) / (a.norm(dim=1)[:, None] * b.norm(dim=1))
        rho = cross_correlation(mine, theirs, new_order)
        result = residual_correlation(rho, mine, theirs, probe, new_order)
        torch.testing.assert_close(result, expected, atol=1e-6, rtol=0)


def test_units_that_know_the_label_alone_share_nothing():
    label = (LABELS[:, None] == torch.arange(9) % 3).float()[..., None, None].expand(-1, -1, 3, 3)
    mine, probe = network(label.contiguous(), LABELS)
    assert math.isnan(matched_dimensions(mine, Layer("units", label.flip(1).contiguous()), probe))
    assert matched_correlation(mine, Layer("units", label.contiguous())) == pytest.approx(1)


def test_copies_count_once():
    activation = independent()
    copies = activation[:, :1].expand(-1, 9, -1, -1).contiguous()
    mine, probe = network(copies, LABELS)
    assert distinct_units(mine, probe).tolist() == [0] * 9
    value = matched_dimensions(mine, Layer("units", copies.clone()), probe)
    assert value == pytest.approx(1 / 3, abs=0.05)  # one of three units picked
