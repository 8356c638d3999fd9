"""Semantics: each metric against a direct loop, and on cases with a known answer."""

import math

import pytest
import torch
from planted_probes import make_concepts, make_probe, random_probe, to_pixels
from sklearn.metrics import roc_auc_score
from torch.nn.functional import adaptive_avg_pool2d, interpolate, one_hot

from legible.metrics import maps, semantics


def one_part_each(images: int = 240, count: int = 12, side: int = 8, seed: int = 0):
    """Image n shows part n mod count, a square anywhere; unit k is that part's coverage."""
    corner = torch.randint(33 - side, (images, 2, 1), generator=torch.Generator().manual_seed(seed))
    line = torch.arange(32)
    inside = (line >= corner) & (line < corner + side)
    part = torch.arange(images) % count
    square = inside[:, 0, :, None] & inside[:, 1, None, :]
    masks = square[:, None] & one_hot(part, count).bool()[:, :, None, None]
    return adaptive_avg_pool2d(masks.float(), 8), masks, part


# ----------------------------------------------------------------- NetDissect


def direct_iou(layer, probe, lite=False):
    """NetDissect's IoU, one unit and concept at a time, in float64."""
    concepts = probe.concepts
    masks = concepts.masks()
    values = layer.activation.double()
    if not lite:
        values = interpolate(values, masks.shape[2:], mode="bilinear")
    values = values.movedim(1, 0).flatten(1)
    keep = max(1, round(0.005 * values.shape[1]))
    table = torch.full((layer.units, len(concepts)), math.nan, dtype=torch.float64)
    for unit in range(layer.units):
        # the k-th largest, where so many are positive; rounding must not decide
        threshold = values[unit].sort(descending=True).values[keep - 1] * (1 - 1e-6)
        region = [
            interpolate(a[None, None], masks.shape[2:], mode="bilinear")[0, 0] >= threshold
            for a in layer.activation[:, unit].double()
        ]
        for k, category in enumerate(concepts.categories):
            same = [j for j, other in enumerate(concepts.categories) if other == category]
            inter = area = concept = 0
            for n, where in enumerate(region):
                category_mask = masks[n, same].any(0)
                inter += int((where & masks[n, k]).sum())
                concept += int(masks[n, k].sum())
                if (where & category_mask).any() if lite else category_mask.any():
                    area += int(where.sum())
            table[unit, k] = inter / (area + concept - inter) if concept else math.nan
    return table


@pytest.mark.parametrize("lite", [False, True])
@pytest.mark.parametrize("budget", [1, 2**20])
def test_iou_equals_the_direct_loop(lite, budget, monkeypatch):
    monkeypatch.setattr(maps, "BUDGET", budget)
    layer, probe = random_probe(images=50, units=4, concepts=5)
    masks = probe.concepts.masks()
    masks[:, 4] = False  # a concept in no image
    for unit in range(2):  # units that have to do with the concepts
        layer.activation[:, unit] += 3 * adaptive_avg_pool2d(masks[:, unit].float(), 6)
    probe.concepts = make_concepts(masks, ["part", "part", "colour", "colour", "part"])
    table = semantics.dissect(layer, probe.concepts, lite)
    expected = direct_iou(layer, probe, lite)
    assert expected[:, :4].max() > 0
    torch.testing.assert_close(table, expected, atol=0, rtol=0, equal_nan=True)


@pytest.mark.parametrize("size", [(7, 5), (3, 8)])
def test_iou_of_maps_that_do_not_divide_the_image(size):
    generator = torch.Generator().manual_seed(0)
    activation = torch.randn(40, 2, *size, generator=generator).relu()
    layer, probe = make_probe(activation, torch.arange(40) % 2)
    probe.concepts = make_concepts(torch.rand(40, 2, 28, 30, generator=generator) < 0.3)
    torch.testing.assert_close(
        semantics.dissect(layer, probe.concepts), direct_iou(layer, probe), atol=0, rtol=0
    )


def test_one_detector_for_each_part():
    activation, masks, label = one_part_each()
    layer, probe = make_probe(activation, label, make_concepts(masks))
    value, concept = semantics.best_concepts(layer, probe)
    assert concept.tolist() == list(range(12))
    assert (semantics.netdissect_iou(layer, probe) == value).all() and (value > 0.6).all()
    assert semantics.unique_detectors(layer, probe) == semantics.detectors(layer, probe) == 12


def test_detectors_of_few_concepts():
    """Six units detect two parts between them, one detects nothing, one is dead."""
    activation, masks, label = one_part_each()
    elsewhere = activation[:, [2]]
    units = torch.cat([activation[:, [0, 0, 0, 1, 1, 1]], elsewhere, 0 * elsewhere], dim=1)
    layer, probe = make_probe(units, label, make_concepts(masks[:, :2]))
    assert semantics.unique_detectors(layer, probe) == 2
    assert semantics.detectors(layer, probe) == 6
    assert semantics.best_concepts(layer, probe)[1][7] == -1
    assert semantics.netdissect_iou(layer, probe)[7].isnan()


def test_a_layer_without_live_units_has_no_count():
    layer, probe = random_probe()
    layer.activation.zero_()
    assert math.isnan(semantics.unique_detectors(layer, probe))
    assert math.isnan(semantics.detectors(layer, probe))


# ----------------------------------------------------------------- part interpretability


def direct_interpretability(layer, probe):
    masks = probe.concepts.masks()
    threshold = maps.thresholds(layer)
    best = []
    for unit in range(layer.units):
        shares = []
        for k in range(masks.shape[1]):
            matches = []
            for n in range(len(masks)):
                if masks[n, k].any():
                    valid = (layer.activation[n, unit] >= threshold[unit]).double()
                    up = interpolate(valid[None, None], masks.shape[2:], mode="nearest-exact") > 0
                    inter = (up[0, 0] & masks[n, k]).sum().item()
                    matches.append(inter / (up[0, 0] | masks[n, k]).sum().item() > 0.2)
            shares.append(sum(matches) / len(matches))
        best.append(max(shares))
    return torch.tensor(best, dtype=torch.float64)


@pytest.mark.parametrize("size", [6, 5])
def test_interpretability_equals_the_direct_loop(size):
    layer, probe = random_probe(images=60, units=4, size=size)
    probe.concepts = random_probe(images=60)[1].concepts  # 24 pixels a side
    values = semantics.part_interpretability(layer, probe)
    expected = direct_interpretability(layer, probe)
    torch.testing.assert_close(values, expected)
    assert values.max() > 0


def test_a_unit_that_shows_its_part_in_every_image():
    activation, masks, label = one_part_each()
    layer, probe = make_probe(activation, label, make_concepts(masks))
    assert semantics.part_interpretability(layer, probe).tolist() == [1] * 12


# ----------------------------------------------------------------- purity


def test_purity_counts_the_modal_concept_of_the_ten_highest_peaks():
    # of the ten highest peaks seven lie in part 0 and three in part 1; lower ones do not count
    part = torch.tensor([0] * 7 + [1] * 3 + [1] * 20)
    at = torch.zeros(30, 1, 6, 6)
    at[..., 2, 3] = torch.linspace(2, 1, 30)[:, None]
    masks = torch.zeros(30, 2, 6, 6, dtype=torch.bool)
    masks[torch.arange(30), part, 2, 3] = True
    layer, probe = make_probe(at, torch.arange(30) % 2, make_concepts(to_pixels(masks)))
    assert semantics.concept_purity(layer, probe).item() == pytest.approx(0.7)


def test_a_unit_that_hardly_fires_is_not_pure():
    activation, masks, label = one_part_each()
    activation[24:] = 0  # unit k is left with images k and k + 12
    layer, probe = make_probe(activation, label, make_concepts(masks))
    assert semantics.concept_purity(layer, probe).tolist() == [pytest.approx(0.2)] * 12


def test_random_peaks_have_the_purity_of_the_null():
    layer, probe = random_probe(images=400, units=60, concepts=3, seed=3)
    layer.activation = torch.rand(400, 60, 6, 6, generator=torch.Generator().manual_seed(5))
    value = semantics.concept_purity(layer, probe).mean().item()
    assert value == pytest.approx(semantics.purity_anywhere(layer, probe), abs=0.05)


# ----------------------------------------------------------------- concept AUC


def direct_auc(layer, probe):
    """Largest area over concepts, by scikit-learn, one unit and concept at a time."""
    contains = maps.pixels_per_position(probe.concepts.masks(), layer.activation.shape[2:]) > 0
    values = torch.zeros(layer.units, dtype=torch.float64)
    for unit in range(layer.units):
        score = layer.activation[:, unit].clamp(min=0).flatten()
        for concept in range(len(probe.concepts)):
            label = contains[:, concept]
            if label.any(1).sum() >= semantics.FEWEST_IMAGES and not label.all():
                area = roc_auc_score(label.flatten(), score)
                values[unit] = max(values[unit], torch.tensor(area))
    return values


@pytest.mark.parametrize("chunk", [64, 2**20])
def test_areas_equal_scikit_learns(chunk, monkeypatch):
    monkeypatch.setattr(maps, "BUDGET", chunk)
    layer, probe = random_probe(images=60, units=5)
    layer.activation = (layer.activation * 3).round() / 3  # many equal values
    torch.testing.assert_close(semantics.concept_auc(layer, probe), direct_auc(layer, probe))


def located(images=40, rare=10):
    """Unit 0 is active where concept 0 is, unit 1 where concept 1 is: in ``rare`` images."""
    where = torch.randint(36, (images,), generator=torch.Generator().manual_seed(0))
    positions = one_hot(where, 36).view(images, 1, 6, 6)
    first = positions * (torch.arange(images) >= rare)[:, None, None, None]
    second = positions * (torch.arange(images) < rare)[:, None, None, None]
    masks = torch.cat([first, second], 1).bool()
    masks = to_pixels(masks)
    layer, probe = make_probe(torch.cat([first, second, 0 * first], 1).float(),
                              torch.arange(images) % 2, make_concepts(masks))  # fmt: skip
    return layer, probe


def test_a_unit_that_is_active_where_its_concept_is_scores_one_and_a_dead_one_is_undefined():
    layer, probe = located()
    values = semantics.concept_auc(layer, probe)
    assert values[:2].tolist() == [1, 1] and values[2].isnan()


def test_a_concept_in_nine_images_does_not_count():
    layer, probe = located(rare=9)
    areas = semantics.concept_aucs(layer, probe.concepts)
    assert areas[:, 1].isnan().all()
    assert semantics.concept_auc(layer, probe)[1] < 0.5  # it fires where concept 0 is not


def test_a_response_below_the_peak_counts_though_it_is_in_no_region():
    layer, probe = located()
    strength = torch.linspace(0.3, 1, 40)[:, None, None, None]  # concept 1 comes first
    pure = layer.activation[:, :1] * strength
    mixed = pure + 0.5 * layer.activation[:, 1:2]  # also where concept 1 is
    one, probe_one = make_probe(pure, probe.labels, probe.concepts)
    both, probe_both = make_probe(mixed, probe.labels, probe.concepts)
    assert torch.equal(maps.thresholds(one), maps.thresholds(both)) and maps.thresholds(both) > 0.5
    assert semantics.concept_auc(one, probe_one) == 1
    assert 0.9 < semantics.concept_auc(both, probe_both) < 1


def test_a_concept_at_every_position_is_undefined():
    layer, probe = random_probe()
    probe.concepts = make_concepts(torch.ones(60, 2, 24, 24, dtype=torch.bool))
    assert semantics.concept_auc(layer, probe).isnan().all()


# ----------------------------------------------------------------- all of them


ALL = [semantics.netdissect_iou, semantics.part_interpretability, semantics.concept_purity]


@pytest.mark.parametrize("metric", ALL)
def test_corruption_moves_towards_the_null(metric):
    activation, masks, label = one_part_each(images=480)
    generator = torch.Generator().manual_seed(0)
    values = []
    for dose in (0.0, 0.3, 0.6, 1.0):
        shuffled = activation[torch.randperm(480, generator=generator)]
        lost = torch.rand(480, 1, 1, 1, generator=generator) < dose
        noise = torch.rand(activation.shape, generator=generator) * 1e-3
        maps_ = torch.where(lost, shuffled, activation) + noise
        layer, probe = make_probe(maps_, label, make_concepts(masks))
        values.append(metric(layer, probe).mean().item())
    assert values == sorted(values, reverse=True) and values[0] > 0.4 and values[-1] < 0.25


@pytest.mark.parametrize("metric", [*ALL, semantics.netdissect_iou_lite])
def test_empty_masks_are_undefined_or_null(metric):
    layer, probe = random_probe()
    probe.concepts = make_concepts(torch.zeros(60, 2, 24, 24, dtype=torch.bool))
    values = metric(layer, probe)
    assert (values.isnan() | (values == 0)).all()


def test_without_masks_the_error_says_so():
    layer, probe = random_probe()
    probe.concepts = None
    with pytest.raises(ValueError, match="masks"):
        semantics.netdissect_iou(layer, probe)
