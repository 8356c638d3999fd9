"""Networks that cannot be traced: hooks give the same activations, and nothing is run on."""

from __future__ import annotations

import pytest
import torch
from small_networks import Branching, Structured, small_network
from torch import nn

from legible.bench.backbones.hooked import HookedNetwork, logits_of

IMAGE = (1, 16, 16)
X = torch.randn(5, *IMAGE, generator=torch.Generator().manual_seed(1))


def test_it_records_what_the_modules_give_and_keeps_the_logits():
    model = Branching()
    network = HookedNetwork(model, IMAGE, ["body.1", "body.4"])
    output = network(X)
    assert torch.equal(output.logits, model(X))
    assert torch.equal(output.activations["body.1"], model.body[:2](X))
    assert torch.equal(output.activations["body.4"], model.body(X))
    assert {name: tap.shape for name, tap in network.taps.items()} == {
        "body.1": (4, 16, 16), "body.4": (6, 8, 8)
    }  # fmt: skip


def test_by_default_the_last_rectified_modules_are_read():
    assert list(HookedNetwork(Branching(), IMAGE).taps) == ["body.1", "body.4"]
    assert list(HookedNetwork(small_network(), IMAGE).taps) == ["1", "4"]


def test_no_hook_stays_behind():
    model = Branching()
    HookedNetwork(model, IMAGE)(X)
    assert not any(module._forward_hooks for module in model.modules())


def test_it_cannot_be_run_on():
    network = HookedNetwork(Branching(), IMAGE, reason="cannot be traced after 'gt'")
    tap = network.taps["body.4"]
    assert not tap.on_trunk and tap.outgoing == () and tap.units == 6 and tap.spatial
    with pytest.raises(ValueError, match=r"cannot be run on from 'body\.4': it cannot be traced"):
        network.continue_from("body.4", torch.zeros(1, 6, 8, 8))


def test_an_unknown_layer_and_wrong_images_are_named():
    with pytest.raises(ValueError, match=r"has no layer 'body.44'; did you mean 'body.4'"):
        HookedNetwork(Branching(), IMAGE, ["body.44"])
    with pytest.raises(ValueError, match="does not take images of shape 3x16x16"):
        HookedNetwork(Branching(), (3, 16, 16))
    with pytest.raises(ValueError, match="has no module with a map: name layers"):
        HookedNetwork(nn.Sequential(nn.Flatten(), nn.Linear(256, 3)), IMAGE)


def test_tokens_are_read_as_maps():
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patch, self.mix = nn.Conv2d(1, 8, 4, 4), nn.Linear(8, 8)
            self.head = nn.Linear(8, 3)

        def forward(self, x):
            tokens = self.mix(self.patch(x).flatten(2).mT)
            return self.head(tokens.mean(1) if tokens.sum() > -1e9 else tokens[:, 0])

    model = Tokens().eval()
    network = HookedNetwork(model, IMAGE, ["mix"])
    maps = network(X).activations["mix"]
    assert maps.shape == (5, 8, 4, 4)
    tokens = model.mix(model.patch(X).flatten(2).mT)
    assert torch.equal(maps, tokens.mT.unflatten(2, (4, 4)))


def test_logits_are_taken_from_what_a_model_returns():
    logits = torch.zeros(2, 3)
    for output in (logits, (logits, 1), {"out": logits, "more": logits}):
        assert logits_of(output) is logits
    assert torch.equal(HookedNetwork(Structured(), IMAGE)(X).logits, small_network()(X))
    with pytest.raises(ValueError, match=r"a tensor of shape \(2, 3, 4\): it must return logits"):
        logits_of(torch.zeros(2, 3, 4))
    with pytest.raises(ValueError, match="returns int: it must return logits"):
        logits_of(1)
