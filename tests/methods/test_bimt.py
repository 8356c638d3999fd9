"""BIMT's cost and swaps against loops."""

import copy

import pytest
import torch

from legible.bench.backbones.lenet5 import lenet5
from legible.bench.backbones.mlp import mlp
from legible.bench.backbones.resnet18 import resnet18
from legible.bench.backbones.vgg import vgg
from legible.methods.bimt import Bimt, grid, relocate
from legible.metrics.weight_layers import links


def attached(network, toy, **params):
    method = Bimt(1.0, **params)
    method.attach(network, toy.train)
    return method


def place(slot, units, layout="sheet"):
    height, width = {6: (2, 3), 8: (2, 4), 4: (2, 2), 5: (1, 5), 120: (10, 12), 84: (7, 12),
                     16: (4, 4)}[units]  # fmt: skip
    if layout == "line":
        height, width = 1, units
    return (slot // width + 0.5) / height, (slot % width + 0.5) / width


def length_of(a, b):
    return abs(a[0] - b[0]) + abs(a[1] - b[1])


def slow_cost(weight, targets, sources, length=2.0, wire=0.5):
    """Sum of |w| (length d + wire), weight by weight, between places of targets and of inputs."""
    return sum(
        abs(value) * (length * length_of(target, source) + wire)
        for row, target in zip(weight.tolist(), targets, strict=True)
        for value, source in zip(row, sources, strict=True)
    )


def slow_cost_of_layer(weight, channels, layout, length, wire):
    """`slow_cost` over units x channels, each channel's weights at the channel's place."""
    units, entries = len(weight), weight.shape[1] // channels
    targets = [place(i, units, layout) for i in range(units)]
    sources = [place(c // entries, channels, layout) for c in range(weight.shape[1])]
    return slow_cost(weight, targets, sources, length, wire) / (units * channels)


def double(layer):
    """A layer's weight in float64, one row for each unit."""
    return layer.weight.detach().double().flatten(1)


def test_cost_of_dense_layers_by_loops(step_on, toy):
    network = mlp((1, 16, 16), 3, hidden=(6, 4))
    method = attached(network, toy)
    method.slot0.copy_(torch.tensor([5, 0, 3, 1, 2, 4]))
    backbone = network.backbone
    pixels = [((j // 16 + 0.5) / 16, (j % 16 + 0.5) / 16) for j in range(256)]
    hidden = [place(slot, 6) for slot in method.slot0.tolist()]
    last = [place(i, 4) for i in range(4)]
    total = slow_cost(double(backbone.fc1), hidden, pixels) / (6 * 256)
    total += slow_cost(double(backbone.fc2), last, hidden) / (4 * 6)
    total += 0.5 * float(double(backbone.head).abs().mean())
    state = network.state_dict()
    biases = sum(0.5 * float(b.abs().mean()) for name, b in state.items() if "bias" in name)
    terms = method.penalty(step_on(network))
    assert abs(terms["wires"].item() - total) < 1e-5
    assert abs(terms["biases"].item() - biases) < 1e-6


def test_convolutions_count_kernels_and_maps_by_channel(step_on, toy):
    network = lenet5((1, 16, 16), 3)
    method = attached(network, toy, layout="line", length=1.0, wire=0.1)
    backbone = network.backbone
    total = sum(  # no place for the image's channel and the logits: the wire's cost alone
        0.1 * float(double(layer).abs().sum()) / (len(layer.weight) * channels)
        for layer, channels in ((backbone.conv1, 1), (backbone.head, 84))
    )
    for layer, channels in ((backbone.conv2, 6), (backbone.fc1, 16), (backbone.fc2, 120)):
        total += slow_cost_of_layer(double(layer), channels, "line", length=1.0, wire=0.1)
    assert abs(method.penalty(step_on(network))["wires"].item() - total) < 1e-5


def test_gradient_is_the_length_times_the_sign(step_on, toy):
    network = mlp((1, 16, 16), 3, hidden=(6, 4))
    method = attached(network, toy)
    method.penalty(step_on(network))["wires"].backward()
    weight = network.backbone.fc2.weight
    distance = torch.tensor([[length_of(place(i, 4), place(j, 6)) for j in range(6)]
                             for i in range(4)])  # fmt: skip
    expected = weight.detach().sign() * (2 * distance + 0.5) / 24
    torch.testing.assert_close(weight.grad, expected)


def test_rescaled_filters_do_not_evade_the_cost(step_on, toy):
    network = vgg((1, 16, 16), 3, width=4, depth=1)
    step = step_on(network)
    kinds = {kind: attached(network, toy, batchnorm=kind) for kind in ("folded", "raw")}
    before = {kind: method.penalty(step)["wires"] for kind, method in kinds.items()}
    with torch.no_grad():
        for link in links(network)[:-1]:
            link.layer.weight /= 10
    after = {kind: method.penalty(step)["wires"] for kind, method in kinds.items()}
    torch.testing.assert_close(after["folded"], before["folded"])
    assert after["raw"] < 0.5 * before["raw"]


def test_relocation_tries_every_partner():
    generator = torch.Generator().manual_seed(0)
    cost = torch.rand(7, 7, generator=generator)
    slot, order = torch.randperm(7, generator=generator), torch.tensor([3, 0, 6])

    def total(slots):
        return sum(float(cost[u, p]) for u, p in enumerate(slots))

    expected = slot.tolist()
    for i in order.tolist():
        options = []
        for j in range(7):
            option = copy.copy(expected)
            option[i], option[j] = option[j], option[i]
            options.append((total(option), j, option))
        expected = min(options)[2]
    result = relocate(cost, slot, order)
    assert result.tolist() == expected
    assert total(result.tolist()) < total(slot.tolist())
    assert sorted(result.tolist()) == list(range(7))


@pytest.mark.parametrize("backbone", [mlp, resnet18, lenet5])
def test_a_swap_changes_the_cost_as_place_costs_predicts(step_on, toy, backbone):
    net = {mlp: {"hidden": (6, 4)}, resnet18: {"width": 4, "stages": 2}, lenet5: {}}[backbone]
    network = backbone((1, 16, 16), 3, **net)
    method = attached(network, toy)
    step = step_on(network)
    tap = list(network.taps)[1]
    cost, _ = method.place_costs(tap, network)
    slot = method.slot(tap, network)
    before = method.penalty(step)["wires"]
    predicted = cost[0, slot[2]] + cost[2, slot[0]] - cost[0, slot[0]] - cost[2, slot[2]]
    slot[torch.tensor([0, 2])] = slot[torch.tensor([2, 0])]
    after = method.penalty(step)["wires"]
    torch.testing.assert_close(after - before, predicted, atol=1e-5, rtol=1e-3)


def test_an_epoch_start_shortens_the_wires_and_touches_no_weight(step_on, toy):
    network = lenet5((1, 16, 16), 3)
    method = attached(network, toy)
    step = step_on(network)
    weights = [p.clone() for p in network.parameters()]
    before = method.penalty(step)["wires"]
    method.start_epoch(network, toy.train, 0)
    assert method.penalty(step)["wires"] < before - 1e-4
    assert all(torch.equal(a, b) for a, b in zip(weights, network.parameters(), strict=True))
    still = attached(network, toy, swap_every=2)
    still.start_epoch(network, toy.train, 1)
    assert still.slot0.tolist() == list(range(6))


def test_swapping_places_is_swapping_weights(step_on, toy):
    network = mlp((1, 16, 16), 3, hidden=(6, 4))
    method = attached(network, toy)
    other = copy.deepcopy(network)
    method.slot0[torch.tensor([1, 4])] = torch.tensor([4, 1])
    with torch.no_grad():
        for layer in (
            other.backbone.fc1.weight,
            other.backbone.fc1.bias,
            other.backbone.fc2.weight.T,
        ):
            layer[[1, 4]] = layer[[4, 1]]
    after_swap = attached(other, toy).penalty(step_on(other))["wires"]
    torch.testing.assert_close(method.penalty(step_on(network))["wires"], after_swap)
    images = torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(network(images).logits, other(images).logits)


def test_places_and_schedules():
    assert grid(1, 2).tolist() == [[0.5, 0.25], [0.5, 0.75]]
    assert [Bimt(schedule="mnist").factor(p) for p in (0.0, 0.3, 0.5)] == [1, 10, 100]
    assert [Bimt(schedule="tasks").factor(p) for p in (0.0, 0.3, 0.8)] == [1, 10, 1]
    assert Bimt().factor(0.9) == 1
    with pytest.raises(ValueError, match="at least 0"):
        Bimt(length=-1.0)


def test_training_shortens_the_wires(fit, toy):
    def wires(fitted, step=None):
        method = attached(fitted.network, toy)
        return sum(
            (method.edges(link, fitted.network) * method.distance(link, fitted.network)).mean()
            for link in links(fitted.network)
        )

    assert wires(fit("bimt", {"strength": 1.0})) < wires(fit("plain"))


@pytest.mark.parametrize("params", [{}, {"batchnorm": "raw", "layout": "line"}])
def test_laws(check_laws, params):
    check_laws("bimt", params)
