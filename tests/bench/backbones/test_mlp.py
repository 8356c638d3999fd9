"""Multilayer perceptron: sizes of its layers."""

from legible.bench.backbones.mlp import mlp


def test_the_hidden_layers_are_taps_that_feed_the_next_layer():
    network = mlp((3, 5, 5), 4, hidden=(20, 10, 6))
    assert {name: tap.units for name, tap in network.taps.items()} == {
        "fc1": 20, "fc2": 10, "fc3": 6,
    }  # fmt: skip
    widths = [tap.outgoing[0].weight.out_features for tap in network.taps.values()]
    assert widths == [10, 6, 4]
    assert network.taps["fc1"].incoming.in_features == 75
