"""LeNet-5 as BEAN's code has it (github.com/YuyangGao/BEAN, 8eede03)."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from legible.bench.backbones.base import backbone
from legible.bench.backbones.taps import Network, Tap


@backbone
def lenet5(image: tuple[int, int, int], classes: int) -> Network:
    """conv 6 (5x5, pad 2), pool, conv 16 (5x5), pool, 120, 84, logits; Taps after each ReLU.

    At 28 x 28 the pooled second convolution has 16 x 5 x 5 = 400 units.
    """
    channels, height, width = image
    flat = 16 * ((height // 2 - 4) // 2) * ((width // 2 - 4) // 2)
    network = nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(channels, 6, 5, padding=2),
            relu1=nn.ReLU(),
            tap1=Tap("conv1"),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(6, 16, 5),
            relu2=nn.ReLU(),
            tap2=Tap("conv2"),
            pool2=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            fc1=nn.Linear(flat, 120),
            relu3=nn.ReLU(),
            tap3=Tap("fc1"),
            fc2=nn.Linear(120, 84),
            relu4=nn.ReLU(),
            tap4=Tap("fc2"),
            head=nn.Linear(84, classes),
        )
    )
    return Network(network, list(network), image)
