"""What a training method is: the class `Method`, which every plugin subclasses.

To write a method, subclass `Method`, decorate the class with `register` and define ``penalty``.
The smallest plugin is one file, ``my_method.py``; the method's name is the file's name:

    from legible import Method, Step, register

    @register
    class MyMethod(Method):
        '''Penalises the mean activation. <equation, paper, repository, differences>'''

        def penalty(self, step: Step):
            return {"mean": self.strength * step.activations[self.taps[0]].mean()}

`legible check my_method.py` tests that a method follows these rules:

- ``strength`` scales all that a method adds: with strength 0 the trained weights are plain's.
- All random numbers come from ``self.generator``.
- All state is in parameters and buffers, so that a resumed training is exact.
- Labels are not read at evaluation.
- There is no Python loop over images, units or pairs.

For annotations of the hooks' arguments, ``legible`` exports `Step`, `NetworkLike` and `Split` (the
training data; built-in methods use the protocol `Data` below). The remaining types, `TapLike` and
`Edge`, are in ``legible/metrics/network.py``.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, cast, runtime_checkable

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from legible.metrics.network import Concepts, NetworkLike, Output

TapChoice = Literal["last_spatial", "last", "spatial", "dense", "all"] | list[str]


@runtime_checkable
class Data(Protocol):
    """The training data that a method sees: uint8 images, labels and concepts.

    `take` brings images to the device: those of large data stay in a file. Labels are on the
    device.
    """

    @property
    def images(self) -> Tensor: ...
    @property
    def labels(self) -> Int[Tensor, "images"]: ...
    @property
    def concepts(self) -> Concepts | None: ...
    @property
    def classes(self) -> int: ...

    def take(self, rows: Int[Tensor, "batch"]) -> UInt8[Tensor, "batch channels height width"]:
        """The images with these indices, on the device."""
        ...

    def batches(
        self, size: int = 256
    ) -> Iterator[tuple[Int[Tensor, "batch"], Float[Tensor, "batch channels height width"]]]:
        """Yields indices and normalised, unaugmented images, in order."""
        ...

    def normalise(self, images: Tensor) -> Float[Tensor, "batch channels height width"]:
        """Returns uint8 images as the network's input: float, normalised."""
        ...


@dataclass(frozen=True)
class Step:
    """One training step, after the forward pass and before the loss.

    network: the network that is trained.
    images: the augmented, normalised images of the batch.
    labels: their classes.
    indices: their rows in the training data.
    logits: the network's output.
    activations: what entered each Tap, in float32, before any transform.
    transformed: what left each Tap.
    epoch: counted from 0.
    progress: the share of the training that is done, from 0 to 1.
    view: a forward pass on another augmentation of the same images; call `second_view`.
    """

    network: NetworkLike
    images: Float[Tensor, "batch channels height width"]
    labels: Int[Tensor, "batch"]
    indices: Int[Tensor, "batch"]
    logits: Float[Tensor, "batch classes"]
    activations: Mapping[str, Tensor]
    transformed: Mapping[str, Tensor]
    epoch: int
    progress: float
    view: Callable[[], Output]

    def second_view(self) -> Output:
        """Runs the network on another augmentation of the same images.

        BatchNorm's running statistics do not change.
        """
        return self.view()

    def rerun(self, activation: Tensor) -> Float[Tensor, "batch classes"]:
        """Computes the logits from a changed activation of the last Tap."""
        return self.network.continue_from(list(self.network.taps)[-1], activation)


class Target(NamedTuple):
    """The quantity that a method treats: a metric, and the direction in which it should move.

    metric: a metric that is defined on plain's network and on the method's own; often the
        method's own penalty (see metrics/treatment.py).
    better: "higher" or "lower".
    """

    metric: str
    better: Literal["higher", "lower"]


class Method(nn.Module):
    """A way to train a network: subclass it and override the hooks you need.

    Every hook has a default that does nothing. The method's parameters are optimised together with
    the network's; its buffers are saved and restored. Do not store modules of the network as
    attributes, since they would become the method's own parameters: store Tap names, and use the
    network that each hook receives.

    strength: scales all that the method adds; at 0 training is exactly plain.
    taps: where the method acts: a `TapChoice` or a list of Tap names; ``acts_on`` by default.
    """

    #: The name of the file that defines the method; set by `register`, as is ``origin``.
    name: ClassVar[str] = ""
    #: The path of that file.
    origin: ClassVar[str] = ""
    #: The name in tables, if it should differ from the method's name.
    label: ClassVar[str] = ""
    #: "method"; "null" for a reference row, which is shown apart; "control" for a method that
    #: optimises a metric, which is not ranked.
    kind: ClassVar[Literal["method", "null", "control"]] = "method"
    #: Keys of `NEEDS`: a run is skipped, with the reason, where one of them does not hold.
    needs: ClassVar[frozenset[str]] = frozenset()
    #: Whether the network is trained; if False, it stays as initialised.
    trains: ClassVar[bool] = True
    #: Another method, if this one edits that method's trained network instead of training.
    parent: ClassVar[str] = ""
    #: Why the network cannot be rerun with the units that the method makes; "" if it can. Cells of
    #: attribution and efficiency are then empty.
    fixed: ClassVar[str] = ""
    #: "norm" if the method replaces a normalisation layer: marked in tables, and the law about
    #: strength 0 does not apply to it.
    replaces: ClassVar[str] = ""
    #: Metrics that the loss optimises almost directly: marked in tables.
    trains_on: ClassVar[frozenset[str]] = frozenset()
    #: Metrics that the paper claims to improve: reported on the method's fidelity card.
    claims: ClassVar[frozenset[str]] = frozenset()
    #: What the method treats: tables say whether it moved against plain. Read it with `treatment`;
    #: where parameters change what is treated, call `retarget`.
    target: ClassVar[Target | None] = None
    #: Why ``target`` is None, as what follows "the method": "adds a layer and no loss".
    target_reason: ClassVar[str] = ""
    #: Parameter values to try when tuning, the most important parameter first.
    search: ClassVar[Mapping[str, Sequence[Any]]] = {}
    #: The default of ``taps``.
    acts_on: ClassVar[TapChoice] = "last_spatial"

    generator: torch.Generator

    def __init__(self, strength: float = 1.0, taps: TapChoice | None = None) -> None:
        super().__init__()
        if not strength >= 0:
            raise ValueError(f"strength must be at least 0, not {strength}")
        self.strength = float(strength)
        self.choice: TapChoice = self.acts_on if taps is None else taps
        self.taps: list[str] = []

    # ------------------------------------------------------------- hooks

    def training_data(self, data: Any) -> Any:
        """Returns the data to train on, if it should differ (for example shuffled labels)."""
        return data

    def attach(self, network: NetworkLike, data: Data) -> None:
        """Prepares the method, once before training: transforms, parameters and buffers.

        Overriding methods call ``super().attach(network, data)`` first, which sets ``self.taps``.
        """
        self.taps = select_taps(network, self.choice)

    def penalty(self, step: Step) -> dict[str, Float[Tensor, ""]]:
        """Returns loss terms by name; they are added to the cross-entropy, in float32."""
        return {}

    def after_step(self, step: Step) -> None:
        """Runs after the optimiser's step, without gradient (projections, clamps, statistics)."""

    def start_epoch(self, network: NetworkLike, data: Data, epoch: int) -> None:
        """Runs before each epoch (clustering, schedules)."""

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Returns the optimiser's groups for the method's own parameters, without weight decay."""
        own = list(self.parameters())
        return [{"params": own, "weight_decay": 0.0}] if own else []

    def after_training(self, network: NetworkLike, data: Data) -> None:
        """Edits the trained network (for example pruning or rotation)."""

    def partition(self, network: NetworkLike) -> dict[str, Int[Tensor, "units"]]:
        """Returns the modules that the method claims: for each Tap, a label per unit (-1: none)."""
        return {}

    def used_concepts(self) -> tuple[str, ...]:
        """Returns the names of the concepts that the method was trained on, after `attach`.

        No row of a suite with the method is scored on them, so that all rows are compared on the
        same concepts.
        """
        return ()

    def idle(self, epochs: int) -> str:
        """Returns why the method would never act in a training of that many epochs; "" if it acts.

        For parameters that are counted in epochs or are shares of the training. A suite whose
        recipe leaves a method idle is refused before anything is trained.
        """
        return ""

    # ------------------------------------------------------------- helpers

    def retarget(self, target: Target | None, reason: str = "") -> None:
        """Replaces the target of this instance, for parameters that change what it treats.

        ``reason`` says why there is none.
        """
        self.target, self.target_reason = target, reason  # type: ignore[misc]

    def install(
        self, network: NetworkLike, tap: str, transform: Callable[[Tensor], Tensor]
    ) -> None:
        """Installs x + strength (transform(x) - x) after a Tap.

        Use ``self.training`` inside the transform if it should differ at evaluation.
        """
        strength = self.strength
        network.taps[tap].install(lambda x: x + strength * (transform(x) - x))

    def expose(self, network: NetworkLike, tap: str, module: nn.Module) -> nn.Module:
        """Makes a module without parameters part of a Tap and returns it, for a transform there.

        Some attribution algorithms replace the gradient of the network's ReLU modules; those of a
        method's own they would miss.
        """
        owner = cast(nn.Module, network.taps[tap])
        owner.add_module(f"exposed{len(list(owner.children()))}", module)
        return module


def treatment(method: Method) -> Target | str:
    """What a method treats with its parameters, or the reason why nothing can be compared.

    A method that trains nothing treats nothing. A method with other Taps than its default acts
    where no target metric looks. Strength 0 is plain.
    """
    if method.parent or not method.trains:
        return "trains nothing"
    if method.target is None:
        return method.target_reason
    if method.strength == 0:
        return "has strength 0, which is plain training"
    if method.choice != method.acts_on:
        return f"acts at taps={method.choice!r}, where its target is not measured"
    return method.target


# ----------------------------------------------------------------- needs

_LINEAR = (nn.Flatten, nn.AdaptiveAvgPool2d, nn.AvgPool2d, nn.Identity)


def _linear_head(network: NetworkLike) -> bool:
    """Whether the logits are linear in the last Tap: pooling, flattening, one dense layer."""
    tap = list(network.taps.values())[-1]
    return bool(tap.outgoing) and all(
        isinstance(edge.weight, nn.Linear)
        and edge.weight.in_features == tap.units
        and all(
            isinstance(module, _LINEAR)
            for module in edge.bridge.modules()
            if module is not edge.bridge
        )
        for edge in tap.outgoing
    )


def _maps_before_head(network: NetworkLike) -> bool:
    """Whether the last Tap has a map and the logits are linear in its means."""
    return _linear_head(network) and list(network.taps.values())[-1].spatial


class Need(NamedTuple):
    """A condition on network and data, and the reason for skipping a run where it fails."""

    holds: Callable[[NetworkLike, Data], bool]
    reason: str


#: The conditions that a method can name in `Method.needs`.
NEEDS: dict[str, Need] = {
    "spatial": Need(
        lambda network, data: bool(select_taps(network, "spatial")),
        "needs a Tap with a map",
    ),
    "dense": Need(
        lambda network, data: bool(select_taps(network, "dense")),
        "needs a Tap that feeds a dense layer",
    ),
    "linear_head": Need(
        lambda network, data: _linear_head(network),
        "needs a last Tap that is linear up to the logits",
    ),
    "class_maps": Need(
        lambda network, data: _maps_before_head(network),
        "needs a last Tap with a map that is linear up to the logits",
    ),
    "concepts": Need(lambda network, data: data.concepts is not None, "needs concept masks"),
    "norm": Need(
        lambda network, data: any(t.spatial and t.norm is not None for t in network.taps.values()),
        "needs a normalisation before a Tap with a map",
    ),
}


def unmet(method: type[Method] | Method, network: NetworkLike, data: Data) -> str:
    """The reason why a method cannot run here; empty if it can.

    Pass an instance where its parameters matter: it may need less than its class declares.
    """
    for need in sorted(method.needs):
        if not NEEDS[need].holds(network, data):
            return NEEDS[need].reason
    return ""


# ----------------------------------------------------------------- selection of Taps


def select_taps(network: NetworkLike, choice: TapChoice) -> list[str]:
    """The Tap names of a choice, in the network's order (a list of names is returned as it is).

    "last_spatial": the last Tap with a map, or the last Tap of a network without maps.
    "spatial": every Tap with a map.
    "last": the last Tap.
    "dense": every Tap that feeds dense layers only.
    "all": every Tap.

    Raises ValueError for an unknown name, with the nearest valid one.
    """
    taps = network.taps
    spatial = [name for name, tap in taps.items() if tap.spatial]
    if choice == "last_spatial":
        return spatial[-1:] or list(taps)[-1:]
    if choice == "spatial":
        return spatial
    if choice == "last":
        return list(taps)[-1:]
    if choice == "dense":
        return [
            name
            for name, tap in taps.items()
            if tap.outgoing and all(isinstance(edge.weight, nn.Linear) for edge in tap.outgoing)
        ]
    if choice == "all":
        return list(taps)
    for name in choice:
        if name not in taps:
            raise ValueError(f"no Tap '{name}'{nearest(name, taps)} (Taps: {', '.join(taps)})")
    return list(choice)


def nearest(name: str, names: Iterable[str]) -> str:
    """Returns ``; did you mean 'x'?`` for the closest of ``names``, or nothing."""
    close = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else ""


# ----------------------------------------------------------------- the registry

METHODS: dict[str, type[Method]] = {}


def register(cls: type[Method]) -> type[Method]:
    """Class decorator: registers a method under the name of the file that defines it.

    Raises ValueError if another file has registered the same name; the message names both files.
    """
    cls.name = cls.__module__.rpartition(".")[2]
    cls.origin = inspect.getsourcefile(cls) or cls.__module__
    other = METHODS.get(cls.name)
    if other is not None and other.origin != cls.origin:
        raise ValueError(
            f"method '{cls.name}' is defined in {other.origin} and in {cls.origin}: rename one file"
        )
    if other is not None and (other.__module__, other.__qualname__) != (
        cls.__module__, cls.__qualname__
    ):  # fmt: skip
        raise ValueError(
            f"{cls.origin} registers two methods, {other.__qualname__} and {cls.__qualname__}: "
            "write one method a file"
        )
    METHODS[cls.name] = cls
    cls.label = cls.label or cls.name
    return cls
