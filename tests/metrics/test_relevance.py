"""Scores of attribution maps against known answers, Captum and SciPy."""

import math

import pytest
import torch
from captum.metrics import infidelity
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata, spearmanr

from legible.metrics import relevance


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_scores_of_a_map_with_a_known_answer():
    maps = torch.tensor([[[4.0, 3], [2, 1]], [[0, 1], [0, 0]], [[0, 0], [0, 0]]])
    mask = torch.tensor([[[False, True], [True, False]]]).expand(3, 2, 2)
    assert relevance.hits(maps, mask).tolist()[:2] == [0, 1]
    assert relevance.mass(maps, mask).tolist()[:2] == [0.5, 1]
    assert relevance.rank(maps, mask).tolist()[:2] == [0.5, 0.5]  # of equals, the first
    assert relevance.gini(maps).tolist()[:2] == [pytest.approx(0.25), 0.75]
    assert relevance.silent(maps).tolist() == [False, False, True]


def test_a_silent_map_scores_like_a_random_one():
    mask = torch.zeros(2, 4, 4, dtype=torch.bool)
    mask[0, 0] = mask[1, :2] = True
    for maps in (torch.zeros(2, 4, 4), torch.full((2, 4, 4), float("nan"))):
        for score in (relevance.hits, relevance.mass, relevance.rank):
            assert score(maps, mask).tolist() == [0.25, 0.5]
        assert relevance.gini(maps).tolist() == [0, 0]


def test_silence_on_difficult_images_is_no_reward():
    """An explainer that is right on half of the images gains nothing by leaving out the others,
    compared with guessing there."""
    mask = torch.zeros(2000, 8, 8, dtype=torch.bool)
    mask[:, :2] = True
    guesses = torch.rand(2000, 8, 8, generator=generator())
    guesses[:1000] = mask[:1000].float()
    discreet = guesses.clone()
    discreet[1000:] = 0
    for score in (relevance.hits, relevance.mass, relevance.rank):
        chatty, quiet = score(guesses, mask).mean(), score(discreet, mask).mean()
        assert quiet.item() == pytest.approx(chatty.item(), abs=0.03)
        assert quiet.item() == pytest.approx(0.5 + 0.5 * 0.25)


def test_rank_of_a_mask_of_its_own():
    maps = torch.rand(5, 6, 6, generator=generator())
    best = maps.flatten(1).argsort(dim=1, descending=True)[:, :7]
    mask = torch.zeros(5, 36, dtype=torch.bool).scatter(1, best, True).reshape(5, 6, 6)
    assert relevance.rank(maps, mask).tolist() == [1] * 5


def test_a_flat_map_has_chance_and_no_sparseness():
    flat = torch.full((2, 4, 4), 0.3)
    mask = torch.zeros(2, 4, 4, dtype=torch.bool)
    mask[:, 0] = True
    assert relevance.mass(flat, mask).tolist() == [pytest.approx(0.25)] * 2
    assert relevance.gini(flat).tolist() == [pytest.approx(0, abs=1e-9)] * 2


def test_edges_are_where_the_image_changes():
    image = torch.zeros(1, 3, 6, 6)
    image[..., 3:] = 1.0
    edges = relevance.edges(image)[0]
    assert (edges[:, 2:4] > 0).all() and (edges[:, [0, 1, 4, 5]] == 0).all()


# ----------------------------------------------------------------- perturbed answers


def brightness(images: torch.Tensor) -> torch.Tensor:
    return images.mean((1, 2, 3))


def test_curves_of_a_linear_answer():
    images, maps = torch.ones(2, 3, 4, 4), torch.rand(2, 4, 4, generator=generator())
    for insert in (False, True):
        area = relevance.curve(images, maps, brightness, 8, insert)
        assert area.tolist() == [pytest.approx(0.5)] * 2


def test_the_right_order_deletes_faster_and_inserts_sooner():
    images = torch.rand(4, 1, 8, 8, generator=generator())
    right, wrong = images[:, 0], 1 - images[:, 0]
    for insert in (False, True):
        good, bad = (
            relevance.curve(images, maps, brightness, 16, insert) for maps in (right, wrong)
        )
        assert ((good > bad) if insert else (good < bad)).all()


def test_a_silent_map_has_the_curve_of_a_random_order():
    bright = torch.zeros(1, 1, 16, 16)
    bright[..., :4, :] = 1.0  # the order in which pixels stand in the image would be the best
    for insert in (False, True):
        area = relevance.curve(bright, torch.zeros(1, 16, 16), brightness, 8, insert)
        assert area.item() == pytest.approx(0.5 * bright.mean().item(), rel=0.1)


def test_unexplained_change():
    change = torch.randn(16, 3, generator=generator())
    assert relevance.unexplained_share(5 * change, change).tolist() == pytest.approx(
        [0] * 3, abs=1e-6
    )
    assert relevance.unexplained_share(-change, change).tolist() == [1] * 3
    assert relevance.unexplained_share(0 * change, change).tolist() == [1] * 3  # it says nothing
    assert relevance.unexplained_share(change, 0 * change).isnan().all()  # nothing to explain
    lucky = torch.randn(16, 3000, generator=generator(1))
    unrelated = relevance.unexplained_share(lucky, torch.randn(16, 3000, generator=generator(2)))
    assert unrelated.mean().item() == pytest.approx(1 - 1 / 32, abs=0.01)


def test_unexplained_is_captum_s_normalised_infidelity():
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 8), torch.nn.Tanh())
    with torch.no_grad():
        net[1].weight.normal_(generator=generator())
    images = torch.randn(5, 3, 2, 2, generator=generator(1))
    noise = 0.3 * torch.randn(20, 5, 3, 2, 2, generator=generator(2))
    target = torch.arange(5)
    with torch.no_grad():
        before = net(images).gather(1, target[:, None])[:, 0]
        after = torch.stack([net(images - n).gather(1, target[:, None])[:, 0] for n in noise])
    change = before - after
    slope = torch.stack([net[1].weight[t] for t in target]).reshape(images.shape)
    predicted = torch.stack([(n * slope).flatten(1).sum(1) for n in noise])

    def perturb(x):  # Captum asks for all draws of an image, image by image
        draws = noise.transpose(0, 1).flatten(0, 1)
        return draws, x - draws

    theirs = infidelity(
        net, perturb, images, slope, target=target, n_perturb_samples=20, normalize=True
    )
    ours = relevance.unexplained_share(predicted, change) * change.double().square().mean(0)
    torch.testing.assert_close(ours.float(), theirs.float(), rtol=1e-3, atol=1e-5)


# ----------------------------------------------------------------- rankings


def test_spearman_is_scipy_s_also_with_ties():
    x = torch.randn(40, generator=generator())
    y = (x + torch.randn(40, generator=generator(1))).round()
    assert relevance.spearman(x, y) == pytest.approx(spearmanr(x, y).statistic)


def test_spearman_is_undefined_for_constants_and_few_pairs():
    x = torch.tensor([1.0, 2, 3, math.nan])
    assert math.isnan(relevance.spearman(x, torch.ones(4)))
    assert math.isnan(relevance.spearman(x[1:], x[1:]))
    assert relevance.spearman(x, 2 * x) == pytest.approx(1)


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=30))
def test_midranks_equal_scipys(values):
    rows = torch.tensor([values, values[::-1]], dtype=torch.float32)
    expected = torch.from_numpy(rankdata(rows.numpy(), axis=1)).float()
    assert torch.equal(relevance.midranks(rows), expected)
