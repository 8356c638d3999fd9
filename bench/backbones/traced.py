"""Networks made from any model: Taps after named nodes of its computation graph."""

from __future__ import annotations

import operator
from collections.abc import Sequence

import torch
from torch import Tensor, fx, nn

from legible.bench.backbones.map_layouts import (
    FromMap,
    Layout,
    ToMap,
    map_size,
    require_layout,
)
from legible.bench.backbones.taps import Network, Tap, Wired, is_norm
from legible.bench.backbones.tracing import (
    TOLERANCE,
    Untraceable,
    add_module,
    answers,
    free_name,
    module_of,
    record,
    trace,
    trunk_nodes,
)
from legible.bench.errors import nearest
from legible.metrics.network import Edge

#: Taps of a network whose maps all have one size, when none are named.
DEFAULT_TAPS = 4
#: Modules whose values cannot be far below zero.
RECTIFIERS = (nn.ReLU, nn.ReLU6, nn.GELU, nn.SiLU, nn.Hardswish, nn.LeakyReLU, nn.Softplus)


def traced_network(
    model: nn.Module, image: tuple[int, int, int], taps: Sequence[str] = ()
) -> Network:
    """A Network that computes what the model computes, with Taps after named nodes.

    ``taps``: names of nodes (``layer4.1.relu_1``), or of modules (``layer4``: its last node).
    Without names: of the maps of each size through which all of the computation passes, the last
    one that is rectified or the end of a residual block; in a network whose maps all have one size,
    four such maps at equal distances. The model is changed, and must not be used by itself
    afterwards. Raises ValueError if the model cannot be traced, if its graph gives other logits, or
    if a name is unknown.
    """
    expected = answers(model, image)
    graph = trace(model, image)
    shapes = _shapes(model, graph, image)
    nodes = [node for node in trunk_nodes(graph) if node in shapes]
    trunk = _before_head(model, graph, nodes, expected[0].shape[-1])
    tap_nodes = _named(graph, taps) if taps else _defaults(model, trunk, shapes, image)
    if not tap_nodes:
        raise ValueError("has no map between images and logits: name Taps with taps=[...]")
    tap_of: dict[fx.Node, Tap] = {}
    cuts: list[fx.Node] = []
    for node in tap_nodes:
        tap = Tap(node.meta["name"])
        layout = require_layout(tap.name, shapes.get(node, ()))
        place = _as_map(model, graph, node, layout)
        if node in trunk and not layout.prefix:
            tap_of[place] = tap
            cuts.append(place)
        else:  # what the tokens without a place hold is not in the map
            _insert(model, graph, place, tap)
    network = Network(model, _trunk(model, graph, cuts, tap_of), image)
    for mine, theirs in zip(answers(LogitsAlone(network), image), expected, strict=True):
        if not torch.allclose(mine, theirs, rtol=TOLERANCE, atol=TOLERANCE):
            raise Untraceable(
                "gives other logits when it is traced: an operation in place, or a decision that "
                "depends on the images or on their number, is not recorded"
            )
    return network


class LogitsAlone(nn.Module):
    """A network as a module from images to logits."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images).logits


# ----------------------------------------------------------------- choosing Taps


def _shapes(
    model: nn.Module, graph: fx.Graph, image: tuple[int, int, int]
) -> dict[fx.Node, tuple[int, ...]]:
    """The shape of each node's value for one image, where the value is a tensor of activations."""
    shapes: dict[fx.Node, tuple[int, ...]] = {}

    class Recorder(fx.Interpreter):
        def run_node(self, n: fx.Node) -> object:
            value = super().run_node(n)
            if isinstance(value, Tensor) and value.ndim > 1 and len(value) == 2:
                shapes[n] = tuple(value.shape[1:])
            return value

    parameter = next(model.parameters(), torch.zeros(()))
    with torch.no_grad():
        Recorder(model, graph=graph).run(parameter.new_zeros(2, *image))
    return shapes


def _named(graph: fx.Graph, names: Sequence[str]) -> list[fx.Node]:
    """The nodes of some names, in running order."""
    nodes = [node for node in graph.nodes if node.op in ("call_module", "call_function",
                                                         "call_method")]  # fmt: skip
    by_name = {node.meta["name"]: node for node in nodes}
    modules: dict[str, fx.Node] = {}
    for node in nodes:
        parts = node.meta["name"].split(".")
        modules |= {".".join(parts[:end]): node for end in range(1, len(parts))}
    tap_nodes = set()
    for name in names:
        if name not in by_name | modules:
            raise ValueError(f"has no node or module '{name}'{nearest(name, by_name | modules)}")
        tap_nodes.add(by_name.get(name) or modules[name])
    return [node for node in nodes if node in tap_nodes]


def _before_head(
    model: nn.Module, graph: fx.Graph, trunk: Sequence[fx.Node], outputs: int
) -> list[fx.Node]:
    """The nodes of the trunk before the layers that give the logits."""
    nodes = list(graph.nodes)
    heads = [node for node in _last_layers(model, graph) if _units(model, node) == outputs]
    end = nodes.index(heads[0]) if heads else len(nodes)
    return [node for node in trunk if nodes.index(node) < end]


def head_names(model: nn.Module, image: tuple[int, int, int] | None, outputs: int = 0) -> list[str]:
    """The paths of the layers that give a model's logits, in running order; the model is traced for
    it, not changed. Models made for distillation have two, whose outputs are averaged.

    ``outputs``: the number of logits; layers with another number of units (of a gate, say) are left
    out. 0: not known.
    """
    nodes = _last_layers(model, record(model, image)[0])
    return [str(node.target) for node in nodes if outputs in (0, _units(model, node))]


def _units(model: nn.Module, node: fx.Node) -> int:
    layer = module_of(model, node)
    return int(layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels)  # type: ignore


def _last_layers(model: nn.Module, graph: fx.Graph) -> list[fx.Node]:
    """The linear and convolution layers from which the output is reached without another one."""
    heads: set[fx.Node] = set()
    seen: set[fx.Node] = set()
    waiting = [node for node in graph.nodes if node.op == "output"]
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        if isinstance(module_of(model, node), nn.Linear | nn.Conv2d):
            heads.add(node)
        else:
            waiting += node.all_input_nodes
    if not heads:
        raise ValueError("has no linear or convolution layer")
    return [node for node in graph.nodes if node in heads]


def _defaults(
    model: nn.Module,
    trunk: Sequence[fx.Node],
    shapes: dict[fx.Node, tuple[int, ...]],
    image: tuple[int, int, int],
) -> list[fx.Node]:
    """For each map size the last node of the trunk that is rectified or the end of a residual
    block; in a network without rectified maps, the last node of each size."""
    maps = [node for node in trunk if _has_proportions(map_size(shapes[node]), image)]
    rectified = [node for node in maps if _is_rectified(model, node)]
    sums = [node for node in maps if node.target in _SUMS]
    if len({map_size(shapes[node]) for node in maps}) == 1:
        ends = rectified or sums or maps
        steps = {len(ends) - 1 - i * len(ends) // DEFAULT_TAPS for i in range(DEFAULT_TAPS)}
        return [ends[i] for i in sorted(steps)]
    ends = [*rectified, *sums] if rectified else maps
    last = {map_size(shapes[node]): node for node in maps if node in ends}
    return [node for node in maps if node in last.values()]


_SUMS = (operator.add, torch.add, "add")


def _is_rectified(model: nn.Module, node: fx.Node) -> bool:
    """Whether a node's value cannot be far below zero: a rectifier's, or rectified ones joined."""
    if node.op == "call_module":
        return isinstance(module_of(model, node), RECTIFIERS)
    inputs = node.all_input_nodes
    return node.target is torch.cat and all(_is_rectified(model, source) for source in inputs)


def _has_proportions(size: tuple[int, ...], image: tuple[int, int, int]) -> bool:
    """Whether a map has the image's proportions, up to one position. A tensor of windows and tokens
    has not."""
    _, height, width = image
    return bool(size) and abs(size[0] * width - size[1] * height) <= max(height, width)


# ----------------------------------------------------------------- the trunk


def _as_map(model: nn.Module, graph: fx.Graph, node: fx.Node, layout: Layout) -> fx.Node:
    """The node whose value is a node's map with channels first; what follows reads that map."""
    if layout.kind in ("channels_first", "units"):
        return node
    place = _call(model, graph, "map", ToMap(layout), (node,))
    tokens = (node,) if layout.prefix else ()
    back = _call(model, graph, "back", FromMap(layout), (place, *tokens))
    node.replace_all_uses_with(back, delete_user_cb=lambda user: user not in (place, back))
    return place


def _insert(model: nn.Module, graph: fx.Graph, node: fx.Node, tap: Tap) -> None:
    """Puts a Tap behind a node, inside the graph."""
    call = _call(model, graph, "tap", tap, (node,))
    node.replace_all_uses_with(call, delete_user_cb=lambda user: user is not call)


def _call(
    model: nn.Module, graph: fx.Graph, what: str, module: nn.Module, values: tuple[fx.Node, ...]
) -> fx.Node:
    """A new node behind the first of some values, at which a new module of the model reads them."""
    source = values[0]
    path = free_name(model, f"{what}_after_{source.name}")
    add_module(model, path, module)
    with graph.inserting_after(source):
        call = graph.call_module(path, values)
    call.meta["name"] = source.meta["name"]
    return call


def _trunk(
    model: nn.Module, graph: fx.Graph, cuts: Sequence[fx.Node], taps: dict[fx.Node, Tap]
) -> list[nn.Module]:
    """Segments of the graph between the cuts, each followed by the Tap of its cut."""
    nodes = list(graph.nodes)
    start = next(node for node in nodes if node.op == "placeholder")
    end = next(node for node in nodes if node.op == "output").args[0]
    trunk: list[nn.Module] = []
    for cut in [*cuts, end]:
        part = nodes[nodes.index(start) + 1 : nodes.index(cut) + 1]
        while (first := _leading(model, start, part)) is not None:
            trunk.append(first)
            start = part.pop(0)
        trunk.append(Segment(model, _part(start, part)))
        if cut in taps and cut in cuts:
            trunk.append(taps[cut])
        start = cut
    return trunk


def _leading(model: nn.Module, start: fx.Node, nodes: Sequence[fx.Node]) -> nn.Module | None:
    """The module of the first node, if it has no weights and alone reads the value of ``start``.

    It then stands on the trunk by itself, so that lesions can run it once for all groups.
    """
    if not nodes or sum(start in node.all_input_nodes for node in nodes) != 1:
        return None
    module = module_of(model, nodes[0])
    if module is None or nodes[0].args != (start,) or nodes[0].kwargs:
        return None
    if isinstance(module, Tap | ToMap | FromMap):
        return None
    weights = [*module.parameters(), *module.buffers()]
    return None if weights or is_norm(module) else module


def _part(start: fx.Node, nodes: Sequence[fx.Node]) -> fx.Graph:
    """A graph of its own for some nodes of a graph, from the value of ``start`` to the last one."""
    part = fx.Graph()
    values = {start: part.placeholder("x")}

    def value(node: fx.Node) -> fx.Node:
        if node not in values:  # also constants that are computed before ``start``
            values[node] = part.node_copy(node, value)
        return values[node]

    part.output(value(nodes[-1]) if nodes else values[start])
    return part


class Segment(Wired):
    """A part of a model's graph between two Taps: one value goes in, one comes out."""

    def __init__(self, model: nn.Module, graph: fx.Graph) -> None:
        super().__init__()
        self._model = (model,)  # a tuple, so that the model does not become a submodule
        self.graph = graph
        calls = [node.target for node in graph.nodes if node.op == "call_module"]
        modules = [model.get_submodule(target) for target in calls]
        self.inner = nn.ModuleList(module for module in modules if isinstance(module, Tap))

    def forward(self, x: Tensor) -> Tensor:
        return fx.Interpreter(self._model[0], graph=self.graph).run(x)  # type: ignore[no-any-return]

    def entries(self) -> tuple[Edge, ...]:
        return tuple(_edges(self._model[0], next(iter(self.graph.nodes))))

    def sources(self) -> tuple[tuple[nn.Module, ...], tuple[nn.Module, ...]]:
        output = next(node for node in self.graph.nodes if node.op == "output")
        return _sources(self._model[0], output.args[0])

    def wire(self) -> None:
        for node in self.graph.nodes:
            tap = module_of(self._model[0], node)
            if isinstance(tap, Tap):
                tap.outgoing = tuple(_edges(self._model[0], node))
                tap._norm, tap._incoming = _sources(self._model[0], node.args[0])


def _edges(model: nn.Module, node: fx.Node, bridge: tuple[nn.Module, ...] = ()) -> list[Edge]:
    """The connections from a node's value to the next layers with weights.

    They pass pooling, flattening and other modules without weights. A sum with another value is a
    skip connection. Where values are joined or multiplied, and at grouped convolutions, there is
    none.
    """
    edges: list[Edge] = []
    for user in node.users:
        module = module_of(model, user)
        if isinstance(module, nn.Linear | nn.Conv2d):
            if getattr(module, "groups", 1) == 1:
                edges.append(Edge(module, nn.Sequential(*bridge), _norm_after(model, user)))
        elif isinstance(module, Tap | ToMap | FromMap):
            if user.args[0] is node:  # and not as the tokens without a place
                edges += _edges(model, user, bridge)
        elif module is not None and not list(module.parameters()) and not list(module.buffers()):
            edges += _edges(model, user, (*bridge, module))
        elif user.target in _SUMS:
            edges.append(Edge(None, nn.Sequential(*bridge)))
    return edges


def _norm_after(model: nn.Module, node: fx.Node) -> nn.Module | None:
    users = list(node.users)
    module = module_of(model, users[0]) if len(users) == 1 else None
    return module if is_norm(module) else None


def _sources(
    model: nn.Module, node: fx.Node
) -> tuple[tuple[nn.Module, ...], tuple[nn.Module, ...]]:
    """The normalisation and the layer with weights that compute a node's value."""
    norm: tuple[nn.Module, ...] = ()
    while (module := module_of(model, node)) is not None:
        if isinstance(module, nn.Linear | nn.Conv2d):
            return norm, (module,)
        if is_norm(module) and not norm:
            norm = (module,)
        elif list(module.parameters()):
            break
        node = node.all_input_nodes[0]
    return norm, ()
