"""The frozen part of a network in fine-tuning: its outputs are computed once."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from legible.bench.backbones.taps import Network
from legible.bench.data.base import Split
from legible.bench.data.parameter_checks import memory_limit
from legible.bench.training.recipe import Recipe
from legible.methods.base import Method, nearest, select_taps

#: Images in one pass through the frozen part.
BATCH = 256


def frozen_modules(network: Network, recipe: Recipe) -> tuple[nn.Module, ...]:
    """The modules from the images to the Tap ``recipe.freeze``, which included; empty if nothing is
    frozen. Raises ValueError for a Tap that does not exist, is inside a block, or is the last."""
    if recipe.freeze is None:
        return ()
    taps = network.taps
    if recipe.freeze not in taps:
        raise ValueError(
            f"freeze: no Tap '{recipe.freeze}'{nearest(recipe.freeze, taps)} "
            f"(Taps: {', '.join(taps)})"
        )
    tap = taps[recipe.freeze]
    if not tap.on_trunk:
        raise ValueError(f"freeze: Tap '{recipe.freeze}' is inside a block: name one on the trunk")
    if recipe.freeze == list(taps)[-1]:
        raise ValueError(f"freeze: '{recipe.freeze}' is the last Tap: no Tap would be trained")
    return network.trunk[: network.trunk.index(tap) + 1]


def refusal(network: Network, method: Method, recipe: Recipe) -> str:
    """Why a method cannot train the rest of a network with a frozen part; empty if it can.

    Raises what `frozen_modules` raises.
    """
    if not frozen_modules(network, recipe) or not method.trains or method.parent:
        return ""
    names = list(network.taps)
    frozen = names[: names.index(str(recipe.freeze)) + 1]
    acts = [name for name in select_taps(network, method.choice) if name in frozen]
    return f"it acts at the frozen Tap '{acts[0]}': set taps to later ones" if acts else ""


class FrozenPart:
    """The frozen part of a network, without gradients and with normalisations that do not change.

    The outputs for all images of a split are stored if they fit in memory, and are computed for
    each batch otherwise.
    """

    def __init__(self, network: Network, recipe: Recipe, split: Split) -> None:
        self.network, self.recipe, self.split = network, recipe, split
        self.modules = frozen_modules(network, recipe)
        for module in self.modules:
            module.requires_grad_(False)
        self.store: Tensor | None = None

    def train(self) -> None:
        """Puts the network into training mode, apart from the frozen part."""
        self.network.train()
        for module in self.modules:
            module.eval()

    def fill(self) -> None:
        """Computes and stores the outputs for all images, if they fit in memory."""
        self.train()
        one = self._compute(torch.arange(1, device=self.split.labels.device))
        if one.nbytes * len(self.split) <= _room(one.device):
            rows = torch.arange(len(self.split), device=one.device)
            self.store = torch.cat([self._compute(part) for part in rows.split(BATCH)])

    def outputs(self, rows: Int[Tensor, "batch"]) -> Float[Tensor, "batch ..."]:
        """The raw activations at the frozen Tap for the images with these indices."""
        return self._compute(rows) if self.store is None else self.store[rows]

    @torch.no_grad()
    def _compute(self, rows: Int[Tensor, "batch"]) -> Tensor:
        """The outputs in the recipe's precision, whether or not they are stored."""
        x = self.split.normalise(self.split.take(rows))
        if self.recipe.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        bf16 = self.recipe.precision == "bf16"
        with torch.autocast(x.device.type, torch.bfloat16, enabled=bf16):
            for module in self.modules[:-1]:
                x = module(x)
        return x


def _room(device: torch.device) -> float:
    """The bytes that the outputs may take."""
    if device.type != "cuda":
        return memory_limit()
    return 0.5 * torch.cuda.mem_get_info(device)[0]
