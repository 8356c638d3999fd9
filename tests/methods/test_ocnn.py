"""Orthogonal convolutions against sums over shifts."""

import pytest
import torch

from legible.bench.backbones.mlp import mlp
from legible.bench.backbones.resnet18 import resnet18
from legible.methods.ocnn import TINY, Ocnn, kernel_orthogonality, matrix_orthogonality


def random_kernel(*shape):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)


def slow(kernel, stride):
    """Every pair of kernels at every shift (a multiple of the stride) at which they overlap."""
    units, _, height, width = kernel.shape
    total = TINY
    for dy in range(-(height - 1), height):
        for dx in range(-(width - 1), width):
            if dy % stride or dx % stride:
                continue
            for i in range(units):
                for j in range(units):
                    product = 0.0
                    for y in range(max(0, -dy), min(height, height - dy)):
                        for x in range(max(0, -dx), min(width, width - dx)):
                            product = product + kernel[i, :, y + dy, x + dx] @ kernel[j, :, y, x]
                    total = total + (product - float(i == j and dy == dx == 0)) ** 2
    return total**0.5


@pytest.mark.parametrize(
    ("shape", "stride"),
    [((3, 2, 3, 3), 1), ((3, 2, 3, 3), 2), ((2, 2, 4, 4), 2), ((2, 1, 3, 2), 1), ((2, 1, 5, 5), 2)],
)
def test_value_and_gradient(shape, stride):
    kernel = random_kernel(*shape)
    got, expected = kernel_orthogonality(kernel, (stride, stride)), slow(kernel, stride)
    torch.testing.assert_close(got, expected)
    gradients = [torch.autograd.grad(value, kernel)[0] for value in (got, expected)]
    torch.testing.assert_close(*gradients)


def test_a_delta_kernel_is_orthogonal_as_an_operator():
    kernel = torch.zeros(2, 2, 3, 3, requires_grad=True)
    with torch.no_grad():
        kernel[0, 0, 1, 1] = kernel[1, 1, 0, 2] = 1
    for stride in ((1, 1), (2, 2)):
        value = kernel_orthogonality(kernel, stride)
        assert value < 2e-6
        assert torch.autograd.grad(value, kernel)[0].isfinite().all()


def test_a_matrix_can_be_orthogonal_where_its_convolution_is_not():
    kernel = torch.zeros(2, 1, 3, 3)
    kernel[0, 0, 1, 1] = kernel[1, 0, 1, 2] = 1  # one filter is the other, shifted
    assert matrix_orthogonality(kernel) < 2e-6
    assert abs(kernel_orthogonality(kernel) - 2**0.5) < 1e-5


def test_scripts_padding_differs_and_has_no_shift_zero_at_stride_two():
    kernel = torch.zeros(2, 2, 3, 3)
    kernel[0, 0, 1, 1] = kernel[1, 1, 1, 1] = 1
    assert kernel_orthogonality(kernel, (2, 2)) < 2e-6
    # shifts -1 and 1 only: all products are 0, and the identity is missed twice
    assert abs(kernel_orthogonality(kernel, (2, 2), (1, 1)) - 2**0.5) < 1e-5
    kernel = random_kernel(3, 2, 3, 3)
    assert kernel_orthogonality(kernel, (1, 1), (1, 1)) < kernel_orthogonality(kernel) - 0.1


@pytest.mark.parametrize("shape", [(3, 7), (7, 3), (4, 4, 1, 1)])
def test_matrices(shape):
    weight = random_kernel(*shape)
    w = weight.flatten(1) if shape[0] < shape[1] else weight.flatten(1).T
    expected = torch.linalg.matrix_norm(w @ w.T - torch.eye(len(w)))
    torch.testing.assert_close(matrix_orthogonality(weight), expected)


@pytest.mark.parametrize(
    ("backbone", "net"), [(resnet18, {"width": 4, "stages": 2}), (mlp, {"hidden": (8, 7, 6)})]
)
def test_every_layer_but_the_first_and_the_head(step_on, toy, backbone, net):
    network = backbone((1, 16, 16), 3, **net)
    method = Ocnn()
    method.attach(network, toy.train)
    method.penalty(step_on(network))["orthogonality"].backward()
    weights = [p for p in network.parameters() if p.ndim > 1]
    assert [p.grad is not None for p in weights] == [False] + [True] * (len(weights) - 2) + [False]


def test_training_makes_kernels_more_orthogonal(fit):
    def distance(fitted):
        return kernel_orthogonality(fitted.network.backbone.conv6.weight.detach())

    assert distance(fit("ocnn")) < 0.9 * distance(fit("plain"))


@pytest.mark.parametrize("padding", ["centred", "script"])
def test_laws(check_laws, padding):
    check_laws("ocnn", {"padding": padding})
