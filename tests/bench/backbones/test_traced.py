"""Networks by tracing: the same logits, Taps where they are asked for, edges, and layouts."""

import copy

import pytest
import timm
import torch
from torch import Tensor, nn
from torchvision.models import get_model
from torchvision.models.vision_transformer import VisionTransformer

from legible.bench.backbones.resnet18 import resnet18
from legible.bench.backbones.traced import traced_network
from legible.bench.backbones.tracing import Untraceable

#: Side of the images, the Taps by default, and whether they are on the trunk.
MODELS = {
    "resnet18": (64, "relu layer1.1.relu_1 layer2.1.relu_1 layer3.1.relu_1 layer4.1.relu_1"),
    "resnet50": (64, "relu layer1.2.relu_2 layer2.3.relu_2 layer3.5.relu_2 layer4.2.relu_2"),
    "vgg16_bn": (64, "features.5 features.12 features.22 features.32 features.42"),
    "squeezenet1_0": (64, "features.1 features.5.cat features.10.cat features.12.cat"),
    "densenet121": (64, "features.relu0 features.transition1.relu features.transition2.relu "
                        "features.transition3.relu relu"),
    "mobilenet_v3_large": (64, "features.2.block.0.2 features.4.block.0.2 features.7.block.0.2 "
                               "features.13.block.0.2 features.16.2"),
    "efficientnet_b0": (64, "features.2.0.block.0.2 features.3.0.block.0.2 features.4.0.block.0.2 "
                            "features.6.0.block.0.2 features.8.2"),
    "convnext_tiny": (64, "features.2.0.permute_1 features.4.0.permute_1 features.6.0.permute_1 "
                          "features.7.2.add"),
    "vit_b_16": (224, "encoder.layers.encoder_layer_2.add_1 encoder.layers.encoder_layer_5.add_1 "
                      "encoder.layers.encoder_layer_8.add_1 encoder.layers.encoder_layer_11.add_1"),
    "timm:resnet10t": (64, "act1 layer1.0.act2 layer2.0.act2 layer3.0.act2 layer4.0.act2"),
    "timm:regnety_002": (64, "stem.bn.act s1.b1.act3 s2.b1.act3 s3.b4.act3 s4.b7.act3"),
    "timm:vit_tiny_patch16_224": (224, "blocks.2.add_1 blocks.5.add_1 blocks.8.add_1 "
                                       "blocks.11.add_1"),
    "timm:mobilenetv3_small_050": (64, "bn1.act blocks.1.0.bn1.act blocks.2.0.bn1.act "
                                       "blocks.4.0.bn1.act blocks.5.0.bn1.act"),
    "swin_t": (64, "features.1.1.add_1 features.3.1.add_1 features.5.5.add_1 permute.permute"),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_the_logits_of_a_library_s_models_stay_the_same_bit_for_bit(name):
    side, taps = MODELS[name]
    torch.manual_seed(0)
    library, _, short = name.rpartition(":")
    model = (timm.create_model(short) if library else get_model(name)).eval()
    keys = list(model.state_dict())
    x = torch.randn(2, 3, side, side)
    expected = model(x)
    network = traced_network(model, (3, side, side)).eval()
    out = network(x)
    assert torch.equal(out.logits, expected)
    assert [key.removeprefix("backbone.") for key in network.state_dict()] == keys
    assert [tap for tap in network.taps if network.taps[tap].spatial] == [
        tap for tap in taps.split() if network.taps[tap].spatial
    ]
    assert list(network.taps) == taps.split()
    for tap in network.taps.values():
        assert tap.on_trunk == ("vit_" not in name)
        if tap.on_trunk:
            rerun = network.continue_from(tap.name, out.activations[tap.name])
            assert torch.equal(rerun, expected)


def test_edges_of_a_traced_resnet_are_those_of_the_written_one():
    written = resnet18((3, 64, 64), 5, stem="standard")
    taps = ["relu", "layer1.0.relu", "layer1.0", "layer2.0.relu", "layer4.1"]
    traced = traced_network(get_model("resnet18", num_classes=5), (3, 64, 64), taps)
    names = ["stem", "layer1.0.inner", "layer1.0", "layer2.0.inner", "layer4.1"]
    assert [traced.taps[name].shape for name in traced.taps] == [
        written.taps[name].shape for name in names
    ]
    for ours, theirs in zip(traced.taps.values(), map(written.taps.get, names), strict=True):
        assert ours.on_trunk == theirs.on_trunk

        def kinds(tap):
            return {
                (getattr(edge.weight, "out_channels", None), type(edge.norm).__name__,
                 tuple(type(module).__name__ for module in edge.bridge.children()))
                for edge in tap.outgoing
            }  # fmt: skip

        assert kinds(ours) == kinds(theirs)
        assert type(ours.norm) is type(theirs.norm) and type(ours.incoming) is type(theirs.incoming)


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2),
                                  nn.Conv2d(4, 6, 3), nn.ReLU(inplace=True))  # fmt: skip
        self.head = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).mean((2, 3)))


class Mixed(nn.Module):
    """A rectified stem, then residual blocks at another size whose sums are not rectified."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())
        self.pool = nn.MaxPool2d(2)
        self.block = nn.Sequential(nn.Conv2d(4, 4, 1), nn.GELU(), nn.Conv2d(4, 4, 1))
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.stem(x))
        return self.head((x + self.block(x)).mean((2, 3)))


class Stages(nn.Module):
    """Three residual blocks at one size, each rectified or not."""

    def __init__(self, rectified: tuple[bool, ...]) -> None:
        super().__init__()
        self.rectified = rectified
        self.stem = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.blocks = nn.ModuleList(nn.Conv2d(4, 4, 1) for _ in rectified)
        self.relus = nn.ModuleList(nn.ReLU() for _ in rectified)
        self.down, self.head = nn.Conv2d(4, 4, 2, 2), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block, relu, rectified in zip(self.blocks, self.relus, self.rectified, strict=True):
            x = x + block(x)
            x = relu(x) if rectified else x
        return self.head(self.down(x).mean((2, 3)))


class Windows(nn.Module):
    """Between two maps a tensor of windows and tokens, which all of the computation passes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())
        self.mix, self.act = nn.Linear(4, 4), nn.ReLU()
        self.last, self.head = nn.Sequential(nn.Conv2d(4, 4, 2, 2), nn.ReLU()), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        count, units, height, width = x.shape
        x = x.reshape(count, units, height // 2, 2, width // 2, 2).permute(0, 2, 4, 3, 5, 1)
        x = self.act(self.mix(x.reshape(count, height * width // 4, 4, units)))
        x = x.reshape(count, height // 2, width // 2, 2, 2, units).permute(0, 5, 1, 3, 2, 4)
        return self.head(self.last(x.reshape(count, units, height, width)).mean((2, 3)))


class InPlace(nn.Module):
    """An operation in place whose result is not read: torch.fx does not see that it matters."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x)
        x.mul_(2)
        return self.head(x.relu().mean((2, 3)))


class HalfTheImages(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x).relu()
        return self.head(x.mean((2, 3))) / x[:2].shape[0]


@pytest.mark.parametrize("model", [InPlace(), HalfTheImages()], ids=["in place", "two images"])
def test_a_graph_that_gives_other_logits_is_refused(model):
    with pytest.raises(Untraceable, match="gives other logits when it is traced"):
        traced_network(model, (3, 12, 12))


class TestTaps:
    def test_by_default_are_at_the_last_rectified_map_or_sum_of_each_size(self):
        def last(*rectified: bool) -> list[str]:
            return list(traced_network(Stages(rectified), (3, 12, 12)).taps)

        assert last(True, True) == ["relus.1"]
        assert last(True, False) == ["add_1"]

    def test_by_default_are_not_at_windows_of_tokens(self):
        assert list(traced_network(Windows(), (3, 12, 12)).taps) == ["stem.1", "last.1"]

    def test_by_default_are_at_the_end_of_residual_blocks_where_nothing_is_rectified(self):
        assert list(traced_network(Mixed(), (3, 12, 12)).taps) == ["stem.1", "add"]

    def test_can_be_named_by_node_or_module(self):
        assert list(traced_network(Tiny(), (3, 12, 12), ["body.1"]).taps) == ["body.1"]
        assert list(traced_network(Tiny(), (3, 12, 12), ["body"]).taps) == ["body.4"]

    def test_of_an_unknown_name_are_refused_with_the_nearest(self):
        with pytest.raises(ValueError, match="no node or module 'bdy'; did you mean 'body'"):
            traced_network(Tiny(), (3, 12, 12), ["bdy"])

    def test_silence_units_inside_the_network(self):
        torch.manual_seed(0)
        network = traced_network(Tiny(), (3, 12, 12)).eval()
        x = torch.randn(2, 3, 12, 12)
        before = network(x)
        network.taps["body.4"].install(lambda a: a * 0)
        silent = network(x)
        assert torch.equal(silent.activations["body.4"], before.activations["body.4"])
        assert torch.equal(silent.logits, network.backbone.head.bias.expand(2, 2))

    def test_follow_a_copy_and_a_replacement(self):
        torch.manual_seed(0)
        network = traced_network(Tiny(), (3, 12, 12)).eval()
        x = torch.randn(2, 3, 12, 12)
        expected = network(x).logits
        twin = copy.deepcopy(network)
        new = nn.Linear(6, 2)
        network.replace(network.backbone.head, new)
        assert torch.equal(twin(x).logits, expected)
        assert not torch.equal(network(x).logits, expected)
        assert twin.taps["body.1"].outgoing[0].weight is twin.backbone.body[3]

    def test_refuse_images_of_a_wrong_shape(self):
        with pytest.raises(ValueError, match="does not take images of shape 1x12x12"):
            traced_network(Tiny(), (1, 12, 12))


class TestTokens:
    def network(self):
        torch.manual_seed(0)
        model = VisionTransformer(32, 8, 2, 2, 12, 24, num_classes=3).eval()
        nn.init.normal_(model.heads.head.weight)
        x = torch.randn(2, 3, 32, 32)
        expected = model(x)
        return traced_network(model, (3, 32, 32)).eval(), x, expected

    def test_are_positions_of_a_map_without_the_class_token(self):
        network, x, expected = self.network()
        out = network(x)
        assert torch.equal(out.logits, expected)
        for tap in network.taps.values():
            assert tap.shape == (12, 4, 4) and not tap.on_trunk

    def test_can_be_silenced(self):
        network, x, expected = self.network()
        last = list(network.taps)[-1]
        network.taps[last].install(lambda a: a * 0)
        assert torch.allclose(network(x).logits, expected), "only the class token is read after it"
        first = next(iter(network.taps))
        network.taps[first].install(lambda a: a * 0)
        assert not torch.allclose(network(x).logits, expected)
