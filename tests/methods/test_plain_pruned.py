"""Pruning by global magnitude."""

import pytest
import torch
from torch import nn

from legible.bench.backbones.resnet18 import resnet18
from legible.methods.plain_pruned import PlainPruned, recalibrate
from legible.metrics.weight_layers import links


def weights(network):
    return torch.cat([p.detach().flatten() for p in network.parameters() if p.ndim > 1])


@pytest.mark.parametrize("sparsity", [0.3, 0.9])
def test_the_smallest_weights_of_the_network_become_zero(fit, sparsity):
    plain, pruned = fit("plain"), fit("plain_pruned", {"sparsity": sparsity})
    before, after = weights(plain.network), weights(pruned.network)
    zero = after == 0
    assert zero.sum() == round(sparsity * len(before))
    assert torch.equal(after[~zero], before[~zero])
    assert before[zero].abs().max() <= before[~zero].abs().min()


def test_recalibration_takes_the_statistics_of_the_pruned_network(fit, toy):
    raw = fit("plain_pruned", {"recalibrate": False}).network
    network = fit("plain_pruned").network
    assert torch.equal(weights(raw), weights(network))
    norm = network.backbone.norm1
    images = next(iter(toy.train.batches(256)))[1]
    out = network.backbone.conv1(images)
    torch.testing.assert_close(norm.running_mean, out.mean((0, 2, 3)))
    torch.testing.assert_close(norm.running_var, out.var((0, 2, 3)))
    assert norm.momentum == 0.1
    assert not torch.allclose(raw.backbone.norm1.running_var, norm.running_var)
    assert not network.training


def test_recalibration_puts_the_norms_alone_into_training_mode(fit, toy):
    network = fit("plain").network
    modes: dict[type[nn.Module], bool] = {}
    for module in network.modules():
        if not list(module.children()):
            module.register_forward_hook(lambda m, x, y: modes.update({type(m): m.training}))
    recalibrate(network, toy.train)
    assert modes.pop(nn.BatchNorm2d)
    assert len(modes) > 3 and not any(modes.values()), "dropout would act"


def test_strength_zero_is_the_plain_network(fit):
    plain, pruned = (fit(*a).network for a in (("plain",), ("plain_pruned", {"strength": 0.0})))
    for name, tensor in plain.state_dict().items():
        assert torch.equal(tensor, pruned.state_dict()[name])


def test_every_weight_layer_is_found_once():
    for network in (resnet18((1, 16, 16), 3, width=4),):
        layers = [m for m in network.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
        layers_of_links = [link.layer for link in links(network)]
        assert len(layers_of_links) == len(layers)
        assert {id(m) for m in layers_of_links} == {id(m) for m in layers}


def test_sparsity_is_checked():
    with pytest.raises(ValueError, match="sparsity"):
        PlainPruned(sparsity=1.0)
