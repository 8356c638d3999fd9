"""torchvision's ResNet-18 with Taps; its blocks have two ReLU modules instead of one."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, ResNet

from legible.bench.backbones.base import backbone
from legible.bench.backbones.taps import Network, Tap, Wired
from legible.bench.backbones.weights import load_weights, read_weights
from legible.metrics.network import Edge


class ResidualBlock(BasicBlock, Wired):
    """torchvision's BasicBlock with a Tap inside, and a ReLU module of its own for each ReLU.

    It has the same state_dict keys and, bit for bit, the same outputs.
    """

    conv1: nn.Conv2d
    conv2: nn.Conv2d
    bn1: nn.BatchNorm2d
    bn2: nn.BatchNorm2d
    downsample: nn.Sequential | None

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        del self.relu
        self.relu1, self.relu2 = nn.ReLU(), nn.ReLU()
        self.inner = Tap("")

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.inner(self.relu1(self.bn1(self.conv1(x))))
        return self.relu2(self.bn2(self.conv2(out)) + identity)

    def entries(self) -> tuple[Edge, ...]:
        path = nn.Sequential()
        first = Edge(self.conv1, path, self.bn1)
        if self.downsample is None:
            return (first, Edge(None, path))
        conv, norm = self.downsample
        return (first, Edge(conv, path, norm))  # type: ignore[arg-type]

    def wire(self) -> None:
        self.inner.outgoing = (Edge(self.conv2, nn.Sequential(), self.bn2),)
        self.inner._norm, self.inner._incoming = (self.bn1,), (self.conv1,)


@backbone
def resnet18(
    image: tuple[int, int, int],
    classes: int,
    width: int = 64,
    stem: Literal["small", "standard"] = "small",
    stages: int = 4,
    weights: str = "",
) -> Network:
    """ResNet-18 from torchvision.

    ``stem="small"``: a 3x3 convolution without pooling, for small images. With fewer than 4
    ``stages`` the last ones are left out, and the last map is finer. ``weights``: a local file
    (safetensors, or torch's weights-only format) with torchvision's keys; its head is not used if
    the number of classes differs. Taps: ``stem``, ``layer1.0.inner``, ``layer1.0``, ...
    """
    net = ResNet(ResidualBlock, [2, 2, 2, 2], num_classes=classes, width_per_group=64)
    if width != 64 or image[0] != 3 or stem == "small" or stages != 4:
        net = _resized(net, image[0], width, stem, stages, classes)
    net.relu = nn.ReLU()
    trunk: list[nn.Module] = [net.conv1, net.bn1, net.relu, Tap("stem"), net.maxpool]
    for stage in range(1, stages + 1):
        for i, block in enumerate(getattr(net, f"layer{stage}")):
            block.inner.name = f"layer{stage}.{i}.inner"
            trunk += [block, Tap(f"layer{stage}.{i}")]
    trunk += [net.avgpool, nn.Flatten(), net.fc]
    if weights:
        load_weights(net, read_weights(weights), weights, except_below=["fc"])
    return Network(net, trunk, image)


def _resized(
    net: ResNet, channels: int, width: int, stem: str, stages: int, classes: int
) -> ResNet:
    """The network with another width, stem or number of stages."""
    net.inplanes = width
    if stem == "small":
        net.conv1 = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        net.maxpool = nn.Identity()
    else:
        net.conv1 = nn.Conv2d(channels, width, 7, stride=2, padding=3, bias=False)
    net.bn1 = nn.BatchNorm2d(width)
    for stage in range(1, 5):
        name = f"layer{stage}"
        if stage <= stages:
            stride = 1 if stage == 1 else 2
            setattr(
                net,
                name,
                net._make_layer(ResidualBlock, width * 2 ** (stage - 1), 2, stride=stride),
            )
        else:
            delattr(net, name)
    net.fc = nn.Linear(width * 2 ** (stages - 1), classes)
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return net
