"""Laws on a trained method: evaluation only looks, and the result can be kept and moved."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from legible.bench.backbones.taps import Network
from legible.bench.check.law import Broken, Skip, law, moved_generator, random_state
from legible.bench.check.subject import MethodSubject, Trained, furthest, logits
from legible.bench.check.toy import toy_data
from legible.bench.data.base import Split
from legible.bench.execution.store import Run
from legible.bench.training.checkpoint import restore, snapshot
from legible.methods.base import Method


class LabelsRead(Exception):
    """Labels were read while that was forbidden."""


class Labels(Tensor):
    """Labels that raise when anything is computed from them while ``forbidden`` is set."""

    forbidden = False
    #: What still are labels afterwards; results of all other functions are plain tensors.
    keep = (Tensor.__getitem__, Tensor.to, Tensor.clone, Tensor.detach, Tensor.contiguous)

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if Labels.forbidden:
            raise LabelsRead(getattr(func, "__name__", str(func)))
        result = super().__torch_function__(func, types, args, kwargs or {})
        if func not in cls.keep and isinstance(result, Labels):
            return result.as_subclass(Tensor)
        return result


@law("methods", "trains")
def evaluation_reads_no_label(subject: MethodSubject) -> None:
    """Neither logits nor claimed modules look at labels kept from training."""
    data = toy_data()
    labels = data.train.labels.as_subclass(Labels)
    trained = subject.run(data=replace(data, train=replace(data.train, labels=labels)))
    Labels.forbidden = True
    try:
        logits(trained.network, trained.method, toy_data().train)
        trained.method.partition(trained.network)
    except LabelsRead as error:
        raise Broken(f"evaluation reads labels ({error}): they exist in training only; keep what "
                     "was learned from them in a buffer") from error  # fmt: skip
    finally:
        Labels.forbidden = False


@law("methods", "trains")
def evaluation_sees_one_image_at_a_time(subject: MethodSubject) -> None:
    """An image's logits do not depend on the images beside it."""
    trained = subject.trained
    split = trained.data.train
    whole = logits(trained.network, trained.method, split)
    order = torch.arange(len(split) - 1, -1, -1)
    parts = logits(trained.network, trained.method, split.subset(order), 3)[order]
    distance = float((whole - parts).abs().max())
    if not distance <= 1e-3 * max(1.0, float(whole.abs().max())):
        raise Broken(f"logits change by {distance:.2g} with the other images in the batch: "
                     "at evaluation use statistics kept from training")  # fmt: skip


@law("methods", "trains")
def evaluation_changes_nothing(subject: MethodSubject) -> None:
    """Weights, buffers and random states are as before, and a second look gives the same."""
    trained = subject.trained
    before, generators = _state(trained), random_state()
    first = logits(trained.network, trained.method, trained.data.test)
    trained.method.partition(trained.network)
    name, distance = furthest(before, _state(trained))
    if distance > 0:
        raise Broken(f"evaluation changes '{name}': act only while self.training")
    if moved := moved_generator(generators, random_state()):
        raise Broken(f"evaluation draws from {moved}'s global generator: act only while "
                     "self.training")  # fmt: skip
    if not torch.equal(first, logits(trained.network, trained.method, trained.data.test)):
        raise Broken("a second evaluation gives other logits: keep no count of what was seen")


def _state(trained: Trained) -> dict[str, Tensor]:
    return {
        **snapshot(trained.network, trained.method),
        "self.generator": trained.method.generator.get_state(),
    }


@law("methods", "trains")
def saved_and_loaded_is_the_same(subject: MethodSubject) -> None:
    """Weights written to disk and read into a fresh network give the same answers."""
    trained = subject.trained
    network, method, data = subject.build()
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder))
        run.save_weights(snapshot(trained.network, trained.method))
        try:
            restore(run.weights("cpu"), network, method)
        except RuntimeError as error:
            text = " ".join(str(error).split())[:200]
            raise Broken(f"a finished run cannot be loaded: {text}; create every parameter and "
                         "buffer in attach, at its final shape") from error  # fmt: skip
    first = _outputs(trained.network, trained.method, data.test)
    name, distance = furthest(first, _outputs(network, method, data.test))
    # training leaves another memory layout, and rounding depends on it
    if distance > 1e-5 * max(1.0, *(float(v.abs().max()) for v in first.values())):
        raise Broken(f"after loading, {name} differ by {distance:.2g}: keep what evaluation needs "
                     "in parameters or buffers (register_buffer)")  # fmt: skip
    name, distance = furthest(
        trained.method.partition(trained.network), method.partition(network)
    )  # fmt: skip
    if distance > 0:
        raise Broken(
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
    """The trained network works in float64 and back, and on a GPU where there is one."""
    trained = subject.run()
    network, method, split = trained.network, trained.method, trained.data.test
    before = logits(network, method, split)
    try:
        network.double()
        method.double()
        wide = logits(network, method, split)
    except RuntimeError as error:
        text = " ".join(str(error).split())[:200]
        raise Broken(f"in float64: {text}; keep tensors in buffers, so that they move with the "
                     "method, or convert with .to(x.dtype)") from error  # fmt: skip
    if wide.dtype != torch.float64:
        raise Broken(f"in float64 the logits are {wide.dtype}: a transform must keep x.dtype")
    _close(wide.float(), before, "in float64")
    network.float()
    method.float()
    _close(logits(network, method, split), before, "in float64 and back")
    if not torch.cuda.is_available():
        return "no GPU here: dtype alone"
    network.cuda()
    method.cuda()
    _close(logits(network, method, split.to("cuda")).cpu(), before, "on the GPU")
    return "float64 and GPU"


def _close(found: Tensor, expected: Tensor, where: str) -> None:
    distance = float((found - expected).abs().max())
    if not distance <= 1e-2 * max(1.0, float(expected.abs().max())):
        raise Broken(f"{where} the logits differ by {distance:.2g}: convert constants with "
                     ".to(x), and keep tensors in buffers")  # fmt: skip


@law("methods", "trains")
def leaves_no_hook(subject: MethodSubject) -> None:
    """No torch hook is left on network, method or torch itself: Taps do what hooks would."""
    trained = subject.trained
    for name, module in _modules(trained):
        for kind, hooks in vars(module).items():
            if kind.endswith("_hooks") and hooks:
                raise Broken(f"a hook is left on {name} ({kind.strip('_')}): use a Tap's "
                             "install, or step.activations")  # fmt: skip
    for owner in (trained.network, trained.method):
        for name, parameter in owner.named_parameters():
            if parameter._backward_hooks or getattr(parameter, "_post_accumulate_grad_hooks", None):
                raise Broken(f"a gradient hook is left on '{name}': use after_step, or a term "
                             "in penalty")  # fmt: skip
    for kind, hooks in vars(nn.modules.module).items():
        if kind.startswith("_global_") and kind.endswith("_hooks") and hooks:
            raise Broken(f"a global hook is left in torch ({kind.strip('_')}): remove it")


def _modules(trained: Trained) -> Iterator[tuple[str, nn.Module]]:
    for owner, root in (("the network", trained.network), ("the method", trained.method)):
        for name, module in root.named_modules():
            yield f"{owner}'s '{name}'" if name else owner, module


@law("methods", "trains")
def claimed_modules_are_a_partition(subject: MethodSubject) -> str:
    """By Tap: one whole number a unit, from -1 (none)."""
    trained = subject.trained
    claimed = trained.method.partition(trained.network)
    if not claimed:
        raise Skip("claims no modules")
    for tap, labels in claimed.items():
        if tap not in trained.network.taps:
            raise Broken(f"partition: no Tap '{tap}' (Taps: {', '.join(trained.network.taps)})")
        units = trained.network.taps[tap].units
        if not torch.is_tensor(labels) or labels.is_floating_point() or labels.dtype == torch.bool:
            raise Broken(f"partition['{tap}'] must be a tensor of whole numbers")
        if labels.shape != (units,):
            raise Broken(f"partition['{tap}'] has shape {tuple(labels.shape)}, but the Tap has "
                         f"{units} units: one label a unit")  # fmt: skip
        if labels.numel() and int(labels.min()) < -1:
            raise Broken(f"partition['{tap}'] holds {int(labels.min())}: labels start at 0, and "
                         "-1 is none")  # fmt: skip
    return ", ".join(f"{tap}: {int(labels.max()) + 1}" for tap, labels in claimed.items())


@law("methods", "trains", "changes_nothing_in_place")
def integrated_gradients_add_up(subject: MethodSubject) -> str:
    """Attributions sum to the change of the logit; a remark where they do not."""
    from captum.attr import IntegratedGradients

    trained = subject.trained
    split = trained.data.test
    images = split.normalise(split.images)[:16]
    with torch.no_grad():
        out = trained.network(images).logits
        base = trained.network(torch.zeros_like(images)).logits
    target = out.argmax(1)
    rows = torch.arange(len(images))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Captum's advice on gradients of inputs
        _, delta = IntegratedGradients(lambda x: trained.network(x).logits).attribute(
            images, target=target, n_steps=32, return_convergence_delta=True
        )
    change = (out - base)[rows, target].abs().mean().clamp(min=1e-6)
    share = float(delta.abs().mean() / change)
    if not share <= 0.1:
        return f"flag: {share:.0%} of the change is missing; attribution cells will be marked"
    return f"delta {share:.1%} of the change"
