"""Class selectivity, mutual information and accuracy by own units."""

import math

import numpy as np
import pytest
import torch
from planted_probes import make_probe, random_probe
from sklearn.feature_selection import mutual_info_classif

from legible.metrics.selectivity import (
    accuracy_all_units,
    accuracy_other_units,
    accuracy_own_units,
    class_entropy,
    class_information,
    class_information_share,
    class_selectivity,
    mutual_information,
    own_unit_share,
)


def scikit_learn(x: torch.Tensor, y: torch.Tensor, classes: int) -> np.ndarray:
    columns = [
        mutual_info_classif(x.double().numpy(), (y == c).numpy(), random_state=0)
        for c in range(classes)
    ]
    return np.stack(columns, 1)


def gaussians(images: int, units: int, classes: int, seed: int = 0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(classes, (images,), generator=generator)
    x = torch.randn(images, units, generator=generator, dtype=dtype)
    return x + (y[:, None] == torch.arange(units) % classes) * 1.5, y


# ----------------------------------------------------------------- selectivity


def test_selectivity_of_known_class_means():
    # class means (3, 1, 1) -> (3 - 1) / (3 + 1); one class only -> 1; all alike -> 0; dead -> NaN
    rows = torch.tensor([[3.0, 2, 1, 0], [1, 0, 1, 0], [1, 0, 1, 0]])
    layer, probe = make_probe(rows, torch.arange(3))
    values = class_selectivity(layer, probe)
    assert torch.allclose(values[:3], torch.tensor([0.5, 1, 0]).double())
    assert values[3].isnan()


def test_selectivity_leaves_out_a_class_without_images():
    layer, probe = make_probe(torch.tensor([[3.0], [1]]), torch.tensor([0, 2]), classes=4)
    assert class_selectivity(layer, probe).item() == pytest.approx(0.5)


def test_selectivity_of_one_class_is_undefined():
    layer, probe = make_probe(torch.rand(5, 2), torch.zeros(5).long())
    assert class_selectivity(layer, probe).isnan().all()


def test_selectivity_clips_negative_activation():
    layer, probe = make_probe(torch.tensor([[3.0], [-9.0], [1.0]]), torch.tensor([0, 0, 1]))
    assert class_selectivity(layer, probe).item() == pytest.approx((1.5 - 1) / 2.5)


# ----------------------------------------------------------------- mutual information


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("images, classes", [(300, 5), (60, 3)])
def test_information_equals_scikit_learn_without_ties(images, classes, dtype):
    x, y = gaussians(images, 4, classes, dtype=dtype)
    ours = mutual_information(x, y, classes).numpy()
    np.testing.assert_allclose(ours, scikit_learn(x, y, classes), atol=1e-10)


@pytest.mark.parametrize("images, classes", [(9, 3), (5, 2), (80, 4)])
@pytest.mark.parametrize("kind", ["spread", "integer", "sparse"])
def test_information_equals_the_direct_count(images, classes, kind):
    """Small classes, ties, and fourteen orders of magnitude, where scikit-learn adds noise."""
    x, y = gaussians(images, 4, classes, seed=1, dtype=torch.float64)
    x = {"spread": (6 * x).exp(), "integer": x.round(), "sparse": x.sub(1).clamp(min=0)}[kind]
    ours = mutual_information(x, y, classes).numpy()
    expected = [[direct(x[:, u], y == c) for c in range(classes)] for u in range(4)]
    np.testing.assert_allclose(ours, expected, atol=1e-10)


def direct(x: torch.Tensor, inside: torch.Tensor) -> float:
    """The estimate written down pair by pair."""
    counts = [int((inside == side).sum()) for side in inside.tolist()]
    if min(len(x) - counts[0], counts[0]) < 2:
        return math.nan
    distance = (x[:, None] - x).abs()
    terms = []
    for i, count in enumerate(counts):
        others = torch.arange(len(x)) != i
        own = distance[i, others & (inside == inside[i])].sort().values
        radius = own[min(3, count - 1) - 1]
        k, m = (own <= radius).sum(), (distance[i, others] <= radius).sum()
        terms.append(
            torch.digamma(torch.tensor([k, m, count]).double())
            @ torch.tensor([1.0, -1, -1]).double()
        )
    psi = torch.digamma(torch.tensor(float(len(x)), dtype=torch.float64))
    return max(0.0, (psi + torch.stack(terms).mean()).item())


def test_information_of_a_label_indicator_is_the_entropy():
    y = torch.arange(400) % 4
    x = (y[:, None] == torch.arange(4)).float()
    information = mutual_information(x, y)
    # the plug-in estimate psi(N) - psi(n) approaches the entropy from below as n grows
    assert torch.allclose(information.diagonal(), class_entropy(y, 4), atol=0.01)


def test_information_of_a_discrete_response_is_the_plug_in_estimate():
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(2, (4000,), generator=generator)
    noisy = torch.where(torch.rand(4000, generator=generator) < 0.2, 1 - y, y)
    flip = torch.tensor([0.2, 0.8], dtype=torch.float64)
    expected = math.log(2) - torch.special.entr(flip).sum().item()
    information = mutual_information(noisy[:, None].float(), y)
    assert information[0, 1].item() == pytest.approx(expected, abs=0.02)


def test_information_is_zero_for_constant_and_near_zero_for_independent_responses():
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(3, (2000,), generator=generator)
    sparse = torch.randn(2000, 5, generator=generator).sub(1).clamp(min=0)
    assert (mutual_information(torch.ones(2000, 1), y) == 0).all()
    assert mutual_information(sparse, y).max() < 0.03


def test_ties_are_broken_the_same_for_any_order_of_images():
    x, y = gaussians(200, 5, 3)
    x = (x.clamp(min=0) * 4).round() / 4
    order = torch.randperm(200, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(
        mutual_information(x, y), mutual_information(x[order], y[order]), atol=1e-12, rtol=0
    )


@pytest.mark.parametrize("images", [1, 2, 3])
def test_information_of_too_few_images_is_undefined(images):
    assert mutual_information(torch.rand(images, 2), torch.arange(images) % 2, 2).isnan().all()


def test_information_of_broken_responses_is_undefined():
    x, y = gaussians(50, 3, 2)
    x[3, 1] = float("nan")
    assert mutual_information(x, y).isnan().all(1).tolist() == [False, True, False]


def test_information_share_reaches_one_and_dead_units_are_undefined():
    y = torch.arange(300) % 3
    rows = torch.stack([y == 0, y == 1, torch.zeros(300)], 1).float()
    layer, probe = make_probe(rows, y)
    share = class_information_share(layer, probe)
    assert (share[:2] > 0.98).all() and (share[:2] <= 1).all() and share[2].isnan()
    assert class_information(layer, probe)[0].item() == pytest.approx(
        share[0].item() * class_entropy(y, 3)[0].item()
    )


def test_information_falls_with_corruption():
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(3000) % 3
    clean = (y[:, None] == torch.arange(3)).float()
    clean += torch.rand(3000, 3, generator=generator) * 0.1
    shares = []
    for dose in (0.0, 0.3, 0.6, 1.0):
        broken = torch.rand(3000, generator=generator) < dose
        shuffled = clean[torch.randperm(3000, generator=generator)]
        layer, probe = make_probe(torch.where(broken[:, None], shuffled, clean), y)
        shares.append(class_information_share(layer, probe).mean().item())
    assert shares == sorted(shares, reverse=True) and shares[0] > 0.9 and shares[-1] < 0.05


# ----------------------------------------------------------------- own units


def test_own_units_carry_their_class():
    """One unit a class and an identity head: own units answer, others cannot."""
    y = torch.arange(30) % 3
    rows = (y[:, None] == torch.arange(3)).float()
    layer, probe = make_probe(rows, y)
    head = probe.network.taps["units"].outgoing[0].weight
    with torch.no_grad():
        head.weight.copy_(torch.eye(3))
    assert accuracy_all_units(layer, probe) == 1
    assert accuracy_own_units(layer, probe) == 1
    # all logits zero: argmax answers the first class
    assert accuracy_other_units(layer, probe) == pytest.approx(1 / 3)


def test_the_share_of_accuracy_that_own_units_carry():
    y = torch.arange(30) % 3
    rows = (y[:, None] == torch.arange(3)).float()
    layer, probe = make_probe(rows, y)
    head = probe.network.taps["units"].outgoing[0].weight
    with torch.no_grad():
        head.weight.copy_(torch.eye(3))
    assert own_unit_share(layer, probe) == pytest.approx((1 - 1 / 3) / 1)
    doubled, twice = make_probe(torch.cat([rows, rows], 1), y)
    with torch.no_grad():  # three classes of two units each: only their own answer
        twice.network.taps["units"].outgoing[0].weight.weight.copy_(torch.eye(3).repeat(1, 2))
    assert own_unit_share(doubled, twice) == pytest.approx((1 - 1 / 3) / 1)


def test_a_share_of_little_accuracy_is_undefined():
    y = torch.arange(40) % 4
    rows = (y[:, None] == torch.arange(4)).float()
    layer, probe = make_probe(rows, y)
    head = probe.network.taps["units"].outgoing[0].weight
    for right, defined in ((1, False), (2, True)):  # classes answered rightly: 1 / 4 or 2 / 4
        with torch.no_grad():
            head.weight.copy_(torch.eye(4).roll(1, 0))
            head.weight[:right] = 0
            head.weight[:, :right] = torch.eye(4)[:, :right]
        assert accuracy_all_units(layer, probe) == right / 4
        assert math.isnan(own_unit_share(layer, probe)) != defined


def test_all_units_give_the_network_s_own_accuracy():
    layer, probe = random_probe()
    expected = (probe.logits.argmax(1) == probe.labels).double().mean().item()
    assert accuracy_all_units(layer, probe) == pytest.approx(expected)


def test_accuracy_with_a_broken_unit_is_undefined():
    layer, probe = random_probe()
    layer.activation[0, 0, 0, 0] = float("nan")
    assert math.isnan(accuracy_own_units(layer, probe))
