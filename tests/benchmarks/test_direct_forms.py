"""Losses and metrics against the direct forms of their definitions, as published code has them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from captum.metrics import infidelity as captum_infidelity
from planted_probes import random_masks, random_probe
from sklearn.feature_selection import mutual_info_classif
from torch.nn.functional import interpolate

from legible.bench.backbones.vgg import vgg
from legible.bench.data.base import Split
from legible.bench.plugins import registry
from legible.bench.scoring.probe import probe_network
from legible.methods.base import Method
from legible.methods.iccnn import EPSILON, directions, within_share
from legible.metrics.attribution import DRAWS, NOISE, infidelity
from legible.metrics.base import Layer, Probe
from legible.metrics.explainers import explanations
from legible.metrics.network import Concepts
from legible.metrics.selectivity import mutual_information
from legible.metrics.semantics import dissect

registry.load(["metrics"])


def test_iccnn_against_all_pairs(compare):
    """The published loss holds the similarity of each pair of units in each image."""
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(64, 128, 8, 8, generator=generator, requires_grad=True)
    mean = maps.detach().flatten(2).mean(0)
    member = torch.nn.functional.one_hot(torch.arange(128) % 16, 16).float()

    def ours() -> torch.Tensor:
        return within_share(directions(maps, mean), member)

    def pairs() -> torch.Tensor:
        z = maps.flatten(2) - mean
        product = torch.einsum("nip,njp->nij", z, z)
        norm = z.square().sum(2).sqrt()
        similarity = (1 + product / (norm[:, :, None] * norm[:, None])).mean(0)
        within = (member.T @ similarity @ member).diagonal()
        return -(within / ((member.T @ similarity).sum(1) + EPSILON)).sum()

    assert torch.allclose(ours(), pairs(), rtol=1e-4)
    subject = "icCNN's loss of groups, 128 units, 64 images"
    ratio = compare(subject, "all pairs, as published", lambda: ours().backward(),
                    lambda: pairs().backward())  # fmt: skip
    assert ratio > 0


def direct_dissection(layer: Layer, concepts: Concepts) -> torch.Tensor:
    """NetDissect's IoU, one unit and concept at a time."""
    masks = concepts.masks()
    side = masks.shape[2:]
    category = masks.any(1).flatten(1).any(1)  # all concepts are of one category
    table = torch.zeros(layer.units, len(concepts))
    for unit in range(layer.units):
        values = interpolate(layer.activation[:, unit : unit + 1], side, mode="bilinear")[:, 0]
        keep = max(1, round(0.005 * values.numel()))
        threshold = values.flatten().topk(keep).values[-1]
        region = values >= threshold
        area = region[category].sum()
        for k in range(len(concepts)):
            both = (region & masks[:, k]).sum()
            table[unit, k] = both / (area + masks[:, k].sum() - both)
    return table


def test_dissection_against_one_unit_and_concept_at_a_time(compare):
    layer, probe = random_probe(images=200, units=32, size=8, concepts=12)

    def ours() -> torch.Tensor:
        return dissect(Layer("units", layer.activation), probe.concepts)

    peer = lambda: direct_dissection(layer, probe.concepts)  # noqa: E731
    assert torch.allclose(ours().float(), peer(), atol=2e-3)
    subject = "NetDissect's IoU, 32 units, 12 concepts, 200 images"
    assert compare(subject, "unit by unit, concept by concept", ours, peer, rounds=3) > 0


def test_information_against_scikit_learn(compare):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(600) % 5
    slope = torch.linspace(0, 1, 16)
    features = torch.randn(600, 16, generator=generator) + labels[:, None] * slope

    def ours() -> torch.Tensor:
        return mutual_information(features, labels, 5)

    def peer() -> torch.Tensor:
        columns = [mutual_info_classif(features.numpy(), (labels == c).numpy(), random_state=0)
                   for c in range(5)]  # fmt: skip
        return torch.from_numpy(np.stack(columns, 1))

    assert torch.allclose(ours().double(), peer(), atol=1e-3)
    subject = "mutual information, 16 units, 5 classes, 600 images"
    assert compare(subject, "scikit-learn, class by class", ours, peer, rounds=3) > 0


def untrained_probe() -> Probe:
    """Sixty-four images of noise, whose concepts define their classes, and an untrained vgg."""
    generator = torch.Generator().manual_seed(0)
    masks = random_masks(64, 4, 16, generator) | torch.eye(4).bool()[torch.arange(64) % 4].view(
        64, 4, 1, 1
    )
    names = [str(k) for k in range(4)]
    concepts = Concepts.pack(masks, names, ["part"] * 4, [True] * 4, range(4))
    images = torch.randint(256, (64, 1, 16, 16), generator=generator).to(torch.uint8)
    half = torch.full((1,), 0.5)
    split = Split(images, torch.arange(64) % 4, 4, half, half, concepts)
    network = vgg((1, 16, 16), 4, width=8, stages=2).eval()
    return probe_network(network, Method(), split, ["last_spatial"])


@pytest.mark.filterwarnings("ignore")
def test_infidelity_against_captum(compare):
    """Captum runs the network anew for each algorithm; ours asks it once for all of them."""
    probe = untrained_probe()
    sample = explanations(probe)

    def ours() -> object:
        probe.memo.pop("perturbed answers", None)
        return infidelity(probe.network, probe)

    def perturb(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        noise = NOISE * torch.randn_like(images)
        return noise, images - noise

    def peer() -> list[torch.Tensor]:
        return [
            captum_infidelity(sample.model.logits, perturb, sample.images, attributions,
                              target=sample.labels, n_perturb_samples=DRAWS, normalize=True)
            for attributions in sample.attributions.values()
        ]  # fmt: skip

    assert len(sample.attributions) >= 3
    subject = f"infidelity of {len(sample.attributions)} algorithms, 64 images"
    assert compare(subject, "captum's infidelity", ours, peer, rounds=3) > 0
