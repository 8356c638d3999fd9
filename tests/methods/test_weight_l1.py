"""L1 on the weights of dense layers."""

import torch
from torch import nn

from legible.bench.backbones.lenet5 import lenet5


def test_gradient_is_the_sign_times_the_strength_on_dense_layers_alone(fit, take_step):
    fitted = fit("weight_l1", {"strength": 0.5}, epochs=0, backbone=lenet5)
    dense = [m for m in fitted.network.modules() if isinstance(m, nn.Linear)]
    own = {id(p) for m in dense for p in (m.weight, m.bias)}
    term = fitted.method.penalty(take_step(fitted))["weight_l1"]
    expected = sum(0.5 * p.detach().double().abs().sum().item() for m in dense
                   for p in m.parameters())  # fmt: skip
    torch.testing.assert_close(term.item(), expected, rtol=1e-6, atol=0)
    term.backward()
    for name, p in fitted.network.named_parameters():
        if id(p) in own:
            torch.testing.assert_close(p.grad, 0.5 * p.detach().sign())
        else:
            assert p.grad is None, name


def test_more_weights_end_near_zero(fit):
    shares = []
    for strength in (0.0, 0.01):
        network = fit("weight_l1", {"strength": strength}, epochs=6, lr=1e-2).network
        head = network.backbone.head.weight.detach()
        shares.append((head.abs() < 0.02).double().mean().item())
    assert shares[1] > shares[0]


def test_laws(check_laws):
    check_laws("weight_l1")
