"""The network that is scored: weights, layers, and how answers are joined with labels."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file
from small_networks import Branching, Structured, small_network
from torch import nn
from torchvision.models import squeezenet1_1

from legible.bench.backbones.hooked import HookedNetwork
from legible.bench.backbones.taps import Network
from legible.bench.errors import UserError
from legible.bench.one_network.image_data import ImageData, load_images
from legible.bench.one_network.subject import (
    IMAGENET,
    answers_of,
    given_subject,
    joined,
    named_subject,
    with_taps,
)
from legible.bench.plugins import registry

MINE = """
from torch import nn


def build(classes):
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(4, classes),
    )
"""


def random_images(classes: int = 3, image: tuple[int, int, int] = (1, 16, 16)) -> ImageData:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(8) % classes
    return load_images((torch.randn(8, *image, generator=generator), labels))


@pytest.fixture
def mine(tmp_path, kept_registry):
    """The name of a backbone in a user's file, and its module's weights."""
    (tmp_path / "my_net.py").write_text(MINE)
    return f"{tmp_path / 'my_net.py'}:build"


# ----------------------------------------------------------------- weights


def test_a_library_s_model_has_the_head_of_its_weights(tmp_path, kept_registry):
    model = squeezenet1_1(num_classes=7).eval()
    half = {name: value.half() for name, value in model.state_dict().items()}
    torch.save({"state_dict": {f"module.{k}": v for k, v in half.items()}}, tmp_path / "w.pth")
    data = random_images(image=(3, 48, 48))
    subject = named_subject("torchvision:squeezenet1_1", str(tmp_path / "w.pth"), data)
    x = data.batch(slice(None))
    with torch.no_grad():
        assert subject.model.eval()(x).shape == (8, 7)
        torch.testing.assert_close(subject.model(x), model(x), rtol=0.02, atol=0.02)
    assert subject.normalisation is None and subject.weights.startswith("w.pth (hash of the values")


def test_a_model_for_imagenet_has_its_names_and_normalisation(kept_registry):
    subject = named_subject("torchvision:squeezenet1_1", "", random_images(image=(3, 48, 48)))
    assert subject.normalisation == IMAGENET and subject.head_names[281] == "tabby"
    assert subject.weights == "random: no weights were given"
    first, twin = subject.model.state_dict(), subject.make_twin().state_dict()
    assert not torch.equal(first["features.0.weight"], twin["features.0.weight"])


def test_a_user_s_function_gets_as_many_outputs_as_its_weights_have(tmp_path, mine):
    state = small_network()[:2].state_dict()
    head = {"4.weight": torch.ones(5, 4), "4.bias": torch.zeros(5)}
    save_file(state | head, tmp_path / "five.safetensors")
    subject = named_subject(mine, str(tmp_path / "five.safetensors"), random_images())
    assert subject.model[4].out_features == 5 == subject.make_twin()[4].out_features
    assert named_subject(mine, "", random_images(classes=2)).model[4].out_features == 2


def test_weights_of_a_hand_written_backbone(tmp_path, kept_registry):
    data = random_images(image=(1, 28, 28))
    first = named_subject("lenet5", "", data, seed=3)
    save_file(first.model.backbone.state_dict(), tmp_path / "w.safetensors")
    second = named_subject("lenet5", str(tmp_path / "w.safetensors"), data)
    assert torch.equal(first.model(data.images).logits, second.model(data.images).logits)
    network, names = with_taps(second.model, data, ["last_spatial", "last"])
    assert network is second.model and names == ["conv2", "fc2"]
    with pytest.raises(UserError, match=r"^no Tap 'conv22'; did you mean 'conv2'"):
        with_taps(second.model, data, ["conv22"])


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"stem.weight": torch.ones(1), "stem.bias": torch.ones(1)},
         "has 0 of the file's 2 weights: these are weights of another architecture"),
        ({"0.weight": torch.ones(4, 3, 3, 3), "0.bias": torch.ones(4)},
         r"'0.weight' has the shape \(4, 3, 3, 3\), the network's has \(4, 1, 3, 3\)"),
        ({"0.weight": torch.ones(4, 1, 3, 3)}, "weight '0.bias' is missing"),
    ],
)  # fmt: skip
def test_weights_that_do_not_fit_are_refused_in_one_line(tmp_path, mine, state, message):
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=message) as error:
        named_subject(mine, str(tmp_path / "w.safetensors"), random_images())
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match=message.partition(r" \(")[0]):
        model = small_network()
        given_subject(model, str(tmp_path / "w.safetensors"))


def test_a_network_in_memory_is_not_changed():
    model = small_network().half()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    subject = given_subject(model, "")
    with_taps(subject.model, random_images())
    assert subject.model[0].weight.dtype == torch.float32 and subject.label == "Sequential"
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())
    for wrong, message in ((3, "network is a int"), (nn.ReLU(), "has no parameters")):
        with pytest.raises(UserError, match=message):
            given_subject(wrong, "")


# ----------------------------------------------------------------- layers


def test_layers_are_nodes_or_modules():
    network, names = with_taps(small_network(), random_images(), ["4"])
    assert isinstance(network, Network) and names == ["4"] and network.taps["4"].on_trunk
    assert with_taps(small_network(), random_images())[1] == ["1", "4"]
    with pytest.raises(
        UserError, match=r"has no node or module '44'; did you mean '4'\? \(usual layers: 1, 4; mod"
    ):
        with_taps(small_network(), random_images(), ["44"])


@pytest.mark.parametrize(
    ("model", "reason"),
    [(Branching(), "cannot be traced after 'lt'"), (Structured(), "returns several values")],
)
def test_a_network_that_cannot_be_traced_is_read_through_hooks(model, reason):
    network, names = with_taps(model, random_images())
    assert isinstance(network, HookedNetwork) and network.reason.startswith(reason)
    assert len(names) == 2


def test_a_graph_with_other_logits_is_not_used():
    class Counting(nn.Module):
        """Its graph holds what was constant while it was traced."""

        def __init__(self) -> None:
            super().__init__()
            self.inner, self.scale = small_network(), 1.0

        def forward(self, images):
            logits = self.inner(images) * self.scale
            self.scale = 2.0
            return logits

    model = Counting()
    network, _ = with_taps(model, random_images())
    assert isinstance(network, HookedNetwork)
    assert network.reason == "computes other logits when it is traced"


def test_an_unknown_layer_of_a_network_without_maps_is_named():
    model = nn.Sequential(nn.Flatten(), nn.Linear(256, 8), nn.ReLU(), nn.Linear(8, 3))
    with pytest.raises(UserError, match=r"no node or module 'x' \(modules: 0, 1, 2, 3, and what"):
        with_taps(model, random_images(image=(1, 16, 16)), ["x"])


def test_images_that_a_network_does_not_take_are_named():
    said = "does not take images of 3 x 16 x 16: its first convolution needs 1 channel"
    with pytest.raises(UserError, match=f"{said}$"):
        with_taps(small_network(), random_images(image=(3, 16, 16)))
    with pytest.raises(UserError, match=r"does not take images of 1 x 1 x 1: .*size"):
        with_taps(small_network(), random_images(image=(1, 1, 1)))


# ----------------------------------------------------------------- answers


def test_answers_are_joined_by_number_by_name_or_by_a_map():
    data = random_images()
    assert answers_of(3, (), data, None).unjoined == ""
    assert answers_of(4, ("2", "x", "1", "0"), data, None).groups == ((3,), (2,), (0,))
    assert answers_of(4, (), data, {"0": [1], "1": [0], "2": [2, 3]}).groups == ((1,), (0,), (2, 3))
    unjoined = answers_of(4, ("a", "b", "c", "d"), data, None)
    assert "the head's 4 outputs are not the data's 3 classes" in unjoined.unjoined
    assert answers_of(3, ("a", "b", "c"), data, None).unjoined  # as many, but of other names


@pytest.mark.parametrize("make", [small_network, Branching])
def test_a_joined_network_answers_with_the_data_s_classes(make):
    data = random_images()
    network, (*_, last) = with_taps(make(classes=3), data)
    plain = network(data.images)
    network = joined(network, ((2,), (0, 1)))
    logits = network(data.images).logits
    expected = torch.stack([plain.logits[:, 2], plain.logits[:, :2].amax(1)], 1)
    assert torch.equal(logits, expected)
    if isinstance(network, Network):
        again = network.continue_from(last, plain.activations[last])
        assert torch.equal(again, logits)


def test_a_file_without_a_function_is_told_to_name_one():
    with pytest.raises(UserError, match=r"name the function .*, as in my_net\.py:build$"):
        registry.get("backbones", "my_net.py")
