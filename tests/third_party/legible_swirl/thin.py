"""A backbone with one convolution."""

from collections import OrderedDict

from torch import nn

from legible import Network, Tap, backbone


@backbone
def thin(image: tuple[int, int, int], classes: int, width: int = 4) -> Network:
    """One 3 x 3 convolution with ReLU and a Tap, the mean over positions, one linear layer."""
    network = nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(image[0], width, 3, padding=1),
            relu=nn.ReLU(),
            tap=Tap("conv"),
            average=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            head=nn.Linear(width, classes),
        )
    )
    return Network(network, list(network), image)
