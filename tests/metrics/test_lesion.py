"""Lesions: against reruns one by one, on a planted network, laws, degenerate networks, speed."""

import math
import time
import warnings

import pytest
import torch
import torchvision
from planted_probes import make_probe, random_probe

from legible.bench.backbones.lenet5 import lenet5
from legible.bench.backbones.traced import traced_network
from legible.metrics import lesion
from legible.metrics.base import METRICS, Layer, Probe, as_values
from legible.metrics.lesion import (
    double_lesions,
    importance,
    lesion_importance,
    lesion_specificity,
    lesion_specificity_percentile,
    lesion_start,
    lesions,
    module_interaction,
    module_lesions,
    percentile,
    random_groups,
    specificity,
)
from legible.metrics.modules import layer_modules

NAMES = [name for name, item in METRICS.items() if item.function.__module__ == lesion.__name__]


def serving(noise=0.0, per_class=4, classes=4, each=30, seed=0):
    """Units in groups that each drive one class alone, and fire on its images alone."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(classes * each) % classes
    owner = torch.arange(classes * per_class) // per_class
    level = 1 + 0.3 * torch.rand(len(labels), 1, generator=generator)
    own = torch.rand(len(labels), len(owner), generator=generator)
    response = level * (labels[:, None] == owner) + noise * own + 0.02 * own
    layer, probe = make_probe(response, labels, classes=classes, claimed=owner)
    head = probe.network.taps["units"].outgoing[0].weight
    with torch.no_grad():
        head.weight.copy_((owner == torch.arange(classes)[:, None]).float())
        head.bias.copy_(torch.tensor([0.5] + [0.0] * (classes - 1)))  # the answer without evidence
        probe.logits.copy_(head(response))
    return layer, probe


def single_lesions(layer, probe):
    """`lesions` of each unit alone."""
    return lesions(layer, probe, torch.eye(layer.units, dtype=torch.bool))


def one_by_one(layer, probe, group):
    """Drop of the accuracy by class, from whole reruns."""
    silenced = layer.activation.clone()
    silenced[:, group] = 0
    with torch.no_grad():
        before, after = (
            probe.network.continue_from(layer.name, a).argmax(1) == probe.labels
            for a in (layer.activation, silenced)
        )
    classes = range(probe.classes)
    return torch.tensor(
        [
            (before[probe.labels == c].double().mean() - after[probe.labels == c].double().mean())
            for c in classes
        ]
    )


# ----------------------------------------------------------------- lesions


def lenet_probe(tap, images=40):
    network = lenet5((1, 16, 16), 4).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0, 0.2, generator=generator)
        pixels = torch.randn(images, 1, 16, 16, generator=generator)
        out = network(pixels)
    layer = Layer(tap, out.activations[tap])
    labels = torch.randint(4, (images,), generator=generator)
    return layer, Probe(network, pixels, labels, out.logits, {tap: layer})


@pytest.mark.parametrize(
    "build",
    [
        lambda: random_probe(images=40, units=8),
        lambda: lenet_probe("conv2"),
        lambda: lenet_probe("fc2"),
    ],
    ids=["pooled", "conv2", "fc2"],
)
def test_lesions_are_reruns_without_the_units(build):
    layer, probe = build()
    generator = torch.Generator().manual_seed(0)
    groups = torch.rand(6, layer.units, generator=generator) < 0.4
    expected = torch.stack([one_by_one(layer, probe, group) for group in groups])
    assert expected.abs().max() > 0
    torch.testing.assert_close(lesions(layer, probe, groups), expected, atol=1e-12, rtol=0)
    for budget in (1, 1000):
        again = lesions(layer, probe, groups, budget=budget)
        torch.testing.assert_close(again, expected, atol=1e-12, rtol=0)


def test_only_means_are_rerun_where_the_head_pools():
    layer, probe = random_probe(images=40, units=8)
    start = lesion_start(layer, probe)
    assert start.values.shape == (40, 8, 1, 1)
    assert torch.equal(start.labels, probe.labels)


def mixed(x):
    """A transform in which a unit's value depends on another unit."""
    return x * (x.roll(1, dims=1) > 0.5)


@pytest.mark.parametrize(("transform", "each"), [(lambda x: x * (x > 1.0), True), (mixed, False)])
def test_units_are_silenced_behind_what_treats_each_channel_alone(transform, each):
    layer, probe = random_probe(images=40, units=8)
    probe.network.taps["units"].install(transform)
    values = lesion_start(layer, probe).values
    assert values.shape == ((40, 8, 1, 1) if each else layer.activation.shape)
    group = torch.arange(8)[None] < 3
    expected = one_by_one(layer, probe, group[0])
    assert expected.abs().max() > 0
    torch.testing.assert_close(lesions(layer, probe, group)[0], expected, atol=1e-12, rtol=0)


def test_a_transform_that_wakes_silent_units_runs_for_each_group():
    layer, probe = random_probe(images=40, units=8)
    probe.network.taps["units"].install(lambda x: x.clamp(min=0.5))
    assert lesion_start(layer, probe).values.shape == layer.activation.shape


def test_layers_before_the_last_are_lesioned_on_a_fixed_sample(monkeypatch):
    monkeypatch.setattr(lesion, "SAMPLE", 10)
    layer, probe = lenet_probe("conv2")
    start = lesion_start(layer, probe)
    assert len(start.values) == len(start.labels) == 10
    assert start.values[0].numel() < layer.activation[0].numel()  # behind the pooling
    assert torch.equal(start.values, lesion_start(layer, probe).values)
    assert len(lesion_start(*lenet_probe("fc2")).values) == 40


def traced_probe(name: str, taps: list[str]) -> Probe:
    """A probe of a model of torchvision with random weights, on 12 random images."""
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, num_classes=3)
    network = traced_network(model, (3, 64, 64), taps).eval()
    images, labels = torch.randn(12, 3, 64, 64), torch.arange(12) % 3
    out = network(images)
    layers = {name: Layer(name, out.activations[name]) for name in network.taps}
    return Probe(network, images, labels, out.logits, layers)


TRACED = {
    "squeezenet1_0": ["features.10", "features.12"], "resnet18": ["layer3", "layer4"],
    "resnet50": ["layer4"], "vgg16_bn": ["features.32", "features.42"],
    "densenet121": ["features.denseblock3", "features.denseblock4"],
    "mobilenet_v3_large": ["features.12", "features.15"],
    "efficientnet_b0": ["features.6", "features.7"],
    "convnext_tiny": ["features.5", "features.7"],
}  # fmt: skip


@pytest.mark.parametrize("name", TRACED)
@torch.no_grad()
def test_lesions_of_a_library_s_models_are_those_of_one_group_after_the_other(name):
    probe = traced_probe(name, TRACED[name])
    generator = torch.Generator().manual_seed(0)
    for layer in probe.layers.values():
        groups = torch.rand(3, layer.units, generator=generator) < 0.9
        expected = torch.stack([one_by_one(layer, probe, group) for group in groups])
        torch.testing.assert_close(lesions(layer, probe, groups), expected, atol=1e-12, rtol=0)


@torch.no_grad()
def test_a_traced_network_s_pooling_runs_once_for_all_groups():
    probe = traced_probe("squeezenet1_0", TRACED["squeezenet1_0"])
    first = next(iter(probe.layers.values()))
    assert lesion_start(first, probe).values[0].numel() < first.activation[0].numel()


def test_lesions_of_a_network_that_reads_one_unit_for_each_class():
    layer, probe = make_probe(torch.eye(3).repeat(5, 1), torch.arange(15) % 3)
    head = probe.network.taps["units"].outgoing[0].weight
    with torch.no_grad():
        head.weight.copy_(torch.eye(3))
        head.bias.copy_(torch.tensor([0.1, 0.0, 0.0]))
    # without its unit an image is taken for class 0, by the bias
    expected = torch.diag(torch.tensor([0.0, 1, 1], dtype=torch.float64))
    torch.testing.assert_close(single_lesions(layer, probe), expected)


def test_double_lesions_show_units_that_stand_in_for_each_other():
    # units 0 and 1 each suffice for class 1; unit 2 is never needed; the bias answers class 0
    rows = torch.tensor([[0.0, 0, 1], [1, 1, 1]]).repeat(6, 1)
    layer, probe = make_probe(rows, torch.arange(12) % 2)
    head = probe.network.taps["units"].outgoing[0].weight
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[0.0, 0, 0], [1, 1, 0]]))
        head.bias.copy_(torch.tensor([0.5, 0]))
    beyond = double_lesions(layer, probe, torch.eye(3, dtype=torch.bool))
    assert beyond[0, 1] == beyond[1, 0] == 0.5
    assert beyond[0, 2] == beyond[1, 2] == 0
    assert beyond.diagonal().isnan().all()
    groups = torch.tensor([[True, False, True], [False, True, False]])
    assert double_lesions(layer, probe, groups)[0, 1] == 0.5


def test_modules_that_serve_a_class_each_do_not_interact():
    layer, probe = serving()
    torch.testing.assert_close(module_interaction(layer, probe), torch.zeros(4).double())


def test_modules_that_both_suffice_for_all_classes_interact():
    # two blocks of units that follow different noise, each of which answers class 1 by itself
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 2
    level = labels[:, None] * (1 + torch.rand(60, 2, generator=generator))
    layer, probe = make_probe(level.repeat_interleave(3, dim=1), labels)
    head = probe.network.taps["units"].outgoing[0].weight
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[0.0], [1.0]]).expand(2, 6))
        head.bias.copy_(torch.tensor([0.5, 0.0]))
    layer.memo["modules"] = torch.tensor([0, 0, 0, 1, 1, 1])
    assert module_interaction(layer, probe).tolist() == [0.5, 0.5]


def test_an_inhibiting_module_has_signed_effects():
    # one unit suppresses class 1 on its own images: without it class 1 gains, class 0 loses
    rows = torch.ones(20, 1)
    layer, probe = make_probe(rows, torch.arange(20) % 2)
    head = probe.network.taps["units"].outgoing[0].weight
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[0.0], [-1.0]]))
        head.bias.copy_(torch.tensor([0.0, 0.5]))
    assert single_lesions(layer, probe).tolist() == [[1.0, -1.0]]


def test_a_class_without_images_is_left_out():
    layer, probe = make_probe(torch.rand(10, 4), torch.arange(10) % 2, classes=3)
    drops = single_lesions(layer, probe)
    assert drops[:, 2].isnan().all()
    assert not importance(drops).isnan().any()
    assert not specificity(drops).isnan().any()


# ----------------------------------------------------------------- scores


def test_specificity_and_percentile_by_hand():
    drops = torch.tensor([[1.0, 0, 0, 0], [0.4, 0.4, 0.4, 0.4], [0, 0, 0, 0], [0.5, -0.5, 0, 0]])
    assert specificity(drops).tolist() == pytest.approx([4, 0, 0, 4])
    assert specificity(drops[:, :1]).isnan().all()
    null = torch.tensor([[1.0, 2, 3, 4], [5, 5, 5, 5]])
    assert percentile(torch.tensor([3.0, 5]), null).tolist() == [0.625, 0.5]
    assert percentile(torch.tensor([math.nan, 5]), null)[0].isnan()


def test_modules_that_serve_one_class_each_are_specific():
    layer, probe = serving()
    assert len(layer_modules(layer).unique()) == 4
    values = lesion_specificity(layer, probe)
    assert sorted(values.tolist()) == pytest.approx([0, 4, 4, 4])  # the bias stands in for class 0
    assert (lesion_specificity_percentile(layer, probe).sort().values[1:] > 0.95).all()
    claimed = METRICS["claimed_lesion_specificity_percentile"].function(layer, probe)
    assert (claimed.sort().values[1:] > 0.95).all()


def test_specificity_falls_to_its_null_as_the_claim_is_shuffled():
    def mean(share, seeds=4):
        total = 0.0
        for seed in range(seeds):
            layer, probe = serving(seed=seed)
            generator = torch.Generator().manual_seed(seed)
            moved = torch.randperm(16, generator=generator)[: int(share * 16)]
            layer.claimed[moved] = layer.claimed[moved][
                torch.randperm(len(moved), generator=generator)
            ]
            score = METRICS["claimed_lesion_specificity_percentile"].function
            total += float(score(layer, probe).mean()) / seeds
        return total

    dose = [mean(share) for share in (0.0, 0.4, 0.7, 1.0)]
    assert dose == sorted(dose, reverse=True)
    assert dose[0] > 0.7 > 0.62 > dose[-1] > 0.38


def test_random_groups_have_the_sizes_and_hold_live_units_only():
    layer, probe = random_probe(units=10)
    layer.activation[:, 3] = 0
    sizes = torch.tensor([2, 5, 9])
    groups = random_groups(layer, sizes, probe.generator("x"), draws=30)
    assert groups.shape == (3, 30, 10)
    assert torch.equal(groups.sum(2), sizes[:, None].expand(3, 30))
    assert not groups[..., 3].any()
    assert len(groups[0].unique(dim=0)) > 10


# ----------------------------------------------------------------- laws


@pytest.mark.parametrize("name", NAMES)
def test_permuting_and_rescaling_units(name):
    layer, probe = random_probe(images=60, units=9, seed=3)
    score = METRICS[name].function
    plain = as_values(score(layer, probe))
    head = probe.network.taps["units"].outgoing[0].weight
    order = torch.randperm(9, generator=torch.Generator().manual_seed(1))
    scale = 2.0 ** torch.arange(-4, 5)
    with torch.no_grad():
        head.weight.copy_((head.weight / scale)[:, order])
    changed = (layer.activation * scale[:, None, None])[:, order]
    again = as_values(score(Layer("units", changed, layer.claimed[order]), probe))
    assert sorted(again) == pytest.approx(sorted(plain), abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_answer_twice_and_nothing_changed(name):
    layer, probe = random_probe(images=40)
    before, weights = layer.activation.clone(), [p.clone() for p in probe.network.parameters()]
    first = as_values(METRICS[name].function(layer, probe))
    other, _ = random_probe(images=40)
    assert as_values(METRICS[name].function(other, probe)) == pytest.approx(
        first, abs=0, nan_ok=True
    )
    assert torch.equal(layer.activation, before)
    assert all(map(torch.equal, probe.network.parameters(), weights))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "activation",
    [
        torch.zeros(9, 4),
        torch.full((9, 4), float("nan")),
        torch.ones(9, 4, 2, 2),
        torch.rand(9, 1, generator=torch.Generator().manual_seed(0)),
        torch.rand(9, 2, generator=torch.Generator().manual_seed(0)),
        torch.rand(1, 4, generator=torch.Generator().manual_seed(0)),
    ],
    ids=["dead", "nan", "constant", "one unit", "two units", "one image"],
)
@pytest.mark.parametrize("classes", [1, 3])
def test_degenerate_layers_never_crash(name, activation, classes):
    labels = torch.arange(len(activation)) % classes
    _, probe = make_probe(activation.nan_to_num(), labels, classes=classes)
    layer = Layer("units", activation, torch.arange(activation.shape[1]) % 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values = as_values(METRICS[name].function(layer, probe))
    assert len(values) >= 1


def test_without_modules_and_with_one_class_nothing_is_defined():
    layer, probe = make_probe(torch.zeros(9, 4), torch.arange(9) % 3)
    assert lesion_importance(layer, probe).isnan().tolist() == [True]
    layer, probe = make_probe(torch.rand(9, 1).expand(9, 4).contiguous(), torch.zeros(9).long())
    assert lesion_specificity_percentile(layer, probe).isnan().all()


def test_one_module_of_all_units_is_as_specific_as_any():
    x = torch.rand(30, 1, generator=torch.Generator().manual_seed(0)).expand(30, 4)
    layer, probe = make_probe(x.contiguous(), torch.arange(30) % 3)
    assert lesion_specificity_percentile(layer, probe).tolist() == [0.5]


# ----------------------------------------------------------------- speed


@pytest.mark.slow
def test_all_lesions_of_128_units_over_2000_images_take_seconds():
    layer, probe = random_probe(images=2000, units=128, classes=10, size=8, concepts=1)
    start = time.process_time()
    single_lesions(layer, probe)
    assert time.process_time() - start < 5
    start = time.process_time()
    partition = torch.arange(128) % 10
    drops, null = module_lesions(layer, probe, partition)
    assert null.shape == (10, 100, 10)
    assert math.isfinite(float(drops.sum()))
    assert time.process_time() - start < 20
