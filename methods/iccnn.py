"""icCNN: filters cluster into groups that respond to the same image regions."""

from __future__ import annotations

from math import prod
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from legible.methods.base import Data, Method, Step, TapChoice, Target, register
from legible.metrics.modules import spectral_partition
from legible.metrics.network import NetworkLike

EPSILON = 1e-5  # in the denominators of both losses, as in the code
TINY = 1e-12


def directions(
    activation: Float[Tensor, "batch units *map"], mean: Float[Tensor, "units positions"]
) -> Float[Tensor, "batch units positions"]:
    """Each image's maps minus their running mean, at unit norm; zero where nothing remains."""
    centred = activation.flatten(2) - mean
    power = centred.square().sum(2, keepdim=True)
    live = power > TINY
    return torch.where(live, centred, 0.0) * torch.where(live, power, 1.0).rsqrt()


def within_share(
    direction: Float[Tensor, "batch units positions"], member: Float[Tensor, "units groups"]
) -> Float[Tensor, ""]:
    """- sum_k (similarity within group k) / (similarity of group k to all units).

    The similarity of two units in an image is 1 + rho, rho the scalar product of their
    directions. It is summed over images and pairs, including each unit with itself. The value
    ranges from -groups (units are similar to their own group only) to 0; it is -1 where all
    similarities are equal, for any groups.
    """
    images = len(direction)
    size = member.sum(0)
    sums = member.T @ direction  # (batch, groups, positions): sum over a group's directions
    everything = direction.sum(1, keepdim=True)
    within = sums.square().sum((0, 2)) / images + size.square()
    total = (sums * everything).sum((0, 2)) / images + size * len(member)
    return -(within / (total + EPSILON)).sum()


def class_share(
    activation: Float[Tensor, "batch units *map"],
    member: Float[Tensor, "units groups"],
    labels: Int[Tensor, "batch"],
    classes: int,
) -> Float[Tensor, ""]:
    """- sum_c (similarity within class c) / (similarity of class c to all images).

    An image is the vector of its groups' mean activations (over all units and positions, times
    the group's size, as in the code), scaled to unit norm; similarity is the scalar product.
    """
    pooled = activation.flatten(2).mean(2) if activation.ndim > 2 else activation
    groups = (pooled @ member) * (member.sum(0) / len(member))
    norm = (groups.square().sum(1, keepdim=True) + TINY).sqrt() + EPSILON
    image = groups / norm
    by_class = functional.one_hot(labels, classes).to(image).T @ image  # (classes, groups)
    pairs = len(labels) ** 2
    within = by_class.square().sum(1) / pairs
    total = (by_class @ image.sum(0)) / pairs
    return -(within / (total + EPSILON)).sum()


@register
class ICCNN(Method):
    """Clusters filters into groups and makes each group respond to the same image regions.

    Equation: in each image rho_ij is the correlation of two units' maps around their running
    means, s_ij = rho_ij + 1; with groups A_k from spectral clustering of the units,
    L_1 = - sum_k (sum_{i, j in A_k} s_ij) / (sum_{i in A_k, all j} s_ij), sums over images too;
    L_2 is the same ratio for images of a class, on the cosine of their groups' activations.
    L = CE + s (L_1 + c L_2).
    Paper: Shen et al., "Interpretable compositional convolutional neural networks", IJCAI 2021.
    Repository: github.com/ada-shen/icCNN, commit 6f6d7bd.
    Differences: L_1 uses all images (the binary scripts use the object class only). Units are
    clustered at the start of an epoch that also trains (in the code such an epoch only clusters,
    so half of its first 200 epochs do not train), on some training images, with this project's
    spectral clustering. Training is from scratch, not from a trained network, with the
    backbone's padding. Dead units have no direction and no group.

    strength: the code has 0.1 for both terms of the multi-class scripts, else 0.1 (VGG) or 1
        (ResNet, DenseNet).
    groups: in the code 16, or 5 in the VGG and DenseNet scripts for one class, of 256 to 2,208
        units.
    classes: c, the weight of L_2 relative to L_1.
    every, until: cluster in every ``every``-th epoch before ``until``. The code has 2 and 200, of
        1,000 to 3,000 epochs; shorter trainings cluster to their end.
    images: number of training images used for clustering.
    mean: "correct", a mean by unit and position, or the code's: "official_scrambled" reads the
        same numbers in the wrong order, so that a unit gets other units' and positions' means.
    decay: factor of the running mean.
    """

    needs = frozenset({"spatial"})
    trains_on = frozenset({"claimed_within_between", "claimed_modularity"})
    claims = frozenset({"claimed_within_between", "concept_purity", "within_between"})
    target = Target("cluster_share", "higher")
    search = {"strength": (0.01, 0.03, 0.1, 0.3, 1.0)}
    steps: Tensor

    def __init__(
        self,
        strength: float = 0.1,
        groups: int = 8,
        classes: float = 1.0,
        every: int = 2,
        until: int = 200,
        images: int = 1024,
        mean: Literal["correct", "official_scrambled"] = "correct",
        decay: float = 0.95,
        taps: TapChoice | None = None,
    ) -> None:
        super().__init__(strength, taps)
        for name, value in (
            ("groups", groups), ("every", every), ("until", until), ("images", images),
        ):  # fmt: skip
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        if classes < 0:
            raise ValueError(f"classes must be at least 0, not {classes}")
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be in [0, 1), not {decay}")
        self.groups, self.classes, self.every, self.until = groups, classes, every, until
        self.images, self.mean, self.decay = images, mean, decay

    def attach(self, network: NetworkLike, data: Data) -> None:
        super().attach(network, data)
        device = data.labels.device
        self.register_buffer("steps", torch.zeros((), device=device))
        for i, tap in enumerate(self.taps):
            units, *positions = network.taps[tap].shape
            self.register_buffer(f"mean{i}", torch.zeros(units, prod(positions), device=device))
            group = torch.full((units,), -1, dtype=torch.long, device=device)
            self.register_buffer(f"group{i}", group)

    # ------------------------------------------------------------- clustering

    @torch.no_grad()
    def start_epoch(self, network: NetworkLike, data: Data, epoch: int) -> None:
        """Clusters the units of each Tap, in the epochs of the schedule."""
        if epoch % self.every or epoch >= self.until:
            return
        for i, rho in enumerate(self.correlations(network, data)):
            live = rho.diagonal() > 0.5
            similarity = (rho + 1) * live * live[:, None]
            getattr(self, f"group{i}").copy_(spectral_partition(similarity, self.groups))

    def correlations(self, network: NetworkLike, data: Data) -> list[Float[Tensor, "units units"]]:
        """For each Tap, the correlation of its units around the mean map, over the first images."""
        assert isinstance(network, torch.nn.Module)
        training = network.training
        network.eval()
        maps_by_tap: list[list[Tensor]] = [[] for _ in self.taps]
        for rows, images in data.batches(min(256, self.images)):
            out = network(images)
            for maps, tap in zip(maps_by_tap, self.taps, strict=True):
                maps.append(out.activations[tap].float().flatten(2))
            if int(rows[-1]) + 1 >= self.images:
                break
        network.train(training)
        return [map_correlation(torch.cat(maps)) for maps in maps_by_tap]

    # ------------------------------------------------------------- losses

    def penalty(self, step: Step) -> dict[str, Tensor]:
        filters = images = step.logits.new_zeros((), dtype=torch.float32)
        classes = step.logits.shape[1]
        decay = torch.where(self.steps > 0, self.decay, 0.0)
        for i, tap in enumerate(self.taps):
            activation = step.activations[tap]
            member = self.member(i)
            direction = directions(activation, self.running_mean(i, activation, decay))
            filters = filters + within_share(direction, member)
            images = images + class_share(activation, member, step.labels, classes)
        self.steps += 1
        return {
            "filters": self.strength * filters,
            "classes": self.strength * self.classes * images,
        }

    def member(self, i: int) -> Float[Tensor, "units groups"]:
        """The groups of a Tap's units, one-hot; zero for a unit in no group."""
        group = getattr(self, f"group{i}")
        return (group[:, None] == torch.arange(self.groups, device=group.device)).float()

    @torch.no_grad()
    def running_mean(
        self, i: int, activation: Tensor, decay: Tensor
    ) -> Float[Tensor, "units positions"]:
        """The running mean map of each unit, this batch included, as ``self.mean`` reads it."""
        mean: Tensor = getattr(self, f"mean{i}")
        mean.lerp_(activation.flatten(2).mean(0).to(mean), 1 - decay)
        return scramble(mean) if self.mean == "official_scrambled" else mean.clone()

    def partition(self, network: NetworkLike) -> dict[str, Int[Tensor, "units"]]:
        """The groups of the last clustering; -1 for units that were dead then."""
        return {tap: getattr(self, f"group{i}") for i, tap in enumerate(self.taps)}


def scramble(mean: Float[Tensor, "units positions"]) -> Float[Tensor, "units positions"]:
    """Reads a (positions, units) buffer as (units, positions), untransposed, as in the code."""
    return mean.T.reshape(mean.shape)


def map_correlation(maps: Float[Tensor, "images units positions"]) -> Float[Tensor, "units units"]:
    """Correlation of units over images and positions, around each unit's mean map.

    Zero, also on the diagonal, for units that are equal in all images.
    """
    centred = (maps - maps.mean(0)).movedim(1, 0).flatten(1)
    power = centred.square().sum(1, keepdim=True)
    live = power > TINY
    unit = torch.where(live, centred, 0.0) * torch.where(live, power, 1.0).rsqrt()
    return unit @ unit.T
