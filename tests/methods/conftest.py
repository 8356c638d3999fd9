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
from legible.bench.training.checkpoint import State, snapshot
from legible.bench.training.fit import build_network, fit_network
from legible.bench.training.loop import frozen_statistics
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


@pytest.fixture(scope="session")
def fit(toy: Dataset) -> Callable[..., Fitted]:
    """``fit(name, params, epochs=2, ...)`` trains a method on the toy data.

    A method with a parent edits a trained network of the parent. ``resume`` is a State to continue
    from; ``after_epoch`` is called with every epoch's State; ``backbone`` and ``net`` choose
    another network; other arguments are fields of the recipe.
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
        import_module(f"legible.methods.{name}")
        method = METHODS[name](**params or {})
        small = {"width": 4} if backbone is vgg else {}
        options = small if net is None else net
        network = build_network(lambda: backbone(toy.image, 3, **options), method, toy.train, 0)

        def parent() -> dict[str, torch.Tensor]:
            fitted = run(method.parent, {}, epochs, backbone=backbone, net=net, **recipe)
            return snapshot(fitted.network, fitted.method)

        state = fit_network(
            network, method, toy, Recipe(epochs=epochs, **{"batch": 16, "lr": 3e-3, **recipe}), 0,
            parent=parent, resume=resume, after_epoch=after_epoch,
        )  # fmt: skip
        return Fitted(network=network, method=method, state=state)

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
