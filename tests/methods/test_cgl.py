"""CGL's three terms against slow formulas in float64, and its laws."""

import math

import pytest
import torch

from legible.bench.backbones.resnet18 import resnet18
from legible.methods.cgl import CGL, block_norm, group_distance, receptive_field, spatial_spread

PAIRS = torch.tensor([[[0, 1], [1, 2], [2, 0]], [[3, 4], [4, 5], [5, 3]]])


def maps(requires_grad=False, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(4, 6, 3, 5, generator=generator, dtype=dtype).relu()
    return drawn.requires_grad_(requires_grad)


def slow_field(x, form):
    out = torch.empty_like(x)
    for k in range(x.shape[1]):
        out[:, k] = 1 / (1 + (-x[:, k] / (x[:, k].std() + 5e-3)).exp())
    return 2 * out - 1 if form == "halved" else out


def slow_group(psi, pairs):
    """The code's third version: pairs of a group summed over images, over pairs and images."""
    total = 0.0
    for group in pairs.tolist():
        for i, j in group:
            for n in range(len(psi)):
                gap = (psi[n, i] - psi[n, j]).abs().sum()
                mass = psi[n, i].abs().sum() + psi[n, j].abs().sum() + gap
                total = total + 2 * gap / mass / len(group) / len(psi)
    return total


def slow_spatial(psi):
    total = 0.0
    for n in range(len(psi)):
        for k in range(psi.shape[1]):
            p, mass = psi[n, k], psi[n, k].sum() + 1e-4
            cells = [(y, x) for y in range(p.shape[0]) for x in range(p.shape[1])]
            cy = sum(p[y, x] * y for y, x in cells) / mass
            cx = sum(p[y, x] * x for y, x in cells) / mass
            far = sum(p[y, x] * ((y - cy) ** 2 + (x - cx) ** 2).sqrt() for y, x in cells)
            total = total + far / mass
    return total / (len(psi) * psi.shape[1])


@pytest.mark.parametrize("form", ["halved", "sigmoid"])
def test_field_group_and_spatial_follow_the_formulas(form):
    x = maps(requires_grad=True)
    psi, expected = receptive_field(x, form), slow_field(x, form)
    torch.testing.assert_close(psi, expected)
    for ours, theirs in (
        (group_distance(psi, PAIRS), slow_group(expected, PAIRS)),
        (spatial_spread(psi), slow_spatial(expected)),
    ):
        torch.testing.assert_close(ours, theirs)
        grads = [torch.autograd.grad(v, x, retain_graph=True)[0] for v in (ours, theirs)]
        torch.testing.assert_close(*grads, rtol=1e-6, atol=1e-9)


def test_gradients_match_finite_differences():
    x = (maps() + 0.1).requires_grad_()

    def loss(z):
        psi = receptive_field(z)
        return group_distance(psi, PAIRS) + spatial_spread(psi)

    assert torch.autograd.gradcheck(loss, (x,))


def test_by_hand():
    psi = torch.zeros(1, 4, 2, 2)
    psi[0, 0, 0, 0] = psi[0, 1, 0, 0] = psi[0, 2, 1, 1] = 1
    same, apart, silent = ([[[0, 1]]], [[[0, 2]]], [[[3, 3]]])
    values = [group_distance(psi, torch.tensor(p)).item() for p in (same, apart, silent)]
    assert values == [0.0, 1.0, 0.0]
    # one cell of mass 1 at (1, 1): the centroid is at 1 / 1.0001 in both directions
    expected = math.sqrt(2) * (1 - 1 / 1.0001) / 1.0001
    spread = spatial_spread(psi[:, 2:3].double()).item()
    torch.testing.assert_close(spread, expected, rtol=1e-3, atol=0)
    assert spatial_spread(psi[:, 3:4]) == 0


def test_the_spread_does_not_depend_on_the_place():
    """Blobs of the same form top left and bottom right: a larger epsilon draws the centroid to the
    first position, so that the second would score higher."""
    psi = torch.zeros(1, 2, 9, 9)
    blob = torch.tensor([[0.2, 0.6, 0.2], [0.6, 1.0, 0.6], [0.2, 0.6, 0.2]])
    psi[0, 0, :3, :3] = psi[0, 1, 6:, 6:] = blob
    first, last = (spatial_spread(psi[:, k : k + 1]).item() for k in (0, 1))
    ring = (0.6 * 4 + 0.2 * 4 * math.sqrt(2)) / blob.sum().item()  # by hand, around the middle
    torch.testing.assert_close([first, last], [ring, ring], rtol=1e-3, atol=0)


def test_block_norm_sums_the_groups_frobenius_norms():
    weight = torch.randn(7, 3, 2, 2, generator=torch.Generator().manual_seed(1)).double()
    expected = sum(weight[i : i + 3].square().sum().sqrt() for i in (0, 3))
    torch.testing.assert_close(block_norm(weight, 2, 3), expected)


def test_filters_after_the_last_group_have_no_block():
    """12 filters in 5 groups: 5 blocks of 2, although 6 would fit."""
    weight = torch.zeros(12, 1, 1, 1)
    weight[:, 0, 0, 0] = torch.arange(1.0, 13.0)
    blocks = [math.hypot(i, i + 1) for i in (1, 3, 5, 7, 9)]
    norm = block_norm(weight, *CGL(groups=5).layout(12)).item()
    assert norm == pytest.approx(sum(blocks))


def test_dead_and_constant_units_give_finite_gradients():
    x = torch.zeros(3, 4, 2, 2)
    x[:, 1] = 2.0
    x.requires_grad_()
    for form in ("halved", "sigmoid"):
        psi = receptive_field(x, form)
        (group_distance(psi, torch.tensor([[[0, 1], [2, 3]]])) + spatial_spread(psi)).backward()
        assert x.grad.isfinite().all()


def test_pairs_stay_in_their_group_and_join_different_units(fit):
    method = fit("cgl", epochs=0).method
    pairs = method.pairs(16, torch.device("cpu"))
    assert pairs.shape == (5, 9, 2)
    assert torch.equal(pairs // 3, torch.arange(5).view(-1, 1, 1).expand(5, 9, 2))
    assert (pairs[..., 0] != pairs[..., 1]).all()
    assert torch.equal(pairs - pairs[:1], (3 * torch.arange(5)).view(-1, 1, 1).expand(5, 9, 2))
    assert not torch.equal(pairs, method.pairs(16, torch.device("cpu")))


@pytest.mark.parametrize(
    ("units", "groups", "layout"),
    [(64, 5, (5, 12)), (8, 5, (4, 2)), (1, 5, (1, 1)), (9, 2, (2, 4))],
)
def test_groups_have_at_least_two_units(units, groups, layout):
    assert CGL(groups=groups).layout(units) == layout


def test_one_unit_and_one_image_are_no_error(fit, take_step):
    fitted = fit("cgl", epochs=0, net={"width": 1, "stages": 1, "depth": 1})
    terms = fitted.method.penalty(take_step(fitted, images=1))
    assert all(t.isfinite() for t in terms.values())


def test_penalty_names_its_terms(fit, take_step):
    fitted = fit("cgl", {"strength": 0.5, "spatial": 2.0, "block": 3.0}, epochs=0)
    step = take_step(fitted)
    state = fitted.method.generator.get_state()
    terms = fitted.method.penalty(step)
    fitted.method.generator.set_state(state)
    psi = slow_field(step.activations["conv6"].double(), "halved")
    pairs = fitted.method.pairs(16, psi.device)
    scale = fitted.network.backbone.norm6.weight.double().abs()  # effective filters have this norm
    expected = {
        "group": 0.5 * slow_group(psi, pairs),
        "spatial": 0.5 * 2 * slow_spatial(psi),
        "block": 0.5 * 3 * scale[:15].reshape(5, 3).square().sum(1).sqrt().sum(),
    }
    for name, value in expected.items():
        torch.testing.assert_close(terms[name].double(), value, rtol=1e-4, atol=1e-6)


def test_the_partition_is_the_contiguous_groups(fit):
    fitted = fit("cgl", epochs=0)
    groups = fitted.method.partition(fitted.network)
    assert groups["conv6"].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, -1]


def test_groups_become_alike(fit, toy):
    images = toy.test.normalise(toy.test.images)
    distances = []
    for strength in (0.0, 3.0):
        fitted = fit("cgl", {"strength": strength}, epochs=6)
        psi = receptive_field(fitted.network(images).activations["conv6"])
        distances.append(group_distance(psi, fitted.method.pairs(16, psi.device)).item())
    assert distances[1] < 0.8 * distances[0]


def test_laws(check_laws):
    check_laws("cgl", {"strength": 1.0, "block": 1.0})


def test_behind_a_residual_sum_there_is_no_block_norm(fit, take_step):
    fitted = fit("cgl", epochs=0, backbone=resnet18, net={"width": 4, "stages": 1})
    terms = fitted.method.penalty(take_step(fitted))
    assert terms["block"] == 0
    assert terms["group"] > 0
