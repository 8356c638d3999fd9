"""The loop: determinism, resume, the strength-0 law, divergence, augmentation."""

import pytest
import torch
from torch import nn

from legible.bench.backbones.mlp import mlp
from legible.bench.backbones.vgg import vgg
from legible.bench.execution.store import Run
from legible.bench.plugins import registry
from legible.bench.training.augment import augmented, pad
from legible.bench.training.checkpoint import State
from legible.bench.training.fit import attach, initialise
from legible.bench.training.loop import Diverged, accuracy, frozen_statistics, train
from legible.bench.training.recipe import Recipe
from legible.methods.base import Method

registry.load(["methods"])
RECIPE = Recipe(epochs=3, batch=16, lr=5e-3)


def fit(toy, method="plain", recipe=RECIPE, seed=0, build=None, **kwargs):
    build = build or (lambda: vgg(toy.image, 3, width=4, stages=2))
    network = initialise(build, seed, "cpu")
    made = method if isinstance(method, Method) else registry.make_method(method, {})
    attach(made, network, toy.train, seed)
    return network, made, train(network, made, toy, recipe, seed, **kwargs)


def same(a: nn.Module, b: nn.Module) -> bool:
    one, two = a.state_dict(), b.state_dict()
    return all(torch.equal(one[k], two[k]) for k in one)


def test_training_learns_the_toy_task(toy):
    recipe = Recipe(epochs=12, batch=16, lr=1e-2)
    network, method, state = fit(toy, recipe=recipe)
    assert accuracy(network, method, toy.test) > 0.9
    assert state.history[-1]["loss"] < state.history[0]["loss"]


def test_same_seed_same_weights_other_seed_other_weights(toy):
    first, *_ = fit(toy)
    torch.rand(7)  # the global generator plays no part
    assert same(first, fit(toy)[0])
    assert not same(first, fit(toy, seed=1)[0])


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_resume_is_bit_identical(toy, tmp_path, optimizer):
    recipe = Recipe(epochs=3, batch=16, lr=5e-3, optimizer=optimizer)
    method = "sync"  # has buffers of its own
    whole, *_ = fit(toy, method, recipe)

    class Stop(Exception):
        pass

    run = Run(tmp_path)

    def interrupt(state: State) -> None:
        run.save_state(state)
        if state.epoch == 2:
            raise Stop

    with pytest.raises(Stop):
        fit(toy, method, recipe, after_epoch=interrupt)
    resumed, _, state = fit(toy, method, recipe, resume=run.state("cpu"))
    assert same(whole, resumed)
    assert [line["epoch"] for line in state.history] == [1, 2, 3]


@pytest.mark.parametrize("name", ["sync", "bean", "dropout", "activation_l1"])
def test_strength_zero_is_plain_bit_for_bit(toy, name):
    plain, *_ = fit(toy)
    assert same(plain, fit(toy, registry.make_method(name, {"strength": 0}))[0])


class Exploding(Method):
    def penalty(self, step):
        late = step.epoch == 1 and step.progress > 0.5
        return {"boom": step.logits.sum() * (float("nan") if late else 0.0)}


def test_a_loss_that_is_not_finite_names_term_epoch_and_step(toy):
    with pytest.raises(Diverged, match=r"'boom' is not finite at epoch 2, step 5"):
        fit(toy, Exploding())


def test_bf16_trains(toy):
    _, _, state = fit(toy, recipe=Recipe(epochs=2, batch=16, precision="bf16"))
    assert all(torch.isfinite(t).all() for t in state.tensors.values())


def test_methods_without_training_epochs_leave_the_network(toy):
    network, _, state = fit(toy, recipe=Recipe(epochs=0))
    assert same(network, initialise(lambda: vgg(toy.image, 3, width=4, stages=2), 0, "cpu"))
    assert state.history == []


def test_clipping_bounds_the_networks_gradient(toy):
    tiny = Recipe(epochs=1, batch=16, clip=1e-12, optimizer="sgd", weight_decay=0, momentum=0)
    build = lambda: mlp(toy.image, 3, hidden=(8,))  # noqa: E731
    network, *_ = fit(toy, recipe=tiny, build=build)
    start = initialise(build, 0, "cpu")
    for key, value in network.state_dict().items():
        assert torch.allclose(value, start.state_dict()[key], atol=1e-6)


def test_validation_is_recorded_where_asked(toy):
    recipe = Recipe(epochs=4, batch=16, validate_every=2)
    network, method, state = fit(toy, recipe=recipe)
    for name in ("validation_accuracy", "test_accuracy"):
        assert [name in line for line in state.history] == [False, True, False, True]
    assert state.history[-1]["test_accuracy"] == accuracy(network, method, toy.test)
    assert same(network, fit(toy, recipe=recipe.model_copy(update={"validate_every": 0}))[0])


def test_validation_looks_at_the_first_images_asked_for(toy):
    recipe = Recipe(epochs=1, batch=16, validate_every=1, validate_images=7)
    network, method, state = fit(toy, recipe=recipe)
    first = toy.validation.subset(torch.arange(7))
    assert state.history[-1]["validation_accuracy"] == accuracy(network, method, first)


def test_each_image_is_shifted_by_its_own_draw():
    images = torch.arange(2 * 36, dtype=torch.uint8).reshape(2, 1, 6, 6).repeat(20, 1, 1, 1)
    padded = pad(images, 2)
    assert padded.shape[-2:] == (10, 10)
    generator = torch.Generator().manual_seed(0)
    out = augmented(padded, torch.arange(40), 2, False, generator, (6, 6))
    drawn = torch.randint(5, (2, 40), generator=torch.Generator().manual_seed(0))
    for i, (dy, dx) in enumerate(drawn.T.tolist()):
        assert torch.equal(out[i], padded[i, :, dy : dy + 6, dx : dx + 6])
    assert len({tuple(d) for d in drawn.T.tolist()}) > 5


def test_about_half_of_the_images_are_flipped():
    images = torch.arange(4, dtype=torch.uint8).reshape(1, 1, 1, 4).repeat(200, 1, 1, 1)
    generator = torch.Generator().manual_seed(0)
    out = augmented(images, torch.arange(200), 0, True, generator, (1, 4))
    flipped = (out[:, 0, 0, 0] == 3).sum()
    assert 70 < flipped < 130


def test_a_second_view_leaves_batchnorm_alone(toy):
    network = vgg(toy.image, 3, width=4, stages=2).train()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    with frozen_statistics(network):
        network(torch.rand(8, *toy.image))
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    network(torch.rand(8, *toy.image))
    assert not torch.equal(
        network.backbone.norm1.running_mean, before["backbone.norm1.running_mean"]
    )
