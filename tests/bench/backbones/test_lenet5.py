"""LeNet-5: sizes of its layers."""

import torch

from legible.bench.backbones.lenet5 import lenet5


def test_outgoing_weights_take_the_bridged_units():
    taps = lenet5((1, 28, 28), 10).taps
    (edge,) = taps["conv2"].outgoing
    assert edge.weight.in_features == 400
    assert edge.bridge(torch.zeros(2, 16, 10, 10)).shape == (2, 400)
