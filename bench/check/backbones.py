"""Laws on backbones: a Network whose Taps stand where units can be read."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch

from legible.bench.backbones.taps import Network
from legible.bench.check.law import Broken, Outcome, law, moved_generator, random_state
from legible.bench.check.subject import furthest, passed
from legible.bench.errors import UserError
from legible.bench.plugins import registry
from legible.bench.training.fit import initialise

IMAGE, CLASSES = (3, 32, 32), 5


class BackboneSubject:
    """A registered backbone, held to the laws of backbones."""

    def __init__(self, name: str, params: Mapping[str, Any] | None = None) -> None:
        self.builder = registry.get("backbones", name)
        self.params = dict(params or {})
        self.label, self.origin = f"backbone {name}", registry.source_of(self.builder)
        self.outcomes: dict[str, Outcome] = {}

    def build(self, seed: int = 0) -> Network:
        return initialise(lambda: self.builder(IMAGE, CLASSES, **self.params), seed, "cpu")


def _images() -> torch.Tensor:
    return torch.randn(4, *IMAGE, generator=torch.Generator().manual_seed(0))


@law("backbones")
def parameters_are_checked(subject: BackboneSubject) -> None:
    """Image shape and classes first, then parameters with defaults and types; a docstring."""
    if not (subject.builder.__doc__ or "").strip():
        raise Broken("the builder has no docstring: say what the layers are and where Taps stand")
    for item in list(inspect.signature(subject.builder).parameters.values())[2:]:
        if item.default is item.empty or item.annotation is item.empty:
            raise Broken(f"parameter '{item.name}' needs a type and a default")
    try:
        registry.parameters(subject.builder, {"no_such_parameter": 1}, skip=2)
    except UserError:
        return
    raise Broken("an unknown parameter is accepted: name every parameter")


@law("backbones", "parameters_are_checked")
def answers_with_logits_and_taps(subject: BackboneSubject) -> str:
    """A Network with at least one Tap, logits for each class, activations of each Tap's shape."""
    network = subject.build()
    if not isinstance(network, Network):
        raise Broken(f"returns a {type(network).__name__}: return a bench.taps.Network")
    if not network.taps:
        raise Broken("has no Tap: put one after each activation that has units to be read")
    out = network.eval()(_images())
    if out.logits.shape != (4, CLASSES):
        raise Broken(f"logits have shape {tuple(out.logits.shape)}, not (images, classes)")
    if not any(tap.on_trunk for tap in network.taps.values()):
        raise Broken("no Tap is on the trunk: list it among the trunk's modules")
    return ", ".join(f"{n} {'x'.join(map(str, tap.shape))}" for n, tap in network.taps.items())


@law("backbones", "answers_with_logits_and_taps")
@torch.no_grad()
def runs_on_from_every_tap(subject: BackboneSubject) -> None:
    """Continuing from a Tap's activation gives the network's own logits; none changed in place."""
    network = subject.build().eval()
    for name, (seen, reported) in passed(network, _images()).items():
        if not torch.equal(seen, reported):
            raise Broken(f"what passed Tap '{name}' is changed in place by the next module: use "
                         "nn.ReLU(), not nn.ReLU(inplace=True)")  # fmt: skip
    out = network(_images())
    for name, tap in network.taps.items():
        if not tap.on_trunk:
            continue
        again = network.continue_from(name, out.activations[name])
        if not torch.allclose(again, out.logits, atol=1e-5):
            raise Broken(f"continuing from Tap '{name}' gives other logits: list every module "
                         "in the trunk, in the order it runs")  # fmt: skip


@law("backbones", "answers_with_logits_and_taps")
def same_seed_same_weights(subject: BackboneSubject) -> None:
    """A seed decides the weights, and building leaves the global generators alone."""
    before = random_state()
    first, second, other = (dict(subject.build(seed).state_dict()) for seed in (0, 0, 1))
    if moved := moved_generator(before, random_state()):
        raise Broken(f"building draws from {moved}'s global generator beyond torch's own streams")
    name, distance = furthest(first, second)
    if distance > 0:
        raise Broken(f"two builds with one seed differ in '{name}'")
    if furthest(first, other)[1] == 0:
        raise Broken("another seed gives the same weights: initialise at random")


@law("backbones", "runs_on_from_every_tap")
def gradient_reaches_every_weight(subject: BackboneSubject) -> None:
    """Every parameter takes part in the logits."""
    network = subject.build().train()
    network(_images()).logits.square().sum().backward()
    for name, parameter in network.named_parameters():
        if parameter.requires_grad and parameter.grad is None:
            raise Broken(f"'{name}' takes no part in the logits: leave it out")
