"""TopoLoss against a slow formula."""

import math

import pytest
import torch
from torch.nn import functional

from legible.methods.topoloss import Topoloss, blurring, topo_loss


def linear(values, size, step):
    """Linear interpolation of a line, half-pixel centres (edges repeated)."""
    out = []
    for i in range(size):
        x = max(0.0, (i + 0.5) * step - 0.5)
        low = min(int(x), len(values) - 1)
        high = min(low + 1, len(values) - 1)
        out.append(values[low] * (1 - (x - low)) + values[high] * (x - low))
    return out


def resize(grid, height, width, steps):
    rows = [linear(row, width, steps[1]) for row in grid]
    columns = [linear([row[j] for row in rows], height, steps[0]) for j in range(width)]
    return [[columns[j][i] for j in range(width)] for i in range(height)]


def slow(weight, height, width, factor):
    filters = weight.flatten(1)
    grid = [[filters[i * width + j] for j in range(width)] for i in range(height)]
    steps = min(factor, height), min(factor, width)
    small = resize(grid, int(height / steps[0]), int(width / steps[1]), steps)
    back = resize(small, height, width, (len(small) / height, len(small[0]) / width))
    total = 0
    for i in range(height):
        for j in range(width):
            a, b = grid[i][j], back[i][j]
            total = total + (a * b).sum() / (a.norm() * b.norm())
    return 1 - total / (height * width)


@pytest.mark.parametrize(
    ("shape", "size", "factor"),
    [((16, 3, 3, 3), (4, 4), 2.0), ((24, 10), (4, 6), 3.0), ((8, 5), (2, 4), 1.7),
     ((7, 5), (1, 7), 2.0)],
)  # fmt: skip
def test_value_and_gradient(shape, size, factor):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)
    got, expected = topo_loss(weight, factor), slow(weight, *size, factor)
    torch.testing.assert_close(got, expected)
    gradients = [torch.autograd.grad(value, weight)[0] for value in (got, expected)]
    torch.testing.assert_close(*gradients)


def test_blurring_is_interpolation_with_the_factor_as_step():
    """Also where the factor does not divide the side (a step of 3 over 8 cells)."""
    line = torch.randn(1, 1, 8, generator=torch.Generator().manual_seed(0))
    for factor in (2.0, 3.0, 2.5, 8.0):
        small = functional.interpolate(line, scale_factor=1 / factor, mode="linear")
        back = functional.interpolate(small, size=8, mode="linear")
        torch.testing.assert_close(blurring(8, factor).float() @ line[0, 0], back[0, 0])


def test_equal_filters_cost_nothing_and_alternating_ones_most():
    filters = torch.ones(16, 5)
    assert topo_loss(filters, 2.0).abs() < 1e-6
    signs = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(2, 2).flatten()[:, None]
    assert topo_loss(signs * filters, 2.0) >= 1 - 1e-6
    assert math.isclose(topo_loss(filters, 1.0), 0, abs_tol=1e-6)


def test_random_filters_of_the_reference():
    """A random 512 x 4608 layer was measured at .920 (factor 3) and .969 (factor 8)."""
    weight = torch.randn(512, 512 * 9, generator=torch.Generator().manual_seed(0))
    assert abs(topo_loss(weight, 3.0) - 0.920) < 0.002
    assert abs(topo_loss(weight, 8.0) - 0.969) < 0.002


def test_a_zero_filter_is_guarded():
    weight = torch.randn(16, 8, generator=torch.Generator().manual_seed(1))
    weight[5] = 0
    weight.requires_grad_()
    topo_loss(weight, 2.0).backward()
    assert weight.grad.isfinite().all()
    assert weight.grad[5].abs().max() < 10


def test_training_makes_the_sheet_smoother(fit):
    def smoothness(fitted):
        return topo_loss(fitted.network.backbone.conv6.weight, 2.0)

    assert smoothness(fit("topoloss", {"strength": 10.0})) < smoothness(fit("plain")) - 0.02


def test_laws(check_laws):
    check_laws("topoloss")


def test_factor_is_checked():
    with pytest.raises(ValueError, match="factor"):
        Topoloss(factor=0.5)
