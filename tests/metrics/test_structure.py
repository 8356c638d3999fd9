"""Structure metrics: planted blocks, their nulls, invariances and degenerate layers."""

import math
import warnings

import networkx
import pytest
import torch
from planted_probes import make_probe

from legible.metrics import structure
from legible.metrics.base import METRICS, Layer, as_values, unmet
from legible.metrics.modules import graph, layer_modules
from legible.metrics.similarity import layer_correlation
from legible.metrics.structure import (
    coverage,
    effective_rank,
    modularity,
    modularity_excess,
    modularity_z,
    module_count,
    order_parameter,
    shuffled,
    within_between,
    within_between_z,
    within_share,
)

NAMES = [
    name
    for name, item in METRICS.items()
    if item.function.__module__ == "legible.metrics.structure"
]


def blocks(sizes, noise, seed=0, images=60, size=2):
    generator = torch.Generator().manual_seed(seed)
    owner = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    source = torch.randn(images, len(sizes), size, size, generator=generator)
    own = torch.randn(images, len(owner), size, size, generator=generator)
    labels = torch.arange(images) % 3
    return make_probe((source[:, owner] + noise * own).relu(), labels, claimed=owner)


def test_the_headline():
    assert [name for name in NAMES if METRICS[name].headline] == ["modularity_excess"]


def test_equal_blocks_have_modularity_one_minus_one_over_their_number():
    # units of a block are copies: Q = sum_k (1/K - 1/K^2) but for correlations between sources
    layer, probe = blocks([6, 6, 6, 6], 0.0, images=3000)
    assert modularity(layer, probe) == pytest.approx(0.75, abs=0.05)
    assert module_count(layer, probe) == 4
    assert coverage(layer, probe) == 1
    assert effective_rank(layer, probe) == pytest.approx(4, abs=0.05)
    assert as_values(order_parameter(layer, probe)) == pytest.approx(1, abs=1e-5)


def test_modularity_is_networkx_s_on_the_layers_graph():
    layer, probe = blocks([5, 4, 3], 1.0)
    partition = layer_modules(layer)
    groups = [set((partition == k).nonzero()[:, 0].tolist()) for k in partition.unique() if k >= 0]
    groups += [{i} for i in (partition < 0).nonzero()[:, 0].tolist()]
    nodes = networkx.from_numpy_array(graph(layer_correlation(layer)).numpy())
    expected = networkx.community.modularity(nodes, groups)
    assert modularity(layer, probe) == pytest.approx(expected, abs=1e-9)


def test_scores_fall_towards_their_null_as_noise_grows():
    def dose(score, noise):
        probes = [blocks([6] * 4, noise, seed, images=200) for seed in range(3)]
        return sum(score(*probe) for probe in probes) / 3

    noises = (0.2, 0.8, 1.5, 2.5, 4.0)
    # within / between at a fixed number of modules: it also grows with that
    for score in (modularity, structure.claimed_within_between):
        values = [dose(score, noise) for noise in noises[:4]]
        assert values == sorted(values, reverse=True), score.__name__
    # with less noise, the members of a module are copies, which are merged
    values = [dose(modularity_excess, noise) for noise in noises[1:4]]
    assert values == sorted(values, reverse=True) and values[0] > 0.3
    assert dose(modularity_excess, noises[0]) < values[0]
    ranks = [dose(effective_rank, noise) for noise in noises]
    assert ranks == sorted(ranks)
    assert abs(dose(modularity_z, 50.0)) < 4
    assert abs(dose(modularity_excess, 50.0)) < 0.05


def test_the_null_shuffles_the_weights_of_live_units_and_keeps_them():
    layer, _ = blocks([3, 3], 1.0)
    layer.activation[:, 2] = 0
    rho = layer_correlation(layer)
    dealt = shuffled(rho, torch.Generator().manual_seed(0))
    assert dealt.shape == (5, 5)
    assert torch.equal(dealt, dealt.T)
    live = rho.diagonal() > 0
    values = rho[live][:, live]
    torch.testing.assert_close(dealt.flatten().sort().values, values.flatten().sort().values)
    assert not torch.equal(dealt, values)


def test_independent_units_are_no_more_modular_than_shuffled_ones():
    generator = torch.Generator().manual_seed(0)
    scores = []
    for seed in range(3):
        x = torch.randn(200, 24, 2, 2, generator=generator).relu()
        scores.append(modularity_z(*make_probe(x, torch.arange(200) % 3, seed=seed)))
    assert all(abs(score) < 4 for score in scores)


def test_within_share_by_hand():
    similarity = torch.tensor([[2.0, 2, 1], [2, 2, 1], [1, 1, 2]])
    share = within_share(similarity, torch.tensor([[0, 0, 1], [1, 0, 0]]))
    assert share.tolist() == pytest.approx([8 / 10 + 2 / 4, 2 / 5 + 6 / 9])
    uniform = within_share(torch.ones(6, 6), torch.tensor([[0, 1, 2, 2, 1, 1]]))
    assert uniform.tolist() == pytest.approx([1])


def test_claimed_modules_are_scored_apart():
    layer, probe = blocks([5, 5], 0.3)
    right = structure.claimed_within_between(layer, probe)
    assert right == pytest.approx(within_between(layer, probe))
    wrong = Layer(layer.name, layer.activation, torch.arange(10) % 2)
    assert structure.claimed_modularity(wrong, probe) < 0.1
    assert structure.claimed_within_between(wrong, probe) < right
    assert structure.claimed_within_between_z(layer, probe) > 5
    assert structure.claimed_within_between_z(wrong, probe) < 1
    nothing = Layer(layer.name, layer.activation)
    assert unmet(METRICS["claimed_modularity"], nothing, probe) == "the method claims no modules"


# ----------------------------------------------------------------- laws


@pytest.mark.parametrize("name", NAMES)
def test_permuting_and_rescaling_units(name):
    layer, probe = blocks([3, 4, 5], 0.7)
    score = METRICS[name].function
    plain = as_values(score(layer, probe))
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    scale = torch.logspace(-3, 3, 12)[:, None, None]
    permuted = Layer("units", layer.activation[:, order], layer.claimed[order])
    expected = plain[order.numpy()] if METRICS[name].per == "unit" else plain
    assert as_values(score(permuted, probe)) == pytest.approx(expected, rel=1e-6)
    scaled = Layer("units", layer.activation * scale, layer.claimed)
    assert as_values(score(scaled, probe)) == pytest.approx(plain, rel=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_answer_twice_and_nothing_changed(name):
    layer, probe = blocks([4, 4], 0.7)
    before = layer.activation.clone()
    score = METRICS[name].function
    first = as_values(score(layer, probe))
    again = as_values(score(Layer("units", layer.activation, layer.claimed), probe))
    assert first == pytest.approx(again, nan_ok=True, abs=0)
    assert torch.equal(layer.activation, before)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "activation",
    [
        torch.zeros(12, 4, 2, 2),
        torch.full((12, 4, 2, 2), float("nan")),
        torch.ones(12, 4, 2, 2),
        torch.rand(12, 1, 2, 2, generator=torch.Generator().manual_seed(0)),
        torch.rand(12, 2, 2, 2, generator=torch.Generator().manual_seed(0)),
        torch.rand(1, 5, generator=torch.Generator().manual_seed(0)),
        torch.rand(12, 1, 2, 2, generator=torch.Generator().manual_seed(0)).expand(-1, 5, -1, -1),
    ],
    ids=["dead", "nan", "constant", "one unit", "two units", "one image", "copies"],
)
def test_degenerate_layers_never_crash(name, activation):
    units = activation.shape[1]
    labels = torch.arange(len(activation)) % 3
    finite = activation.nan_to_num()
    _, probe = make_probe(finite, labels, classes=3)
    layer = Layer("units", activation, torch.arange(units) % 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values = as_values(METRICS[name].function(layer, probe))
    assert len(values) == (units if METRICS[name].per == "unit" else 1)


def test_what_is_undefined_is_nan():
    layer, probe = make_probe(torch.zeros(12, 4, 2, 2), torch.arange(12) % 3)
    for score in (modularity, modularity_z, within_between, effective_rank, modularity_excess):
        assert math.isnan(score(layer, probe)), score.__name__
    assert order_parameter(layer, probe).isnan().all()
    assert coverage(layer, probe) == 0
    assert module_count(layer, probe) == 0


def test_one_module_has_no_modularity():
    x = torch.rand(40, 1, generator=torch.Generator().manual_seed(0)).expand(-1, 6)
    layer, probe = make_probe(x.contiguous(), torch.arange(40) % 3)
    assert modularity(layer, probe) == pytest.approx(0, abs=1e-12)
    assert within_between(layer, probe) == pytest.approx(1)
    assert math.isnan(within_between_z(layer, probe))
