"""The one way to a trained network: what it builds, parents, resume, and who calls it."""

import ast
from pathlib import Path

import pytest
import torch
from fits import RECIPE, fit_toy, same_weights, small_vgg
from tiny_suites import specs_of, toy_suite, work

from legible.bench.check.method_subject import MethodSubject
from legible.bench.plugins import registry
from legible.bench.seeds import stream
from legible.bench.training import fit
from legible.bench.training.checkpoint import State, snapshot
from legible.bench.training.fit import build_network, fit_network, initialise
from legible.methods.base import Method

registry.load(["methods"])
ROOT = Path(__file__).parents[3]


def test_a_seed_determines_the_initial_weights_and_no_global_generator(toy):
    before = torch.get_rng_state()
    first, second, other = (initialise(small_vgg(toy), seed, "cpu") for seed in (0, 0, 1))
    assert same_weights(first, second) and not same_weights(first, other)
    assert torch.equal(before, torch.get_rng_state())


def test_a_method_is_attached_with_a_generator_of_its_own(toy):
    method = registry.make_method("sync", {})
    network = build_network(small_vgg(toy), method, toy.train, 3)
    assert method.taps and method.taps[0] in network.taps
    assert method.generator.initial_seed() == stream(3, "method")


def test_the_result_is_in_evaluation_mode(toy):
    for name in ("plain", "untrained"):
        network, method, _ = fit_toy(toy, name)
        assert not network.training and not method.training


def test_without_training_the_network_stays_as_initialised(toy, monkeypatch):
    monkeypatch.setattr(fit, "train", lambda *args, **options: pytest.fail("trained"))
    epochs: list[State] = []
    network, _, state = fit_toy(toy, "untrained", after_epoch=epochs.append)
    assert same_weights(network, initialise(small_vgg(toy), 0, "cpu"))
    assert (state.epoch, state.history, epochs) == (0, [], [])


class Doubling(Method):
    """Edits plain's network: doubles all weights, and counts how often it did."""

    parent = "plain"

    def attach(self, network, data):
        super().attach(network, data)
        self.register_buffer("count", torch.zeros(()))

    def after_training(self, network, data):
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.mul_(2)
        self.count += 1


def test_a_method_with_a_parent_edits_the_parents_network(toy, monkeypatch):
    plain = fit_toy(toy)
    monkeypatch.setattr(fit, "train", lambda *args, **options: pytest.fail("trained"))
    calls = []

    def parent():
        calls.append(1)
        return snapshot(plain.network, plain.method)

    network, method, state = fit_toy(toy, Doubling(), parent=parent)
    assert calls == [1] and method.count == 1 and state.epoch == 0
    weights = dict(plain.network.named_parameters())
    assert all(torch.equal(p, 2 * weights[k]) for k, p in network.named_parameters())
    assert all(torch.equal(b, plain.network.get_buffer(k)) for k, b in network.named_buffers())


def test_a_missing_parent_is_refused(toy):
    with pytest.raises(ValueError, match="edits a network of 'plain': pass parent="):
        fit_toy(toy, Doubling())


def test_the_parent_of_a_method_without_one_is_not_asked_for(toy):
    fit_toy(toy, parent=lambda: pytest.fail("called"))


def test_resume_equals_an_uninterrupted_training(toy):
    states: list[State] = []
    whole = fit_toy(toy, "sync", after_epoch=states.append)
    resumed = fit_toy(toy, "sync", resume=states[1])
    assert same_weights(whole.network, resumed.network)
    assert resumed.state.history == whole.state.history


# ----------------------------------------------------------------- the only way


def uses_of_train(file: Path) -> bool:
    """Whether a file imports the loop's ``train``, or names it as ``loop.train``."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        match node:
            case ast.ImportFrom(module="legible.bench.training.loop", names=names):
                if "train" in {alias.name for alias in names}:
                    return True
            case ast.Attribute(value=value, attr="train"):
                if ast.unparse(value).endswith("loop"):
                    return True
    return False


def test_only_fit_calls_the_loop():
    folders = ("bench", "methods", "metrics", "tests")
    files = [file for folder in folders for file in (ROOT / folder).rglob("*.py")]
    assert len(files) > 200
    callers = [str(file.relative_to(ROOT)) for file in files if uses_of_train(file)]
    assert callers == ["bench/training/fit.py"]


@pytest.fixture
def trainings(monkeypatch):
    """The names of the methods that `fit_network` trains while a test runs."""
    names: list[str] = []
    train = fit.train

    def record(network, method, *args, **options):
        names.append(method.name)
        return train(network, method, *args, **options)

    monkeypatch.setattr(fit, "train", record)
    return names


def test_a_run_is_trained_by_fit(workspace, tmp_path, trainings):
    specs = specs_of(tmp_path, toy_suite('"plain_rotated", "sync"'))
    assert not [event for event in work(workspace, specs) if event.kind == "failed"]
    assert trainings == ["plain", "sync"]


def test_a_check_trains_by_fit(trainings):
    MethodSubject("sync").train()
    assert trainings == ["sync"]


def test_a_run_and_a_fit_end_with_the_same_weights(workspace, tmp_path, toy):
    (spec,) = specs_of(tmp_path, toy_suite('"sync"', epochs=2))
    work(workspace, [spec])
    method = registry.make_method("sync", {})
    network = build_network(small_vgg(toy), method, toy.train, spec.seed)
    fit_network(network, method, toy, spec.recipe, spec.seed)
    weights = workspace.run_of(spec).weights("cpu")
    assert all(torch.equal(v, weights[k]) for k, v in snapshot(network, method).items())
    assert spec.recipe != RECIPE
