"""Laws on single training steps: gradients, random numbers, what the hooks may touch."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, cast

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from legible.bench.backbones.taps import Network
from legible.bench.check.law import Broken, Skip, law, moved_generator, random_state, seed_globals
from legible.bench.check.subject import MethodSubject, furthest, passed, plain, watched
from legible.bench.check.toy import RECIPE, flatten_units, toy_data, with_blanks
from legible.bench.training.loop import Diverged, train
from legible.methods.base import Method, Step


@law("methods", "trains")
def gradient_reaches_the_network(subject: MethodSubject) -> str:
    """Some penalty moves the network's weights; none is a constant."""
    subject.must_train()
    reached: dict[str, list[bool]] = {}

    def look(terms: dict[str, Tensor], step: Step, method: Method) -> None:
        modules = cast(Network, step.network), method
        for name, term in terms.items():
            seen = reached.setdefault(name, [False, False])
            for i, module in enumerate(modules):
                seen[i] = seen[i] or _moves(term, list(module.parameters()))

    watched(subject, look, epochs=6)
    if not reached:
        return _acts_otherwise(subject)
    for name, arrived in reached.items():
        if not any(arrived):
            raise Broken(f"no gradient of penalty '{name}' arrives anywhere: it is a constant, "
                         "detached, or its weight is 0 all through training")  # fmt: skip
    if not any(network for network, _ in reached.values()):
        raise Broken("the penalties move the method's own parameters alone: compute them from "
                     "step.activations, not detached")  # fmt: skip
    return ", ".join(sorted(reached))


def _moves(term: Tensor, parameters: list[Tensor]) -> bool:
    parameters = [p for p in parameters if p.requires_grad]
    if not term.requires_grad or not parameters:
        return False
    grads = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True)
    return any(g is not None and bool((g != 0).any()) for g in grads)


def _acts_otherwise(subject: MethodSubject) -> str:
    hooks = ("attach", "penalty", "after_step", "start_epoch", "training_data", "parameter_groups")
    if all(getattr(subject.cls, hook) is getattr(Method, hook) for hook in hooks):
        raise Skip("adds no penalty and no transform")
    if furthest(subject.trained.weights, plain(net=subject.net).weights)[1] == 0:
        raise Broken("the trained weights are exactly plain's: the method has no effect at its "
                     f"default strength {subject.make().strength:g}")  # fmt: skip
    return "no penalty; it changes the weights in another way"


@law("methods", "trains")
def dead_and_constant_units_stay_finite(subject: MethodSubject) -> None:
    """With a dead and a constant unit a layer and black images, losses and gradients are finite."""
    subject.must_train()
    where = "where a unit is dead or constant, or an image black: put an epsilon inside roots, "
    where += "logarithms and denominators"
    recipe = RECIPE.model_copy(update={"epochs": 1})
    try:
        trained = subject.run(
            recipe,
            data=with_blanks(toy_data()),
            prepare=lambda network, method: flatten_units(network),
        )
    except Diverged as error:
        raise Broken(f"{error}, {where}") from error
    for owner, module in (("network", trained.network), ("method", trained.method)):
        for name, parameter in module.named_parameters():
            for tensor in (parameter, parameter.grad):
                if tensor is not None and not bool(tensor.isfinite().all()):
                    raise Broken(f"the gradient of the {owner}'s '{name}' is not finite, {where}")


@law("methods", "trains", "same_seed_same_weights")
def draws_no_global_random_number(subject: MethodSubject) -> None:
    """The global generators neither decide what comes out, nor move while training."""
    ends: list[dict[str, Tensor]] = []
    for seed in (0, 1):
        seed_globals(seed)
        network, method, data = subject.build()
        ends.append({f"self.{k}": v.clone() for k, v in method.state_dict().items()})
        before = random_state()
        if subject.cls.trains and not subject.cls.parent:
            train(network, method, data, RECIPE, 0)
        method.after_training(network, data.train)
        ends[-1] |= dict(network.state_dict())
        if moved := moved_generator(before, random_state()):
            raise Broken(f"draws from {moved}'s global generator: pass generator=self.generator "
                         "(or a seed drawn from it)")  # fmt: skip
    name, distance = furthest(*ends)
    if distance > 0:
        raise Broken(f"'{name}' depends on a global generator (torch, numpy.random or random): "
                     "use self.generator (nn.init functions take generator=)")  # fmt: skip


@law("methods", "trains")
def changes_nothing_in_place(subject: MethodSubject) -> None:
    """Activations, images and labels are the same after the hooks, weights after penalty."""
    network, method, data = subject.build()
    images = data.train.normalise(data.train.images)
    for training in (True, False):
        network.train(training)
        method.train(training)
        for tap, (seen, reported) in passed(network, images).items():
            if not torch.equal(seen, reported):
                raise Broken(f"the transform behind Tap '{tap}' changes its input in place: "
                             "return a new tensor")  # fmt: skip
    if subject.cls.trains and not subject.cls.parent:
        recipe = RECIPE.model_copy(update={"epochs": 2})
        subject.run(recipe, prepare=lambda network, method: _guard(network, method))


def _guard(network: Network, method: Method) -> None:
    """Compares what penalty and after_step were handed before and after they ran."""
    for hook in ("penalty", "after_step"):
        method.__dict__[hook] = _guarded(hook, getattr(method, hook), network)


def _guarded(hook: str, call: Callable[[Step], Any], network: Network) -> Callable[[Step], Any]:
    def run(step: Step) -> Any:
        before = _handed(step)
        weights = {k: v.detach().clone() for k, v in network.named_parameters()}
        result = call(step)
        name, distance = furthest(before, _handed(step))
        if distance > 0:
            raise Broken(f"{hook} changes {name} in place: work on a copy")
        name, distance = furthest(weights, dict(network.named_parameters()))
        if hook == "penalty" and distance > 0:
            raise Broken(f"penalty changes the weight '{name}': do that in after_step")
        return result

    return run


def _handed(step: Step) -> dict[str, Tensor]:
    named = {f"step.{k}": getattr(step, k) for k in ("images", "labels", "indices", "logits")}
    for kind in ("activations", "transformed"):
        named |= {f"step.{kind}['{k}']": v for k, v in getattr(step, kind).items()}
    return {k: v.detach().clone() for k, v in named.items()}


@law("methods", "trains")
def bf16_works(subject: MethodSubject) -> None:
    """It trains under bfloat16 autocast."""
    subject.must_train()
    try:
        subject.run(RECIPE.model_copy(update={"precision": "bf16", "epochs": 1}))
    except (RuntimeError, TypeError, Diverged) as error:
        text = " ".join(str(error).split())[:200]
        raise Broken(f"under bfloat16 autocast: {text}; a transform receives bfloat16, so "
                     "convert with .float() and back with .to(x.dtype)") from error  # fmt: skip


class _Reads(TorchFunctionMode):
    """Notes the lines of a file that read numbers from a tensor: there a GPU would wait."""

    reading = (
        Tensor.item, Tensor.tolist, Tensor.cpu, Tensor.numpy, Tensor.__bool__, Tensor.__float__,
        Tensor.__int__, Tensor.__index__, Tensor.nonzero, torch.nonzero,
    )  # fmt: skip

    def __init__(self, file: str) -> None:
        super().__init__()
        self.file, self.lines = file, set[int]()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in self.reading:
            frame: FrameType | None = sys._getframe()
            while frame and frame.f_code.co_filename != self.file:
                frame = frame.f_back
            if frame:
                self.lines.add(frame.f_lineno)
        return func(*args, **(kwargs or {}))


@law("methods", "trains")
def waits_for_no_device(subject: MethodSubject) -> str:
    """Nothing in penalty and after_step reads a number back; a remark, not a failure."""
    subject.must_train()
    reads = _Reads(subject.origin)

    def prepare(network: Network, method: Method) -> None:
        for hook in ("penalty", "after_step"):
            method.__dict__[hook] = watching(getattr(method, hook))

    def watching(call: Callable[[Step], Any]) -> Callable[[Step], Any]:
        def run(step: Step) -> Any:
            with reads:
                return call(step)

        return run

    subject.run(RECIPE.model_copy(update={"epochs": 1}), prepare=prepare)
    if not reads.lines:
        return ""
    lines = ", ".join(map(str, sorted(reads.lines)))
    return f"flag: a number is read back in every step (line {lines}); there a GPU may wait"
