"""LeNet-5, as in BEAN's code (github.com/YuyangGao/BEAN, 8eede03)."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from legible.bench.backbones.base import backbone
from legible.bench.backbones.taps import Network, Tap


@backbone
def lenet5(image: tuple[int, int, int], classes: int) -> Network:
    """LeNet-5: two convolutions with max-pooling, then linear layers of 120 and 84 units.

    The convolutions have 6 channels (5x5, padding 2) and 16 channels (5x5). Taps after each ReLU:
    ``conv1``, ``conv2``, ``fc1``, ``fc2``. On 28 x 28 images the first linear layer reads
    16 x 5 x 5 = 400 numbers.
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
