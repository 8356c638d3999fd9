"""Fine-tuning with a frozen part: what is kept, what is refused, and what stays equal."""

from __future__ import annotations

import pytest
import torch
from fits import fit_toy, same_weights, small_vgg

from legible.bench.data.base import Dataset
from legible.bench.plugins import registry
from legible.bench.training import frozen
from legible.bench.training.fit import initialise
from legible.bench.training.loop import make_optimizer
from legible.bench.training.recipe import Recipe

registry.load(["methods"])

RECIPE = Recipe(epochs=2, batch=16, lr=5e-3, augment=False, freeze="conv2")


def starts(toy: Dataset, name: str) -> torch.Tensor:
    return initialise(small_vgg(toy), 0, "cpu").state_dict()[name]


def test_the_frozen_part_keeps_weights_and_statistics_and_the_rest_learns(toy):
    state = fit_toy(toy, recipe=RECIPE).network.state_dict()
    changed = {name for name, value in state.items() if not torch.equal(value, starts(toy, name))}
    frozen_names = {name for name in state if name.rpartition(".")[0][-1] in "12"}
    assert frozen_names and not changed & frozen_names
    assert changed == set(state) - frozen_names


def test_stored_outputs_equal_those_of_each_batch(toy, monkeypatch):
    stored = fit_toy(toy, "sync", RECIPE)
    monkeypatch.setattr(frozen, "_room", lambda device: 0)
    anew = fit_toy(toy, "sync", RECIPE)
    for name, value in stored.network.state_dict().items():
        assert torch.allclose(value, anew.network.state_dict()[name], atol=1e-4), name


@pytest.mark.parametrize(
    ("precision", "kind"), [("bf16", torch.bfloat16), ("float32", torch.float32)]
)
def test_stored_outputs_have_the_precision_of_those_of_a_batch(toy, monkeypatch, precision, kind):
    recipe = RECIPE.model_copy(update={"precision": precision})
    rows = torch.arange(8)
    stored = frozen.FrozenPart(small_vgg(toy)(), recipe, toy.train)
    stored.fill()
    monkeypatch.setattr(frozen, "_room", lambda device: 0)
    anew = frozen.FrozenPart(small_vgg(toy)(), recipe, toy.train)
    anew.fill()
    assert stored.store is not None and anew.store is None
    assert stored.outputs(rows).dtype == anew.outputs(rows).dtype == kind


def test_a_frozen_part_equals_weights_without_gradients(toy, monkeypatch):
    """The loop that runs the whole network, whose first part has no gradients and is in evaluation
    mode, gives the same network."""
    monkeypatch.setattr(frozen, "_room", lambda device: 0)
    ours = fit_toy(toy, recipe=RECIPE).network

    def whole(self, images, indices):
        return self.network(images)

    monkeypatch.setattr("legible.bench.training.loop.Loop.forward", whole)
    assert same_weights(ours, fit_toy(toy, recipe=RECIPE).network)


@pytest.mark.parametrize("name", ["sync", "dropout", "activation_l1"])
def test_strength_zero_is_plain(toy, name):
    plain = fit_toy(toy, recipe=RECIPE).network
    method = registry.make_method(name, {"strength": 0})
    assert same_weights(plain, fit_toy(toy, method, RECIPE).network)


def test_resume_is_bit_identical(toy):
    states = []
    whole = fit_toy(toy, "sync", RECIPE, after_epoch=states.append).network
    assert same_weights(whole, fit_toy(toy, "sync", RECIPE, resume=states[0]).network)


def test_methods_at_frozen_taps_are_refused(toy):
    with pytest.raises(ValueError, match="it acts at the frozen Tap 'conv1': set taps to later"):
        fit_toy(toy, registry.make_method("sync", {"taps": ["conv1", "conv3"]}), RECIPE)


@pytest.mark.parametrize(
    ("tap", "message"),
    [
        ("conv9", "freeze: no Tap 'conv9'; did you mean 'conv[1-4]'. .Taps: "),
        ("conv4", "is the last Tap: no Tap would be trained"),
    ],
)
def test_what_cannot_be_frozen_is_refused(toy, tap, message):
    with pytest.raises(ValueError, match=message):
        fit_toy(toy, recipe=RECIPE.model_copy(update={"freeze": tap}))


def test_a_frozen_part_needs_images_that_stay_the_same():
    with pytest.raises(ValueError, match="freeze needs augment = false"):
        Recipe(freeze="conv2")


def test_the_backbone_has_a_learning_rate_of_its_own(toy):
    network = small_vgg(toy)()
    recipe = Recipe(lr=0.1, backbone_lr=0.01)
    groups = make_optimizer(network, registry.make_method("plain", {}), recipe).param_groups
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    heads = {id(p) for p in network.trunk[-1].parameters()}
    assert len(rates) == len(list(network.parameters()))
    assert all(rates[p] == pytest.approx(0.1 if p in heads else 0.001) for p in rates)
