"""sync against slow direct formulas, and the edges where it could break."""

import math

import pytest
import torch

from legible.bench.backbones.mlp import mlp
from legible.bench.data.base import make_splits
from legible.methods.base import Step
from legible.methods.sync import Sync, coupling, focus_penalty, neighbourhood, unit_correlation
from legible.metrics.similarity import correlation


def maps(batch=3, units=5, size=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(batch, units, size, size, generator=generator).relu()
    values[0, 1] = 0  # a map that is dead in one image
    return values


def slow_focus(a, centre):
    size = a.shape[-1]
    line = torch.linspace(-1, 1, size, dtype=torch.float64)
    total, count = 0.0, 0
    for image in a.double():
        for unit in image:
            if unit.sum() <= 0:
                continue
            if centre == "argmax":
                index = int(unit.argmax())
                cy, cx = line[index // size], line[index % size]
            else:
                cy = (unit.sum(1) * line).sum() / unit.sum()
                cx = (unit.sum(0) * line).sum() / unit.sum()
            squared = (line[:, None] - cy) ** 2 + (line - cx) ** 2
            total, count = total + (unit * squared).sum() / unit.sum(), count + 1
    return float(total / count)


@pytest.mark.parametrize("centre", ["argmax", "centroid"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_focus_is_the_mean_dispersion_of_live_maps(centre, layout):
    a = maps().contiguous(memory_format=layout)
    assert math.isclose(float(focus_penalty(a, centre)), slow_focus(a, centre), rel_tol=1e-5)


def test_focus_does_not_reward_shrinking():
    a = maps().requires_grad_()
    focus_penalty(a).backward()
    assert torch.allclose((a.grad * a).sum((2, 3)), torch.zeros(3, 5), atol=1e-6)
    assert torch.allclose(focus_penalty(maps() * 1e-3), focus_penalty(maps()), rtol=1e-4)


def test_focus_of_a_point_is_zero_and_of_two_far_points_is_not():
    point = torch.zeros(1, 1, 5, 5)
    point[0, 0, 2, 3] = 4.0
    assert focus_penalty(point).abs() < 1e-6
    point[0, 0, 2, 1] = 4.0  # two cells away: half the mass at distance 1
    assert torch.isclose(focus_penalty(point), torch.tensor(0.5), atol=1e-6)


def test_dead_maps_give_no_gradient_and_no_nan():
    a = torch.zeros(2, 3, 4, 4, requires_grad=True)
    rho, live = unit_correlation(a)
    (focus_penalty(a) + coupling(rho).sum()).backward()
    assert not live.any() and torch.equal(a.grad, torch.zeros_like(a))


def test_correlation_equals_the_metrics_one():
    a = maps(batch=20)
    a[:, 2] = 0.7  # constant
    a[:, 3] = 0.0  # dead
    rho, live = unit_correlation(a)
    assert torch.allclose(rho, correlation(a), atol=1e-5)
    assert live.tolist() == [True, True, False, False, True]


@pytest.mark.parametrize("kind", ["sine", "linear"])
def test_gradients_of_the_coupling_agree_with_finite_differences(kind):
    a = maps(batch=4, units=3).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: coupling(unit_correlation(x)[0], kind), a)


def test_the_sine_potential_pulls_like_kuramoto():
    theta = torch.tensor([[0.3, 1.2], [0.7, 2.0]], requires_grad=True)
    coupling(theta.cos(), "sine").sum().backward()
    assert torch.allclose(theta.grad, theta.detach().sin(), atol=1e-6)


def block_similarity():
    rho = torch.full((6, 6), 0.1)
    rho[:3, :3] = rho[3:, 3:] = 0.9
    return rho.fill_diagonal_(1.0)


def test_local_neighbours_are_the_similar_ones():
    live = torch.ones(6, dtype=torch.bool)
    near = neighbourhood(block_similarity(), live, "local", k=2)
    expected = (block_similarity() == 0.9).float() / 2
    assert torch.allclose(near, expected)


def test_neighbourhoods_leave_out_dead_units_and_self():
    live = torch.tensor([True, True, False, True, True, True])
    priority = torch.rand(6, 6, generator=torch.Generator().manual_seed(0))
    for kind in ("local", "global", "random"):
        near = neighbourhood(block_similarity(), live, kind, 2, priority=priority)
        assert near.diagonal().abs().max() == 0
        assert near[2].abs().max() == near[:, 2].abs().max() == 0
        assert torch.allclose(near.sum(1)[live], torch.ones(5))
    assert (neighbourhood(block_similarity(), live, "global")[0] > 0).sum() == 4
    assert (
        neighbourhood(block_similarity(), live, "random", 2, priority=priority)[0] > 0
    ).sum() == 2


def test_a_fixed_radius_decides_by_distance():
    live = torch.ones(6, dtype=torch.bool)
    radius = math.sqrt(2 - 2 * 0.5)  # rho above one half
    near = neighbourhood(block_similarity(), live, "local", epsilon=radius)
    assert torch.equal(near > 0, block_similarity() == 0.9)
    assert neighbourhood(block_similarity(), live, "local", epsilon=1e-3).abs().max() == 0


def test_dense_units_are_synchronised_without_focus():
    network = mlp((1, 8, 8), 3, hidden=(10,))
    data = make_splits({"train": (torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.tensor([0, 1]),
                                  None)}, 3)["train"]  # fmt: skip
    method = Sync(synchronization=1.0)
    method.generator = torch.Generator().manual_seed(0)
    method.attach(network, data)
    images = torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    out = network(images)
    step = Step(network, images, torch.zeros(16).long(), torch.arange(16), out.logits,
                out.activations, out.transformed, 0, 0.0, lambda: out)  # fmt: skip
    terms = method.penalty(step)
    assert terms["focus"].item() == 0 and terms["synchronization"].item() > 0
    (grad,) = torch.autograd.grad(terms["synchronization"], [network.taps["fc1"].incoming.weight])
    assert grad.abs().sum() > 0
