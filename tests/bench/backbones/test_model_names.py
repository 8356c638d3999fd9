"""Backbones by the name of a model: heads, weights and errors."""

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import squeezenet1_0

from legible.bench.backbones.model_names import model_builder
from legible.bench.errors import UserError

IMAGE = (3, 64, 64)


def test_a_new_head_has_an_output_for_each_class():
    network = model_builder("torchvision:squeezenet1_0")(IMAGE, 5)
    assert network(torch.zeros(2, *IMAGE)).logits.shape == (2, 5)
    assert "features.12.cat" in network.taps and "classifier.2" not in network.taps


def test_weights_are_loaded_with_their_own_head_or_with_a_new_one(tmp_path):
    torch.manual_seed(1)
    model = squeezenet1_0(num_classes=7).eval()
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    x = torch.randn(2, *IMAGE)
    build = model_builder("torchvision:squeezenet1_0")
    kept = build(IMAGE, 7, weights=str(tmp_path / "w.safetensors"), head="keep").eval()
    assert torch.equal(kept(x).logits, model(x))
    new = build(IMAGE, 3, weights=str(tmp_path / "w.safetensors")).eval()
    assert torch.equal(new.backbone.features[0].weight, model.features[0].weight)
    assert new(x).logits.shape == (2, 3)
    with pytest.raises(
        ValueError, match='has 7 outputs, but the data has 3 classes: use head = "new"'
    ):
        build(IMAGE, 3, weights=str(tmp_path / "w.safetensors"), head="keep")


def test_a_new_head_replaces_a_library_s_own_kind_of_layer():
    network = model_builder("timm:mobilenetv3_small_050")(IMAGE, 5)  # has a Linear of timm's own
    assert network(torch.zeros(2, *IMAGE)).logits.shape == (2, 5)


class TwoHeads(torch.nn.Module):
    """As models made for distillation: the logits are the mean of two layers."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU())
        self.head, self.head_dist = torch.nn.Linear(4, classes), torch.nn.Linear(4, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.body(x).mean((2, 3))
        return (self.head(x) + self.head_dist(x)) / 2


def test_a_new_head_replaces_all_layers_that_give_the_logits(tmp_path):
    model = TwoHeads(7)
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    build = model_builder("my.py:TwoHeads", TwoHeads)
    network = build(IMAGE, 3, weights=str(tmp_path / "w.safetensors"))
    assert network(torch.zeros(2, *IMAGE)).logits.shape == (2, 3)
    assert torch.equal(network.backbone.body[0].weight, model.body[0].weight)


class AttentionPooling(torch.nn.Module):
    """Its logits depend on a second layer, with another number of units."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU())
        self.head, self.attention = torch.nn.Linear(4, classes), torch.nn.Linear(4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.body(x).flatten(2).transpose(1, 2)
        return (self.head(x) * self.attention(x).softmax(1)).sum(1)


class TwoNames(torch.nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU())
        self.fc = torch.nn.Linear(4, 10)
        self.head = self.fc

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x).mean((2, 3)))


class Prototypes(torch.nn.Module):
    """Its logits are similarities to prototypes: no layer gives them."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU())
        self.prototypes = torch.nn.Parameter(torch.randn(classes, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x).mean((2, 3)) @ self.prototypes.T


def test_a_new_head_leaves_other_last_layers_and_finds_a_layer_of_two_names():
    network = model_builder("my.py:AttentionPooling", AttentionPooling)(IMAGE, 3)
    assert network.backbone.attention.out_features == 1
    network = model_builder("my.py:TwoNames", TwoNames)(IMAGE, 3)
    assert network(torch.zeros(2, *IMAGE)).logits.shape == (2, 3)


def test_a_model_without_a_last_layer_keeps_its_head():
    build = model_builder("my.py:Prototypes", Prototypes)
    with pytest.raises(ValueError, match='can be replaced: use head = "keep"'):
        build(IMAGE, 3)
    assert build(IMAGE, 3, head="keep")(torch.zeros(2, *IMAGE)).logits.shape == (2, 3)


@pytest.mark.parametrize(
    "name, message",
    [
        ("torchvison:resnet18", "no library of models 'torchvison'; did you mean 'torchvision'"),
        ("torchvision:resnet81", "torchvision has no model 'resnet81'; did you mean 'resnet18'"),
    ],
)
def test_a_typo_is_answered_with_the_nearest_name(name, message):
    with pytest.raises(UserError, match=message):
        model_builder(name)


def test_pretrained_weights_are_not_downloaded_unasked(monkeypatch):
    monkeypatch.delenv("LEGIBLE_DOWNLOAD", raising=False)
    with pytest.raises(ValueError, match="set LEGIBLE_DOWNLOAD=1"):
        model_builder("torchvision:resnet18")(IMAGE, 5, weights="pretrained")


def test_a_user_s_function_may_take_the_number_of_classes_or_not():
    def mine(classes: int) -> torch.nn.Module:
        return squeezenet1_0(num_classes=classes)

    def fixed() -> torch.nn.Module:
        return squeezenet1_0(num_classes=4)

    assert model_builder("my.py:mine", mine)(IMAGE, 3)(torch.zeros(1, *IMAGE)).logits.shape[1] == 3
    assert (
        model_builder("my.py:fixed", fixed)(IMAGE, 3)(torch.zeros(1, *IMAGE)).logits.shape[1] == 3
    )
    with pytest.raises(ValueError, match=r"returns a int: return a torch nn\.Module"):
        model_builder("my.py:one", lambda: 1)(IMAGE, 3)


def test_the_whole_model_is_not_traced_and_has_the_head_of_its_weights(tmp_path):
    torch.manual_seed(1)
    model = squeezenet1_0(num_classes=7).eval()
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    build = model_builder("torchvision:squeezenet1_0")
    whole = build.whole(3, str(tmp_path / "w.safetensors")).eval()
    x = torch.randn(2, *IMAGE)
    assert torch.equal(whole(x), model(x)) and type(whole) is type(model)
    assert build.whole(3)(x).shape == (2, 1000) and build.whole(3, outputs=7)(x).shape == (2, 7)
    own = model_builder("my.py:mine", lambda classes: squeezenet1_0(num_classes=classes))
    assert own.whole(3)(x).shape == (2, 3)
    assert own.whole(3, str(tmp_path / "w.safetensors"))(x).shape == (2, 7)
