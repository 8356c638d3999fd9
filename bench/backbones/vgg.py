"""A small VGG with BatchNorm, built by torchvision's ``make_layers``."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn
from torchvision.models.vgg import make_layers

from legible.bench.backbones.base import backbone
from legible.bench.backbones.taps import Network, Tap


@backbone
def vgg(
    image: tuple[int, int, int], classes: int, width: int = 16, depth: int = 2, stages: int = 3
) -> Network:
    """VGG with BatchNorm: stages of 3x3 convolutions, global average pooling, one linear layer.

    Each of the ``stages`` stages has ``depth`` convolutions; the first stage has ``width``
    channels, each next one twice as many, and max-pooling stands between stages. Taps after each
    ReLU: ``conv1``, ``conv2``, ... With three stages the side of the last map is a quarter of the
    image's: 8 x 8 for 32 pixels.
    """
    plan: list[str | int] = []
    for stage in range(stages):
        plan += ["M"] * (stage > 0) + [width * 2**stage] * depth
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    convs = pools = 0
    for module in make_layers(plan, batch_norm=True):
        if isinstance(module, nn.Conv2d):
            convs += 1
            if convs == 1:  # make_layers expects three input channels
                module = nn.Conv2d(image[0], width, 3, padding=1)
            # BatchNorm's shift makes the convolution's bias redundant
            layers[f"conv{convs}"] = nn.Conv2d(
                module.in_channels, module.out_channels, 3, padding=1, bias=False
            )
        elif isinstance(module, nn.BatchNorm2d):
            layers[f"norm{convs}"] = module
        elif isinstance(module, nn.ReLU):
            layers[f"relu{convs}"] = nn.ReLU()  # torchvision's works in place
            layers[f"tap{convs}"] = Tap(f"conv{convs}")
        else:
            pools += 1
            layers[f"pool{pools}"] = module
    for module in layers.values():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    layers["average"] = nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = nn.Flatten()
    layers["head"] = nn.Linear(width * 2 ** (stages - 1), classes)
    network = nn.Sequential(layers)
    return Network(network, list(network), image)
