"""Laws about a trained method: evaluation changes nothing, and it can be saved and moved."""

from __future__ import annotations

import math
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from legible.bench.backbones.taps import Network
from legible.bench.check.global_state import generator_states, used_generator
from legible.bench.check.laws import NotApplicable, Violation, law
from legible.bench.check.method_subject import MethodSubject, TrainingResult, plain_result
from legible.bench.check.observations import largest_difference, logits
from legible.bench.check.toy import toy_data
from legible.bench.data.base import Split
from legible.bench.errors import one_line
from legible.bench.execution.store import Run
from legible.bench.plugins import registry
from legible.bench.scoring.probe import probe_network
from legible.bench.scoring.score import score_metric
from legible.bench.training.checkpoint import restore, snapshot
from legible.methods.base import Method, treatment


class LabelsRead(Exception):
    """Labels were read during evaluation."""


class GuardedLabels(Tensor):
    """Labels that raise `LabelsRead` if anything is computed from them while ``raise_on_read``
    is True."""

    raise_on_read = False
    #: Functions whose result is guarded as well; other functions return plain tensors.
    guarded_functions = (
        Tensor.__getitem__, Tensor.to, Tensor.clone, Tensor.detach, Tensor.contiguous,
    )  # fmt: skip

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if GuardedLabels.raise_on_read:
            raise LabelsRead(getattr(func, "__name__", str(func)))
        result = super().__torch_function__(func, types, args, kwargs or {})
        if func not in cls.guarded_functions and isinstance(result, GuardedLabels):
            return result.as_subclass(Tensor)
        return result


@law("methods", "trains")
def evaluation_uses_no_labels(subject: MethodSubject) -> None:
    """Neither the logits nor `partition` read labels that were stored during training."""
    data = toy_data()
    labels = data.train.labels.as_subclass(GuardedLabels)
    result = subject.train(data=replace(data, train=replace(data.train, labels=labels)))
    GuardedLabels.raise_on_read = True
    try:
        logits(result.network, result.method, toy_data().train)
        result.method.partition(result.network)
    except LabelsRead as error:
        raise Violation(
            f"evaluation reads labels ({error}), which exist only in training: store in a buffer "
            "what is learned from them"
        ) from error
    finally:
        GuardedLabels.raise_on_read = False


@law("methods", "trains")
def evaluation_is_independent_of_the_batch(subject: MethodSubject) -> None:
    """An image's logits do not depend on the other images of the batch."""
    result = subject.result
    split = result.data.train
    whole = logits(result.network, result.method, split)
    order = torch.arange(len(split) - 1, -1, -1)
    parts = logits(result.network, result.method, split.subset(order), 3)[order]
    distance = float((whole - parts).abs().max())
    if not distance <= 1e-3 * max(1.0, float(whole.abs().max())):
        raise Violation(
            f"logits change by {distance:.2g} with the other images in the batch: in evaluation "
            "use statistics that were stored during training"
        )


@law("methods", "trains")
def evaluation_changes_nothing(subject: MethodSubject) -> None:
    """Weights, buffers and random states stay the same, and so do the logits when repeated."""
    result = subject.result
    before, generators = _state(result), generator_states()
    first = logits(result.network, result.method, result.data.test)
    result.method.partition(result.network)
    name, distance = largest_difference(before, _state(result))
    if distance > 0:
        raise Violation(f"evaluation changes '{name}': change state only while self.training")
    if generator := used_generator(generators, generator_states()):
        raise Violation(
            f"evaluation draws from {generator}'s global generator: draw only while self.training"
        )
    if not torch.equal(first, logits(result.network, result.method, result.data.test)):
        raise Violation("a second evaluation gives other logits: change state only while "
                        "self.training")  # fmt: skip


def _state(result: TrainingResult) -> dict[str, Tensor]:
    return {
        **snapshot(result.network, result.method),
        "self.generator": result.method.generator.get_state(),
    }


@law("methods", "trains")
def loading_gives_the_same_outputs(subject: MethodSubject) -> None:
    """A new network with the saved weights has the same logits, activations and partition."""
    result = subject.result
    network, method, data = subject.build()
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder))
        run.save_weights(snapshot(result.network, result.method))
        try:
            restore(run.weights("cpu"), network, method)
        except RuntimeError as error:
            raise Violation(
                f"a finished run cannot be loaded: {one_line(error)[:200]}; create every parameter "
                "and buffer in attach, with its final shape"
            ) from error
    outputs = _outputs(result.network, result.method, data.test)
    name, distance = largest_difference(outputs, _outputs(network, method, data.test))
    # training leaves another memory layout, and rounding depends on it
    if distance > 1e-5 * max(1.0, *(float(v.abs().max()) for v in outputs.values())):
        raise Violation(
            f"after loading, {name} differ by {distance:.2g}: keep all that evaluation needs in "
            "parameters or buffers (register_buffer)"
        )
    partition = result.method.partition(result.network)
    name, distance = largest_difference(partition, method.partition(network))
    if distance > 0:
        raise Violation(
            f"after loading, the modules claimed at '{name}' differ: keep them in a buffer"
        )


@torch.no_grad()
def _outputs(network: Network, method: Method, split: Split) -> dict[str, Tensor]:
    network.eval()
    method.eval()
    out = network(split.normalise(split.images))
    return {"logits": out.logits} | {f"activations '{k}'": v for k, v in out.activations.items()}


@law("methods", "trains")
def moves_to_other_dtypes_and_devices(subject: MethodSubject) -> str:
    """The trained network works in float64 and again in float32, and on a GPU if there is one."""
    result = subject.train()
    network, method, split = result.network, result.method, result.data.test
    before = logits(network, method, split)
    try:
        network.double()
        method.double()
        wide = logits(network, method, split)
    except RuntimeError as error:
        raise Violation(
            f"in float64: {one_line(error)[:200]}; keep tensors in buffers, so that they move with "
            "the method, or convert with .to(x.dtype)"
        ) from error
    if wide.dtype != torch.float64:
        raise Violation(f"in float64 the logits are {wide.dtype}: a transform must keep x.dtype")
    _check_close(wide.float(), before, "in float64")
    network.float()
    method.float()
    _check_close(logits(network, method, split), before, "in float64 and back")
    if not torch.cuda.is_available():
        return "this machine has no GPU: only dtypes are checked"
    network.cuda()
    method.cuda()
    _check_close(logits(network, method, split.to("cuda")).cpu(), before, "on the GPU")
    return "float64 and GPU"


def _check_close(actual: Tensor, expected: Tensor, where: str) -> None:
    distance = float((actual - expected).abs().max())
    if not distance <= 1e-2 * max(1.0, float(expected.abs().max())):
        raise Violation(
            f"{where} the logits differ by {distance:.2g}: convert constants with .to(x), and keep "
            "tensors in buffers"
        )


@law("methods", "trains")
def leaves_no_hooks(subject: MethodSubject) -> None:
    """No torch hook remains on the network, the method or torch itself; use Taps instead."""
    result = subject.result
    for name, module in _modules(result):
        for kind, hooks in vars(module).items():
            if kind.endswith("_hooks") and hooks:
                raise Violation(f"a hook remains on {name} ({kind.strip('_')}): use a Tap's "
                                "install, or step.activations")  # fmt: skip
    for owner in (result.network, result.method):
        for name, parameter in owner.named_parameters():
            if parameter._backward_hooks or getattr(parameter, "_post_accumulate_grad_hooks", None):
                raise Violation(f"a gradient hook remains on '{name}': use after_step, or a term "
                                "in penalty")  # fmt: skip
    for kind, hooks in vars(nn.modules.module).items():
        if kind.startswith("_global_") and kind.endswith("_hooks") and hooks:
            raise Violation(f"a global torch hook remains ({kind.strip('_')}): remove it")


def _modules(result: TrainingResult) -> Iterator[tuple[str, nn.Module]]:
    for owner, root in (("the network", result.network), ("the method", result.method)):
        for name, module in root.named_modules():
            yield f"{owner}'s '{name}'" if name else owner, module


@law("methods", "trains", "treatment_is_declared")
def target_is_defined(subject: MethodSubject) -> str:
    """The target has a value on plain's network and on the method's own."""
    target = treatment(subject.make())
    if isinstance(target, str):
        raise NotApplicable(f"no target: it {target}")
    item = registry.get("metrics", target.metric)
    values: list[float] = []
    for result in (plain_result(net=subject.net), subject.result):
        probe = probe_network(result.network, result.method, result.data.test, ["all"])
        scores = score_metric(item, probe)
        defined = [score for score in scores if math.isfinite(score.value)]
        if not defined:
            owner = "plain's" if not values else "the method's"
            raise Violation(
                f"target: '{item.name}' has no value on {owner} network "
                f"({scores[-1].reason or 'undefined'}): choose a metric that both have"
            )
        values.append(defined[-1].value)
    return f"{item.name}, {target.better}: {values[0]:.3g} on plain, {values[1]:.3g} here"


@law("methods", "trains")
def claimed_modules_are_valid(subject: MethodSubject) -> str:
    """`partition` gives for each Tap one whole number per unit, from -1 (no module)."""
    result = subject.result
    partition = result.method.partition(result.network)
    if not partition:
        raise NotApplicable("claims no modules")
    for tap, labels in partition.items():
        if tap not in result.network.taps:
            raise Violation(f"partition: no Tap '{tap}' (Taps: {', '.join(result.network.taps)})")
        units = result.network.taps[tap].units
        if not torch.is_tensor(labels) or labels.is_floating_point() or labels.dtype == torch.bool:
            raise Violation(f"partition['{tap}'] must be a tensor of whole numbers")
        if labels.shape != (units,):
            raise Violation(f"partition['{tap}'] has shape {tuple(labels.shape)}, but the Tap has "
                            f"{units} units: return one label per unit")  # fmt: skip
        if labels.numel() and int(labels.min()) < -1:
            raise Violation(f"partition['{tap}'] has the label {int(labels.min())}: labels start "
                            "at 0, and -1 means no module")  # fmt: skip
    return ", ".join(f"{tap}: {int(labels.max()) + 1}" for tap, labels in partition.items())


@law("methods", "trains", "changes_nothing_in_place")
def integrated_gradients_are_complete(subject: MethodSubject) -> str:
    """Attributions sum to the change of the logit; if not, a remark says how much is missing."""
    from captum.attr import IntegratedGradients

    result = subject.result
    split = result.data.test
    images = split.normalise(split.images)[:16]
    with torch.no_grad():
        out = result.network(images).logits
        base = result.network(torch.zeros_like(images)).logits
    target = out.argmax(1)
    rows = torch.arange(len(images))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Captum's advice on gradients of inputs
        _, delta = IntegratedGradients(lambda x: result.network(x).logits).attribute(
            images, target=target, n_steps=32, return_convergence_delta=True
        )
    change = (out - base)[rows, target].abs().mean().clamp(min=1e-6)
    share = float(delta.abs().mean() / change)
    if not share <= 0.1:
        return f"flag: {share:.0%} of the logits' change is missing: attributions are inexact"
    return f"{share:.1%} of the logits' change is missing"
