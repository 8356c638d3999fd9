"""The training loop. All data is on the device; no training step copies a value from the device to
the CPU."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from legible.bench.backbones.taps import Network, Tap
from legible.bench.data.base import Dataset, Split
from legible.bench.data.streaming import BatchReader
from legible.bench.seeds import stream
from legible.bench.training.augment import augment_batch, pad
from legible.bench.training.checkpoint import State, restore, snapshot
from legible.bench.training.frozen import FrozenPart, refusal
from legible.bench.training.recipe import Recipe
from legible.methods.base import Method, Step
from legible.metrics.network import Output


class Diverged(Exception):
    """A loss term became infinite or NaN; the message names term, epoch and step."""


def train(
    network: Network,
    method: Method,
    data: Dataset,
    recipe: Recipe,
    seed: int,
    *,
    resume: State | None = None,
    after_epoch: Callable[[State], None] = lambda state: None,
) -> State:
    """Trains a network with an attached method in place and returns the last state.

    Called by `legible.bench.training.fit.fit_network` alone, which explains the arguments.
    Raises Diverged.
    """
    split = method.training_data(data.train)
    if recipe.channels_last:
        network.to(memory_format=torch.channels_last)
    if reason := refusal(network, method, recipe):
        raise ValueError(reason)
    frozen = FrozenPart(network, recipe, split) if recipe.freeze else None
    optimizer = make_optimizer(network, method, recipe)
    state = resume or State(0, {}, [])
    if resume:
        restore(state.tensors, network, method, optimizer)
    loop = Loop(network, method, split, data, recipe, seed, optimizer, frozen)
    while state.epoch < recipe.epochs:
        start = time.perf_counter()
        terms = loop.epoch(state.epoch)
        line: dict[str, float | int] = {"epoch": state.epoch + 1, **terms}
        if recipe.validate_every and (state.epoch + 1) % recipe.validate_every == 0:
            line |= held_out_accuracies(network, method, data, recipe.validate_images)
        state = State(
            state.epoch + 1,
            snapshot(network, method, optimizer),
            [*state.history, line],
            [*state.seconds, time.perf_counter() - start],
        )
        after_epoch(state)
    network.eval()
    method.eval()
    return state


class Loop:
    """Trains a network epoch by epoch; holds all that stays the same in a training."""

    def __init__(
        self,
        network: Network,
        method: Method,
        split: Split,
        data: Dataset,
        recipe: Recipe,
        seed: int,
        optimizer: torch.optim.Optimizer,
        frozen: FrozenPart | None = None,
    ) -> None:
        self.network, self.method, self.split, self.recipe = network, method, split, recipe
        self.optimizer, self.seed, self.frozen = optimizer, seed, frozen
        self.flip = data.flip and recipe.augment
        self.shift = data.shift if recipe.augment else 0
        self.reader = BatchReader(split.images, split.labels.device) if split.streamed else None
        self.padded = split.images if self.reader else pad(split.images, self.shift)
        self.batch = min(recipe.batch, len(split))
        self.steps = len(split) // self.batch  # an incomplete last batch is left out
        self.total = max(1, recipe.epochs * self.steps)
        self.device = split.labels.device
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
        if frozen is not None:
            frozen.fill()

    def generator(self, name: str, epoch: int) -> torch.Generator:
        """A new generator for one purpose in one epoch."""
        return torch.Generator(self.device).manual_seed(stream(self.seed, name, epoch))

    def epoch(self, epoch: int) -> dict[str, float]:
        """Trains for one epoch; returns the mean of each loss term and the training accuracy."""
        with global_noise(self.device, stream(self.seed, "network", epoch)):
            return self._epoch(epoch)

    def _epoch(self, epoch: int) -> dict[str, float]:
        self.method.generator.manual_seed(stream(self.seed, "method", epoch))
        (self.frozen or self.network).train()
        self.method.train()
        self.method.start_epoch(self.network, self.split, epoch)
        order = torch.randperm(
            len(self.split), generator=self.generator("order", epoch), device=self.device
        )
        batches = order[: self.steps * self.batch].split(self.batch)
        if self.reader is not None:
            self.reader.plan(batches)
        augment = self.generator("augmentation", epoch)
        names: list[str] = []
        rows: list[Tensor] = []
        try:
            for i, indices in enumerate(batches):
                terms, correct = self.step(indices, augment, epoch, epoch * self.steps + i)
                names = list(terms)
                rows.append(torch.stack([*(t.detach() for t in terms.values()), correct]))
        except Exception:
            _raise_if_diverged(names, rows, epoch)
            raise
        _raise_if_diverged(names, rows, epoch)
        means = torch.stack(rows).mean(0).tolist()
        terms_of_epoch = dict(zip(names, means, strict=False))
        return {"loss": sum(means[:-1]), **terms_of_epoch, "accuracy": means[-1]}

    def step(
        self, indices: Int[Tensor, "batch"], augment: torch.Generator, epoch: int, number: int
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Takes one optimisation step; returns the loss terms and the batch accuracy.

        number: the step's index since the start of training.
        """
        labels = self.split.labels[indices]
        images = self.view(indices, augment)
        out = self.forward(images, indices)
        logits = out.logits.float()
        step = Step(
            network=self.network,
            images=images,
            labels=labels,
            indices=indices,
            logits=logits,
            activations=Float32(out.activations),
            transformed=Float32(out.transformed),
            epoch=epoch,
            progress=number / self.total,
            view=partial(self.second_view, indices, number),
        )
        terms = {"cross_entropy": functional.cross_entropy(logits, labels)}
        terms |= self.method.penalty(step)
        self.schedule(number)
        self.optimizer.zero_grad(set_to_none=True)
        torch.stack([t.float() for t in terms.values()]).sum().backward()
        if self.recipe.clip:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip)
        self.optimizer.step()
        with torch.no_grad():
            self.method.after_step(step)
            correct = (logits.argmax(1) == labels).float().mean()
        return terms, correct

    def view(
        self, indices: Int[Tensor, "batch"], augment: torch.Generator
    ) -> Float[Tensor, "batch channels height width"]:
        """Returns augmented, normalised images."""
        padded, rows = self.padded, indices
        if self.reader is not None:
            padded = pad(self.reader(indices), self.shift)
            rows = torch.arange(len(indices), device=self.device)
        images = augment_batch(
            padded, rows, self.shift, self.flip, augment, self.split.images.shape[-2:]
        )
        images = self.split.normalise(images)
        if self.recipe.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        return images

    def forward(self, images: Tensor, indices: Int[Tensor, "batch"]) -> Output:
        """Runs the network in the recipe's precision; its frozen part has been run before."""
        bf16 = self.recipe.precision == "bf16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
            if self.frozen is not None:
                tap = str(self.recipe.freeze)
                return self.network.run_from(tap, self.frozen.outputs(indices))
            return self.network(images)

    def second_view(self, indices: Tensor, number: int) -> Output:
        """Runs the network on another augmentation; leaves BatchNorm's statistics alone."""
        # own generator: drawing second views must not change the first views, which stay equal to
        # those of plain training
        augment = self.generator("second view", number)
        with frozen_statistics(self.network):
            return self.forward(self.view(indices, augment), indices)

    def schedule(self, number: int) -> None:
        """Sets each group's learning rate: linear warm-up, then half a cosine to zero."""
        if self.recipe.schedule == "cosine":
            warm = self.recipe.warmup * self.total
            rise = min(1.0, (number + 1) / warm) if warm > 0 else 1.0
            factor = rise * 0.5 * (1 + math.cos(math.pi * number / self.total))
            for group in self.optimizer.param_groups:
                group["lr"] = group["initial_lr"] * factor


def _raise_if_diverged(names: list[str], rows: list[Tensor], epoch: int) -> None:
    if not rows:
        return
    not_finite = (~torch.stack(rows)[:, : len(names)].isfinite()).nonzero()
    if len(not_finite):
        step, term = not_finite[0].tolist()
        raise Diverged(
            f"loss term '{names[term]}' is not finite at epoch {epoch + 1}, step {step + 1}"
        )


class Float32(Mapping[str, Tensor]):
    """Activations in float32; each is converted at its first use."""

    def __init__(self, activations: Mapping[str, Tensor]) -> None:
        self.activations = dict(activations)

    def __getitem__(self, name: str) -> Tensor:
        self.activations[name] = self.activations[name].float()
        return self.activations[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.activations)

    def __len__(self) -> int:
        return len(self.activations)


def make_optimizer(network: Network, method: Method, recipe: Recipe) -> torch.optim.Optimizer:
    """Returns the recipe's optimiser of the network's and the method's parameters.

    Weight decay applies to weights, not to biases and normalisation layers; the method's
    parameters follow ``method.parameter_groups``. What is frozen is left out.
    """
    groups: list[dict[str, Any]] = []
    for parameters, lr in _parts(network, recipe):
        groups += [
            {"params": [p for p in parameters if p.ndim > 1], "lr": lr,
             "weight_decay": recipe.weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "lr": lr, "weight_decay": 0.0},
        ]  # fmt: skip
    groups += method.parameter_groups()
    groups = [group for group in groups if group["params"]]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, fused=True)
    kind = torch.optim.AdamW if recipe.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=recipe.lr, fused=True)


def _parts(network: Network, recipe: Recipe) -> list[tuple[list[nn.Parameter], float]]:
    """The parameters that are trained, with their learning rate: all of them, or backbone and head
    where their rates differ. The head is what follows the last Tap."""
    own = [p for p in network.parameters() if p.requires_grad]
    if recipe.backbone_lr == 1.0:
        return [(own, recipe.lr)]
    last = max(i for i, module in enumerate(network.trunk) if isinstance(module, Tap))
    head = {id(p) for module in network.trunk[last + 1 :] for p in module.parameters()}
    return [
        ([p for p in own if id(p) not in head], recipe.lr * recipe.backbone_lr),
        ([p for p in own if id(p) in head], recipe.lr),
    ]


@contextlib.contextmanager
def global_noise(device: torch.device, seed: int) -> Iterator[None]:
    """Within it, torch's global generators start from a seed: those of dropout inside a network.

    Afterwards they are as they were.
    """
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield


@contextlib.contextmanager
def frozen_statistics(network: nn.Module) -> Iterator[None]:
    """A context in which BatchNorm's running statistics do not change in training mode."""
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    settings = [(m, m.track_running_stats) for m in norms]
    for module in norms:
        module.track_running_stats = False
    try:
        yield
    finally:
        for module, value in settings:
            module.track_running_stats = value


@torch.no_grad()
def accuracy(network: Network, method: Method, split: Split) -> float:
    """The share of a split's images that are classified correctly, in evaluation mode."""
    network.eval()
    method.eval()
    correct = sum(
        (network(images).logits.argmax(1) == split.labels[rows]).sum()
        for rows, images in split.batches(500)
    )
    return float(correct) / len(split)


def held_out_accuracies(
    network: Network, method: Method, data: Dataset, images: int
) -> dict[str, float]:
    """Accuracies on the first validation and test images, for the history; not used in training."""
    splits = {"validation_accuracy": data.validation, "test_accuracy": data.test}
    first = {name: torch.arange(min(images, len(split))) for name, split in splits.items()}
    return {
        name: accuracy(network, method, split.subset(first[name].to(split.labels.device)))
        for name, split in splits.items()
    }
