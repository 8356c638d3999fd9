"""The network that is scored, with Taps at the layers to read, and what is known of its head."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from legible.bench.backbones.hooked import HookedNetwork, logits_of
from legible.bench.backbones.model_names import IMAGENET_CLASSES
from legible.bench.backbones.taps import Network
from legible.bench.backbones.traced import traced_network
from legible.bench.backbones.tracing import Untraceable
from legible.bench.backbones.weights import load_weights, read_weights, weights_digest
from legible.bench.errors import UserError, one_line
from legible.bench.one_network.class_map import (
    ClassMap,
    Groups,
    JoinedOutputs,
    join_by_name,
    join_classes,
)
from legible.bench.one_network.image_data import ImageData, Normalisation
from legible.bench.one_network.twin import seeded, with_fresh_weights
from legible.bench.plugins import registry
from legible.bench.scoring.probe import resolve

#: What is said of the weights of a network that was given without any.
RANDOM_WEIGHTS = "random: no weights were given"
#: Number of layers with a map that are read when none are named: the last ones.
DEFAULT_LAYERS = 2
#: The normalisation of networks trained on ImageNet by torchvision.
IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
#: Images on which a traced network must give the logits of the original one.
COMPARED = 4


@dataclass(frozen=True, eq=False)
class OwnNetwork:
    """A network that is to be scored.

    ``model`` is the network without Taps, ``make_twin`` makes one of the same architecture with
    fresh weights. ``weights`` says where the weights come from. ``head_names`` are the names of the
    outputs, as far as they are known; ``normalisation`` is what the network was trained with, None
    if that is not known.
    """

    label: str
    model: nn.Module
    make_twin: Callable[[], nn.Module]
    weights: str = ""
    head_names: tuple[str, ...] = ()
    normalisation: Normalisation | None = None


def named_subject(name: str, weights: str, data: ImageData, seed: int = 0) -> OwnNetwork:
    """The network of a backbone's name: ``torchvision:resnet50``, ``my_net.py:build``, ``vgg``.

    ``weights`` is a file, or "" for random weights. Raises UserError for weights that do not fit.
    """
    builder = registry.get("backbones", name)
    classes = len(data.class_names)

    def make(weights: str, outputs: int = 0) -> nn.Module:
        if hasattr(builder, "whole"):
            return builder.whole(classes, weights, outputs)  # type: ignore[no-any-return]
        network: Network = builder(data.image, classes)
        if weights:
            load_weights(network.backbone, read_weights(weights), weights)
        return network

    try:
        model = seeded(lambda: make(weights), seed, "initialisation")
    except ValueError as error:
        raise UserError(f"'{name}': {error}") from error
    except (TypeError, RuntimeError) as error:
        raise UserError(f"'{name}' cannot be built: {one_line(error)}") from error
    names = _imagenet_names(name)
    return OwnNetwork(
        label=name, model=model,
        make_twin=lambda: seeded(lambda: make("", output_count(model)), seed, "twin"),
        weights=_described(weights), head_names=names,
        normalisation=_library_normalisation(name, model),
    )  # fmt: skip


def given_subject(model: Any, weights: str, seed: int = 0) -> OwnNetwork:
    """A network in memory; the original is not changed. ``weights`` is a file to load, or ""."""
    if not isinstance(model, nn.Module):
        raise UserError(f"network is a {type(model).__name__}: give a torch nn.Module, or a name")
    if not any(True for _ in model.parameters()):
        raise UserError("the network has no parameters")
    try:
        own = copy.deepcopy(model).float()
        if weights:
            inner = own.backbone if isinstance(own, Network) else own
            load_weights(inner, read_weights(weights), weights)
    except ValueError as error:
        raise UserError(str(error)) from error
    except (RuntimeError, TypeError) as error:
        raise UserError(f"the network cannot be copied: {one_line(error)}") from error
    described = _described(weights) if weights else "those of the network in memory"
    return OwnNetwork(
        label=type(model).__name__, model=own,
        make_twin=lambda: seeded(lambda: with_fresh_weights(own), seed, "twin"), weights=described,
    )  # fmt: skip


def _described(weights: str) -> str:
    if not weights:
        return RANDOM_WEIGHTS
    path = Path(weights).expanduser()
    return f"{path.name} (hash of the values {weights_digest(path)})" if path.is_file() else weights


def _imagenet_names(name: str) -> tuple[str, ...]:
    """The names of ImageNet's classes, if torchvision has weights of a model for them."""
    library, _, model = name.partition(":")
    if library != "torchvision":
        return ()
    from torchvision.models import get_model_weights

    try:
        categories: Any = get_model_weights(model)["DEFAULT"].meta.get("categories", ())
    except (ValueError, KeyError):
        return ()
    return tuple(categories)


def _library_normalisation(name: str, model: nn.Module) -> Normalisation | None:
    """What a library's model for ImageNet was trained with; None for other models."""
    library = name.partition(":")[0]
    if library not in ("torchvision", "timm") or output_count(model) != IMAGENET_CLASSES:
        return None
    config = getattr(model, "default_cfg", None)
    if library == "timm" and isinstance(config, dict) and {"mean", "std"} <= set(config):
        return Normalisation(tuple(config["mean"]), tuple(config["std"]))
    return IMAGENET


def output_count(model: nn.Module) -> int:
    """Number of outputs of a model's last linear or convolution layer; 0 if it has none."""
    layers = [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    return layers[-1].weight.shape[0] if layers else 0


# ----------------------------------------------------------------- layers


def with_taps(
    model: nn.Module, data: ImageData, layers: Sequence[str] = ()
) -> tuple[Network | HookedNetwork, list[str]]:
    """The network with Taps, and the names of the layers to read.

    A model that can be traced becomes a `Network`, any other a `HookedNetwork`. Without ``layers``,
    the last two that have a map. Raises UserError for an unknown layer, with the nearest name, and
    for images that the network does not take.
    """
    if isinstance(model, Network):
        try:
            return model, resolve(model, layers or ["last_spatial"])
        except ValueError as error:
            raise UserError(str(error)) from error
    few = data.batch(slice(COMPARED))
    expected = _logits(model, few)
    try:
        network = _traced(model, data, layers, few, expected)
        if layers:
            return network, list(network.taps)
        maps = [name for name, tap in network.taps.items() if tap.spatial]
        return network, maps[-DEFAULT_LAYERS:] or list(network.taps)[-1:]
    except ValueError as error:
        hint = _known_layers(model, data) if "no node or module" in str(error) else ""
        raise UserError(f"the network {error}{hint}") from error


def _known_layers(model: nn.Module, data: ImageData) -> str:
    """The layers that are read by default, if there are any, and the modules of a network."""
    children = ", ".join(name for name, _ in itertools.islice(model.named_children(), 20))
    try:
        usual = (
            f"usual layers: {', '.join(traced_network(copy.deepcopy(model), data.image).taps)}; "
        )
    except ValueError:  # a network without maps
        usual = ""
    return f" ({usual}modules: {children}, and what is in these)"


def _traced(
    model: nn.Module, data: ImageData, layers: Sequence[str], few: Tensor, expected: Tensor
) -> Network | HookedNetwork:
    try:
        network = traced_network(copy.deepcopy(model), data.image, layers)
        with torch.no_grad():
            logits = network.eval()(few).logits
        if logits.shape == expected.shape and torch.allclose(logits, expected, 1e-4, 1e-5):
            return network
        reason = "computes other logits when it is traced"
    except Untraceable as error:
        reason = str(error)
    return HookedNetwork(model, data.image, layers, reason)


def _logits(model: nn.Module, images: Tensor) -> Tensor:
    model.eval()
    try:
        with torch.no_grad():
            output = model(images)
        return logits_of(output)
    except ValueError as error:
        raise UserError(f"the network {error}") from error
    except Exception as error:
        size = " x ".join(map(str, images.shape[1:]))
        first = next((m for m in model.modules() if isinstance(m, nn.Conv2d)), None)
        if first is not None and first.in_channels != images.shape[1]:
            raise UserError(
                f"the network does not take images of {size}: its first convolution needs "
                f"{first.in_channels} channel{'' if first.in_channels == 1 else 's'}"
            ) from error
        raise UserError(f"the network does not take images of {size}: {one_line(error)}") from error


# ----------------------------------------------------------------- answers


@dataclass(frozen=True)
class Answers:
    """How a network's outputs are compared with the data's classes.

    ``groups`` are the outputs of each class; () if output k stands for class k, or if the two were
    not joined. ``unjoined`` says why they were not, ``text`` what was done.
    """

    text: str
    groups: Groups = ()
    unjoined: str = ""


def answers_of(
    outputs: int, head_names: Sequence[str], data: ImageData, class_map: ClassMap | None
) -> Answers:
    """Joins outputs and classes by a class map, else by name, else by their number."""
    names = data.class_names
    head_names = head_names if len(head_names) == outputs else ()
    if class_map is not None:
        return Answers(
            "The class map says which outputs of the head stand for each class; the answer is the "
            "class with the largest of these outputs, and other outputs do not count.",
            join_classes(class_map, names, outputs, head_names),
        )
    if groups := join_by_name(names, head_names):
        return Answers(
            "Every class has the name of an output of the head; other outputs do not count.", groups
        )
    if outputs == len(names) and not head_names:
        return Answers(
            f"The head has {outputs} outputs, as many as the data has classes: output k is taken "
            "for class k."
        )
    reason = (
        f"the head's {outputs} outputs are not the data's {len(names)} classes: join them with a "
        "class map (--class-map)"
    )
    return Answers(f"The answers are not compared with the labels: {reason}.", (), reason)


def joined(network: Network | HookedNetwork, groups: Groups) -> Network | HookedNetwork:
    """The network with logits of the data's classes, changed in place."""
    if not groups:
        return network
    head = JoinedOutputs(groups)
    if isinstance(network, HookedNetwork):
        network.head = head
    else:
        network.add_module("joined_outputs", head)
        network.trunk = (*network.trunk, head)
    return network
