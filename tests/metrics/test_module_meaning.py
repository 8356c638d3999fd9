"""What modules stand for: classes by their mean response, concepts by their members."""

import math
import warnings

import pytest
import torch
from planted_probes import PIXELS_PER_POSITION, make_concepts, make_probe, random_probe

from legible.metrics import module_meaning
from legible.metrics.base import METRICS, Layer, as_values
from legible.metrics.module_meaning import (
    concept_entropy,
    concept_entropy_excess,
    label_entropy,
    module_information_share,
    module_responses,
    module_selectivity,
)

NAMES = [n for n, item in METRICS.items() if item.function.__module__ == module_meaning.__name__]


def test_entropy_of_labels_by_hand():
    labels = torch.tensor([0, 0, 1, 1, 2, 3, 0, -1, -1])
    partition = torch.tensor([0, 0, 0, 0, 1, 1, -1, 1, 2])
    values = label_entropy(labels, partition, 4)
    assert values[:2].tolist() == pytest.approx([1, 1])
    assert values[2].isnan()
    several = label_entropy(torch.stack([labels, labels.clamp(max=0)]), partition, 4)
    assert several[1, :2].tolist() == pytest.approx([0, 0])


def detectors(owner, images=60, seed=0):
    """Units of one module fire where their concept is; ``owner`` gives each unit's concept."""
    generator = torch.Generator().manual_seed(seed)
    concepts, size = 4, 6
    position = torch.randint(size * size, (images, concepts), generator=generator)
    maps = torch.nn.functional.one_hot(position, size * size).view(images, concepts, size, size)
    masks = (
        maps.bool()
        .repeat_interleave(PIXELS_PER_POSITION, 2)
        .repeat_interleave(PIXELS_PER_POSITION, 3)
    )
    strength = 1 + torch.rand(images, concepts, 1, 1, generator=generator)
    labels = torch.arange(images) % 3
    return make_probe((maps * strength)[:, owner].float(), labels, make_concepts(masks))


def test_modules_of_detectors_of_one_concept_have_no_entropy():
    layer, probe = detectors(torch.arange(4).repeat_interleave(4))
    assert concept_entropy(layer, probe).tolist() == pytest.approx([0] * 4)
    assert (concept_entropy_excess(layer, probe) < -0.3).all()


def test_entropy_grows_as_members_take_other_concepts():
    def mean(moved):
        total = 0.0
        for seed in range(4):
            layer, probe = detectors(torch.arange(4).repeat_interleave(4), seed=seed)
            layer.memo["modules"] = torch.arange(4).repeat_interleave(4)
            order = torch.arange(16)
            some = torch.randperm(16, generator=torch.Generator().manual_seed(seed))[:moved]
            order[some] = order[some.roll(1)]
            mixed = Layer("units", layer.activation[:, order])
            mixed.memo["modules"] = layer.memo["modules"]
            total += float(concept_entropy(mixed, probe).mean()) / 4
        return total

    dose = [mean(moved) for moved in (0, 4, 8, 16)]
    assert dose == sorted(dose)
    assert dose[0] == pytest.approx(0)
    assert dose[-1] > 0.5


def test_entropy_is_divided_by_that_of_the_concepts_present():
    layer, probe = detectors(torch.tensor([0, 1]))
    layer.memo["modules"] = torch.tensor([0, 0])
    assert concept_entropy(layer, probe).tolist() == pytest.approx([1 / math.log2(4)])
    assert concept_entropy_excess(layer, probe).tolist() == pytest.approx([0])


def test_responses_count_members_alike_whatever_their_scale():
    generator = torch.Generator().manual_seed(0)
    base = torch.rand(30, 2, generator=generator)
    rows = torch.cat([base[:, :1].expand(-1, 3), base[:, 1:].expand(-1, 3)], 1)
    layer, _ = make_probe(rows * torch.tensor([1, 10, 100, 5, 1, 3]), torch.arange(30) % 3)
    responses = module_responses(layer)
    torch.testing.assert_close(responses, (base / base.mean(0)).double(), atol=1e-5, rtol=0)


def test_modules_of_units_that_serve_one_class():
    labels = torch.arange(90) % 3
    level = 1 + torch.rand(90, 1, generator=torch.Generator().manual_seed(0))
    rows = level * (labels[:, None] == torch.arange(9) // 3)
    layer, probe = make_probe(rows, labels)
    assert module_selectivity(layer, probe).tolist() == pytest.approx([1] * 3)
    assert module_information_share(layer, probe).tolist() == pytest.approx([1] * 3, abs=0.1)
    unrelated = labels[torch.randperm(90, generator=torch.Generator().manual_seed(1))]
    _, shuffled = make_probe(rows, unrelated)
    assert (module_selectivity(layer, shuffled) < 0.5).all()
    assert (module_information_share(layer, shuffled) < 0.2).all()


@pytest.mark.parametrize("name", NAMES)
def test_permuting_and_rescaling_units(name):
    layer, probe = random_probe(units=9, seed=2)
    score = METRICS[name].function
    plain = as_values(score(layer, probe))
    order = torch.randperm(9, generator=torch.Generator().manual_seed(1))
    scale = torch.logspace(-2, 2, 9)[:, None, None]
    again = as_values(score(Layer("units", (layer.activation * scale)[:, order]), probe))
    assert sorted(again) == pytest.approx(sorted(plain), abs=1e-5)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "activation",
    [
        torch.zeros(9, 4, 2, 2),
        torch.full((9, 4, 2, 2), float("nan")),
        torch.ones(9, 4, 2, 2),
        torch.rand(9, 1, 2, 2, generator=torch.Generator().manual_seed(0)),
        torch.rand(9, 2, 2, 2, generator=torch.Generator().manual_seed(0)),
    ],
    ids=["dead", "nan", "constant", "one unit", "two units"],
)
@pytest.mark.parametrize("present", [0, 1, 3])
@pytest.mark.parametrize("classes", [1, 3])
def test_degenerate_layers_never_crash(name, activation, present, classes):
    masks = torch.zeros(9, 3, 2 * PIXELS_PER_POSITION, 2 * PIXELS_PER_POSITION, dtype=torch.bool)
    masks[:, :present, :2, :2] = True
    labels = torch.arange(9) % classes
    _, probe = make_probe(activation.nan_to_num(), labels, make_concepts(masks), classes)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values = as_values(METRICS[name].function(Layer("units", activation), probe))
    assert len(values) >= 1


def test_without_modules_nothing_is_defined():
    layer, probe = random_probe(units=4)
    dead = Layer("units", torch.zeros_like(layer.activation))
    for name in NAMES:
        assert METRICS[name].function(dead, probe).isnan().tolist() == [True]
