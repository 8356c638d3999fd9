"""Shared by the post-hoc methods: replaces a trained network's units by atoms of a dictionary.

Not a method itself.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from legible.methods.base import Data, Method, TapChoice
from legible.metrics.network import NetworkLike


class Dictionary(Method):
    """The plain network with one Tap's activation replaced by its code in a dictionary.

    At every position the vector of units is encoded before the Tap, so that the atoms are its
    units, and decoded after it, so that the network continues with the reconstruction.

    atoms: number of atoms; `default_atoms` by default.
    taps: the one Tap whose units are replaced.
    """

    kind = "null"
    parent = "plain"
    needs = frozenset({"spatial"})
    acts_on = "last_spatial"

    def __init__(self, atoms: int | None = None, taps: TapChoice | None = None) -> None:
        super().__init__(taps=taps)
        if atoms is not None and atoms < 1:
            raise ValueError(f"atoms must be at least 1, not {atoms}")
        self.atoms = atoms

    # ------------------------------------------------------------- for subclasses

    def default_atoms(self, units: int) -> int:
        """The number of atoms unless one is given; by default as many as units."""
        return units

    def create(self, atoms: int, units: int) -> None:
        """Registers the buffers."""
        raise NotImplementedError

    def fit(self, samples: Float[Tensor, "samples units"]) -> None:
        """Sets the buffers from samples of the activation vector, without labels."""
        raise NotImplementedError

    def encode(self, x: Float[Tensor, "samples units"]) -> Float[Tensor, "samples atoms"]:
        """The code of activation vectors."""
        raise NotImplementedError

    def decode(self, code: Float[Tensor, "samples atoms"]) -> Float[Tensor, "samples units"]:
        """The activation vectors that a code stands for."""
        raise NotImplementedError

    # ------------------------------------------------------------- shared

    def attach(self, network: NetworkLike, data: Data) -> None:
        super().attach(network, data)
        if len(self.taps) != 1:
            raise ValueError(f"taps must name exactly one Tap, not {len(self.taps)}")
        tap = network.taps[self.taps[0]]
        units = tap.units
        self.create(self.atoms or self.default_atoms(units), units)
        self.to(data.labels.device)
        tap.install(lambda x: self.pointwise(self.encode, x), before=True)
        tap.install(lambda x: self.pointwise(self.decode, x))
        self.eval()
        network.wire()  # type: ignore[attr-defined]  # the Tap's number of units has changed
        self.train()
        # the next layer's weights belong to the units after the decoder, not to the atoms
        tap.outgoing = ()  # type: ignore[misc]

    def pointwise(self, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """Applies ``function`` to the vector of units at every image and position.

        Returns ``x`` unchanged in training mode, since the dictionary belongs to a trained network.
        """
        if self.training:
            return x
        with torch.autocast(x.device.type, enabled=False):
            vectors = x.movedim(1, -1)
            dtype = next(self.buffers()).dtype
            out = function(vectors.reshape(-1, x.shape[1]).to(dtype))
            return out.view(*vectors.shape[:-1], -1).movedim(-1, 1).to(x.dtype)

    @torch.no_grad()
    def after_training(self, network: NetworkLike, data: Data) -> None:
        assert isinstance(network, nn.Module)
        network.eval()
        self.train()
        self.fit(self.collect(network, data))
        self.eval()

    def collect(
        self, network: NetworkLike, data: Data, limit: int = 50_000
    ) -> Float[Tensor, "samples units"]:
        """At most ``limit`` activation vectors at random positions of all training images."""
        images = len(data.labels)
        parts = []
        for _, batch in data.batches(256):
            maps = network(batch).activations[self.taps[0]].flatten(2)
            count = min(maps.shape[2], max(1, limit // images))
            draw = torch.rand(
                len(maps), maps.shape[2], generator=self.generator, device=maps.device
            )
            positions = draw.argsort(1)[:, None, :count].expand(-1, maps.shape[1], -1)
            parts.append(maps.gather(2, positions).movedim(1, 2).flatten(0, 1))
        samples = torch.cat(parts).to(next(self.buffers()).dtype)
        order = torch.randperm(len(samples), generator=self.generator, device=samples.device)
        return samples[order[:limit]]
