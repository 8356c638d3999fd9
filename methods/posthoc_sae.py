"""Null row: a small sparse autoencoder on the plain network's activations."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from legible.methods._dictionary import Dictionary
from legible.methods.base import Data, TapChoice, register
from legible.metrics.network import NetworkLike

TINY = 1e-8


@register
class PosthocSae(Dictionary):
    """The plain network with latents of a sparse autoencoder on its activations as units.

    Equation: h = relu(E (a - b) + c), a' = D h + b, with the columns of D of unit norm;
    loss = mean |a - a'|^2 + l1 mean |h|_1, on activations scaled to a mean squared norm of one.
    Paper: Bricken et al., "Towards monosemanticity", 2023; Cunningham et al., "Sparse
    autoencoders find highly interpretable features in language models", ICLR 2024.
    Repository: none; from the formula.
    Differences: small and short, one layer, Adam, dead latents are not resampled (metrics give
    them their null value). The network runs on the reconstruction a', so an incomplete
    reconstruction lowers the accuracy.

    atoms: number of latents; by default as many as units.
    l1: weight of sparsity.
    steps: Adam's steps, each on 512 of at most 50,000 activation vectors (1000 are ten passes).
    lr: Adam's learning rate.
    taps: the one Tap whose units are replaced.
    """

    encoder: Tensor
    threshold: Tensor
    decoder: Tensor
    centre: Tensor
    search = {"l1": (0.01, 0.03, 0.1, 0.3, 1.0)}

    def __init__(
        self,
        atoms: int | None = None,
        l1: float = 0.1,
        steps: int = 1000,
        lr: float = 3e-3,
        taps: TapChoice | None = None,
    ) -> None:
        super().__init__(atoms, taps)
        if l1 < 0 or steps < 0 or lr <= 0:
            raise ValueError(f"l1 ({l1}) and steps ({steps}) must be at least 0, lr ({lr}) above 0")
        self.l1, self.steps, self.lr = l1, steps, lr
        self.relu = nn.ReLU()

    def attach(self, network: NetworkLike, data: Data) -> None:
        super().attach(network, data)
        self.expose(network, self.taps[0], self.relu)

    def create(self, atoms: int, units: int) -> None:
        self.register_buffer("encoder", torch.eye(atoms, units))
        self.register_buffer("threshold", torch.zeros(atoms))
        self.register_buffer("decoder", torch.eye(atoms, units))
        self.register_buffer("centre", torch.zeros(units))

    def encode(self, x: Tensor) -> Tensor:
        return self.relu((x - self.centre) @ self.encoder.T + self.threshold)

    def decode(self, code: Tensor) -> Tensor:
        return code @ self.decoder + self.centre

    def fit(self, samples: Tensor) -> None:
        scale = samples.square().sum(1).mean().sqrt().clamp(min=TINY)
        samples = samples / scale
        start = torch.randn(self.decoder.shape, generator=self.generator, device=samples.device).to(
            samples
        )
        self.decoder.copy_(start / start.norm(dim=1, keepdim=True))
        self.encoder.copy_(self.decoder)
        self.centre.copy_(samples.mean(0))
        self.threshold.zero_()
        with torch.enable_grad():
            self.descend(samples)
        self.threshold.mul_(scale)
        self.centre.mul_(scale)

    def descend(self, samples: Tensor, batch: int = 512) -> None:
        """Trains the buffers in place; the learning rate falls to zero in the last third."""
        tensors = [self.encoder, self.threshold, self.decoder, self.centre]
        optimizer = torch.optim.Adam([t.requires_grad_() for t in tensors], lr=self.lr)
        for step in range(self.steps):
            draw = torch.randint(
                len(samples), (batch,), generator=self.generator, device=samples.device
            )
            optimizer.param_groups[0]["lr"] = self.lr * min(1.0, 3 * (1 - step / self.steps))
            optimizer.zero_grad()
            self.loss(samples[draw]).backward()
            optimizer.step()
            with torch.no_grad():
                self.decoder.div_(self.decoder.norm(dim=1, keepdim=True).clamp(min=TINY))
        for tensor in tensors:
            tensor.requires_grad_(False)

    def loss(self, samples: Tensor) -> Tensor:
        """Mean squared reconstruction error plus l1 times the mean L1 norm of the code."""
        code = self.encode(samples)
        error = (samples - self.decode(code)).square().sum(1).mean()
        return error + self.l1 * code.sum(1).mean()
