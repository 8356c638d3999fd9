"""Captum's attribution algorithms on some of a probe's images, and the audit of each of them."""

from __future__ import annotations

import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from captum import attr as captum
from captum.attr._core.deep_lift import SUPPORTED_NON_LINEAR
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
#: Number of images that the audit explains one by one.
CHECKED = 4

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


# ----------------------------------------------------------------- replaced gradients


class Replaced(NamedTuple):
    """The modules whose gradient an algorithm replaces, and where that goes wrong.

    ``modules`` names them in messages. The algorithm is wrong if one of ``operations`` runs outside
    of these modules: autograd then takes its plain gradient. Operations are named as in the nodes
    of autograd's graph, for example "Relu" for ``ReluBackward0``.
    """

    modules: str
    covers: Callable[[nn.Module], bool]
    covered: str  # pattern of the operations that it replaces inside these modules
    operations: str  # pattern


_ACTIVATIONS = (
    "Relu|Threshold|Clamp|ClampMin|ClampMax|Hardtanh|LeakyRelu|PreluKernel|RreluWithNoise|Elu|Celu|"
    "Gelu|Silu|Mish|Hardswish|Hardsigmoid|Softplus|Sigmoid|LogSigmoid|Tanh|Glu|Softshrink|"
    "Hardshrink|Abs|Sign|Maximum|Minimum|Erf|Exp|Expm1|Log1P|Sin|Cos|Atan"
)
_MAXIMA = r"\w*MaxPool\w*|Amax|Max|Softmax|LogSoftmax"
#: Products and choices, with the attributes that hold their factor or mask.
_MASKED = {
    "Mul": ("_saved_self", "_saved_other"),
    "Where": ("_saved_condition",),
    "MaskedFill": ("_saved_mask",),
}


def _deep_lift_covers(module: nn.Module) -> bool:
    return type(module) in SUPPORTED_NON_LINEAR and not module._backward_hooks


#: Algorithms that replace the gradient of some modules.
HOOKED = {
    "guided_gradcam": Replaced(
        "nn.ReLU modules",
        lambda module: isinstance(module, nn.ReLU),
        "Relu",
        _ACTIVATIONS,
    ),
    "deep_lift": Replaced(
        "the modules that Captum's DeepLift supports",
        _deep_lift_covers,
        ".*",
        f"{_ACTIVATIONS}|{_MAXIMA}",
    ),
}


class _Call(NamedTuple):
    """One forward pass of a module: its name, and the ends of its part of autograd's graph."""

    name: str
    before: list[tuple[Any, int]]  # node and output number of each input
    after: Any


def graph_fault(name: str, logits: Logits, images: Images) -> str:
    """The reason why an algorithm in HOOKED is wrong on this network; "" if it is right.

    The modules whose gradient it replaces must run once, not in place, and be the only readers of
    their input (Captum replaces the whole gradient of that input). No activation may run outside of
    them: not as a function (``F.relu``), not as another module, not as a product with a mask that
    depends on the image, and not inside a custom autograd function. That holds for transforms that
    a method installed at a Tap, too.
    """
    replaced = HOOKED[name]
    modules = {n: m for n, m in logits.network.named_modules() if replaced.covers(m)}
    for module_name, module in modules.items():
        if getattr(module, "inplace", False):
            return f"module {module_name} works in place"
    root, output, calls = _record(logits, images, modules)
    count = Counter(call.name for call in calls)
    if reused := [n for n in modules if count[n] > 1]:
        return f"module {reused[0]} runs more than once"
    if output is None:
        return ""
    graph = _reach(output, _inputs)
    readers: dict[Any, list[Any]] = defaultdict(list)
    for node in graph:
        for source in _inputs(node):
            readers[source].append(node)
    reads = Counter(edge for node in graph for edge in node.next_functions)
    excused: set[Any] = set()
    for call in calls:
        if any(reads[edge] > 1 for edge in call.before):
            return f"the input of module {call.name} is also read elsewhere"
        inside = _reach(call.after, _inputs, stop={node for node, _ in call.before})
        excused |= {node for node in inside if re.fullmatch(replaced.covered, _operation(node))}
    path = _reach(root, lambda node: readers[node]) - excused
    for node in sorted(path, key=lambda node: node._sequence_nr()):  # as they ran
        operation = _operation(node)
        custom = isinstance(node, torch.autograd.function.BackwardCFunction)
        plain = re.fullmatch(replaced.operations, operation)
        if plain or custom or _image_mask(node, len(images)):
            return f"{operation} runs outside of {replaced.modules}: its gradient is not replaced"
    return ""


def _record(
    logits: Logits, images: Images, modules: dict[str, nn.Module]
) -> tuple[Any, Any, list[_Call]]:
    """Runs the network: the graph's nodes of images and logits, and each call of the modules.

    The node of the logits is None if they do not depend on the images.
    """
    calls: list[_Call] = []

    def hook(name: str, inputs: tuple[Any, ...], output: Any) -> None:
        tensors = [x for x in inputs if isinstance(x, Tensor)]
        before = [(x.grad_fn, x.output_nr) for x in tensors if x.grad_fn is not None]
        first = output[0] if isinstance(output, tuple) else output
        calls.append(_Call(name, before, first.grad_fn))

    handles = [
        module.register_forward_hook(lambda _, x, y, name=name: hook(name, x, y))
        for name, module in modules.items()
    ]
    try:
        with torch.enable_grad():
            start = images.detach().clone().requires_grad_().clone()
            return start.grad_fn, logits(start).grad_fn, calls
    finally:
        for handle in handles:
            handle.remove()


def _inputs(node: Any) -> list[Any]:
    """The nodes of autograd's graph that a node reads from."""
    return [source for source, _ in node.next_functions if source is not None]


def _reach(
    start: Any, neighbours: Callable[[Any], Iterable[Any]], stop: Iterable[Any] = ()
) -> set[Any]:
    """All nodes that can be reached from ``start``, itself included, without those in ``stop``."""
    nodes: set[Any] = set()
    todo, closed = [start], {None, *stop}
    while todo:
        node = todo.pop()
        if node not in closed and node not in nodes:
            nodes.add(node)
            todo += neighbours(node)
    return nodes


def _operation(node: Any) -> str:
    """A node's operation, for example "Relu"."""
    return re.sub(r"Backward\d*$", "", node.name())


def _image_mask(node: Any, images: int) -> bool:
    """Whether a node multiplies by, or chooses by, a constant that differs between the images."""
    for attribute in _MASKED.get(_operation(node), ()):
        mask = getattr(node, attribute, None)
        if isinstance(mask, Tensor) and not mask.requires_grad and mask.ndim > 1:
            per_image = len(mask) == images and mask.ndim == len(node._input_metadata[0].shape)
            if per_image and not torch.equal(mask, mask[:1].expand_as(mask)):
                return True
    return False


# ----------------------------------------------------------------- audit


def audit(name: str, model: Model, images: Images, labels: Labels, attributions: Tensor) -> str:
    """The reason why an algorithm's attributions of these images are wrong; "" if they pass.

    Attributions must be finite and the same for an image alone as in its batch. Those in COMPLETE
    must sum to the difference of the logit from that of the mean image. No hook may stay on the
    network, and no input may change. Algorithms in HOOKED pass `graph_fault` first.
    """
    if len(attributions) != len(images) or not attributions.isfinite().all():
        return "attributions are missing or not finite"
    rows = _telling(images, attributions)
    if len(rows) < 2:  # no fault would show on these images, so other images are checked
        noise = _noise(images)
        own = labels[torch.arange(CHECKED, device=labels.device) % len(labels)]
        maps = explain(name, model, noise, own)
        reason = _alone(name, model, noise, own, maps, range(CHECKED))
    else:
        reason = _alone(name, model, images, labels, attributions, rows)
    if reason:
        return reason
    gap = _gap(model, images, labels, attributions) if name in COMPLETE else 0.0
    return f"misses {gap:.0%} of the answer" if gap > GAP else ""


def _noise(images: Images) -> Tensor:
    """Images of noise with the standard deviation of training pixels."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(CHECKED, *images.shape[1:], generator=generator).to(images)


def _telling(images: Images, attributions: Tensor) -> list[int]:
    """Up to four images on which a fault would show, from the smallest to the largest map.

    No two of them are alike, and no map is empty or below a hundredth of the median.
    """
    size = attributions.flatten(1).abs().amax(1)
    if not (size > 0).any():
        return []
    shows = size >= 0.01 * size[size > 0].median()
    alike = torch.unique(images.flatten(1), dim=0, return_inverse=True)[1].tolist()
    order = [row for row in size.argsort(stable=True).tolist() if shows[row]]
    rows = list({alike[row]: row for row in order}.values())
    places = torch.linspace(0, len(rows) - 1, min(CHECKED, len(rows))).round().long()
    return [rows[place] for place in places.tolist()]


def _alone(
    name: str,
    model: Model,
    images: Images,
    labels: Labels,
    attributions: Tensor,
    rows: Iterable[int],
) -> str:
    """The reason why an algorithm is wrong when it explains these rows one by one."""
    for row in rows:
        one, together = images[row : row + 1].clone(), attributions[row : row + 1]
        hooks = _hook_count(model.logits)
        with quiet():
            alone = ALGORITHMS[name](model, one, labels[row : row + 1]).detach()
        if _hook_count(model.logits) != hooks:
            return "leaves hooks behind"
        if not torch.equal(one, images[row : row + 1]):
            return "changes its input"
        scale = float(together.abs().max())
        if not torch.allclose(alone, together, rtol=1e-3, atol=1e-4 * scale):
            return "an image's attribution depends on its batch"
    return ""


_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def _hook_count(module: nn.Module) -> int:
    """Number of hooks on a module and on all modules inside."""
    return sum(len(getattr(m, kind)) for m in module.modules() for kind in _HOOKS)


@contextmanager
def _restored(network: nn.Module) -> Iterator[None]:
    """Removes hooks and attributes of modules that were added inside the block."""
    before = [
        (m, set(vars(m)), {kind: dict(getattr(m, kind)) for kind in _HOOKS})
        for m in network.modules()
    ]
    try:
        yield
    finally:
        for module, attributes, hooks in before:
            for added in set(vars(module)) - attributes:
                del vars(module)[added]
            for kind, own in hooks.items():
                getattr(module, kind).clear()
                getattr(module, kind).update(own)


def _gap(model: Model, images: Images, labels: Labels, attributions: Tensor) -> float:
    """Median over images of |sum of the attribution - difference of the logit| / |difference|."""
    with torch.no_grad():
        blank = model.logits(torch.zeros_like(images[:1]))
        logits = torch.cat([model.logits(x) for x in images.split(BATCH)])
        difference = (logits - blank).gather(1, labels[:, None])[:, 0]
    error = (attributions.flatten(1).sum(1) - difference).abs()
    return float((error / difference.abs().clamp(min=1e-6)).median())


def audited(name: str, model: Model, images: Images, labels: Labels) -> Tensor | str:
    """An algorithm's attributions of these images, or the reason why they fail the audit.

    An algorithm that raises fails with its error. Whatever it does, the network stays as it was.
    Raises only when the machine fails (memory, device).
    """
    if name in MAPPED and model.tap is None:
        return "no Tap has a map"

    def attempt() -> Tensor | str:
        if name in HOOKED and (reason := graph_fault(name, model.logits, images[:CHECKED])):
            return reason
        maps = explain(name, model, images, labels)
        return audit(name, model, images, labels, maps) or maps

    return guarded(attempt, model)


def guarded(attempt: Callable[[], Tensor | str], model: Model) -> Tensor | str:
    """The result of ``attempt``, or its error in one line; the network stays as it was.

    Raises only when the machine fails (memory, device).
    """
    try:
        with _restored(model.logits):
            return attempt()
    except (MemoryError, torch.OutOfMemoryError, torch.AcceleratorError):
        raise
    except Exception as error:
        if "allocate memory" in str(error):
            raise
        return f"raises {type(error).__name__}: {' '.join(str(error).split())[:200]}"


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
            result = audited(name, model, images, labels)
            if isinstance(result, str):
                faults[name] = result
            else:
                attributions[name] = result
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
