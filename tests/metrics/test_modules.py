"""Modules: planted blocks are partition, noise takes them away, degenerate layers have none."""

import numpy as np
import pytest
import torch
from sklearn.cluster import SpectralClustering
from sklearn.metrics import adjusted_rand_score

from legible.metrics.base import Layer
from legible.metrics.modules import (
    claimed_modules,
    components,
    embedding,
    graph,
    layer_modules,
    newman_modularity,
    numbered,
    spectral_modules,
    spectral_partition,
    synchronise,
)
from legible.metrics.similarity import layer_correlation


def planted(sizes, noise, seed=0, images=200, shared=0.0):
    """Units of one block follow one random map, all follow a shared one; each has noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    source = torch.randn(images, len(sizes), 2, 2, generator=generator)
    common = torch.randn(images, 1, 2, 2, generator=generator)
    own = torch.randn(images, len(labels), 2, 2, generator=generator)
    return Layer("x", (source[:, labels] + shared * common + noise * own).relu()), labels


@pytest.mark.parametrize("sizes", [[8, 8, 8, 8], [3, 5, 9, 20], [16] * 8, [30, 2], [2, 2, 2]])
@pytest.mark.parametrize("shared", [0.0, 1.0])
def test_planted_blocks_are_the_modules(sizes, shared):
    layer, labels = planted(sizes, 0.2, shared=shared)
    assert adjusted_rand_score(labels, layer_modules(layer)) == 1
    assert (layer_modules(layer) >= 0).all()


def test_agreement_with_the_planted_blocks_falls_as_noise_grows():
    def agreement(noise):
        scores = []
        for seed in range(4):
            layer, labels = planted([8] * 6, noise, seed)
            partition = layer_modules(layer)
            partition = torch.where(
                partition < 0, -1 - torch.arange(len(partition)), partition
            )  # each alone
            scores.append(adjusted_rand_score(labels, partition))
        return np.mean(scores)

    dose = [agreement(noise) for noise in (0.2, 2.0, 3.5, 6.0, 50.0)]
    assert dose[0] == 1
    assert all(np.diff(dose) <= 0.02)
    assert abs(dose[-1]) < 0.05


def test_permuting_units_permutes_modules_and_scaling_changes_nothing():
    layer, _ = planted([3, 5, 9], 0.8)
    generator = torch.Generator().manual_seed(3)
    order = torch.randperm(17, generator=generator)
    permuted = layer_modules(Layer("x", layer.activation[:, order]))
    assert adjusted_rand_score(layer_modules(layer)[order], permuted) == 1
    scale = torch.logspace(-4, 4, 17)[:, None, None]
    assert torch.equal(layer_modules(Layer("x", layer.activation * scale)), layer_modules(layer))


def test_dead_and_constant_units_are_unassigned():
    layer, _ = planted([4, 4], 0.2)
    extra = torch.zeros(200, 3, 2, 2)
    extra[:, 1] = 0.7
    extra[3, 2] = float("nan")
    partition = layer_modules(Layer("x", torch.cat([layer.activation, extra], 1)))
    assert partition[8:].tolist() == [-1, -1, -1]
    assert torch.equal(partition[:8], layer_modules(layer))


@pytest.mark.parametrize("find", [layer_modules, spectral_modules])
@pytest.mark.parametrize(
    "activation",
    [
        torch.zeros(5, 4, 2, 2),
        torch.full((5, 4), float("nan")),
        torch.ones(5, 4),
        torch.rand(1, 4, generator=torch.Generator().manual_seed(0)),
        torch.rand(9, 1, generator=torch.Generator().manual_seed(0)),
    ],
    ids=["dead", "nan", "constant", "one image", "one unit"],
)
def test_without_directions_there_are_no_modules(find, activation):
    assert (find(Layer("x", activation)) == -1).all()


def test_two_units_are_a_module_only_if_they_respond_alike():
    x = torch.rand(50, 1, generator=torch.Generator().manual_seed(0))
    assert layer_modules(Layer("x", torch.cat([x, 2 * x + 1], 1))).tolist() == [0, 0]
    assert layer_modules(Layer("x", torch.cat([x, 1 - x], 1))).tolist() == [-1, -1]


def test_copies_of_one_unit_are_one_module():
    x = torch.rand(50, 1, generator=torch.Generator().manual_seed(0))
    assert layer_modules(Layer("x", x.expand(50, 6))).tolist() == [0] * 6


def test_dynamics_are_the_sum_over_neighbours_of_sines():
    points = torch.rand(9, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    moved = []
    for i in range(9):
        near = [j for j in range(9) if (points[i] - points[j]).norm() <= 0.7]
        moved.append(points[i] + sum((points[j] - points[i]).sin() for j in near) / len(near))
    torch.testing.assert_close(synchronise(points, 0.7, steps=1), torch.stack(moved))


def test_embedding_keeps_the_distances_of_signatures():
    layer, _ = planted([3, 3], 0.5)
    rho = layer_correlation(layer)
    points = embedding(rho)
    ratio = (
        torch.pdist(points) / (2 - 2 * rho).clamp(min=0).sqrt()[tuple(torch.triu_indices(6, 6, 1))]
    )
    torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio))
    assert float(torch.pdist(points).max()) == pytest.approx(np.pi / 2)


# ----------------------------------------------------------------- partitions


def test_numbering_is_by_size_then_by_first_unit():
    labels = torch.tensor([7, 3, 3, -5, 7, 0, 9, 9, 9])
    assert numbered(labels).tolist() == [1, 2, 2, -1, 1, 3, 0, 0, 0]
    assert numbered(labels, smallest=2).tolist() == [1, 2, 2, -1, 1, -1, 0, 0, 0]
    assert numbered(torch.tensor([-1, -1])).tolist() == [-1, -1]


def test_components():
    joined = torch.zeros(5, 5, dtype=torch.bool)
    joined[1, 3] = joined[3, 4] = True
    assert components(joined).tolist() == [1, 0, 2, 0, 0]
    assert components(joined, smallest=2).tolist() == [-1, 0, -1, 0, 0]


def test_modularity_is_networkx_s():
    import networkx

    layer, _ = planted([5, 6, 7], 2.0)
    weights = graph(layer_correlation(layer))
    generator = torch.Generator().manual_seed(0)
    nodes = networkx.from_numpy_array(weights.numpy())
    for count in (1, 2, 5, 18):
        partition = torch.randint(count, (18,), generator=generator)
        groups = [set((partition == k).nonzero()[:, 0].tolist()) for k in partition.unique()]
        expected = networkx.community.modularity(nodes, groups)
        assert float(newman_modularity(weights, partition)) == pytest.approx(expected, abs=1e-12)
        # units in no module count as communities of their own
        alone = [{i} for i in groups[0]]
        expected = networkx.community.modularity(nodes, groups[1:] + alone)
        partition = torch.where(partition == partition.unique()[0], -1, partition)
        assert float(newman_modularity(weights, partition)) == pytest.approx(expected, abs=1e-12)


def test_modularity_without_weights_is_undefined():
    assert newman_modularity(torch.zeros(3, 3), torch.tensor([0, 0, 1])).isnan()
    assert newman_modularity(torch.zeros(0, 0), torch.zeros(0, dtype=torch.long)).isnan()


def test_spectral_partition_is_scikit_learns():
    layer, labels = planted([5, 6, 7], 0.8, shared=0.5)
    rho = layer_correlation(layer)
    direct = SpectralClustering(
        3, affinity="precomputed", assign_labels="kmeans", random_state=0
    ).fit_predict(rho.clamp(min=0).numpy())
    assert adjusted_rand_score(direct, spectral_partition(rho, 3)) == 1
    assert adjusted_rand_score(labels, spectral_partition(rho, 3)) == 1


def test_spectral_count_is_read_from_the_eigengap():
    layer, labels = planted([8, 8, 8, 8], 0.5)
    assert adjusted_rand_score(labels, spectral_modules(layer)) == 1
    dead = torch.cat([layer.activation, torch.zeros(200, 1, 2, 2)], 1)
    assert spectral_modules(Layer("x", dead))[-1] == -1


def test_claimed_modules_leave_dead_units_out():
    layer, _ = planted([2, 2], 0.2)
    layer.activation[:, 1] = 0
    claimed = Layer("x", layer.activation, torch.tensor([5, 5, 9, 9]))
    assert claimed_modules(claimed).tolist() == [1, -1, 0, 0]
    assert claimed_modules(layer).tolist() == [-1] * 4
