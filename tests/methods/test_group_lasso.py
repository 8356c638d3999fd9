"""The group lasso's norms, and BatchNorm's scale."""

import pytest
import torch

from legible.bench.backbones.vgg import vgg
from legible.methods.group_lasso import GroupLasso, column_norms, row_norms
from legible.metrics.weight_layers import links


@pytest.fixture
def weight():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(4, 3, 2, 2, generator=generator, dtype=torch.float64, requires_grad=True)


def test_groups_by_hand(weight):
    rows = torch.stack([weight[j].square().sum().sqrt() for j in range(4)])
    torch.testing.assert_close(row_norms(weight), rows)
    channels = torch.stack([weight[:, c].square().sum().sqrt() for c in range(3)])
    torch.testing.assert_close(column_norms(weight, "channel"), channels)
    positions = torch.stack(
        [weight[:, c, y, x].square().sum().sqrt()
         for c in range(3) for y in range(2) for x in range(2)]
    )  # fmt: skip
    torch.testing.assert_close(column_norms(weight, "position"), positions)


def test_the_gradient_is_the_groups_direction(weight):
    (gradient,) = torch.autograd.grad(row_norms(weight).sum(), weight)
    expected = weight / row_norms(weight).view(-1, 1, 1, 1)
    torch.testing.assert_close(gradient, expected.detach())


def test_a_zero_group_has_no_gradient():
    weight = torch.zeros(2, 3, requires_grad=True)
    (row_norms(weight).sum() + column_norms(weight, "channel").sum()).backward()
    assert (weight.grad == 0).all()


@pytest.fixture
def penalties(step_on, toy):
    def compute(network, **params):
        method = GroupLasso(1.0, **params)
        method.attach(network, toy.train)
        return method.penalty(step_on(network))

    return compute


def test_rescaled_filters_do_not_evade_the_folded_penalty(penalties):
    network = vgg((1, 16, 16), 3, width=4, depth=1)
    with torch.no_grad():
        for link in links(network)[:-1]:
            link.norm.weight.uniform_(-1, 1, generator=torch.Generator().manual_seed(0))
    before = {kind: penalties(network, batchnorm=kind) for kind in ("folded", "raw")}
    gammas = torch.cat([link.norm.weight for link in links(network)[:-1]])
    torch.testing.assert_close(before["folded"]["rows"], gammas.abs().sum())
    with torch.no_grad():
        for link in links(network)[:-1]:
            link.layer.weight /= 10  # the same function behind BatchNorm
    after = {kind: penalties(network, batchnorm=kind) for kind in ("folded", "raw")}
    for term in ("rows", "columns"):
        torch.testing.assert_close(after["folded"][term], before["folded"][term])
        assert after["raw"][term] < before["raw"][term]


def test_rows_of_the_head_and_columns_of_the_image_are_no_groups(penalties):
    network = vgg((1, 16, 16), 3, width=4, depth=1)
    raw = penalties(network, batchnorm="raw", group="channel")
    weights = [link.weight for link in links(network)]
    rows = sum(w.flatten(1).norm(dim=1).sum() for w in weights[:-1])
    columns = sum(w.transpose(0, 1).flatten(1).norm(dim=1).sum() for w in weights[1:])
    torch.testing.assert_close(raw["rows"], rows)
    torch.testing.assert_close(raw["columns"], columns)


def test_training_shrinks_gamma(fit):
    sizes = [
        fit(*call).network.backbone.norm6.weight.abs().mean()
        for call in (("plain",), ("group_lasso", {"strength": 0.1}))
    ]
    assert sizes[1] < sizes[0] - 0.005


@pytest.mark.parametrize("batchnorm", ["folded", "raw"])
def test_laws(check_laws, batchnorm):
    check_laws("group_lasso", {"batchnorm": batchnorm})


def test_parameters_are_checked():
    with pytest.raises(ValueError, match="rows"):
        GroupLasso(rows=-1.0)
