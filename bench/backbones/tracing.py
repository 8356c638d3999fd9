"""The computation graph of any model, with every activation as a module of its own.

torch.fx records the operations of a model; nodes are named as in torchvision's feature extraction
(``layer4.1.add``). Functional activations, pooling and dropout become modules, and activations that
are reused or work in place get modules of their own, so that each can be hooked, silenced or
attributed to. A batch normalisation that a library's own class computes becomes torch's, so that
training changes its statistics. In evaluation mode the logits stay the same bit for bit.
"""

from __future__ import annotations

import copy
import inspect
import math
import operator
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision.models.feature_extraction import NodePathTracer
from torchvision.ops import StochasticDepth

from legible.bench.errors import one_line

#: Functions that become modules: a function of the call's arguments that returns the module.
_MODULES: dict[Any, Callable[..., nn.Module]] = {
    F.relu: lambda x, inplace=False: nn.ReLU(),
    F.relu_: lambda x: nn.ReLU(),
    torch.relu: lambda x: nn.ReLU(),
    torch.relu_: lambda x: nn.ReLU(),
    "relu": lambda x: nn.ReLU(),
    "relu_": lambda x: nn.ReLU(),
    F.relu6: lambda x, inplace=False: nn.ReLU6(),
    F.gelu: lambda x, approximate="none": nn.GELU(approximate),
    F.silu: lambda x, inplace=False: nn.SiLU(),
    F.hardswish: lambda x, inplace=False: nn.Hardswish(),
    F.leaky_relu: lambda x, negative_slope=0.01, inplace=False: nn.LeakyReLU(negative_slope),
    F.dropout: lambda x, p=0.5, training=True, inplace=False: nn.Dropout(p),
    F.dropout2d: lambda x, p=0.5, training=True, inplace=False: nn.Dropout2d(p),
    torch.flatten: lambda x, start_dim=0, end_dim=-1: nn.Flatten(start_dim, end_dim),
    "flatten": lambda x, start_dim=0, end_dim=-1: nn.Flatten(start_dim, end_dim),
    F.adaptive_avg_pool2d: lambda x, output_size: nn.AdaptiveAvgPool2d(output_size),
    F.max_pool2d: lambda x, *args, **kwargs: nn.MaxPool2d(*args, **kwargs),
    F.avg_pool2d: lambda x, *args, **kwargs: nn.AvgPool2d(*args, **kwargs),
}
#: The classes of torch that compute a batch normalisation.
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
#: Operations in place, and the same operations on a copy.
_OUT_OF_PLACE: dict[Any, Any] = {
    operator.iadd: operator.add, operator.isub: operator.sub, operator.imul: operator.mul,
    operator.itruediv: operator.truediv, "add_": "add", "sub_": "sub", "mul_": "mul",
    "div_": "div", "clamp_": "clamp",
}  # fmt: skip
#: Images on which a graph is compared with its model, and the largest difference of their answers.
CHECKED, TOLERANCE = 3, 1e-4


class Untraceable(ValueError):
    """A model whose computation torch.fx cannot record; the message names the node."""


class _Tracer(NodePathTracer):
    """Records the operations of a model for images of one shape.

    A call of a library's own linear or convolution layer (timm has some) is one node, as a call of
    torch's is. Shapes are read as numbers, except the number of images, so that models may compute
    and decide with them. Without ``image`` shapes are not known.
    """

    def __init__(self, model: nn.Module, image: tuple[int, int, int] | None) -> None:
        super().__init__()
        like = next(model.parameters(), torch.zeros(()))
        batches = [] if image is None else [like.new_zeros(count, *image) for count in (2, 3)]
        self.runs = [_Run(model, batch) for batch in batches]

    def is_leaf_module(self, m: nn.Module, module_qualname: str) -> bool:
        if isinstance(m, StochasticDepth) or is_plain_layer(m):
            return True
        return super().is_leaf_module(m, module_qualname)

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Sized(node, self) if self.runs else super().proxy(node)


@torch.no_grad()
def is_plain_layer(module: nn.Module) -> bool:
    """Whether a module is a linear or convolution layer that does no more than apply its weights.

    Of a class derived from torch's, this is tried: the layer, without its bias, must be linear in
    its input and in its weight. Layers that standardise their weights, or end in a ReLU, are not.
    """
    if not isinstance(module, nn.Linear | nn.Conv2d):
        return False
    if type(module) in (nn.Linear, nn.Conv2d):
        return True
    try:
        with _unrecorded():
            layer, generator = copy.deepcopy(module), torch.Generator().manual_seed(0)
            if layer.bias is not None:
                layer.bias.zero_()
            side = [2 * size for size in layer.weight.shape[2:]]
            width = layer.weight.shape[1] * getattr(layer, "groups", 1)
            x, y = torch.randn(2, 1, width, *side, generator=generator).to(layer.weight)
            out, sum_of_outs, out_of_sum = layer(x), layer(x) + layer(y), layer(x + y)
            layer.weight.mul_(2)
            doubled = layer(x)
    except Exception:  # whatever it is, it is not plain
        return False
    close = partial(torch.allclose, rtol=1e-3, atol=1e-5)
    return close(out_of_sum, sum_of_outs) and close(doubled, 2 * out)


class _Shape(tuple[Any, ...]):
    """A shape while tracing: numbers, and recorded values for what depends on the number of images.

    ``by_run``: the shape for each run.
    """

    by_run: tuple[torch.Size, ...]

    def __eq__(self, other: object) -> bool:
        """Whether two shapes are the same, for every number of images."""
        theirs = other.by_run if isinstance(other, _Shape) else [other] * len(self.by_run)
        same = {mine == their for mine, their in zip(self.by_run, theirs, strict=True)}
        if len(same) > 1:
            raise ValueError("compares a shape that depends on the number of images")
        return same.pop()

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = tuple.__hash__

    def __getitem__(self, place: Any) -> Any:
        part = super().__getitem__(place)
        if isinstance(place, slice):
            return _shape(part, tuple(torch.Size(size[place]) for size in self.by_run))
        return part

    def numel(self) -> Any:
        return math.prod(self)


def _shape(values: Iterable[Any], by_run: tuple[torch.Size, ...]) -> _Shape:
    shape = _Shape(values)
    shape.by_run = by_run
    return shape


class _Sized(fx.Proxy):
    """A recorded value, which knows its shape if it is a tensor."""

    @property
    def shape(self) -> Any:
        try:
            return self._shape()
        except AttributeError as error:  # Python would then ask for a recorded attribute
            raise RuntimeError(str(error)) from error

    def _shape(self) -> Any:
        recorded: Any = self.__getattr__("shape")
        values = [run.value(self.node) for run in self.tracer.runs]  # type: ignore[attr-defined]
        if not all(isinstance(value, torch.Tensor) for value in values):
            return recorded
        by_run = tuple(value.shape for value in values)
        sizes = [
            one if one == other else recorded[place]
            for place, (one, other) in enumerate(zip(*by_run, strict=True))
        ]
        return _shape(sizes, by_run)

    @property
    def ndim(self) -> Any:
        return len(self.shape)

    def dim(self) -> Any:
        return len(self.shape)

    def size(self, dim: int | None = None) -> Any:
        return self.shape if dim is None else self.shape[dim]


class _Run:
    """Values of the nodes of a graph for some images, computed when they are asked for."""

    def __init__(self, model: nn.Module, images: torch.Tensor) -> None:
        self.interpreter = fx.Interpreter(model, graph=fx.Graph())
        self.interpreter.args_iter = iter([images])
        self.values = self.interpreter.env

    @torch.no_grad()
    def value(self, node: fx.Node) -> Any:
        needed = _ancestors(node, self.values)
        with _unrecorded():
            for earlier in node.graph.nodes if needed else ():
                if earlier in needed:
                    self.values[earlier] = self.interpreter.run_node(earlier)
        return self.values[node]


#: How modules are called and give their attributes, before torch.fx replaces it while it records.
_OWN = {name: getattr(nn.Module, name) for name in ("__call__", "__getattr__")}


@contextmanager
def _unrecorded() -> Iterator[None]:
    """Within it, calls of modules are run and not recorded."""
    recording = {name: getattr(nn.Module, name) for name in _OWN}
    try:
        for name, function in _OWN.items():
            setattr(nn.Module, name, function)
        yield
    finally:
        for name, function in recording.items():
            setattr(nn.Module, name, function)


def _ancestors(node: fx.Node, values: Container[fx.Node]) -> set[fx.Node]:
    """A node and all nodes that its value depends on, without those that have a value."""
    nodes: set[fx.Node] = set()
    waiting = [node]
    while waiting:
        last = waiting.pop()
        if last not in nodes and last not in values:
            nodes.add(last)
            waiting += last.all_input_nodes
    return nodes


def trace(model: nn.Module, image: tuple[int, int, int]) -> fx.Graph:
    """The graph of a model in evaluation mode; ``node.meta["name"]`` is a node's name.

    ``image``: the shape of the images; the graph is right for this shape alone.
    Modules are added to the model and replaced in it, so only the graph may be run afterwards. Its
    parameters and buffers keep their names. Raises Untraceable, with the node that came last.
    """
    graph, names = record(model, image)
    _keep_constants(model, graph)
    for node in graph.nodes:
        node.meta["name"] = names.get(node, node.name)
    _check_interface(graph)
    _remove_assertions(graph)
    for node in list(graph.nodes):
        _replace_in_place(node)
        _make_module(model, graph, node)
        _make_batch_norm(model, graph, node)
    _separate_activations(model, graph)
    return graph


def record(
    model: nn.Module, image: tuple[int, int, int] | None
) -> tuple[fx.Graph, dict[fx.Node, str]]:
    """The graph of a model in evaluation mode as torch.fx records it, and the names of its nodes.

    ``image``: the shape of the images; None: the model must not read it. Raises Untraceable, with
    the node that came last.
    """
    model.eval()
    tracer = _Tracer(model, image)
    try:
        return tracer.trace(model), tracer.node_to_qualname
    except Exception as error:
        nodes = list(tracer.graph.nodes) if hasattr(tracer, "graph") else []
        last = tracer.node_to_qualname.get(nodes[-1], nodes[-1].name) if nodes else "the start"
        raise Untraceable(f"cannot be traced after '{last}': {one_line(error)}") from error


def answers(model: nn.Module, image: tuple[int, int, int]) -> list[torch.Tensor]:
    """What a model in evaluation mode returns for one image, and for some images.

    Raises Untraceable if it does not take images of this shape, or returns no single tensor.
    """
    like, generator = next(model.parameters(), torch.zeros(())), torch.Generator().manual_seed(0)
    images = torch.randn(CHECKED, *image, generator=generator).to(like)
    model.eval()
    try:
        with torch.no_grad():
            both = [model(images[:1]), model(images)]
    except Exception as error:
        size = "x".join(map(str, image))
        raise Untraceable(f"does not take images of shape {size}: {one_line(error)}") from error
    if not all(isinstance(logits, torch.Tensor) for logits in both):
        raise Untraceable("returns several values: it must return the logits alone")
    return both


def _keep_constants(model: nn.Module, graph: fx.Graph) -> None:
    """Makes tensors that were computed while tracing buffers, so that they move with the model."""
    for name in {node.target for node in graph.nodes if node.op == "get_attr"}:
        if name.startswith("_tensor_constant"):
            value = getattr(model, name)
            delattr(model, name)
            model.register_buffer(name, value, persistent=False)


def _check_interface(graph: fx.Graph) -> None:
    """Raises Untraceable unless the graph takes one image tensor and returns one tensor."""
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    for extra in inputs[1:]:
        if not extra.args:
            raise Untraceable(f"takes a second input '{extra.name}': it must take images alone")
    output = next(node for node in graph.nodes if node.op == "output")
    if not isinstance(output.args[0], fx.Node):
        raise Untraceable("returns several values: it must return the logits alone")


def _remove_assertions(graph: fx.Graph) -> None:
    for node in list(graph.nodes):
        if node.target is torch._assert:
            graph.erase_node(node)
    for node in reversed(list(graph.nodes)):
        if not node.users and node.op not in ("placeholder", "output"):
            graph.erase_node(node)


def _replace_in_place(node: fx.Node) -> None:
    if node.op in ("call_function", "call_method") and node.target in _OUT_OF_PLACE:
        node.target = _OUT_OF_PLACE[node.target]
    if node.kwargs.get("inplace"):
        node.kwargs = {**node.kwargs, "inplace": False}


def _make_module(model: nn.Module, graph: fx.Graph, node: fx.Node) -> None:
    """Replaces a call of a function of `_MODULES` by a call of a module with the node's name."""
    make = _MODULES.get(node.target) if node.op in ("call_function", "call_method") else None
    kwargs = {"x" if key == "input" else key: value for key, value in node.kwargs.items()}
    inputs = [value for value in (*node.args, *kwargs.values()) if isinstance(value, fx.Node)]
    if make is None or len(inputs) != 1:
        return
    module = make(*node.args, **kwargs)
    path = free_name(model, node.meta["name"])
    add_module(model, path, module)
    with graph.inserting_after(node):
        call = graph.call_module(path, (inputs[0],))
    call.meta["name"] = node.meta["name"]
    node.replace_all_uses_with(call)
    graph.erase_node(node)


def _make_batch_norm(model: nn.Module, graph: fx.Graph, node: fx.Node) -> None:
    """Replaces a call of ``F.batch_norm`` by a call of torch's module, which takes the place of the
    module that holds the statistics and has its tensors. That module's activations become modules
    beside it, so that a method may replace the normalisation alone.

    The graph is recorded in evaluation mode: without this, training would not change the
    statistics. Raises Untraceable if they belong to no batch normalisation.
    """
    if node.target is not F.batch_norm:
        return
    given = inspect.signature(F.batch_norm).bind(*node.args, **node.kwargs).arguments
    statistics = given["running_mean"]
    if statistics is None:
        return  # the images' own statistics, in both modes
    path = str(statistics.target).rpartition(".")[0]
    owner = model.get_submodule(path) if statistics.op == "get_attr" else model
    kind = next((cls for cls in type(owner).__mro__ if cls in _BATCH_NORMS), None)
    if kind is None or not isinstance(owner, _BatchNorm):
        name = node.meta["name"]
        raise Untraceable(f"'{name}' keeps statistics without a torch.nn.BatchNorm: use that class")
    if type(owner) is not kind:
        norm = kind(owner.num_features, owner.eps, owner.momentum, owner.affine)
        norm._parameters, norm._buffers = owner._parameters, owner._buffers
        norm._modules = owner._modules
        add_module(model, path, norm)
        _move_children(model, graph, path)
    with graph.inserting_after(node):
        call = graph.call_module(path, (given["input"],))
    call.meta["name"] = node.meta["name"]
    node.replace_all_uses_with(call)
    sources = node.all_input_nodes
    graph.erase_node(node)
    for source in sources:
        if source.op == "get_attr" and not source.users:
            graph.erase_node(source)


def _move_children(model: nn.Module, graph: fx.Graph, path: str) -> None:
    """Puts the modules without weights that are called below a path beside it."""
    places: dict[str, str] = {}
    calls = [node for node in graph.nodes if node.op == "call_module"]
    for node in [call for call in calls if str(call.target).startswith(f"{path}.")]:
        name = str(node.target)
        if name not in places:
            module = model.get_submodule(name)
            if module.state_dict():
                continue
            below = name[len(path) + 1 :].replace(".", "_")
            places[name] = free_name(model, f"{path}_{below}")
            add_module(model, places[name], module)
            parent, _, own = name.rpartition(".")
            delattr(model.get_submodule(parent), own)
        node.target = places[name]


def _separate_activations(model: nn.Module, graph: fx.Graph) -> None:
    """Gives each call of a module without weights that works in place or is reused its own copy."""
    nodes = [node for node in graph.nodes if node.op == "call_module"]
    modules = [model.get_submodule(str(node.target)) for node in nodes]
    calls = Counter(map(id, modules))
    for node, module in zip(nodes, modules, strict=True):
        stateless = not list(module.parameters()) and not list(module.buffers())
        if stateless and (getattr(module, "inplace", False) or calls[id(module)] > 1):
            own = copy.deepcopy(module)
            if hasattr(own, "inplace"):
                setattr(own, "inplace", False)  # noqa: B010  no module declares it
            name = node.meta["name"]
            if calls[id(module)] > 1 and name != node.target:
                node.target = free_name(model, name)
            add_module(model, node.target, own)


def free_name(model: nn.Module, name: str) -> str:
    """The name, with underscores appended while the model has another attribute of that name."""
    while True:
        parent, _, own = name.rpartition(".")
        try:
            owner = model.get_submodule(parent)
        except AttributeError:
            return name
        if not hasattr(owner, own):
            return name
        name += "_"


def add_module(model: nn.Module, path: str, module: nn.Module) -> None:
    """Puts a module at a path of a model, with new empty modules on the way where needed."""
    owner = model
    *parents, name = path.split(".")
    for parent in parents:
        if not hasattr(owner, parent):
            owner.add_module(parent, nn.Module())
        owner = owner.get_submodule(parent)
    owner._modules[name] = module.train(model.training)


def module_of(model: nn.Module, node: fx.Node) -> nn.Module | None:
    """The module that a node calls; None for a node that calls none."""
    return model.get_submodule(str(node.target)) if node.op == "call_module" else None


def trunk_nodes(graph: fx.Graph) -> list[fx.Node]:
    """The nodes through which every path from the images to the logits goes, in running order.

    A node is one of them if no earlier value that depends on the images is used after it.
    """
    place = {node: i for i, node in enumerate(graph.nodes)}
    depends: set[fx.Node] = set()
    reach = -1
    out = []
    for node in graph.nodes:
        if node.op == "output":
            break
        if node.op == "placeholder" and not depends:
            depends.add(node)
        elif not any(source in depends for source in node.all_input_nodes):
            continue
        else:
            depends.add(node)
            if reach <= place[node]:
                out.append(node)
        reach = max([reach, *(place[user] for user in node.users)])
    return out
