"""Write a method: subclass Method, decorate it with `register`, and give it one `penalty`.

The smallest plugin is a file ``my_method.py``; the file's name is the method's name:

    from methods.base import Method, Step, register

    @register
    class Small(Method):
        '''Mean activation at the chosen Taps. <equation, paper, repository, differences>'''

        def penalty(self, step):
            return {"mean": self.strength * step.activations[self.taps[0]].mean()}

Rules the conformance check (`legible check my_method.py`) holds every method to:
``strength`` scales all that a method adds, so that strength 0 trains to exactly the plain network;
random numbers come from ``self.generator``; state lives in parameters and buffers (so that resume
is exact); no label is read at evaluation; no Python loop over images, units or pairs.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from legible.metrics.network import Concepts, NetworkLike, Output

TapChoice = Literal["last_spatial", "last", "spatial", "dense", "all"] | list[str]


@runtime_checkable
class Data(Protocol):
    """The training data as a method meets it: uint8 images on the device, labels, concepts."""

    @property
    def images(self) -> Tensor: ...
    @property
    def labels(self) -> Int[Tensor, "images"]: ...
    @property
    def concepts(self) -> Concepts | None: ...
    @property
    def classes(self) -> int: ...

    def batches(
        self, size: int = 256
    ) -> Iterator[tuple[Int[Tensor, "batch"], Float[Tensor, "batch channels height width"]]]:
        """Indices and normalised, unaugmented images, in order."""
        ...

    def normalise(self, images: Tensor) -> Float[Tensor, "batch channels height width"]:
        """uint8 images as the network gets them."""
        ...


@dataclass(frozen=True)
class Step:
    """One training step, after the forward pass and before the loss.

    ``activations`` holds what entered each Tap, in float32 (raw: before any transform);
    ``transformed`` what left it. ``indices`` are the images' rows in the training data.
    ``progress`` runs from 0 to 1 over the whole training.
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
        """The network on a second augmentation of the same images; BatchNorm's running
        statistics are left alone."""
        return self.view()

    def rerun(self, activation: Tensor) -> Float[Tensor, "batch classes"]:
        """Logits of the head on a changed activation of the last Tap."""
        return self.network.continue_from(list(self.network.taps)[-1], activation)


class Method(nn.Module):
    """A way to train a network. Every hook has a default that does nothing.

    Its parameters are optimised with the network's, its buffers are saved and resumed.
    Network modules must not be stored as attributes (they would become the method's own
    parameters): keep Tap names, and read the network from the hook's arguments.

    strength: scales all that the method adds; at 0 training is exactly plain.
    taps: where the method acts: a choice, or a list of Tap names.
    """

    name: ClassVar[str] = ""
    origin: ClassVar[str] = ""
    #: Name in tables, where the plain name would say too much or too little.
    label: ClassVar[str] = ""
    #: "method"; "null" rows stand apart; "control" rows optimise a metric and stay unranked.
    kind: ClassVar[Literal["method", "null", "control"]] = "method"
    #: What must be there, of UNMET's keys; where it is not, the cell is skipped with the reason.
    needs: ClassVar[frozenset[str]] = frozenset()
    #: False: the network is left as initialised.
    trains: ClassVar[bool] = True
    #: A method whose finished run this one edits instead of training.
    parent: ClassVar[str] = ""
    #: The module kind replaced ("norm"), if any: exempt from the strength-0 law, and marked.
    replaces: ClassVar[str] = ""
    #: Metrics that the loss nearly minimises: their cells are marked.
    trains_on: ClassVar[frozenset[str]] = frozenset()
    #: Metrics that the paper claims to improve: what its fidelity card reports.
    claims: ClassVar[frozenset[str]] = frozenset()
    #: Settings worth trying when tuning: values of a parameter, strength first.
    search: ClassVar[Mapping[str, Sequence[Any]]] = {}
    #: Default of ``taps``.
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
        """The training data as this method wants it (shuffled labels, say)."""
        return data

    def attach(self, network: NetworkLike, data: Data) -> None:
        """Once, before training: install transforms, create parameters and buffers.

        Overriders call ``super().attach(network, data)``, which resolves ``self.taps``.
        """
        self.taps = select_taps(network, self.choice)

    def penalty(self, step: Step) -> dict[str, Float[Tensor, ""]]:
        """Named scalars, added to the cross-entropy as they are. Computed in float32."""
        return {}

    def after_step(self, step: Step) -> None:
        """After the optimiser's step, without gradient: projections, clamps, statistics."""

    def start_epoch(self, network: NetworkLike, data: Data, epoch: int) -> None:
        """Before each epoch: re-clustering, schedules."""

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Optimiser groups of the method's own parameters; by default no weight decay."""
        own = list(self.parameters())
        return [{"params": own, "weight_decay": 0.0}] if own else []

    def after_training(self, network: NetworkLike, data: Data) -> None:
        """Edit the finished network (pruning, rotation)."""

    def partition(self, network: NetworkLike) -> dict[str, Int[Tensor, "units"]]:
        """The modules the method itself claims, by Tap: a label a unit, -1 for none."""
        return {}

    def used_concepts(self) -> tuple[str, ...]:
        """Names of the concepts it was trained on: it must not be scored on them."""
        return ()

    # ------------------------------------------------------------- help

    def install(
        self, network: NetworkLike, tap: str, transform: Callable[[Tensor], Tensor]
    ) -> None:
        """Puts x + strength (f(x) - x) behind a Tap. Ask ``self.training`` inside f if needed."""
        strength = self.strength
        network.taps[tap].install(lambda x: x + strength * (transform(x) - x))


# ----------------------------------------------------------------- what must be there

_LINEAR = (nn.Flatten, nn.AdaptiveAvgPool2d, nn.AvgPool2d, nn.Identity)


def _linear_head(network: NetworkLike) -> bool:
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


#: Each need a method can declare: whether it is met, and the reason shown where it is not.
UNMET: dict[str, tuple[Callable[[NetworkLike, Data], bool], str]] = {
    "spatial": (
        lambda network, data: bool(select_taps(network, "spatial")),
        "needs a Tap with a map",
    ),
    "dense": (
        lambda network, data: bool(select_taps(network, "dense")),
        "needs a Tap that feeds a dense layer",
    ),
    "linear_head": (
        lambda network, data: _linear_head(network),
        "needs a last Tap that is linear up to the logits",
    ),
    "concepts": (lambda network, data: data.concepts is not None, "needs concept masks"),
    "norm": (
        lambda network, data: any(t.spatial and t.norm is not None for t in network.taps.values()),
        "needs a normalisation before a Tap with a map",
    ),
}


def unmet(method: type[Method] | Method, network: NetworkLike, data: Data) -> str:
    """The reason why a method cannot run here; empty if it can. With given parameters it may
    need less than the class declares."""
    for need in sorted(method.needs):
        holds, reason = UNMET[need]
        if not holds(network, data):
            return reason
    return ""


# ----------------------------------------------------------------- choosing Taps


def select_taps(network: NetworkLike, choice: TapChoice) -> list[str]:
    """Tap names for a choice; raises ValueError with the nearest name for an unknown one.

    "last_spatial": the last Tap with a map, or the last of all where none has one; "spatial": all
    with a map; "last": the last Tap;
    "dense": Taps all of whose ways out end in a dense layer; "all": every Tap.
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


def nearest(name: str, known: Any) -> str:
    """``; did you mean 'x'?`` for the closest known name, or nothing."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else ""


# ----------------------------------------------------------------- the registry

METHODS: dict[str, type[Method]] = {}


def register(cls: type[Method]) -> type[Method]:
    """Registers a method under the name of the file it stands in.

    Raises ValueError when another file already registered that name, naming both.
    """
    cls.name = cls.__module__.rpartition(".")[2]
    cls.origin = inspect.getsourcefile(cls) or cls.__module__
    known = METHODS.get(cls.name)
    if known is not None and known.origin != cls.origin:
        raise ValueError(f"method '{cls.name}' is defined in {known.origin} and in {cls.origin}")
    METHODS[cls.name] = cls
    cls.label = cls.label or cls.name
    return cls
