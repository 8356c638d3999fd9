"""icCNN's two losses and its clustering against slow formulas in float64, and its laws."""

import pytest
import torch

from legible.methods.iccnn import (
    ICCNN,
    class_share,
    directions,
    map_correlation,
    scramble,
    within_share,
)

GROUPS = [[0, 2, 5], [1], [3, 4]]


def drawn(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).relu()


def member(groups=GROUPS, units=6):
    out = torch.zeros(units, len(groups), dtype=torch.float64)
    for k, group in enumerate(groups):
        out[group, k] = 1
    return out


def slow_rho(maps, mean):
    """rho of every image and pair: scalar products of maps minus the mean, over their norms."""
    z = maps.flatten(2) - mean
    local = torch.einsum("nip,njp->nij", z, z)
    power = torch.einsum("nip,nip->ni", z, z)
    return local / (power[:, :, None] * power[:, None, :]).sqrt()


def slow_within(rho, groups):
    loss = 0.0
    for group in groups:
        within = sum((rho[:, i, j] + 1).mean() for i in group for j in group)
        total = sum((rho[:, i, j] + 1).mean() for i in group for j in range(rho.shape[1]))
        loss = loss - within / (total + 1e-5)
    return loss


def slow_class(maps, groups, labels, classes):
    """The code's masks, written out: all units and positions enter the mean, most as zeros."""
    n, units = maps.shape[:2]
    flat = maps.flatten(2)
    active = []
    for group in groups:
        mask = torch.zeros(units, units, dtype=torch.float64)
        mask[torch.tensor(group)[:, None], torch.tensor(group)] = 1
        active.append((mask @ flat).mean((1, 2)))
    a = torch.stack(active)
    a = a / (a.norm(dim=0, keepdim=True) + 1e-5)
    d = a.T @ a
    loss = 0.0
    for c in range(classes):
        own = (labels == c).double()
        within = (d * own[:, None] * own).sum() / n**2
        total = (d * own[:, None]).sum() / n**2
        loss = loss - within / (total + 1e-5)
    return loss


@pytest.mark.parametrize("reading", [lambda mean: mean, scramble])
def test_filter_loss_and_gradient(reading):
    maps = drawn(4, 6, 3, 3).requires_grad_()
    mean = reading(drawn(4, 6, 3, 3, seed=1).mean(0).flatten(1))
    ours = within_share(directions(maps, mean), member())
    expected = slow_within(slow_rho(maps, mean), GROUPS)
    torch.testing.assert_close(ours, expected, rtol=1e-9, atol=0)
    grads = [torch.autograd.grad(v, maps)[0] for v in (ours, expected)]
    torch.testing.assert_close(*grads, rtol=1e-6, atol=1e-10)


def test_the_scrambled_mean_is_the_codes_and_differs():
    """The code's buffer is (cells, units); it views the same memory as (units, cells)."""
    maps = drawn(5, 6, 2, 2)
    buffer = maps.flatten(2).permute(0, 2, 1).mean(0).contiguous()
    official = buffer.view(1, 6, 4)[0]
    mean = maps.flatten(2).mean(0)
    assert torch.equal(scramble(mean), official)
    apart = (slow_rho(maps, official) - slow_rho(maps, mean)).abs().max()
    assert apart > 0.1
    ours = [within_share(directions(maps, m), member()).item() for m in (mean, official)]
    assert abs(ours[0] - ours[1]) > 1e-3


def test_class_loss_and_gradient():
    maps = drawn(7, 6, 2, 3).requires_grad_()
    labels = torch.tensor([0, 2, 0, 0, 3, 2, 0])  # class 1 is not in the batch
    ours = class_share(maps, member(), labels, 4)
    expected = slow_class(maps, GROUPS, labels, 4)
    torch.testing.assert_close(ours, expected, rtol=1e-8, atol=0)
    grads = [torch.autograd.grad(v, maps)[0] for v in (ours, expected)]
    torch.testing.assert_close(*grads, rtol=1e-5, atol=1e-10)


def test_bounds_by_hand():
    same = torch.ones(2, 6, 4, dtype=torch.float64) / 2  # all directions equal: s = 2 everywhere
    torch.testing.assert_close(within_share(same, member()).item(), -1.0, rtol=1e-5, atol=0)
    apart = torch.zeros(1, 6, 4, dtype=torch.float64)
    for k, group in enumerate(([0, 1, 2], [3, 4, 5])):  # s = 2 within, 0 between
        apart[:, group] = (-1.0) ** k / 2
    two = member([[0, 1, 2], [3, 4, 5]])
    torch.testing.assert_close(within_share(apart, two).item(), -2.0, rtol=1e-5, atol=0)


def test_a_single_image_makes_the_class_loss_constant():
    """Why the code's scripts with batches of one train nothing with it."""
    maps = drawn(1, 6, 2, 2).requires_grad_()
    value = class_share(maps, member(), torch.tensor([1]), 3)
    torch.testing.assert_close(value.item(), -1.0, rtol=1e-3, atol=0)
    assert torch.autograd.grad(value, maps)[0].abs().max() < 1e-4


def test_dead_units_and_empty_images_give_finite_gradients():
    maps = torch.zeros(3, 6, 2, 2)
    maps[:, 1] = 0.5
    maps.requires_grad_()
    mean = maps.detach().flatten(2).mean(0)  # a single mean map: every unit's variance is zero
    labels = torch.tensor([0, 1, 1])
    total = within_share(directions(maps, mean), member().float())
    total = total + class_share(maps, member().float(), labels, 2)
    total.backward()
    assert total.isfinite() and maps.grad.isfinite().all()


def test_correlation_of_maps():
    maps = drawn(9, 4, 3, 2)
    maps[:, 3] = maps[:1, 3]  # the same in all images
    z = (maps - maps.mean(0)).transpose(0, 1).flatten(1)  # so every row's mean is zero
    rho = map_correlation(maps.flatten(2))
    torch.testing.assert_close(rho[:3, :3], torch.corrcoef(z[:3]))
    assert not rho[3].any() and not rho[:, 3].any()


def test_the_running_mean_starts_at_the_batch_and_decays(fit, take_step):
    fitted = fit("iccnn", epochs=0)
    method, step = fitted.method, take_step(fitted)
    batch = step.activations["conv6"].detach().flatten(2).mean(0)
    method.penalty(step)
    torch.testing.assert_close(method.mean0, batch)
    object.__setattr__(step, "activations", {"conv6": 3 * step.activations["conv6"]})
    method.penalty(step)
    torch.testing.assert_close(method.mean0, 0.95 * batch + 0.05 * 3 * batch)


def test_penalty_names_its_terms(fit, take_step):
    fitted = fit("iccnn", {"strength": 0.5, "classes": 2.0, "groups": 3}, epochs=1)
    method, step = fitted.method, take_step(fitted)
    terms = method.penalty(step)
    maps = step.activations["conv6"].double()
    groups = [(method.group0 == k).nonzero()[:, 0].tolist() for k in range(3)]
    groups = [g for g in groups if g]
    live = (method.group0 >= 0).all()
    assert live, "a dead unit has no rho: the slow formula would divide by zero"
    expected = slow_within(slow_rho(maps, method.mean0.double()), groups)
    torch.testing.assert_close(terms["filters"].double(), 0.5 * expected, rtol=1e-4, atol=0)
    by_class = slow_class(maps, groups, step.labels, 3)
    torch.testing.assert_close(terms["classes"].double(), 0.5 * 2 * by_class, rtol=1e-4, atol=0)


def test_clustering_follows_the_schedule_and_changes_nothing_else(fit, toy):
    fitted = fit("iccnn", {"every": 2, "until": 4, "images": 20}, epochs=1)
    method, network = fitted.method, fitted.network.train()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    clustered = []
    for epoch in range(7):
        method.group0.fill_(-7)
        method.start_epoch(network, toy.train, epoch)
        clustered.append(bool((method.group0 != -7).all()))
    assert clustered == [True, False, True, False, False, False, False]
    assert network.training
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    groups = method.partition(network)["conv6"]
    assert torch.equal(groups, method.group0)


def test_groups_become_distinct(fit, toy):
    images = toy.train.normalise(toy.train.images)
    shares = []
    for strength in (0.0, 3.0):
        fitted = fit("iccnn", {"strength": strength, "groups": 3}, epochs=8)
        maps = fitted.network(images).activations["conv6"].detach()
        mean = maps.flatten(2).mean(0)
        shares.append(within_share(directions(maps, mean), fitted.method.member(0)).item())
    assert shares[1] < shares[0] - 0.1


@pytest.mark.parametrize("mean", ["correct", "official_scrambled"])
def test_laws(check_laws, mean):
    check_laws("iccnn", {"mean": mean})


def test_parameters_are_checked():
    with pytest.raises(ValueError, match="groups"):
        ICCNN(groups=0)
    with pytest.raises(ValueError, match="decay"):
        ICCNN(decay=1.0)
