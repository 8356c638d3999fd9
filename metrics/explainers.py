"""Captum's attribution algorithms on some of a probe's images, and the audit of each of them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from captum import attr as captum
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from legible.metrics.base import Probe, remember

#: Number of images that are explained.
SAMPLE = 64
#: Steps of the integral; images in one forward pass.
STEPS, BATCH = 32, 64
#: Largest allowed difference between an attribution's sum and what it should be, as a share; the
#: median over images counts.
GAP = 0.1

Images = Float[Tensor, "images channels height width"]
Labels = Int[Tensor, "images"]

# ----------------------------------------------------------------- algorithms


class Logits(nn.Module):
    """The network as a module from images to logits, for Captum."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images).logits


class Model(NamedTuple):
    """A network to explain, and its last Tap with a map (None: no Tap has a map)."""

    logits: Logits
    tap: Any


Explainer = Callable[[Model, Images, Labels], Tensor]


def saliency(model: Model, images: Images, labels: Labels) -> Images:
    """Saliency: |gradient|."""
    return captum.Saliency(model.logits).attribute(images, target=labels)


def input_x_gradient(model: Model, images: Images, labels: Labels) -> Images:
    """Input x gradient."""
    return captum.InputXGradient(model.logits).attribute(images, target=labels)


def integrated_gradients(model: Model, images: Images, labels: Labels) -> Images:
    """Integrated gradients from the mean image (0)."""
    method = captum.IntegratedGradients(model.logits)
    return method.attribute(images, target=labels, n_steps=STEPS, internal_batch_size=BATCH)


def deep_lift(model: Model, images: Images, labels: Labels) -> Images:
    """DeepLift from the mean image (0), by the rescale rule."""
    return captum.DeepLift(model.logits).attribute(images, target=labels)


def occlusion(model: Model, images: Images, labels: Labels) -> Images:
    """Occlusion: drop of the logit when a window, an eighth of the image wide, is blanked."""
    window = [max(1, side // 8) for side in images.shape[2:]]
    method = captum.Occlusion(model.logits)
    return method.attribute(
        images,
        target=labels,
        sliding_window_shapes=(images.shape[1], *window),
        strides=(images.shape[1], *window),
    )


def layer_gradcam(model: Model, images: Images, labels: Labels) -> Tensor:
    """GradCam at the last Tap with a map, upsampled bilinearly."""
    method = captum.LayerGradCam(model.logits, model.tap)
    coarse = method.attribute(images, target=labels, relu_attributions=True)
    return captum.LayerAttribution.interpolate(coarse, images.shape[2:], "bilinear")


def guided_gradcam(model: Model, images: Images, labels: Labels) -> Images:
    """GradCam at the last Tap with a map, times guided backpropagation."""
    method = captum.GuidedGradCam(model.logits, model.tap)
    return method.attribute(images, target=labels, interpolate_mode="bilinear")


ALGORITHMS: dict[str, Explainer] = {
    f.__name__: f
    for f in (
        saliency,
        input_x_gradient,
        integrated_gradients,
        deep_lift,
        occlusion,
        layer_gradcam,
        guided_gradcam,
    )
}
#: Algorithms that need a Tap with a map.
MAPPED = {"layer_gradcam", "guided_gradcam"}
#: Algorithms that change the gradient of ReLU modules, so each module must run only once.
HOOKED = {"deep_lift", "guided_gradcam"}
#: Algorithms whose attributions sum to the difference of the logit from that of the mean image.
COMPLETE = {"integrated_gradients", "deep_lift"}
#: Algorithms whose attributions are a slope times the input.
TIMES_INPUT = {"input_x_gradient", "integrated_gradients", "deep_lift"}


@contextmanager
def quiet() -> Iterator[None]:
    """Turns gradients on, and hides Captum's warnings about inputs and hooks."""
    with warnings.catch_warnings(), torch.enable_grad():
        warnings.filterwarnings("ignore", module=r"captum\..*")
        yield


def explain(name: str, model: Model, images: Images, labels: Labels) -> Tensor:
    """An algorithm's attributions of the labels' logits, computed in chunks of images."""
    with quiet():
        parts = [
            ALGORITHMS[name](model, x.clone(), y).detach()
            for x, y in zip(images.split(BATCH), labels.split(BATCH), strict=True)
        ]
    return torch.cat(parts)


# ----------------------------------------------------------------- audit


def audit(name: str, model: Model, images: Images, labels: Labels, attributions: Tensor) -> str:
    """The reason why an algorithm's attributions of these images are wrong; "" if they pass.

    Attributions must be finite and the same for an image alone as in its batch. Those in COMPLETE
    must sum to the difference of the logit from that of the mean image. No hook may stay on the
    network, and no input may change. Algorithms in HOOKED need ReLU and max-pooling modules that
    run once, and not in place.
    """
    if name in HOOKED and (reason := _modules_fault(model.logits, images[:1])):
        return reason
    if not attributions.numel() or not attributions.isfinite().all():
        return "attributions are missing or not finite"
    hooks, one = _hooks(model.logits), images[:1].clone()
    with quiet():
        alone = ALGORITHMS[name](model, one, labels[:1]).detach()
    if _hooks(model.logits) != hooks:
        return "leaves hooks behind"
    if not torch.equal(one, images[:1]):
        return "changes its input"
    first = attributions[:1]
    if not torch.allclose(alone, first, rtol=1e-3, atol=1e-4 * float(first.abs().max())):
        return "an image's attribution depends on its batch"
    gap = _gap(model, images, labels, attributions) if name in COMPLETE else 0.0
    return f"misses {gap:.0%} of the answer" if gap > GAP else ""


def _hooks(module: nn.Module) -> int:
    """Number of hooks on a module and on all modules inside."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return sum(len(getattr(m, kind)) for m in module.modules() for kind in kinds)


def _modules_fault(logits: Logits, image: Images) -> str:
    """Names a ReLU or max-pooling that works in place or runs more than once; "" if none does."""
    kinds = (nn.ReLU, nn.MaxPool2d)
    modules = {name: m for name, m in logits.network.named_modules() if isinstance(m, kinds)}
    for name, module in modules.items():
        if getattr(module, "inplace", False):
            return f"module {name} works in place"
    calls: list[str] = []
    handles = [
        module.register_forward_hook(lambda *_, name=name: calls.append(name))
        for name, module in modules.items()
    ]
    with torch.no_grad():
        logits(image)
    for handle in handles:
        handle.remove()
    return next((f"module {n} runs more than once" for n in modules if calls.count(n) > 1), "")


def _gap(model: Model, images: Images, labels: Labels, attributions: Tensor) -> float:
    """Median over images of |sum of the attribution - difference of the logit| / |difference|."""
    with torch.no_grad():
        blank = model.logits(torch.zeros_like(images[:1]))
        logits = torch.cat([model.logits(x) for x in images.split(BATCH)])
        difference = (logits - blank).gather(1, labels[:, None])[:, 0]
    error = (attributions.flatten(1).sum(1) - difference).abs()
    return float((error / difference.abs().clamp(min=1e-6)).median())


# ----------------------------------------------------------------- on a probe


class Explanations(NamedTuple):
    """Attributions of the sampled images, by algorithm.

    ``faults`` holds the reason for each algorithm that failed its audit; it has no attributions.
    ``evidence`` is the mask of the concept that defines an image's class; None if no concept does.
    """

    model: Model
    images: Images
    labels: Labels
    evidence: Bool[Tensor, "images height width"] | None
    attributions: dict[str, Images]
    faults: dict[str, str]


def explanations(probe: Probe) -> Explanations:
    """Attributions of a sample of the probe's images, by every algorithm that passes its audit.

    64 images; if concepts define the classes, only images that contain the concept of their class.
    Computed once for each probe.
    """

    def compute() -> Explanations:
        rows, evidence = _sample(probe)
        images, labels = probe.images[rows], probe.labels[rows]
        taps = [tap for tap in probe.network.taps.values() if tap.spatial]
        model = Model(Logits(probe.network), taps[-1] if taps else None)
        attributions: dict[str, Tensor] = {}
        faults: dict[str, str] = {}
        for name in ALGORITHMS:
            if name in MAPPED and not taps:
                faults[name] = "no Tap has a map"
                continue
            attribution = explain(name, model, images, labels)
            if reason := audit(name, model, images, labels, attribution):
                faults[name] = reason
            else:
                attributions[name] = attribution
        return Explanations(model, images, labels, evidence, attributions, faults)

    return remember(probe, "explanations", compute)


def _sample(probe: Probe) -> tuple[Tensor, Bool[Tensor, "images height width"] | None]:
    """Indices of the images to explain, and the mask of the concept that defines each class."""
    order = torch.randperm(len(probe.labels), generator=probe.generator("attribution"))
    order = order.to(probe.labels.device)
    concepts = probe.concepts
    if concepts is None or len(concepts.of_class) < probe.classes:
        return order[:SAMPLE].sort().values, None
    of_class = torch.tensor(concepts.of_class, device=order.device)
    concept = of_class[probe.labels]
    own = torch.arange(len(order), device=order.device), concept.clamp(min=0)
    contains = (concept >= 0) & (concepts.packed[own] > 0).flatten(1).any(1)
    if not contains.any():
        return order[:SAMPLE].sort().values, None
    rows = order[contains[order]][:SAMPLE].sort().values
    masks = concepts.masks(rows)
    return rows, masks[torch.arange(len(rows), device=rows.device), concept[rows]]
