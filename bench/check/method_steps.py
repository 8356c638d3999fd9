"""Laws about single training steps: gradients, random numbers, in-place changes, precision."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from legible.bench.backbones.taps import Network
from legible.bench.check.global_state import (
    generator_states,
    seed_generators,
    unseeded_training,
    used_generator,
)
from legible.bench.check.laws import NotApplicable, Violation, law
from legible.bench.check.method_subject import MethodSubject, plain_result, train_and_watch
from legible.bench.check.observations import largest_difference, tap_outputs
from legible.bench.check.toy import RECIPE, flatten_units, toy_data, with_blanks
from legible.bench.errors import one_line
from legible.bench.training.fit import fit_network
from legible.bench.training.loop import Diverged
from legible.methods.base import Method, Step


@law("methods", "trains")
def gradient_reaches_the_network(subject: MethodSubject) -> str:
    """Every penalty has a gradient, and at least one reaches the network's weights."""
    subject.require_training()
    names: set[str] = set()
    reach: dict[str, set[str]] = {"network": set(), "method": set()}

    def watch(terms: dict[str, Tensor], step: Step, method: Method) -> None:
        modules = {"network": cast(Network, step.network), "method": method}
        names.update(terms)
        for name, term in terms.items():
            for owner, module in modules.items():
                if name not in reach[owner] and _has_gradient(term, module):
                    reach[owner].add(name)

    train_and_watch(subject, watch, epochs=6)
    if not names:
        return _effect_without_penalty(subject)
    for name in sorted(names - reach["network"] - reach["method"]):
        raise Violation(
            f"penalty '{name}' has no gradient: it is a constant, detached, or its weight is 0 "
            "during the whole training"
        )
    if not reach["network"]:
        raise Violation(
            "the penalties reach only the method's own parameters: compute them from "
            "step.activations, not detached"
        )
    return f"terms: {', '.join(sorted(names))}"


def _has_gradient(term: Tensor, module: nn.Module) -> bool:
    parameters = [p for p in module.parameters() if p.requires_grad]
    if not term.requires_grad or not parameters:
        return False
    grads = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True)
    return any(g is not None and bool((g != 0).any()) for g in grads)


def _effect_without_penalty(subject: MethodSubject) -> str:
    hooks = ("attach", "penalty", "after_step", "start_epoch", "training_data", "parameter_groups")
    if all(getattr(subject.cls, hook) is getattr(Method, hook) for hook in hooks):
        raise NotApplicable("adds no penalty and no transform")
    plain = plain_result(net=subject.net).weights
    if largest_difference(subject.result.weights, plain).distance == 0:
        raise Violation(
            "the trained weights are exactly plain's: the method has no effect at its default "
            f"strength {subject.make().strength:g}"
        )
    return "no penalty; it changes the weights in another way"


@law("methods", "trains")
def dead_and_constant_units_stay_finite(subject: MethodSubject) -> None:
    """Losses and gradients stay finite with dead units, constant units and black images."""
    subject.require_training()
    where = (
        "where a unit is dead or constant, or an image is black: put an epsilon inside roots, "
        "logarithms and denominators"
    )
    recipe = RECIPE.model_copy(update={"epochs": 1})
    try:
        result = subject.train(
            recipe,
            data=with_blanks(toy_data()),
            prepare=lambda network, method: flatten_units(network),
        )
    except Diverged as error:
        raise Violation(f"{error}, {where}") from error
    for owner, module in (("network", result.network), ("method", result.method)):
        for name, parameter in module.named_parameters():
            for tensor in (parameter, parameter.grad):
                if tensor is not None and not bool(tensor.isfinite().all()):
                    raise Violation(f"the gradient of the {owner}'s '{name}' is infinite or NaN, "
                                    f"{where}")  # fmt: skip


@law("methods", "trains", "same_seed_same_weights")
def uses_no_global_random_numbers(subject: MethodSubject) -> None:
    """The global generators do not influence the result, and training does not draw from them."""
    ends: list[dict[str, Tensor]] = []
    parent = subject.parent_tensors()
    for seed in (0, 1):
        seed_generators(seed)
        network, method, data = subject.build()
        ends.append({f"self.{k}": v.clone() for k, v in method.state_dict().items()})
        before = generator_states()
        with unseeded_training():
            fit_network(network, method, data, RECIPE, 0, parent=lambda: parent)
        ends[-1] |= dict(network.state_dict())
        if generator := used_generator(before, generator_states()):
            raise Violation(
                f"draws from {generator}'s global generator: pass generator=self.generator (or a "
                "seed drawn from it)"
            )
    name, distance = largest_difference(*ends)
    if distance > 0:
        raise Violation(
            f"'{name}' depends on a global generator (torch, numpy.random or random): use "
            "self.generator (nn.init functions take generator=)"
        )


@law("methods", "trains")
def changes_nothing_in_place(subject: MethodSubject) -> None:
    """Hooks leave activations, images and labels as they are, and penalty also the weights."""
    network, method, data = subject.build()
    images = data.train.normalise(data.train.images)
    for training in (True, False):
        network.train(training)
        method.train(training)
        for tap, output in tap_outputs(network, images).items():
            if not torch.equal(output.copy, output.activation):
                raise Violation(
                    f"the transform after Tap '{tap}' changes its input in place: return a new "
                    "tensor"
                )
    if subject.trains:
        recipe = RECIPE.model_copy(update={"epochs": 2})
        subject.train(recipe, prepare=_guard)


def _guard(network: Network, method: Method) -> None:
    """Makes penalty and after_step compare their arguments before and after each call."""
    for hook in ("penalty", "after_step"):
        method.__dict__[hook] = _guarded(hook, getattr(method, hook), network)


def _guarded(hook: str, call: Callable[[Step], Any], network: Network) -> Callable[[Step], Any]:
    def run(step: Step) -> Any:
        before = _tensors(step)
        weights = {k: v.detach().clone() for k, v in network.named_parameters()}
        result = call(step)
        name, distance = largest_difference(before, _tensors(step))
        if distance > 0:
            raise Violation(f"{hook} changes {name} in place: work on a copy")
        name, distance = largest_difference(weights, dict(network.named_parameters()))
        if hook == "penalty" and distance > 0:
            raise Violation(f"penalty changes the weight '{name}': do that in after_step")
        return result

    return run


def _tensors(step: Step) -> dict[str, Tensor]:
    """Copies of a step's tensors by name."""
    tensors = {f"step.{k}": getattr(step, k) for k in ("images", "labels", "indices", "logits")}
    for kind in ("activations", "transformed"):
        tensors |= {f"step.{kind}['{k}']": v for k, v in getattr(step, kind).items()}
    return {k: v.detach().clone() for k, v in tensors.items()}


@law("methods", "trains")
def trains_in_bfloat16(subject: MethodSubject) -> None:
    """The method trains under bfloat16 autocast."""
    subject.require_training()
    try:
        subject.train(RECIPE.model_copy(update={"precision": "bf16", "epochs": 1}))
    except (RuntimeError, TypeError, Diverged) as error:
        raise Violation(
            f"under bfloat16 autocast: {one_line(error)[:200]}; transforms receive bfloat16: "
            "convert with .float() and back with .to(x.dtype)"
        ) from error


class _SynchronisationLog(TorchFunctionMode):
    """Records the lines of a file that read a number from a tensor, where a GPU has to wait."""

    functions = (
        Tensor.item, Tensor.tolist, Tensor.cpu, Tensor.numpy, Tensor.__bool__, Tensor.__float__,
        Tensor.__int__, Tensor.__index__, Tensor.nonzero, torch.nonzero,
    )  # fmt: skip

    def __init__(self, file: str) -> None:
        super().__init__()
        self.file, self.lines = file, set[int]()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in self.functions:
            frame: FrameType | None = sys._getframe()
            while frame and frame.f_code.co_filename != self.file:
                frame = frame.f_back
            if frame:
                self.lines.add(frame.f_lineno)
        return func(*args, **(kwargs or {}))


@law("methods", "trains")
def avoids_device_synchronisation(subject: MethodSubject) -> str:
    """penalty and after_step read no number from a tensor; if they do, a remark names the line."""
    subject.require_training()
    log = _SynchronisationLog(subject.origin)

    def prepare(network: Network, method: Method) -> None:
        for hook in ("penalty", "after_step"):
            method.__dict__[hook] = logged(getattr(method, hook))

    def logged(call: Callable[[Step], Any]) -> Callable[[Step], Any]:
        def run(step: Step) -> Any:
            with log:
                return call(step)

        return run

    subject.train(RECIPE.model_copy(update={"epochs": 1}), prepare=prepare)
    if not log.lines:
        return ""
    lines = ", ".join(map(str, sorted(log.lines)))
    return f"flag: every step reads a number from a tensor (line {lines}); a GPU has to wait there"
