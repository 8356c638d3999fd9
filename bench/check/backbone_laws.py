"""Laws about backbones: a Network with Taps from which the logits can be computed again."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from legible.bench.backbones.taps import Network
from legible.bench.check.global_state import generator_states, used_generator
from legible.bench.check.laws import LawOutcome, Violation, law
from legible.bench.check.observations import largest_difference, tap_outputs
from legible.bench.errors import UserError
from legible.bench.plugins import registry
from legible.bench.training.fit import initialise

IMAGE, CLASSES = (3, 32, 32), 5


class BackboneSubject:
    """A registered backbone, with ``params`` instead of its defaults, under check."""

    def __init__(self, name: str, params: Mapping[str, Any] | None = None) -> None:
        self.builder = registry.get("backbones", name)
        self.params = dict(params or {})
        self.label, self.origin = f"backbone {name}", registry.source_of(self.builder)
        self.outcomes: dict[str, LawOutcome] = {}

    def build(self, seed: int = 0) -> Network:
        """A new network for images of shape `IMAGE` and `CLASSES` classes."""
        return initialise(lambda: self.builder(IMAGE, CLASSES, **self.params), seed, "cpu")


def _images() -> Tensor:
    return torch.randn(4, *IMAGE, generator=torch.Generator().manual_seed(0))


@law("backbones")
def parameters_are_checked(subject: BackboneSubject) -> None:
    """The builder has a docstring; parameters after image and classes have defaults and types."""
    if not (subject.builder.__doc__ or "").strip():
        raise Violation("the builder has no docstring: describe the layers and where the Taps are")
    for item in list(inspect.signature(subject.builder).parameters.values())[2:]:
        if item.default is item.empty or item.annotation is item.empty:
            raise Violation(f"parameter '{item.name}' needs a type and a default")
    try:
        registry.parameters(subject.builder, {"no_such_parameter": 1}, skip=2)
    except UserError:
        return
    raise Violation("an unknown parameter is accepted: name every parameter")


@law("backbones", "parameters_are_checked")
def returns_logits_and_activations(subject: BackboneSubject) -> str:
    """The builder returns a Network with a Tap on the trunk and one logit per class."""
    network = subject.build()
    if not isinstance(network, Network):
        raise Violation(f"returns a {type(network).__name__}: return a Network (from legible "
                        "import Network)")  # fmt: skip
    if not network.taps:
        raise Violation("the network has no Tap: add one after each activation of interest (from "
                        "legible import Tap)")  # fmt: skip
    out = network.eval()(_images())
    if out.logits.shape != (4, CLASSES):
        raise Violation(f"the logits have shape {tuple(out.logits.shape)}, not (images, classes)")
    if not any(tap.on_trunk for tap in network.taps.values()):
        raise Violation("no Tap is on the trunk: list one among the trunk's modules")
    return ", ".join(f"{n} {'x'.join(map(str, tap.shape))}" for n, tap in network.taps.items())


@law("backbones", "returns_logits_and_activations")
@torch.no_grad()
def continues_from_every_tap(subject: BackboneSubject) -> None:
    """`continue_from` a Tap gives the same logits, and no activation is changed in place."""
    network = subject.build().eval()
    for name, output in tap_outputs(network, _images()).items():
        if not torch.equal(output.copy, output.activation):
            raise Violation(f"the module after Tap '{name}' changes the activation in place: use "
                            "nn.ReLU(), not nn.ReLU(inplace=True)")  # fmt: skip
    out = network(_images())
    for name, tap in network.taps.items():
        if not tap.on_trunk:
            continue
        logits = network.continue_from(name, out.activations[name])
        if not torch.allclose(logits, out.logits, atol=1e-5):
            raise Violation(f"continuing from Tap '{name}' gives other logits: list every module "
                            "of the trunk, in the order in which it runs")  # fmt: skip


@law("backbones", "returns_logits_and_activations")
def same_seed_same_weights(subject: BackboneSubject) -> None:
    """The seed alone determines the weights; the global generators stay as they are."""
    before = generator_states()
    first, second, other = (dict(subject.build(seed).state_dict()) for seed in (0, 0, 1))
    if generator := used_generator(before, generator_states()):
        raise Violation(f"building draws from {generator}'s global generator: draw initial weights "
                        "with torch alone")  # fmt: skip
    name, distance = largest_difference(first, second)
    if distance > 0:
        raise Violation(f"two networks with the same seed differ in '{name}': draw initial weights "
                        "with torch alone, and keep no count between calls")  # fmt: skip
    if largest_difference(first, other).distance == 0:
        raise Violation("two seeds give the same weights: draw the initial weights at random")


@law("backbones", "continues_from_every_tap")
def gradient_reaches_every_weight(subject: BackboneSubject) -> None:
    """The logits depend on every parameter."""
    network = subject.build().train()
    network(_images()).logits.square().sum().backward()
    for name, parameter in network.named_parameters():
        if parameter.requires_grad and parameter.grad is None:
            raise Violation(f"the logits do not depend on '{name}': remove it")
