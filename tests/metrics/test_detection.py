"""Concept AUC against scikit-learn, one unit and concept at a time."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from planted_probes import make_concepts, make_probe, random_probe
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score

from legible.metrics import detection
from legible.metrics.maps import pixels_per_position, thresholds
from legible.metrics.relevance import midranks


def direct(layer, probe):
    """Largest area over concepts, by scikit-learn."""
    shown = pixels_per_position(probe.concepts.masks(), layer.activation.shape[2:]) > 0
    values = torch.zeros(layer.units, dtype=torch.float64)
    for unit in range(layer.units):
        score = layer.activation[:, unit].clamp(min=0).flatten()
        for concept in range(len(probe.concepts)):
            label = shown[:, concept]
            if label.any(1).sum() >= semantics.FEWEST_IMAGES and not label.all():
                area = roc_auc_score(label.flatten(), score)
                values[unit] = max(values[unit], torch.tensor(area))
    return values


@pytest.mark.parametrize("chunk", [64, 2**20])
def test_areas_equal_scikit_learns(chunk, monkeypatch):
    monkeypatch.setattr("legible.metrics.maps.BUDGET", chunk)
    layer, probe = random_probe(images=60, units=5)
    layer.activation = (layer.activation * 3).round() / 3  # many equal values
    torch.testing.assert_close(semantics.concept_auc(layer, probe), direct(layer, probe))


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=30))
def test_midranks_equal_scipys(values):
    rows = torch.tensor([values, values[::-1]], dtype=torch.float32)
    expected = torch.from_numpy(rankdata(rows.numpy(), axis=1)).float()
    assert torch.equal(midranks(rows), expected)


def located(images=40, rare=10):
    """Unit 0 fires where concept 0 is; concept 1, in the first ``rare`` images, has its own."""
    where = torch.randint(36, (images,), generator=torch.Generator().manual_seed(0))
    cells = torch.nn.functional.one_hot(where, 36).view(images, 1, 6, 6)
    first = cells * (torch.arange(images) >= rare)[:, None, None, None]
    second = cells * (torch.arange(images) < rare)[:, None, None, None]
    masks = torch.cat([first, second], 1).bool()
    masks = masks.repeat_interleave(4, -2).repeat_interleave(4, -1)
    layer, probe = make_probe(torch.cat([first, second, 0 * first], 1).float(),
                              torch.arange(images) % 2, make_concepts(masks))  # fmt: skip
    return layer, probe


def test_a_unit_that_fires_where_its_concept_is_scores_one_and_a_dead_one_nothing():
    layer, probe = located()
    values = semantics.concept_auc(layer, probe)
    assert values[:2].tolist() == [1, 1] and values[2].isnan()


def test_a_concept_in_nine_images_does_not_count():
    layer, probe = located(rare=9)
    areas = semantics.concept_aucs(layer, probe.concepts)
    assert areas[:, 1].isnan().all()
    assert semantics.concept_auc(layer, probe)[1] < 0.5  # it fires where concept 0 is not


def test_a_response_below_the_peak_counts_though_no_region_shows_it():
    layer, probe = located()
    strength = torch.linspace(0.3, 1, 40)[:, None, None, None]  # concept 1 comes first
    pure = layer.activation[:, :1] * strength
    mixed = pure + 0.5 * layer.activation[:, 1:2]  # also where concept 1 is
    one, probe_one = make_probe(pure, probe.labels, probe.concepts)
    both, probe_both = make_probe(mixed, probe.labels, probe.concepts)
    assert torch.equal(thresholds(one), thresholds(both)) and thresholds(both) > 0.5
    assert semantics.concept_auc(one, probe_one) == 1
    assert 0.9 < semantics.concept_auc(both, probe_both) < 1


def test_a_concept_in_every_cell_is_undefined():
    layer, probe = random_probe()
    probe.concepts = make_concepts(torch.ones(60, 2, 24, 24, dtype=torch.bool))
    assert semantics.concept_auc(layer, probe).isnan().all()
