"""Group lasso: structured sparsity of filters and of their inputs."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from legible.methods.base import Method, Step, TapChoice, Target, register
from legible.metrics.weight_layers import Link, effective_weight, links_to

#: Added under the root, so that the gradient at a zero group is zero.
TINY = 1e-16


def norms(groups: Float[Tensor, "groups members"]) -> Float[Tensor, "groups"]:
    """The Euclidean norm of each group; its gradient at a zero group is zero."""
    return (groups.square().sum(1) + TINY).sqrt()


def row_norms(weight: Float[Tensor, "units *inputs"]) -> Float[Tensor, "units"]:
    """The norm of each filter."""
    return norms(weight.flatten(1))


def column_norms(
    weight: Float[Tensor, "units inputs *kernel"], group: Literal["position", "channel"]
) -> Float[Tensor, "groups"]:
    """The norm of each input over all filters.

    "position": an input is one kernel position of one channel; "channel": a whole channel.
    """
    if group == "position":
        return norms(weight.flatten(1).T)
    return norms(weight.transpose(0, 1).flatten(1))


@register
class GroupLasso(Method):
    """Drives whole filters and whole inputs of a layer to zero (structured sparsity learning, SSL).

    Equation: L = CE + s * sum over layers of [rows * sum_j |w_j|_2 + columns * sum_c |w_:c|_2],
    w_j the weights of unit j, w_:c the weights of all units at one input c (a channel and
    kernel position). No factor for the size of a group.
    Paper: Wen, Wu, Wang, Chen & Li, "Learning structured sparsity in deep neural networks",
    NeurIPS 2016.
    Repository: github.com/wenwei202/caffe, branch scnn, commit d80a5e1; written from its
    formula.
    Differences: before BatchNorm a filter's norm has no effect on the function, and a penalty on
    it only changes the effective learning rate. There w is taken at unit norm times |gamma|, so a
    row's norm is |gamma| (``batchnorm="raw"`` penalises the weight as it is, as the repository
    does). The subgradient goes through the shared optimiser; the repository adds it to SGD,
    sets weights below 1e-4 to zero, starts from a trained network and fine-tunes with the zeros
    frozen. Filters of the head (classes) are no rows, and channels of the image are no columns.
    There are no groups of whole layers.

    strength: the repository's decay, 0.003 for CIFAR-10 and 0.005 for MNIST.
    rows, columns: relative weight of the two kinds of groups.
    group: a column is a kernel "position" of a channel, as in the repository, or a "channel".
    batchnorm: "folded" or "raw".
    """

    acts_on = "all"
    claims = frozenset({"free_sparsity", "pruning_area"})
    target = Target("group_norms", "lower")
    search = {"strength": (0.0003, 0.001, 0.003, 0.01, 0.03)}

    def __init__(
        self,
        strength: float = 0.003,
        rows: float = 1.0,
        columns: float = 1.0,
        group: Literal["position", "channel"] = "position",
        batchnorm: Literal["folded", "raw"] = "folded",
        taps: TapChoice | None = None,
    ) -> None:
        super().__init__(strength, taps)
        if rows < 0 or columns < 0:
            raise ValueError(f"rows ({rows}) and columns ({columns}) must be at least 0")
        self.rows, self.columns, self.group, self.batchnorm = rows, columns, group, batchnorm

    def penalty(self, step: Step) -> dict[str, Tensor]:
        rows = columns = step.logits.new_zeros((), dtype=torch.float32)
        for link in links_to(step.network, self.taps):
            weight = self.weight(link)
            if link.target is not None:
                rows = rows + row_norms(weight).sum()
            if link.source is not None:
                columns = columns + column_norms(weight, self.group).sum()
        return {
            "rows": self.strength * self.rows * rows,
            "columns": self.strength * self.columns * columns,
        }

    def weight(self, link: Link) -> Tensor:
        """The weight that is penalised: effective (folded) or raw."""
        return effective_weight(link) if self.batchnorm == "folded" else link.weight.float()
