"""The loop: determinism, resume, strength 0, divergence, precision, clipping, validation."""

import pytest
import torch
from fits import RECIPE, fit_toy, same_weights, small_vgg
from gpu_check.waiting import refuse_waiting
from torch import nn

from legible.bench.backbones.mlp import mlp
from legible.bench.backbones.taps import Network
from legible.bench.backbones.vgg import vgg
from legible.bench.execution.store import Run
from legible.bench.plugins import registry
from legible.bench.training.checkpoint import State
from legible.bench.training.fit import build_network, initialise
from legible.bench.training.loop import Diverged, Loop, accuracy, frozen_statistics, make_optimizer
from legible.bench.training.recipe import Recipe
from legible.methods.base import Method

registry.load(["methods"])


def test_training_learns_the_toy_task(toy):
    network, method, state = fit_toy(toy, recipe=Recipe(epochs=12, batch=16, lr=1e-2))
    assert accuracy(network, method, toy.test) > 0.9
    assert state.history[-1]["loss"] < state.history[0]["loss"]


def test_same_seed_same_weights_other_seed_other_weights(toy):
    first = fit_toy(toy).network
    torch.rand(7)  # the global generator plays no part
    assert same_weights(first, fit_toy(toy).network)
    assert not same_weights(first, fit_toy(toy, seed=1).network)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_resume_is_bit_identical(toy, tmp_path, optimizer):
    recipe = Recipe(epochs=3, batch=16, lr=5e-3, optimizer=optimizer)
    method = "sync"  # has buffers of its own
    whole = fit_toy(toy, method, recipe).network

    class Stop(Exception):
        pass

    run = Run(tmp_path)

    def interrupt(state: State) -> None:
        run.save_state(state)
        if state.epoch == 2:
            raise Stop

    with pytest.raises(Stop):
        fit_toy(toy, method, recipe, after_epoch=interrupt)
    resumed = fit_toy(toy, method, recipe, resume=run.state("cpu"))
    assert same_weights(whole, resumed.network)
    assert [line["epoch"] for line in resumed.state.history] == [1, 2, 3]


def test_dropout_inside_a_network_repeats_and_resumes(toy):
    """Dropout draws from torch's global generator, which is left as it was."""
    recipe = Recipe(epochs=3, batch=16, lr=5e-3)
    make = with_dropout(toy)
    states: list[State] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        expected = torch.rand(1)
        torch.manual_seed(1)
        whole = fit_toy(toy, recipe=recipe, make_network=make, after_epoch=states.append).network
        assert torch.rand(1) == expected
    torch.rand(7)
    assert same_weights(whole, fit_toy(toy, recipe=recipe, make_network=make).network)
    resumed = fit_toy(toy, recipe=recipe, make_network=make, resume=states[0]).network
    assert same_weights(whole, resumed)


def with_dropout(data):
    """Builds the small network with dropout behind its first Tap."""

    def make() -> Network:
        network = small_vgg(data)()
        place = network.trunk.index(network.taps["conv1"]) + 1
        trunk = [*network.trunk[:place], nn.Dropout(0.5), *network.trunk[place:]]
        return Network(nn.Sequential(*trunk), trunk, network.image)

    return make


@pytest.mark.parametrize("name", ["sync", "bean", "dropout", "activation_l1"])
def test_strength_zero_is_plain_bit_for_bit(toy, name):
    plain = fit_toy(toy).network
    assert same_weights(plain, fit_toy(toy, registry.make_method(name, {"strength": 0})).network)


class Exploding(Method):
    def penalty(self, step):
        late = step.epoch == 1 and step.progress > 0.5
        return {"boom": step.logits.sum() * (float("nan") if late else 0.0)}


def test_a_loss_that_is_not_finite_names_term_epoch_and_step(toy):
    with pytest.raises(Diverged, match=r"'boom' is not finite at epoch 2, step 5"):
        fit_toy(toy, Exploding())


class Failing(Exploding):
    def after_step(self, step):
        if step.epoch == 1 and step.progress > 0.6:
            raise ZeroDivisionError


def test_an_error_that_follows_a_divergence_is_reported_as_the_divergence(toy):
    with pytest.raises(Diverged, match="'boom' is not finite at epoch 2, step 5"):
        fit_toy(toy, Failing())


class Recording(Method):
    def __init__(self):
        super().__init__()
        self.steps = []

    def penalty(self, step):
        self.steps.append(step)
        return {}


def test_a_step_holds_the_batch_its_activations_and_the_progress(toy):
    method = Recording()
    fit_toy(toy, method, Recipe(epochs=2, batch=16, precision="bf16"))
    assert [step.epoch for step in method.steps] == [0] * 6 + [1] * 6
    assert [step.progress for step in method.steps] == [i / 12 for i in range(12)]
    assert sorted(torch.cat([s.indices for s in method.steps[:6]]).tolist()) == list(range(96))
    step = method.steps[0]
    assert torch.equal(step.labels, toy.train.labels[step.indices])
    assert step.logits.dtype == torch.float32
    assert {a.dtype for a in step.activations.values()} == {torch.float32}
    assert list(step.activations) == list(step.network.taps) == list(step.transformed)
    assert len(step.activations) == len(step.network.taps)


def test_bf16_trains(toy):
    state = fit_toy(toy, recipe=Recipe(epochs=2, batch=16, precision="bf16")).state
    assert all(torch.isfinite(t).all() for t in state.tensors.values())


def test_no_epochs_leave_the_network_as_initialised(toy):
    network, _, state = fit_toy(toy, recipe=Recipe(epochs=0))
    assert same_weights(network, initialise(small_vgg(toy), 0, "cpu"))
    assert state.history == []


def test_clipping_bounds_the_networks_gradient(toy):
    tiny = Recipe(epochs=1, batch=16, clip=1e-12, optimizer="sgd", weight_decay=0, momentum=0)
    build = lambda: mlp(toy.image, 3, hidden=(8,))  # noqa: E731
    network = fit_toy(toy, recipe=tiny, make_network=build).network
    start = initialise(build, 0, "cpu")
    for key, value in network.state_dict().items():
        assert torch.allclose(value, start.state_dict()[key], atol=1e-6)


def test_validation_is_recorded_at_its_epochs_and_changes_no_weight(toy):
    recipe = Recipe(epochs=4, batch=16, validate_every=2)
    network, method, state = fit_toy(toy, recipe=recipe)
    for name in ("validation_accuracy", "test_accuracy"):
        assert [name in line for line in state.history] == [False, True, False, True]
    assert state.history[-1]["test_accuracy"] == accuracy(network, method, toy.test)
    without = recipe.model_copy(update={"validate_every": 0})
    assert same_weights(network, fit_toy(toy, recipe=without).network)


def test_validation_uses_the_first_images(toy):
    recipe = Recipe(epochs=1, batch=16, validate_every=1, validate_images=7)
    network, method, state = fit_toy(toy, recipe=recipe)
    first = toy.validation.subset(torch.arange(7))
    assert state.history[-1]["validation_accuracy"] == accuracy(network, method, first)


def test_the_state_after_each_epoch_is_passed_on(toy):
    states: list[State] = []
    last = fit_toy(toy, after_epoch=states.append).state
    assert [state.epoch for state in states] == [1, 2, 3]
    assert [len(state.history) for state in states] == [len(s.seconds) for s in states] == [1, 2, 3]
    assert states[-1] is last
    assert RECIPE.epochs == 3


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


@pytest.mark.gpu
def test_a_gpu_learns_the_toy_task_as_a_cpu_does(toy, gpu):
    recipe = Recipe(epochs=12, batch=16, lr=1e-2)
    there = toy.to(gpu)
    network, method, state = fit_toy(there, recipe=recipe)
    assert next(network.parameters()).device.type == gpu
    assert accuracy(network, method, there.test) > 0.9
    assert state.history[-1]["loss"] < state.history[0]["loss"]


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["plain", "sync", "bean"])
def test_a_training_on_a_gpu_repeats(toy, gpu, name):
    there = toy.to(gpu)
    first, second = (fit_toy(there, registry.make_method(name, {})).network for _ in range(2))
    assert same_weights(first, second)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["plain", "sync", "bean"])
def test_no_step_makes_the_host_wait_for_the_gpu(toy, gpu, name):
    method = registry.make_method(name, {})
    there = toy.to(gpu)
    network = build_network(small_vgg(there), method, there.train, 0)
    optimizer = make_optimizer(network, method, RECIPE)
    loop = Loop(network, method, there.train, there, RECIPE, 0, optimizer)
    rows = torch.arange(16, device=gpu)
    augment = loop.generator("augmentation", 0)
    loop.step(rows, augment, 0, 0)
    with refuse_waiting(gpu):
        terms, _ = loop.step(rows, augment, 0, 1)
    assert all(bool(term.isfinite()) for term in terms.values())
    with pytest.raises(RuntimeError), refuse_waiting(gpu):
        terms["cross_entropy"].item()
