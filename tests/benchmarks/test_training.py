"""One epoch of ours against a plain PyTorch loop: same network, arithmetic and threads.

The peer is what a researcher would write: a DataLoader with two workers, per-image torchvision
transforms (the same random shift), Adam, loss.item() once an epoch.
"""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from legible.bench.backbones.lenet5 import lenet5
from legible.bench.backbones.taps import Network
from legible.bench.backbones.vgg import vgg
from legible.bench.data.base import Dataset as Data
from legible.bench.data.base import make_splits
from legible.bench.plugins import registry
from legible.bench.training.fit import build_network
from legible.bench.training.loop import Loop, make_optimizer
from legible.bench.training.recipe import Recipe

registry.load(["methods"])
RECIPE = Recipe(batch=128, lr=1e-3, optimizer="adam")
CASES = {
    "lenet5 at 28 px": (lenet5, (1, 28, 28), 6000),
    "vgg at 32 px": (lambda image, classes: vgg(image, classes, width=16), (3, 32, 32), 2000),
}


class Images(Dataset):
    """Images one at a time through torchvision's transforms."""

    def __init__(self, data: Data) -> None:
        self.images, self.labels = data.train.images, data.train.labels
        self.transform = v2.Compose(
            [
                v2.ToPILImage(),
                v2.RandomCrop(self.images.shape[-2:], padding=2, padding_mode="edge"),
                v2.ToImage(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(data.train.mean.tolist(), data.train.std.tolist()),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.transform(self.images[index]), self.labels[index]


def random_images(image: tuple[int, int, int], count: int) -> Data:
    generator = torch.Generator().manual_seed(0)

    def part(n: int) -> tuple[torch.Tensor, torch.Tensor, None]:
        pixels = torch.randint(256, (n, *image), dtype=torch.uint8, generator=generator)
        return pixels, torch.randint(10, (n,), generator=generator), None

    splits = make_splits({"train": part(count), "validation": part(10), "test": part(10)}, 10)
    return Data("random", tuple("0123456789"), **splits, shift=2)


def our_loop(build, data: Data, method: str = "plain") -> Loop:
    """The benchmark's loop, so that single epochs and steps can be timed."""
    added = registry.make_method(method, {})
    network = build_network(lambda: build(data.image, 10), added, data.train, 0)
    network.to(memory_format=torch.channels_last)
    optimizer = make_optimizer(network, added, RECIPE)
    return Loop(network, added, data.train, data, RECIPE, 0, optimizer)


@pytest.mark.parametrize("case", CASES)
def test_epoch_against_a_plain_loop(compare, case):
    build, image, count = CASES[case]
    data = random_images(image, count)
    loop = our_loop(build, data)

    network = build(image, 10)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    loader = DataLoader(Images(data), batch_size=128, shuffle=True, num_workers=2, drop_last=True)

    def peer() -> float:
        total = 0.0
        for images, labels in loader:
            loss = functional.cross_entropy(network(images).logits, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        return total

    subject, peer_name = f"an epoch of {case}", "a DataLoader with two workers, image by image"
    assert compare(subject, peer_name, lambda: loop.epoch(0), peer, rounds=3) > 0


@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore")
def test_epoch_against_lightning(compare, case):
    """Lightning's trainer on the same loader; its set-up of each fit counts little."""
    build, image, count = CASES[case]
    data = random_images(image, count)
    loop = our_loop(build, data)

    def peer() -> None:
        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        lightning_trainer().fit(lightning_module(build(image, 10)), loader)

    loader = DataLoader(Images(data), batch_size=128, shuffle=True, num_workers=2, drop_last=True)
    subject = f"an epoch of {case}"
    ours = lambda: loop.epoch(0)  # noqa: E731
    ratio = compare(subject, "Lightning's trainer", ours, peer, rounds=3, package="lightning")
    assert ratio >= 0


def lightning_trainer() -> Any:
    """A trainer for one epoch on the CPU that writes nothing."""
    import lightning

    return lightning.Trainer(
        max_epochs=1, accelerator="cpu", devices=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip


def lightning_module(network: Network) -> Any:
    """The network as a Lightning module with the peer's loss and optimiser."""
    import lightning

    class Classifier(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def training_step(self, batch, number):
            images, labels = batch
            return functional.cross_entropy(self.network(images).logits, labels)

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), lr=1e-3)

    return Classifier()


@pytest.mark.parametrize("method", ["sync", "bean", "activation_l1"])
def test_step_against_a_plain_step(compare, method):
    build, image, _ = CASES["vgg at 32 px"]
    data = random_images(image, 256)
    loops = [our_loop(build, data, name) for name in (method, "plain")]
    rows = torch.arange(128)
    steps = [
        lambda loop=loop: loop.step(rows, loop.generator("augmentation", 0), 0, 0) for loop in loops
    ]
    assert compare(f"a step of {method}, vgg at 32 px", "a step of plain", *steps, rounds=40) > 0
