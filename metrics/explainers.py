"""Captum's algorithms on a sample of a probe's images, and the audit each has to pass there."""

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

#: Images explained.
SAMPLE = 64
#: Steps of the integral; images that a network sees at a time.
STEPS, BATCH = 32, 64
#: Most that the median image's attribution may miss of what it should add up to, as a share.
GAP = 0.1

Images = Float[Tensor, "images channels height width"]
Labels = Int[Tensor, "images"]

# ----------------------------------------------------------------- algorithms


class Logits(nn.Module):
    """The network as Captum wants it: images in, logits out."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images).logits


class Model(NamedTuple):
    """A network to be explained, and its last Tap with a map (None: it has none)."""

    logits: Logits
    tap: Any


Explainer = Callable[[Model, Images, Labels], Tensor]


def saliency(model: Model, images: Images, labels: Labels) -> Images:
    """|gradient|."""
    return captum.Saliency(model.logits).attribute(images, target=labels)


def input_x_gradient(model: Model, images: Images, labels: Labels) -> Images:
    """Input times gradient."""
    return captum.InputXGradient(model.logits).attribute(images, target=labels)


def integrated_gradients(model: Model, images: Images, labels: Labels) -> Images:
    """Gradients along the way from the mean image (0), times the input."""
    method = captum.IntegratedGradients(model.logits)
    return method.attribute(images, target=labels, n_steps=STEPS, internal_batch_size=BATCH)


def deep_lift(model: Model, images: Images, labels: Labels) -> Images:
    """Differences from the mean image (0), passed back by the rescale rule."""
    return captum.DeepLift(model.logits).attribute(images, target=labels)


def occlusion(model: Model, images: Images, labels: Labels) -> Images:
    """Fall of the logit when a window of an eighth of the image is blanked."""
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
#: Those that need a Tap with a map.
MAPPED = {"layer_gradcam", "guided_gradcam"}
#: Those that replace what a ReLU passes back, and so need each to be a module of its own.
HOOKED = {"deep_lift", "guided_gradcam"}
#: Those whose maps add up to the answer's difference from that to the mean image.
COMPLETE = {"integrated_gradients", "deep_lift"}
#: Those whose maps are a slope times the input.
TIMES_INPUT = {"input_x_gradient", "integrated_gradients", "deep_lift"}


@contextmanager
def quiet() -> Iterator[None]:
    """Gradients on, and Captum's notes on what it does to inputs and hooks left out."""
    with warnings.catch_warnings(), torch.enable_grad():
        warnings.filterwarnings("ignore", module=r"captum\..*")
        yield


def explain(name: str, model: Model, images: Images, labels: Labels) -> Tensor:
    """An algorithm's attribution of the labels' logits, images one chunk after another."""
    with quiet():
        parts = [
            ALGORITHMS[name](model, x.clone(), y).detach()
            for x, y in zip(images.split(BATCH), labels.split(BATCH), strict=True)
        ]
    return torch.cat(parts)


# ----------------------------------------------------------------- audit


def audit(name: str, model: Model, images: Images, labels: Labels, found: Tensor) -> str:
    """Why an algorithm's attributions of these images cannot be trusted; empty if they can.

    They must be finite, the same for an image alone as in its batch, and, where the theory says
    so, add up to the answer's difference from the mean image's. No hook may be left behind, no
    input changed; algorithms that redefine ReLU need each module to run once and not in place.
    """
    if name in HOOKED and (reason := _modules_fault(model.logits, images[:1])):
        return reason
    if not found.numel() or not found.isfinite().all():
        return "attributions are missing or not finite"
    hooks, one = _hooks(model.logits), images[:1].clone()
    with quiet():
        alone = ALGORITHMS[name](model, one, labels[:1]).detach()
    if _hooks(model.logits) != hooks:
        return "leaves hooks behind"
    if not torch.equal(one, images[:1]):
        return "changes its input"
    if not torch.allclose(alone, found[:1], rtol=1e-3, atol=1e-4 * float(found[:1].abs().max())):
        return "an image's attribution depends on its batch"
    gap = _gap(model, images, labels, found) if name in COMPLETE else 0.0
    return f"misses {gap:.0%} of the answer" if gap > GAP else ""


def _hooks(module: nn.Module) -> int:
    """Number of hooks on a module and all inside."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return sum(len(getattr(m, kind)) for m in module.modules() for kind in kinds)


def _modules_fault(logits: Logits, image: Images) -> str:
    """A ReLU or max-pooling that runs in place, or more than once an image."""
    kinds = (nn.ReLU, nn.MaxPool2d)
    watched = {name: m for name, m in logits.network.named_modules() if isinstance(m, kinds)}
    for name, module in watched.items():
        if getattr(module, "inplace", False):
            return f"module {name} works in place"
    calls: list[str] = []
    handles = [
        module.register_forward_hook(lambda *_, name=name: calls.append(name))
        for name, module in watched.items()
    ]
    with torch.no_grad():
        logits(image)
    for handle in handles:
        handle.remove()
    return next((f"module {n} runs more than once" for n in watched if calls.count(n) > 1), "")


def _gap(model: Model, images: Images, labels: Labels, found: Tensor) -> float:
    """Median over images of what the attributions' sum misses, as a share of the difference."""
    with torch.no_grad():
        blank = model.logits(torch.zeros_like(images[:1]))
        logits = torch.cat([model.logits(x) for x in images.split(BATCH)])
        due = (logits - blank).gather(1, labels[:, None])[:, 0]
    return float(((found.flatten(1).sum(1) - due).abs() / due.abs().clamp(min=1e-6)).median())


# ----------------------------------------------------------------- on a probe


class Explained(NamedTuple):
    """The sampled images, what each algorithm says of them, and why some cannot be trusted."""

    model: Model
    images: Images
    labels: Labels
    evidence: Bool[Tensor, "images height width"] | None
    found: dict[str, Images]
    faults: dict[str, str]


def explained(probe: Probe) -> Explained:
    """The sample, explained and audited by every algorithm; remembered.

    64 images, of those that show the concept which defines their class where there is one. The
    attributions of an algorithm that fails the audit are kept apart, its reason in ``faults``.
    """

    def compute() -> Explained:
        rows, evidence = _sample(probe)
        images, labels = probe.images[rows], probe.labels[rows]
        taps = [tap for tap in probe.network.taps.values() if tap.spatial]
        model = Model(Logits(probe.network), taps[-1] if taps else None)
        found: dict[str, Tensor] = {}
        faults: dict[str, str] = {}
        for name in ALGORITHMS:
            if name in MAPPED and not taps:
                faults[name] = "no Tap has a map"
                continue
            attribution = explain(name, model, images, labels)
            if reason := audit(name, model, images, labels, attribution):
                faults[name] = reason
            else:
                found[name] = attribution
        return Explained(model, images, labels, evidence, found, faults)

    return remember(probe, "explained", compute)


def _sample(probe: Probe) -> tuple[Tensor, Bool[Tensor, "images height width"] | None]:
    """Rows of the images to explain, and the mask of each one's class-defining concept."""
    order = torch.randperm(len(probe.labels), generator=probe.generator("attribution"))
    order = order.to(probe.labels.device)
    concepts = probe.concepts
    if concepts is None or len(concepts.of_class) < probe.classes:
        return order[:SAMPLE].sort().values, None
    of_class = torch.tensor(concepts.of_class, device=order.device)
    concept = of_class[probe.labels]
    chosen = torch.arange(len(order), device=order.device), concept.clamp(min=0)
    shows = (concept >= 0) & (concepts.packed[chosen] > 0).flatten(1).any(1)
    if not shows.any():
        return order[:SAMPLE].sort().values, None
    rows = order[shows[order]][:SAMPLE].sort().values
    masks = concepts.masks(rows)
    return rows, masks[torch.arange(len(rows), device=rows.device), concept[rows]]
