"""Backbones by the name of a model: ``torchvision:resnet50``, ``timm:...``, ``my_net.py:build``."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import os
from collections.abc import Callable
from typing import Any, Literal

from torch import nn

from legible.bench.backbones.taps import Network
from legible.bench.backbones.traced import head_names, traced_network
from legible.bench.backbones.tracing import answers
from legible.bench.backbones.weights import load_weights, read_weights
from legible.bench.errors import UserError, nearest

#: Libraries of models: prefix of the name -> module.
LIBRARIES = {"torchvision": "torchvision.models", "timm": "timm"}
#: The value of ``weights`` that stands for a library's own weights.
PRETRAINED = "pretrained"
#: Outputs of the libraries' models before a new head is put on.
IMAGENET_CLASSES = 1000

#: Makes a model with some number of outputs.
MakeModel = Callable[[int], nn.Module]


def model_builder(name: str, make: Callable[..., Any] | None = None) -> Callable[..., Network]:
    """A backbone's builder for a model's name; ``make`` is the function of a user's file.

    Raises UserError for an unknown library or model, with the nearest name.
    """
    library, _, model = name.partition(":")
    make_model = _own(make) if make else _library_model(library, model)

    def build(
        image: tuple[int, int, int],
        classes: int,
        taps: list[str] = [],  # noqa: B006  a default is never changed
        weights: str = "",
        head: Literal["new", "keep"] = "new",
    ) -> Network:
        """A model as a backbone, by tracing (see backbones/traced.py).

        ``taps``: names of nodes or modules after which Taps are put; by default, for each size, the
        last map that is rectified or the end of a residual block. ``weights``: a .safetensors or
        .pth file with the model's own names, or ``pretrained`` for torchvision's own, which needs
        LEGIBLE_DOWNLOAD=1. ``head="new"``: the layer that gives the logits is a new one with an
        output for each class (models made for distillation have two such layers); ``"keep"``: it is
        the model's own.
        """
        outputs = classes if make else IMAGENET_CLASSES
        state = _weights(library, model, weights) if weights else None
        network = make_model(outputs)
        places = head_names(network, image, answers(network, image)[0].shape[-1])
        if state is not None:
            outputs = _outputs(state, places[-1], outputs) if places else outputs
            if head == "keep" and not make:
                network = make_model(outputs)
            load_weights(network, state, weights, except_below=places if head == "new" else ())
        if head == "new":
            if not places:
                raise ValueError(
                    f"the logits of '{name}' come from no linear or convolution layer that can be "
                    'replaced: use head = "keep"'
                )
            for place in places:
                _new_head(network, place, classes)
        if (count := answers(network, image)[0].shape[-1]) != classes:
            raise ValueError(f"'{name}' has {count} outputs, but the data has {classes} classes: "
                             'use head = "new"')  # fmt: skip
        return traced_network(network, image, taps)

    build.__name__ = build.__qualname__ = name
    build.whole = functools.partial(_whole_model, name, make_model, make is not None)  # type: ignore[attr-defined]
    return build


def _whole_model(
    name: str,
    make_model: MakeModel,
    is_own: bool,
    classes: int,
    weights: str = "",
    outputs: int = 0,
) -> nn.Module:
    """The model itself, not traced, with its own head: as many outputs as its weights have.

    Without weights it has ``outputs`` outputs; 0 stands for ``classes`` with the function of a
    user's file, else for 1000. Raises ValueError for weights that do not fit.
    """
    library, _, model = name.partition(":")
    outputs = outputs or (classes if is_own else IMAGENET_CLASSES)
    state = _weights(library, model, weights) if weights else None
    network = make_model(outputs)
    if state is not None:
        count = _outputs(state, _last_layer(network), outputs)
        network = network if count == outputs else make_model(count)
        load_weights(network, state, weights)
    return network.train()


def _last_layer(network: nn.Module) -> str:
    """The path of the layer that gives the logits; of a model that cannot be traced, its last
    linear or convolution layer."""
    try:
        return head_names(network, None)[-1]
    except ValueError:
        layers = [n for n, m in network.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)]
        return layers[-1] if layers else ""


def _library_model(library: str, model: str) -> MakeModel:
    if library not in LIBRARIES:
        raise UserError(
            f"no library of models '{library}'{nearest(library, LIBRARIES)}: write "
            "torchvision:NAME, timm:NAME or FILE.py:FUNCTION"
        )
    if importlib.util.find_spec(library) is None:
        raise UserError(f"'{library}' is not installed: pip install {library}")
    module: Any = importlib.import_module(LIBRARIES[library])
    if model not in (names := module.list_models()):
        raise UserError(f"{library} has no model '{model}'{nearest(model, names)}")
    if library == "timm":
        return lambda outputs: module.create_model(model, num_classes=outputs)
    options = {"init_weights": True} if model in ("googlenet", "inception_v3") else {}
    return lambda outputs: module.get_model(model, weights=None, num_classes=outputs, **options)


def _own(make: Callable[..., Any]) -> MakeModel:
    """A user's function; it may take the number of classes as ``classes`` or ``num_classes``."""

    def make_model(outputs: int) -> nn.Module:
        names = inspect.signature(make).parameters
        name = next((name for name in ("classes", "num_classes") if name in names), None)
        model = make(**{name: outputs}) if name else make()
        if not isinstance(model, nn.Module):
            raise ValueError(f"{make.__name__}() returns a {type(model).__name__}: return a torch "
                             "nn.Module")  # fmt: skip
        return model

    return make_model


def _weights(library: str, model: str, weights: str) -> dict[str, Any]:
    if weights != PRETRAINED:
        return read_weights(weights)
    if library != "torchvision":
        raise ValueError('weights = "pretrained" works for torchvision alone: name a file')
    if os.environ.get("LEGIBLE_DOWNLOAD") != "1":
        raise ValueError('weights = "pretrained" downloads: set LEGIBLE_DOWNLOAD=1, or name a file')
    from torchvision.models import get_model_weights

    return dict(get_model_weights(model)["DEFAULT"].get_state_dict(check_hash=True))


def _outputs(state: dict[str, Any], place: str, default: int) -> int:
    weight = state.get(f"{place}.weight")
    return default if weight is None else len(weight)


def _new_head(network: nn.Module, place: str, classes: int) -> None:
    """Replaces the last layer by a new one of the same kind with an output for each class."""
    old = network.get_submodule(place)
    new: nn.Module
    if isinstance(old, nn.Linear):
        new = nn.Linear(old.in_features, classes, bias=old.bias is not None)
    else:
        assert isinstance(old, nn.Conv2d)
        new = nn.Conv2d(
            old.in_channels, classes, old.kernel_size, old.stride, old.padding, old.dilation,  # type: ignore[arg-type]
            old.groups, old.bias is not None, old.padding_mode,
        )  # fmt: skip
    for module in list(network.modules()):  # a layer may have several names
        for name, child in module._modules.items():
            if child is old:
                module._modules[name] = new
