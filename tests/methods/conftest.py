"""A toy dataset and short trainings on it, shared by the tests of methods."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from legible.bench.backbones.taps import Network
from legible.bench.backbones.vgg import vgg
from legible.bench.data.base import Dataset, make_splits
from legible.bench.training.checkpoint import State, restore, snapshot
from legible.bench.training.fit import attach, initialise
from legible.bench.training.loop import frozen_statistics, train
from legible.bench.training.recipe import Recipe
from legible.methods.base import METHODS, Step

#: A trained toy network: network, method, state.
Fitted = SimpleNamespace


@pytest.fixture(scope="session")
def toy() -> Dataset:
    """96 images of noise, 16 x 16; each of three classes is brighter in a place of its own."""
    generator = torch.Generator().manual_seed(0)
    parts: dict[str, Any] = {}
    for name, count in (("train", 48), ("validation", 24), ("test", 24)):
        labels = torch.arange(count) % 3
        images = torch.randint(0, 128, (count, 1, 16, 16), generator=generator)
        for k in range(3):
            images[labels == k, :, 5 * k : 5 * k + 5, 5 * k : 5 * k + 5] += 100
        parts[name] = (images.to(torch.uint8), labels, None)
    return Dataset("toy", ("a", "b", "c"), **make_splits(parts, 3), shift=1)


def build(toy: Dataset, name: str, params: dict[str, Any], backbone: Any, net: Any) -> Fitted:
    """A fresh network with the method attached."""
    import_module(f"legible.methods.{name}")
    network = initialise(lambda: backbone(toy.image, 3, **net), 0, "cpu")
    method = attach(METHODS[name](**params), network, toy.train, seed=0)
    return Fitted(network=network, method=method, state=State(0, {}, []))


@pytest.fixture(scope="session")
def fit(toy: Dataset) -> Callable[..., Fitted]:
    """``fit(name, params, epochs=2, ...)`` trains a method on the toy data.

    ``resume`` is a State to continue from; ``after_epoch`` sees every epoch's State. A method with
    a parent edits the plain network instead. ``backbone`` and ``net`` choose another network.
    """

    def run(
        name: str,
        params: dict[str, Any] | None = None,
        epochs: int = 2,
        *,
        resume: State | None = None,
        after_epoch: Callable[[State], None] = lambda state: None,
        backbone: Any = vgg,
        net: dict[str, Any] | None = None,
        **recipe: Any,
    ) -> Fitted:
        small = {"width": 4} if backbone is vgg else {}
        fitted = build(toy, name, params or {}, backbone, small if net is None else net)
        if fitted.method.parent:
            parent = run(fitted.method.parent, {}, epochs, backbone=backbone, net=net, **recipe)
            own = {k: v for k, v in snapshot(fitted.network, fitted.method).items()
                   if k.startswith("method.")}  # fmt: skip
            restore({**snapshot(parent.network, parent.method), **own}, fitted.network,
                    fitted.method)  # fmt: skip
            fitted.state = parent.state
        else:
            fitted.state = train(
                fitted.network, fitted.method, toy,
                Recipe(epochs=epochs, **{"batch": 16, "lr": 3e-3, **recipe}), 0,
                resume=resume, after_epoch=after_epoch,
            )  # fmt: skip
        fitted.method.after_training(fitted.network, toy.train)
        fitted.network.eval()
        fitted.method.eval()
        return fitted

    return run


@pytest.fixture(scope="session")
def check_laws(fit: Callable[..., Fitted]) -> Callable[..., None]:
    """``check_laws(name, params)``: the laws every method keeps, in short trainings.

    Strength 0 gives plain's weights bit for bit, 1e-8 weights near them; the default strength
    moves them and stays finite; training resumed after an epoch ends the same.
    """

    def check(
        name: str, params: dict[str, Any] | None = None, near: float = 1e-3, **net: Any
    ) -> None:
        params = params or {}
        plain = fit("plain", **net).state.tensors
        weights = [k for k in plain if k.startswith("network.")]
        none = fit(name, {**params, "strength": 0.0}, **net).state.tensors
        assert [k for k in weights if not torch.equal(plain[k], none[k])] == []
        little = fit(name, {**params, "strength": 1e-8}, **net).state.tensors
        for k in weights:
            torch.testing.assert_close(little[k], plain[k], atol=near, rtol=near)
        states: list[State] = []
        full = fit(name, params, after_epoch=states.append, **net).state.tensors
        assert all(v.isfinite().all() for v in full.values() if v.is_floating_point())
        assert any(not torch.equal(plain[k], full[k]) for k in weights)
        resumed = fit(name, params, resume=states[0], **net).state.tensors
        assert [k for k in full if not torch.equal(full[k], resumed[k])] == []

    return check


@pytest.fixture(scope="session")
def take_step(toy: Dataset) -> Callable[..., Step]:
    """``take_step(fitted, epoch=0)``: the Step that the loop would make of the first images."""

    def forward(fitted: Fitted, images: int = 24, epoch: int = 0) -> Step:
        fitted.network.train()
        fitted.method.train()
        indices = torch.arange(images)
        pixels = toy.train.normalise(toy.train.images[indices])
        out = fitted.network(pixels)
        return Step(
            fitted.network, pixels, toy.train.labels[indices], indices, out.logits,
            out.activations, out.transformed, epoch, 0.5, lambda: fitted.network(pixels),
        )  # fmt: skip

    return forward


@pytest.fixture(scope="session")
def step_on(toy: Dataset) -> Callable[[Network], Step]:
    """``step_on(network)``: a training step on the first 16 toy images; the second view is
    shifted by one pixel."""

    def make(network: Network) -> Step:
        network.train()
        images = toy.train.normalise(toy.train.images[:16])
        out = network(images)

        def view() -> Any:
            with frozen_statistics(network):
                return network(images.roll(1, -1))

        rows = torch.arange(16)
        return Step(network, images, toy.train.labels[:16], rows, *out, 0, 0.0, view)

    return make
