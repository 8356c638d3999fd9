"""Treatment: the quantities that methods change on purpose.

A method names one of these metrics (or another one that fits) in ``Method.target``. Tables use it
to say whether a row's treatment was delivered: whether this quantity moved against plain. Most of
them are a method's own penalty, computed from any trained network. They rank nothing, since a
penalty says nothing about interpretability.

Each metric reads the Taps at which its method acts by default: the last one with a map, the last
one, those before dense layers, or all weights.
"""

from __future__ import annotations

import math
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from legible.metrics.base import TREATMENT, Layer, Probe, metric, remember
from legible.metrics.modules import membership, spectral_partition
from legible.metrics.network import NetworkLike
from legible.metrics.similarity import layer_correlation, live_units
from legible.metrics.weight_layers import Link, by_unit, effective_weight, links, sheet

#: Number of images that are read where a metric compares all pairs, or reads a layer that is not
#: scored.
SAMPLE = 256
CHUNK = 32
#: As in the methods' defaults: groups of cgl, blocks of clusterability, clusters of iccnn,
#: neighbours of sync, factor of topoloss.
GROUPS, BLOCKS, CLUSTERS, NEAREST, FACTOR = 5, 4, 8, 3, 2.0
#: Draws of half of the units.
DRAWS = 8
TINY = 1e-12
NAN = float("nan")

_treatment = partial(metric, aspect=TREATMENT, per="network")
_PENALTY = {"dose": "it is what a method changes, whether that is structure or not"}
_ACTIVATIONS = {**_PENALTY, "scale": "it is about the size of activations"}
_WEIGHTS = {**_PENALTY, "scale": "it is about the size of weights"}
_PLACES = {**_PENALTY, "order": "a unit's number is its place"}

# ----------------------------------------------------------------- what is read


def _number(value: Tensor | float) -> float:
    """The value; NaN if it is infinite."""
    return float(value) if math.isfinite(float(value)) else NAN


def _last(probe: Probe) -> str:
    return list(probe.network.taps)[-1]


def _last_map(probe: Probe) -> str:
    """The last Tap with a map; "" if no Tap has one."""
    return ([""] + [name for name, tap in probe.network.taps.items() if tap.spatial])[-1]


def _layer(probe: Probe, name: str) -> Layer:
    """The activation at a Tap: the probe's own, or that of the first images."""
    if name in probe.layers:
        return probe.layers[name]
    return remember(probe, ("treated layer", name), lambda: Layer(name, _run(probe, name)))


@torch.no_grad()
def _run(probe: Probe, name: str) -> Tensor:
    images = probe.images[:SAMPLE].split(CHUNK)
    return torch.cat([probe.network(batch).activations[name] for batch in images])


def _maps(layer: Layer, images: int | None = None) -> Float[Tensor, "images units positions"]:
    """The activation of the first images, in float64; a dense layer has one position."""
    activation = layer.activation[:images].double()
    return activation.flatten(2) if activation.ndim > 2 else activation[:, :, None]


# ----------------------------------------------------------------- activations


@_treatment(
    better="lower", title="size of activations", limits=(0.0, math.inf), breaks=_ACTIVATIONS
)
def activation_size(network: NetworkLike, probe: Probe) -> float:
    """Mean absolute activation at the last Tap with a map, or the last: activation_l1's penalty."""
    layer = _layer(probe, _last_map(probe) or _last(probe))
    return _number(_maps(layer).abs().mean())


@_treatment(
    better="lower", title="covariance of units (DeCov)", limits=(0.0, math.inf), breaks=_ACTIVATIONS
)
def covariance_energy(network: NetworkLike, probe: Probe) -> float:
    """Half the sum of squared covariances between units of the last Tap: decov's penalty.

    Responses are means over positions; the covariance is divided by the number of images.
    """
    responses = _maps(_layer(probe, _last(probe))).mean(2)
    centred = responses - responses.mean(0)
    covariance = centred.T @ centred / len(centred)
    return _number((covariance.square().sum() - covariance.diagonal().square().sum()) / 2)


@_treatment(
    better="lower", title="uncertainty about the channel", limits=(0.0, math.inf),
    breaks=_ACTIVATIONS,
)  # fmt: skip
def channel_uncertainty(network: NetworkLike, probe: Probe) -> float:
    """Mean over positions of -log sum_c p_c^2, p the softmax over channels of the last map.

    0 if one channel explains each position, log(channels) if all are equal: pip's alignment term
    of an image with itself. Undefined without a map.
    """
    if not (name := _last_map(probe)):
        return NAN
    return _number(-_maps(_layer(probe, name)).softmax(1).square().sum(1).log().mean())


@_treatment(
    better="lower", title="distance within contiguous groups (CGL)", limits=(0.0, 1.0),
    breaks={**_PLACES, "scale": "CGL's constant 0.005 is not relative to the unit's scale"},
)  # fmt: skip
def contiguous_group_distance(network: NetworkLike, probe: Probe) -> float:
    """Mean soft Jaccard distance between units of one group, for 5 contiguous groups: cgl's term.

    2 |p - q|_1 / (|p|_1 + |q|_1 + |p - q|_1) over images and all pairs of a group at the last map,
    then over groups; p = 2 sigmoid(a / (std + 0.005)) - 1. Of the first 256 images. Undefined
    without a map, or for one unit.
    """
    if not (name := _last_map(probe)):
        return NAN
    maps = _maps(_layer(probe, name), SAMPLE)
    std = maps.movedim(1, 0).flatten(1).std(1)
    field = 2 * (maps / (std[:, None] + 5e-3)).sigmoid() - 1
    size = min(max(maps.shape[1] // GROUPS, 2), maps.shape[1])
    count = min(GROUPS, maps.shape[1] // size)
    if size < 2:
        return NAN
    groups = field[:, : count * size].unflatten(1, (count, size))
    return _number(torch.stack([_jaccard(group) for group in groups.unbind(1)]).mean())


def _jaccard(field: Float[Tensor, "images units positions"]) -> Float[Tensor, ""]:
    """The mean distance over images and pairs of units."""
    mass = field.abs().sum(2)
    total, pairs = field.new_zeros(()), 0
    for unit in range(field.shape[1] - 1):
        gap = (field[:, unit + 1 :] - field[:, unit : unit + 1]).abs().sum(2)
        both = mass[:, unit + 1 :] + mass[:, unit : unit + 1] + gap
        total = total + torch.where(both > TINY, 2 * gap / both, 0.0).mean(0).sum()
        pairs += gap.shape[1]
    return total / pairs


@_treatment(
    better="higher",
    title="similarity within clusters (icCNN)",
    limits=(0.0, float(CLUSTERS)),
    breaks=_PENALTY,
)
def cluster_share(network: NetworkLike, probe: Probe) -> float:
    """Sum over 8 clusters of similarity within the cluster / to all units: iccnn's filter loss.

    The similarity of two units in an image is 1 + the correlation of their maps around their mean
    maps, at the last map. The clusters are those of the network itself, by spectral clustering of
    the mean similarity. Of the first 256 images. 1 if all units are alike. Undefined without a map.
    """
    if not (name := _last_map(probe)):
        return NAN
    maps = _maps(_layer(probe, name), SAMPLE)
    centred = maps - maps.mean(0)
    overall = functional.normalize(centred.movedim(1, 0).flatten(1), dim=1, eps=TINY)
    rho = overall @ overall.T
    if not rho.isfinite().all():
        return NAN
    live = rho.diagonal() > 0.5
    partition = spectral_partition((rho + 1) * live * live[:, None], CLUSTERS)
    member = membership(partition).double()[partition >= 0]
    direction = functional.normalize(centred, dim=2, eps=TINY)[:, partition >= 0]
    similarity = 1 + torch.einsum("nip,njp->ij", direction, direction) / len(maps)
    within = (member * (similarity @ member)).sum(0)
    return _number((within / (similarity.sum(1) @ member)).sum()) if len(member) else NAN


# ----------------------------------------------------------------- similarity of units


def _similarity(probe: Probe) -> Float[Tensor, "live live"]:
    """The correlation of the live units at the last Tap with a map, or the last Tap."""
    rho = layer_correlation(_layer(probe, _last_map(probe) or _last(probe)))
    live = live_units(rho)
    return rho[live][:, live]


@_treatment(better="higher", title="synchrony of neighbours", limits=(-1.0, 1.0), breaks=_PENALTY)
def neighbour_synchrony(network: NetworkLike, probe: Probe) -> float:
    """Mean correlation of a live unit with the 3 units that are most like it: sync's local term.

    At the last Tap with a map, or the last Tap. Undefined for fewer than two live units.
    """
    rho = _similarity(probe)
    others = rho - 3 * torch.eye(len(rho)).to(rho)  # a unit is not its own neighbour
    count = min(NEAREST, len(rho) - 1)
    return _number(others.topk(count, dim=1).values.mean()) if count > 0 else NAN


@_treatment(better="higher", title="synchrony of all units", limits=(-1.0, 1.0), breaks=_PENALTY)
def global_synchrony(network: NetworkLike, probe: Probe) -> float:
    """Mean correlation over all pairs of live units: global sync's term.

    It is what sync with random neighbours raises, too. At the last Tap with a map, or the last Tap.
    Undefined for fewer than two live units.
    """
    rho = _similarity(probe)
    count = len(rho)
    return _number((rho.sum() - count) / (count * (count - 1))) if count > 1 else NAN


@_treatment(
    better="higher", title="similarity against nearness (TDANN)", limits=(-1.0, 1.0), breaks=_PLACES
)
def sheet_alignment(network: NetworkLike, probe: Probe) -> float:
    """Pearson's correlation over pairs of units between rho and 1 / (distance + 1): tdann's term.

    rho is the correlation of their responses, the distance that on the most nearly square grid of
    units, row by row. At the last map. Undefined for fewer than three live units, or without a map.
    """
    if not (name := _last_map(probe)):
        return NAN
    rho = layer_correlation(_layer(probe, name))
    row, column = torch.triu_indices(len(rho), len(rho), 1, device=rho.device)
    live = live_units(rho)
    row, column = (index[live[row] & live[column]] for index in (row, column))
    width = sheet(len(rho))[1]
    down, across = row // width - column // width, row % width - column % width
    nearness = 1 / (torch.hypot(down.double(), across.double()) + 1)
    pairs = torch.stack([rho[row, column], nearness])
    if len(row) < 3 or (pairs.std(1) < 1e-5).any():
        return NAN
    return _number(torch.corrcoef(pairs)[0, 1].clamp(-1, 1))


# ----------------------------------------------------------------- responses and weights


def _assemblies(probe: Probe, order: int) -> float:
    """BEAN's penalty with gamma = 1, summed over all weights from a Tap to a dense layer."""
    total, layers = 0.0, 0
    for name, tap in probe.network.taps.items():
        dense = [edge for edge in tap.outgoing if isinstance(edge.weight, nn.Linear)]
        for edge in dense if len(dense) == len(tap.outgoing) else []:
            assert edge.weight is not None
            with torch.no_grad():
                response = edge.bridge(_layer(probe, name).activation).double()
                gate = edge.weight.weight.double().tanh().abs()
            centred = response - response.mean(1, keepdim=True)
            shared = gate.T @ gate
            if order == 2:
                shared = shared.square()
            power = centred.square().mean(0) @ shared.sum(1)
            energy = power - ((centred @ shared) * centred).sum(1).mean()
            total, layers = total + float(2 * energy) / len(shared) ** 2, layers + 1
    return _number(max(total, 0.0)) if layers else NAN


@_treatment(better="lower", title="disparity of assemblies (BEAN)", limits=(0.0, math.inf),
            breaks=_ACTIVATIONS)  # fmt: skip
def assembly_disparity(network: NetworkLike, probe: Probe) -> float:
    """How differently units respond that drive the same targets: bean's penalty of order 1.

    mean_ij M_ij mean (h_i - h_j)^2 with M = A A^T and A = |tanh W^T|, summed over dense layers; h
    are their inputs. Undefined if no Tap feeds a dense layer.
    """
    return _assemblies(probe, 1)


@_treatment(better="lower", title="disparity of assemblies, order 2 (BEAN)",
            limits=(0.0, math.inf), breaks=_ACTIVATIONS)  # fmt: skip
def assembly_disparity_cycles(network: NetworkLike, probe: Probe) -> float:
    """`assembly_disparity` with M squared entry by entry: bean's penalty of order 2.

    M then counts weighted cycles of length 4.
    """
    return _assemblies(probe, 2)


@_treatment(
    better="higher", title="accuracy with half of the units", limits=(0.0, 1.0),
    breaks={**_PENALTY, "order": "the units are drawn by their number"},
)  # fmt: skip
def accuracy_half_units(network: NetworkLike, probe: Probe) -> float:
    """Accuracy with a random half of the last Tap's units silenced and the others doubled.

    What dropout trains for. Mean over 8 draws of a half for each image. Undefined if a logit is not
    finite, or where the last Tap is not on the trunk.
    """
    name = _last(probe)
    if not probe.network.taps[name].on_trunk or name not in probe.layers:
        return NAN
    activation, generator = probe.layers[name].activation, probe.generator("half of the units")
    right = 0.0
    for _ in range(DRAWS):
        keep = torch.rand(activation.shape[:2], generator=generator) < 0.5
        keep = keep.view(*keep.shape, *[1] * (activation.ndim - 2)).to(activation.device)
        with torch.no_grad():
            parts = zip(activation.split(SAMPLE), keep.split(SAMPLE), strict=True)
            logits = torch.cat([network.continue_from(name, 2 * a * k) for a, k in parts])
        if not logits.isfinite().all():
            return NAN
        right += float((logits.argmax(1) == probe.labels).double().mean())
    return right / DRAWS


# ----------------------------------------------------------------- weights


def _inner(network: NetworkLike) -> list[Link]:
    """The weight layers between two hidden layers."""
    return [link for link in links(network) if link.source and link.target]


def _edges(link: Link, network: NetworkLike) -> Float[Tensor, "targets sources entries"]:
    """The effective weights of a layer by target and source."""
    units = network.taps[link.source].units if link.source else link.weight.shape[1]
    return by_unit(effective_weight(link).detach().double(), units)


@_treatment(better="lower", title="squared weights", limits=(0.0, math.inf), breaks=_WEIGHTS)
def weight_power(network: NetworkLike, probe: Probe) -> float:
    """Sum of squared weights (not biases, not normalisation): the penalty of weight decay."""
    assert isinstance(network, nn.Module)
    weights = [p.detach().double() for p in network.parameters() if p.ndim > 1]
    return _number(sum((w.square().sum() for w in weights), torch.zeros(())))


@_treatment(better="lower", title="size of dense weights", limits=(0.0, math.inf), breaks=_WEIGHTS)
def dense_weight_size(network: NetworkLike, probe: Probe) -> float:
    """Sum of the absolute weights and biases of dense layers: weight_l1's penalty.

    Undefined without a dense layer.
    """
    assert isinstance(network, nn.Module)
    dense = [module for module in network.modules() if isinstance(module, nn.Linear)]
    sizes = [p.detach().double().abs().sum() for module in dense for p in module.parameters()]
    return _number(torch.stack(sizes).sum()) if sizes else NAN


@_treatment(better="lower", title="size of wires", limits=(0.0, math.inf), breaks=_WEIGHTS)
def wire_size(network: NetworkLike, probe: Probe) -> float:
    """Sum over layers of the mean absolute weight between two units: bimt's cost without lengths.

    A kernel counts with its L1 norm. A filter before a normalisation counts at unit norm times
    |gamma|. Lengths depend on the places of units, which only bimt's own networks have.
    """
    sizes = [_edges(link, network).abs().sum(2).mean() for link in links(network)]
    return _number(torch.stack(sizes).sum())


@_treatment(better="lower", title="norms of filters and inputs", limits=(0.0, math.inf),
            breaks=_WEIGHTS)  # fmt: skip
def group_norms(network: NetworkLike, probe: Probe) -> float:
    """Sum of the norms of all filters and of all their inputs: group_lasso's penalty.

    An input is a kernel position of a channel, over all filters. Filters of the head and channels
    of the image do not count. A filter before a normalisation counts with |gamma|.
    """
    total = torch.zeros((), dtype=torch.float64)
    for link in links(network):
        weight = effective_weight(link).detach().double().flatten(1).cpu()
        total += weight.norm(dim=1).sum() if link.target else 0.0
        total += weight.norm(dim=0).sum() if link.source else 0.0
    return _number(total)


@_treatment(better="higher", title="weight within contiguous blocks", limits=(0.0, 1.0),
            breaks={**_PLACES, **_WEIGHTS})  # fmt: skip
def block_share(network: NetworkLike, probe: Probe) -> float:
    """Share of squared weight between hidden layers that joins blocks of the same number.

    Each layer has 4 contiguous blocks: 1 - clusterability's penalty. Mean over layers. A filter
    before a normalisation counts at unit norm times |gamma|. Undefined for one hidden layer.
    """
    shares = []
    for link in _inner(network):
        strength = _edges(link, network).square().sum(2)
        row, column = (torch.arange(n) * min(BLOCKS, n) // n for n in strength.shape)
        within = (row[:, None] == column).to(strength.device)
        shares.append((strength * within).sum() / strength.sum())
    return _number(torch.stack(shares).mean()) if shares else NAN


@_treatment(better="lower", title="distance from orthogonal weights (SRIP)",
            limits=(0.0, math.inf), breaks=_WEIGHTS)  # fmt: skip
def matrix_orthogonality(network: NetworkLike, probe: Probe) -> float:
    """Sum over layers of the squared spectral norm of w w^T - I or w^T w - I: srip's penalty.

    Of the smaller of the two matrices, w the weight as units x inputs; the head included.
    """
    return _number(sum(float(_gram(link.weight).pow(2).max()) for link in links(network)))


def _gram(weight: Tensor) -> Float[Tensor, "side"]:
    """The eigenvalues of the smaller Gram matrix minus the identity."""
    matrix = weight.detach().double().flatten(1)
    if not matrix.isfinite().all():
        return matrix.new_full((1,), NAN)
    return torch.linalg.svdvals(matrix).square() - 1


@_treatment(better="lower", title="distance from orthogonal convolutions (OCNN)",
            limits=(0.0, math.inf), breaks=_WEIGHTS)  # fmt: skip
def convolution_orthogonality(network: NetworkLike, probe: Probe) -> float:
    """Sum over the layers between hidden layers of |conv(K, K) - I|_F: ocnn's penalty.

    The scalar products of all kernels at all shifts by the stride, compared with the identity at
    shift zero; for dense layers and 1 x 1 convolutions those of the smaller Gram matrix. Undefined
    for one hidden layer.
    """
    parts = [_shift_products(link.layer) for link in _inner(network)]
    return _number(torch.stack(parts).sum()) if parts else NAN


def _shift_products(layer: nn.Linear | nn.Conv2d) -> Float[Tensor, ""]:
    weight = layer.weight.detach().double()
    if isinstance(layer, nn.Linear) or layer.kernel_size == (1, 1):
        return _gram(weight).square().sum().sqrt()
    stride = layer.stride
    pad = [(k - 1) // s * s for k, s in zip(weight.shape[2:], stride, strict=True)]
    product = functional.conv2d(weight, weight, stride=stride, padding=pad)  # type: ignore[arg-type]
    row, column = (size // 2 for size in product.shape[2:])
    product[:, :, row, column] -= torch.eye(len(weight)).to(product)
    return product.square().sum().sqrt()


@_treatment(better="higher", title="smoothness of the sheet (TopoLoss)", limits=(-1.0, 1.0),
            breaks={**_PLACES, **_WEIGHTS})  # fmt: skip
def sheet_smoothness(network: NetworkLike, probe: Probe) -> float:
    """Mean cosine of a unit's weights with those of the blurred sheet: 1 - topoloss's penalty.

    Units of a layer stand row by row on the most nearly square grid; blurring halves both sides
    bilinearly and doubles them again. Mean over units, then over hidden layers.
    """
    layers = [link.weight.detach().double().flatten(1) for link in links(network) if link.target]
    return _number(torch.stack([_smoothness(w) for w in layers]).mean()) if layers else NAN


def _smoothness(weight: Float[Tensor, "units inputs"]) -> Float[Tensor, ""]:
    sides = sheet(len(weight))
    grid = weight.T.unflatten(1, sides)[None]
    half = tuple(1 / min(FACTOR, float(side)) for side in sides)
    small = functional.interpolate(
        grid, scale_factor=half, mode="bilinear", recompute_scale_factor=False
    )
    blurred = functional.interpolate(small, size=sides, mode="bilinear")
    return functional.cosine_similarity(weight, blurred[0].flatten(1).T, dim=1).mean()
