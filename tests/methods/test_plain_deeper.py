"""The null row with icnn's added layer."""

import torch
from torch import nn


def test_capacity_matched_plain_has_the_same_added_layer(fit, take_step):
    icnn, deeper = (fit(name, epochs=0) for name in ("icnn", "plain_deeper"))
    assert torch.equal(icnn.method.kernel0, deeper.method.kernel0)
    count = lambda m: sum(p.numel() for p in m.parameters())  # noqa: E731
    assert count(icnn.method) == count(deeper.method) == 9 * 16 * 16 + 16
    step = take_step(deeper)
    conv = nn.Conv2d(16, 16, 3, padding=1)
    conv.load_state_dict({"weight": deeper.method.kernel0, "bias": deeper.method.bias0})
    torch.testing.assert_close(
        step.transformed["conv6"], conv(step.activations["conv6"]).relu(), rtol=1e-4, atol=1e-5
    )


def test_laws(check_laws):
    check_laws("plain_deeper")
