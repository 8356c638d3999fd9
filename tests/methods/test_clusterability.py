"""Clusterability's two forms."""

import pytest
import torch

from legible.bench.backbones.lenet5 import lenet5
from legible.bench.backbones.mlp import mlp
from legible.bench.backbones.resnet18 import resnet18
from legible.bench.backbones.vgg import vgg
from legible.methods.clusterability import (
    Clusterability,
    blocks,
    share_within,
    smallest_eigenvalues,
)
from legible.metrics.weight_layers import links


def test_blocks_are_contiguous_and_equal():
    assert blocks(8, 4).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert blocks(3, 4).tolist() == [0, 1, 2]
    sizes = blocks(10, 4).bincount()
    assert sizes.max() - sizes.min() <= 1


def test_share_by_loops_with_gradient():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(6, 8, generator=generator, dtype=torch.float64, requires_grad=True)
    within = 0.0
    for i in range(6):
        for j in range(8):
            within = within + (i * 3 // 6 == j * 3 // 8) * weight[i, j] ** 2
    expected = within / weight.square().sum()
    got = share_within(weight.square(), 3)
    torch.testing.assert_close(got, expected)
    gradients = [torch.autograd.grad(value, weight)[0] for value in (got, expected)]
    torch.testing.assert_close(*gradients)


def slow_share(weight, inputs, blocks):
    """The share of squared weights within blocks; ``inputs`` units have equally many columns."""
    targets, columns = weight.shape
    total = within = 0.0
    for i in range(targets):
        for c in range(columns):
            power = float(weight[i, c] ** 2)
            total += power
            source = c // (columns // inputs)
            within += power * (i * blocks // targets == source * blocks // inputs)
    return within / total


def test_the_penalty_over_a_network(step_on, toy):
    network = lenet5((1, 16, 16), 3)
    method = Clusterability(2.0, k=2)
    method.attach(network, toy.train)
    backbone = network.backbone
    shares = [
        slow_share(layer.weight.detach().double().flatten(1), inputs, 2)
        for layer, inputs in ((backbone.conv2, 6), (backbone.fc1, 16), (backbone.fc2, 120))
    ]
    expected = 2 * (1 - sum(shares) / 3)
    value = method.penalty(step_on(network))["between"]
    torch.testing.assert_close(value.double(), torch.tensor(expected, dtype=torch.float64))


def test_two_pieces_have_a_zero_second_eigenvalue_and_a_single_one_does_not():
    block = torch.ones(3, 3) - torch.eye(3)
    apart = torch.block_diag(block, block)
    assert smallest_eigenvalues(apart, 1).abs() < 1e-6
    whole = torch.ones(6, 6) - torch.eye(6)
    # the complete graph of n nodes has the eigenvalue n / (n - 1), n - 1 times
    torch.testing.assert_close(smallest_eigenvalues(whole, 2), torch.tensor(2 * 6 / 5))


def test_eigenvalues_and_gradient_against_differences():
    generator = torch.Generator().manual_seed(1)
    weight = torch.rand(4, 5, generator=generator, dtype=torch.float64, requires_grad=True)

    def value(w):
        adjacency = torch.zeros(9, 9, dtype=torch.float64)
        adjacency[:4, 4:] = w
        return smallest_eigenvalues(adjacency + adjacency.T, 2)

    assert torch.autograd.gradcheck(value, (weight,))


def test_a_node_without_edges_does_not_count():
    generator = torch.Generator().manual_seed(1)
    adjacency = torch.rand(6, 6, generator=generator)
    adjacency = adjacency + adjacency.T
    alone = torch.block_diag(adjacency, torch.zeros(1, 1)).requires_grad_()
    value = smallest_eigenvalues(alone, 1)
    torch.testing.assert_close(value, smallest_eigenvalues(adjacency, 1))
    value.backward()
    assert alone.grad.isfinite().all()


@pytest.mark.parametrize("backbone", [mlp, resnet18])
def test_the_graph_joins_the_right_nodes(backbone):
    net = {"hidden": (5, 4)} if backbone is mlp else {"width": 4, "stages": 2}
    network = backbone((1, 8, 8), 3, **net)
    graph = Clusterability(form="eigenvalue", batchnorm="raw").graph(network)
    names = ["image", *network.taps, "logits"]
    sizes = [64 if backbone is mlp else 1, *(t.units for t in network.taps.values()), 3]
    assert len(graph) == sum(sizes)
    start = dict(zip(names, torch.tensor([0, *sizes]).cumsum(0).tolist(), strict=False))
    expected = torch.zeros_like(graph)
    for link in links(network):
        weight = link.weight.abs().flatten(2).sum(2) if link.weight.ndim > 2 else link.weight.abs()
        row, column = start[link.target or "logits"], start[link.source or "image"]
        for i in range(weight.shape[0]):
            for j in range(weight.shape[1]):
                expected[row + i, column + j] += weight[i, j]
                expected[column + j, row + i] += weight[i, j]
    torch.testing.assert_close(graph, expected)


def test_partition_is_the_blocks_of_every_hidden_layer(fit):
    fitted = fit("clusterability", epochs=1)
    partition = fitted.method.partition(fitted.network)
    assert list(partition) == list(fitted.network.taps)
    for name, labels in partition.items():
        assert torch.equal(labels, blocks(fitted.network.taps[name].units, 4))
    assert Clusterability(form="eigenvalue").partition(fitted.network) == {}


def test_training_raises_the_share(fit):
    def share(fitted):
        return share_within(fitted.network.backbone.conv6.weight.detach().square().sum((2, 3)), 4)

    assert share(fit("clusterability", {"strength": 10.0})) > share(fit("plain")) + 0.02


@pytest.mark.parametrize("params", [{}, {"form": "eigenvalue"}, {"batchnorm": "raw"}])
def test_laws(check_laws, params):
    check_laws("clusterability", params)


def test_what_it_refuses(toy):
    with pytest.raises(ValueError, match="k must"):
        Clusterability(k=1)
    with pytest.raises(ValueError, match="hidden layers"):
        Clusterability().attach(mlp((1, 16, 16), 3, hidden=(8,)), toy.train)
    with pytest.raises(ValueError, match="1024"):
        Clusterability(form="eigenvalue").attach(vgg((1, 16, 16), 3, width=128), toy.train)
