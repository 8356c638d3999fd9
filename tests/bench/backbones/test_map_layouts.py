"""Layouts of maps: which one a shape has, and the way there and back."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from legible.bench.backbones.map_layouts import (
    FromMap,
    Layout,
    ToMap,
    layout_of,
    map_size,
    require_layout,
)
from legible.bench.backbones.traced import traced_network
from legible.metrics.explainers import Logits, Model, layer_gradcam

SHAPES = {
    (8, 4, 5): (Layout("channels_first"), (4, 5)),
    (4, 4, 8): (Layout("channels_last"), (4, 4)),
    (4, 4, 4): (Layout("channels_first"), (4, 4)),
    (8, 1, 1): (Layout("channels_first"), ()),
    (16, 8): (Layout("tokens", 0, 4), (4, 4)),
    (17, 8): (Layout("tokens", 1, 4), (4, 4)),
    (20, 8): (Layout("tokens", 4, 4), (4, 4)),
    (19, 8): (None, ()),
    (1, 8): (None, ()),
    (8,): (Layout("units"), ()),
    (): (None, ()),
    (2, 3, 4, 5): (None, ()),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_layout_of_a_shape(shape):
    assert (layout_of(shape), map_size(shape)) == SHAPES[shape]


def test_what_is_no_map_is_refused_with_its_name():
    with pytest.raises(ValueError, match=r"'conv' has the shape \(19, 8\), which is neither"):
        require_layout("conv", (19, 8))


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if SHAPES[shape][0]])
def test_there_and_back_is_the_identity(shape):
    layout = require_layout("x", shape)
    x = torch.randn(2, *shape)
    maps = ToMap(layout)(x)
    assert torch.equal(FromMap(layout)(maps, x) if layout.prefix else FromMap(layout)(maps), x)
    assert maps.shape[2:] == map_size(shape) or not map_size(shape)


def test_a_token_is_the_position_at_its_row_and_column():
    layout = Layout("tokens", 1, 3)
    x = torch.randn(2, 10, 4)
    assert torch.equal(ToMap(layout)(x)[:, :, 1, 2], x[:, 1 + 5])


class Maps(nn.Module):
    """A small network whose last map is held with channels last, or as tokens."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.conv, self.act = nn.Conv2d(3, 5, 3, padding=1), nn.ReLU()
        self.mix, self.head = nn.Linear(5, 6), nn.Linear(6, 3)

    def forward(self, x):
        x = self.act(self.conv(x)).permute(0, 2, 3, 1)
        x = torch.sigmoid(x.flatten(1, 2) if self.kind == "tokens" else x)
        return self.head(self.mix(x).relu().flatten(1, -2).mean(1))


@pytest.mark.parametrize(("kind", "name"), [("channels_last", "permute"), ("tokens", "flatten")])
def test_gradcam_weights_units_whatever_the_layout(kind, name):
    torch.manual_seed(0)
    model = Maps(kind)
    x = torch.randn(4, 3, 8, 8)
    labels = torch.arange(4) % 3
    maps = model.act(model.conv(x)).detach().requires_grad_()
    mixed = model.mix(torch.sigmoid(maps.permute(0, 2, 3, 1))).relu().mean((1, 2))
    logit = model.head(mixed).gather(1, labels[:, None]).sum()
    (gradient,) = torch.autograd.grad(logit, maps)
    expected = (gradient.mean((2, 3), keepdim=True) * maps).sum(1, keepdim=True).relu()
    network = traced_network(model, (3, 8, 8), [name]).eval()
    tap = network.taps[name]
    assert tap.shape == (5, 8, 8) and tap.on_trunk
    shown = layer_gradcam(Model(Logits(network), tap), x, labels)
    assert torch.allclose(shown, expected.detach(), atol=1e-6)
