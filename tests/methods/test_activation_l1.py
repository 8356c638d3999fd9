"""Activation L1: the penalty's value and gradient by hand."""

import dataclasses

import pytest
import torch

from legible.methods.activation_l1 import ActivationL1


@pytest.fixture
def penalty(fit, take_step):
    """``penalty(strength, *activations)`` on a step that has these activations."""
    step = take_step(fit("plain"))

    def value(strength, *activations):
        method = ActivationL1(strength=strength)
        method.taps = [str(i) for i in range(len(activations))]
        by_tap = dict(zip(method.taps, activations, strict=True))
        return method.penalty(dataclasses.replace(step, activations=by_tap))["l1"]

    return value


def test_value_and_gradient_by_hand(penalty):
    a = torch.tensor([[[[1.0, -2.0], [0.0, 3.0]]]], requires_grad=True)
    value = penalty(0.5, a)
    assert value.item() == 0.5 * 6 / 4
    value.backward()
    assert a.grad.flatten().tolist() == [0.125, -0.125, 0.0, 0.125]


def test_taps_are_summed_and_their_size_does_not_matter(penalty):
    wide, narrow = torch.full((2, 8, 4, 4), 3.0), torch.full((2, 5), 1.0)
    assert penalty(1.0, wide, narrow).item() == 4
    assert penalty(1.0, wide[:, :1, :1, :1], narrow).item() == 4
