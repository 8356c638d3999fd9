"""A method under check: builds, trains and evaluates it on toy data."""

from __future__ import annotations

import functools
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from legible.bench.backbones.taps import Network
from legible.bench.check.global_state import seed_generators
from legible.bench.check.laws import LawOutcome, NotApplicable
from legible.bench.check.toy import NETWORKS, RECIPE, builder, toy_data
from legible.bench.data.base import Dataset
from legible.bench.plugins import registry
from legible.bench.training.checkpoint import State, snapshot
from legible.bench.training.fit import build_network, fit_network, initialise
from legible.bench.training.recipe import Recipe
from legible.methods.base import Method, Step, unmet


@dataclass(frozen=True, eq=False)
class TrainingResult:
    """A trained network, its method, the last training state and the data."""

    network: Network
    method: Method
    state: State
    data: Dataset

    @functools.cached_property
    def weights(self) -> dict[str, Tensor]:
        """Copies of the network's parameters and buffers."""
        return {k: v.clone() for k, v in self.network.state_dict().items()}


class MethodSubject:
    """A registered method, with ``params`` instead of its defaults, under check."""

    def __init__(self, name: str, params: Mapping[str, Any] | None = None) -> None:
        self.cls: type[Method] = registry.get("methods", name)
        self.params = dict(params or {})
        self.label, self.origin = f"method {name}", self.cls.origin
        self.outcomes: dict[str, LawOutcome] = {}

    @functools.cached_property
    def net(self) -> str:
        """The first toy network that has what the method needs. Raises NotApplicable if none."""
        reasons = []
        for name in NETWORKS:
            reason = self.unmet_need(name, toy_data())
            if not reason:
                return name
            reasons.append(f"{name}: {reason}")
        raise NotApplicable(f"no toy network has what it needs ({'; '.join(reasons)})")

    @property
    def trains(self) -> bool:
        """Whether the method trains a network, instead of leaving it or editing a trained one."""
        return self.cls.trains and not self.cls.parent

    def unmet_need(self, net: str, data: Dataset) -> str:
        """The reason why the method cannot run on a toy network; empty if it can."""
        return unmet(self.make(), initialise(builder(net, data), 0, "cpu"), data.train)

    def make(self, **params: Any) -> Method:
        """A new instance of the method, with some parameters changed. Raises UserError."""
        return registry.make_method(self.cls.name, {**self.params, **params})

    def options(self) -> list[tuple[str, Any]]:
        """Names and other values of the parameters that are a Literal or a bool."""
        alternatives: list[tuple[str, Any]] = []
        hints = typing.get_type_hints(self.cls.__init__)
        for name, default in registry.defaults(self.cls).items():
            kind = hints.get(name)
            choices = typing.get_args(kind) if typing.get_origin(kind) is typing.Literal else ()
            choices = (True, False) if kind is bool else choices
            alternatives += [(name, choice) for choice in choices if choice != default]
        return [(name, value) for name, value in alternatives if name not in self.params]

    def build(
        self, data: Dataset | None = None, net: str = "", seed: int = 0, **params: Any
    ) -> tuple[Network, Method, Dataset]:
        """A new network with the method attached, the method, and the data."""
        data, method = data or toy_data(), self.make(**params)
        network = build_network(builder(net or self.net, data), method, data.train, seed)
        return network, method, data

    def train(
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
    ) -> TrainingResult:
        """Builds and fits a network, as a run does; ``prepare`` is called in between.

        The global generators are seeded before training and after each epoch, so that a method
        that uses them fails only the law about them.
        """

        def reseed(state: State) -> None:
            seed_generators()
            after_epoch(state)

        seed_generators()
        network, method, data = self.build(data, net, seed, **params)
        prepare(network, method)
        state = fit_network(
            network, method, data, recipe, seed,
            parent=lambda: self.parent_tensors(recipe, data, net),
            resume=resume, after_epoch=reseed,
        )  # fmt: skip
        return TrainingResult(network, method, state, data)

    def parent_tensors(
        self, recipe: Recipe = RECIPE, data: Dataset | None = None, net: str = ""
    ) -> dict[str, Tensor]:
        """The tensors of the trained network that the method edits; empty without a parent."""
        if not self.cls.parent:
            return {}
        parent = MethodSubject(self.cls.parent).train(recipe, data=data, net=net or self.net)
        return snapshot(parent.network, parent.method)

    @functools.cached_property
    def result(self) -> TrainingResult:
        """The method trained at its parameters. Laws share it: do not change it."""
        return self.train()

    def require_training(self) -> None:
        """Raises NotApplicable if the method does not train a network."""
        if not self.cls.trains:
            raise NotApplicable("the method does not train")
        if self.cls.parent:
            raise NotApplicable(f"the method edits a trained network of '{self.cls.parent}'")


def train_and_watch(
    subject: MethodSubject, watch: Callable[[Any, Step, Method], None], epochs: int = 2
) -> TrainingResult:
    """Trains a method and calls ``watch`` with what its penalty returned at each step."""

    def prepare(network: Network, method: Method) -> None:
        penalty = method.penalty

        def run(step: Step) -> Any:
            terms = penalty(step)
            watch(terms, step, method)
            return terms

        method.__dict__["penalty"] = run

    return subject.train(RECIPE.model_copy(update={"epochs": epochs}), prepare=prepare)


@functools.cache
def plain_result(recipe: Recipe = RECIPE, net: str = "vgg") -> TrainingResult:
    """Plain training on toy data. Laws share it: do not change it."""
    return MethodSubject("plain").train(recipe, net=net)
