"""A method on the bench: built, trained and evaluated on toy data, each once."""

from __future__ import annotations

import functools
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from legible.bench.backbones.taps import Network
from legible.bench.check.law import Outcome, Skip, seed_globals
from legible.bench.check.toy import NETWORKS, RECIPE, builder, toy_data
from legible.bench.data.base import Dataset, Split
from legible.bench.plugins import registry
from legible.bench.training.checkpoint import State, restore, snapshot
from legible.bench.training.fit import attach, initialise
from legible.bench.training.loop import train
from legible.bench.training.recipe import Recipe
from legible.methods.base import Method, Step, unmet


@dataclass(frozen=True, eq=False)
class Trained:
    """A method's network after training."""

    network: Network
    method: Method
    state: State
    data: Dataset

    @functools.cached_property
    def weights(self) -> dict[str, Tensor]:
        """The network's own parameters and buffers."""
        return {k: v.clone() for k, v in self.network.state_dict().items()}


class MethodSubject:
    """A registered method with chosen parameters, held to the laws of methods."""

    def __init__(self, name: str, params: Mapping[str, Any] | None = None) -> None:
        self.cls: type[Method] = registry.get("methods", name)
        self.params = dict(params or {})
        self.label, self.origin = f"method {name}", self.cls.origin
        self.outcomes: dict[str, Outcome] = {}

    @functools.cached_property
    def net(self) -> str:
        """The first toy network that has what the method needs; Skip where none has."""
        reasons = []
        for name in NETWORKS:
            reason = self.refuses(name, toy_data())
            if not reason:
                return name
            reasons.append(f"{name}: {reason}")
        raise Skip(f"no toy network has what it needs ({'; '.join(reasons)})")

    def refuses(self, net: str, data: Dataset) -> str:
        """The reason why the method cannot run on a toy network; empty if it can."""
        return unmet(self.make(), initialise(builder(net, data), 0, "cpu"), data.train)

    def make(self, **params: Any) -> Method:
        """The method, with its parameters changed."""
        return registry.make_method(self.cls.name, {**self.params, **params})

    def options(self) -> list[tuple[str, Any]]:
        """Every choice but the default of parameters that are a Literal or true or false."""
        found: list[tuple[str, Any]] = []
        hints = typing.get_type_hints(self.cls.__init__)
        for name, default in registry.defaults(self.cls).items():
            kind = hints.get(name)
            choices = typing.get_args(kind) if typing.get_origin(kind) is typing.Literal else ()
            choices = (True, False) if kind is bool else choices
            found += [(name, choice) for choice in choices if choice != default]
        return [(name, value) for name, value in found if name not in self.params]

    def build(
        self, data: Dataset | None = None, net: str = "", seed: int = 0, **params: Any
    ) -> tuple[Network, Method, Dataset]:
        """A fresh network with the method attached, as a benchmark cell makes it."""
        data = data or toy_data()
        device = data.train.labels.device
        network = initialise(builder(net or self.net, data), seed, device)
        return network, attach(self.make(**params), network, data.train, seed), data

    def run(
        self,
        recipe: Recipe = RECIPE,
        *,
        data: Dataset | None = None,
        net: str = "",
        seed: int = 0,
        resume: State | None = None,
        after_epoch: Callable[[State], None] = lambda state: None,
        prepare: Callable[[Network, Method], None] = lambda network, method: None,
        **params: Any,
    ) -> Trained:
        """Trains as a benchmark cell does, or edits the parent's network.

        The global generators stand at the same place at every start and after every epoch, so
        that only the law on them can fail because of them.
        """

        def each(state: State) -> None:
            seed_globals()
            after_epoch(state)

        seed_globals()
        network, method, data = self.build(data, net, seed, **params)
        prepare(network, method)
        state = State(0, {}, [])
        if self.cls.parent:
            parent = MethodSubject(self.cls.parent).run(recipe, data=data, net=net or self.net)
            own = {k: v for k, v in snapshot(network, method).items() if k.startswith("method.")}
            restore({**{f"network.{k}": v for k, v in parent.weights.items()}, **own},
                    network, method)  # fmt: skip
        elif self.cls.trains:
            state = train(
                network, method, data, recipe, seed, resume=resume, after_epoch=each
            )  # fmt: skip
        method.after_training(network, data.train)
        network.eval()
        method.eval()
        return Trained(network, method, state, data)

    @functools.cached_property
    def trained(self) -> Trained:
        """The method as it is, trained. Shared between laws: not to be changed."""
        return self.run()

    def must_train(self) -> None:
        """Skip where there is no training of its own to look at."""
        if not self.cls.trains:
            raise Skip("the method does not train")
        if self.cls.parent:
            raise Skip(
                f"the method edits a finished network ({self.cls.parent}), it does not train"
            )


def watched(
    subject: MethodSubject, look: Callable[[Any, Step, Method], None], epochs: int = 2
) -> Trained:
    """Trains while ``look`` sees what penalty returned, step by step."""

    def prepare(network: Network, method: Method) -> None:
        penalty = method.penalty

        def run(step: Step) -> Any:
            terms = penalty(step)
            look(terms, step, method)
            return terms

        method.__dict__["penalty"] = run

    return subject.run(RECIPE.model_copy(update={"epochs": epochs}), prepare=prepare)


@functools.cache
def plain(recipe: Recipe = RECIPE, net: str = "vgg") -> Trained:
    """The baseline on toy data."""
    return MethodSubject("plain").run(recipe, net=net)


@torch.no_grad()
def logits(network: Network, method: Method, split: Split, size: int = 256) -> Tensor:
    """Logits of a split's images, in evaluation mode, in batches of ``size``."""
    network.eval()
    method.eval()
    dtype = next(network.parameters()).dtype
    return torch.cat([network(images.to(dtype)).logits for _, images in split.batches(size)])


def furthest(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> tuple[str, float]:
    """The name under which two sets of tensors differ most, and by how much (NaN differs)."""
    worst, distance = "", 0.0
    for name in sorted({*first, *second}):
        if name not in first or name not in second or first[name].shape != second[name].shape:
            return name, float("inf")
        gap = (first[name].detach().double() - second[name].detach().double()).abs()
        largest = float(gap.nan_to_num(nan=float("inf")).max()) if gap.numel() else 0.0
        if largest > distance:
            worst, distance = name, largest
    return worst, distance


@torch.no_grad()
def passed(network: Network, images: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """By Tap: what passed its point, copied at once, and what the network reports of it."""
    copies: dict[str, Tensor] = {}

    def copying(name: str) -> Callable[..., None]:
        return lambda module, inputs, out: copies.update({name: out.clone()})

    taps = network.taps.items()
    hooks = [tap.point.register_forward_hook(copying(name)) for name, tap in taps]
    reported = network(images).activations
    for hook in hooks:
        hook.remove()
    return {name: (copies[name], reported[name]) for name in copies}
