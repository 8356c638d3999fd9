"""Tracing: graphs of any model whose activations are modules of their own."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from legible.bench.backbones.tracing import (
    Untraceable,
    free_name,
    is_plain_layer,
    trace,
    trunk_nodes,
)

IMAGE = (3, 8, 8)


class Functional(nn.Module):
    """Every kind of activation that has no module of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.shared, self.in_place = nn.ReLU(), nn.ReLU(inplace=True)
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.shared(self.first(x))
        y = F.relu(self.second(x))
        y += x
        y = self.in_place(y).relu()
        y = self.shared(F.gelu(y))
        y = F.dropout(y, 0.5, training=self.training)
        return self.head(torch.flatten(F.adaptive_avg_pool2d(y, 1), 1))


def names(graph):
    return [node.meta["name"] for node in graph.nodes]


def test_every_activation_becomes_a_module_of_its_own_and_the_logits_stay_the_same():
    torch.manual_seed(0)
    model = Functional().eval()
    keys = list(model.state_dict())
    x = torch.randn(2, 3, 8, 8)
    expected = model(x)
    graph = trace(model, IMAGE)
    run = torch.fx.Interpreter(model, graph=graph)
    assert torch.equal(run.run(x), expected) and list(model.state_dict()) == keys
    calls = [n.target for n in graph.nodes if n.op == "call_module"]
    modules = [model.get_submodule(target) for target in calls]
    assert len({id(module) for module in modules}) == len(modules), "no module is reused"
    assert not any(getattr(module, "inplace", False) for module in modules)
    kinds = [type(module).__name__ for module in modules]
    assert kinds.count("ReLU") == 5 and kinds.count("GELU") == 1 and kinds.count("Dropout") == 1
    assert {n.op for n in graph.nodes} == {"placeholder", "call_module", "call_function", "output"}
    assert names(graph)[:5] == ["x", "first", "shared", "second", "relu"]


def test_functional_dropout_acts_in_training_mode_alone():
    model = Functional()
    graph = trace(model, IMAGE)
    model.train()
    x = torch.randn(2, 3, 8, 8)
    first, second = (torch.fx.Interpreter(model, graph=graph).run(x) for _ in range(2))
    assert not torch.equal(first, second)


class NormThenAct(nn.BatchNorm2d):
    """A batch normalisation with its activation, as some libraries have it."""

    def __init__(self, units):
        super().__init__(units, momentum=0.2)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x):
        x = F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, self.training,
            self.momentum, self.eps,
        )  # fmt: skip
        return self.act(x)


def test_a_batch_norm_of_another_class_learns_its_statistics_in_training():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), NormThenAct(4), nn.Flatten(), nn.Linear(144, 2))
    original, keys = copy.deepcopy(model), list(model.state_dict())
    graph = trace(model, IMAGE)
    assert list(model.state_dict()) == keys
    run = torch.fx.Interpreter(model, graph=graph)
    x = torch.randn(5, 3, 8, 8)
    for mode in (True, False):
        model.train(mode)
        original.train(mode)
        assert torch.equal(run.run(x), original(x))
    for key, value in original.state_dict().items():
        assert key.endswith("num_batches_tracked") or torch.equal(model.state_dict()[key], value)
    assert not torch.equal(model[1].running_mean, torch.zeros(4))
    kinds = [type(model.get_submodule(n.target)) for n in graph.nodes if n.op == "call_module"]
    assert kinds == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.Flatten, nn.Linear]
    assert not list(model[1].children())  # a method may put another module in its place
    assert names(graph)[2:4] == ["1.batch_norm", "1.act"]


def test_a_batch_norm_that_is_called_twice_is_one_module():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 3, padding=1), NormThenAct(3)
            self.head = nn.Linear(192, 2)

        def forward(self, x):
            return self.head(self.norm(self.conv(self.norm(x))).flatten(1))

    model = Twice().eval()
    x = torch.randn(2, 3, 8, 8)
    expected = model(x)
    graph = trace(model, IMAGE)
    assert torch.equal(torch.fx.Interpreter(model, graph=graph).run(x), expected)
    assert [n.target for n in graph.nodes if n.op == "call_module"].count("norm") == 2


def test_statistics_that_no_batch_norm_holds_are_refused():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("mean", torch.zeros(3))
            self.register_buffer("variance", torch.ones(3))

        def forward(self, x):
            return F.batch_norm(x, self.mean, self.variance, training=self.training)

    with pytest.raises(Untraceable, match="keeps statistics without"):
        trace(nn.Sequential(Own(), nn.Flatten(), nn.Linear(192, 2)), IMAGE)


def test_the_trunk_is_what_every_path_passes():
    graph = trace(Functional(), IMAGE)
    assert [node.meta["name"] for node in trunk_nodes(graph)][:4] == [
        "first",
        "shared",
        "add",
        "in_place",
    ]


class Branches(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


class ForOneImage(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.shape[0] == 1 else -x


class Sizes(nn.Module):
    """Computes and decides with sizes, as patches, windows and padding do."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.first = nn.Linear(3, 4), nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        before, x = x, self.first(x)
        count, channels, height, width = x.shape
        if before.shape == x.shape and x.shape[1:].numel() == channels * height * width:
            x = x + before
        if height % 3 or x.ndim != 4:
            x = F.pad(x, (0, 0, 0, math.ceil(height / 3) * 3 - height))
        x = x.view(count, channels, x.size(2) * width)[..., : int(x.size(-2) ** 0.5)]
        return self.layer(x.mean(2)) + self.layer(x.amax(2)) * len(x.shape)


def test_sizes_are_numbers_and_the_number_of_images_is_free():
    torch.manual_seed(0)
    model = Sizes()
    graph = trace(model, IMAGE)
    for count in (1, 2, 5):
        x = torch.randn(count, *IMAGE)
        assert torch.equal(torch.fx.Interpreter(model, graph=graph).run(x), model(x))
    calls = [node.target for node in graph.nodes if node.op == "call_module"]
    assert calls == ["first", "layer", "layer"], (
        "values that are computed for sizes are not recorded"
    )


class Constant(nn.Module):
    """Adds a tensor that it makes from sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        device = next(self.parameters()).device
        return self.layer(x) + torch.linspace(-1, 1, x.shape[3], device=device)


def test_constants_made_from_sizes_move_with_the_model():
    model = Constant()
    keys = list(model.state_dict())
    graph = trace(model, IMAGE)
    assert list(model.state_dict()) == keys and len(list(model.buffers())) == 1
    out = torch.fx.Interpreter(model.to("meta"), graph=graph).run(
        torch.zeros(2, *IMAGE, device="meta")
    )
    assert out.shape == (2, 4, 8, 8)


class OfALibrary(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.to(x.dtype), self.bias)


class Padded(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, (1, 1, 1, 1)))


class Standardised(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight / self.weight.std(), self.bias)


class Rectified(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(super().forward(x))


class Cosine(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.normalize(x, dim=-1))


@pytest.mark.parametrize(
    "layer, plain",
    [
        (nn.Linear(4, 2), True), (nn.Conv2d(4, 2, 3, groups=2), True), (nn.ReLU(), False),
        (OfALibrary(4, 2), True), (Padded(4, 2, 3), True), (Padded(4, 2, 3, groups=2), True),
        (Standardised(4, 2, 3), False), (Rectified(4, 2, 3), False), (Cosine(4, 2), False),
    ],
)  # fmt: skip
def test_a_plain_layer_applies_its_weights_and_no_more(layer, plain):
    before = copy.deepcopy(layer.state_dict())
    assert is_plain_layer(layer) == plain
    assert all(torch.equal(layer.state_dict()[name], value) for name, value in before.items())


class TwoInputs(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


class TwoOutputs(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


@pytest.mark.parametrize(
    "model, message",
    [
        (Branches(), "cannot be traced after 'gt': TraceError: symbolically traced variables"),
        (ForOneImage(), "cannot be traced after 'eq': TraceError: symbolically traced variables"),
        (TwoInputs(), "takes a second input 'y'"),
        (TwoOutputs(), "returns several values"),
    ],
)
def test_what_cannot_be_traced_is_refused_with_the_node(model, message):
    with pytest.raises(Untraceable, match=message):
        trace(model, IMAGE)


def test_new_names_hide_no_attribute():
    model = Functional()
    assert free_name(model, "forward") == "forward_"
    assert free_name(model, "first.weight") == "first.weight_"
    assert free_name(model, "no.such.place") == "no.such.place"
