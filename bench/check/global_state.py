"""The global state of a process that a plugin must leave alone: random generators and threads."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from legible.bench.training import loop


class GeneratorStates(NamedTuple):
    """The states of the global random generators of torch, NumPy and Python."""

    torch: Tensor
    numpy: Any
    python: Any


def generator_states() -> GeneratorStates:
    """Returns the present states of the global random generators."""
    legacy = np.random.get_state()  # noqa: NPY002  (the generator that plugins must not use)
    return GeneratorStates(torch.get_rng_state(), legacy, random.getstate())


def seed_generators(seed: int = 0) -> None:
    """Seeds the global random generators of torch, NumPy and Python."""
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    random.seed(seed)


def used_generator(before: GeneratorStates, after: GeneratorStates) -> str:
    """Returns the global generator that was used in between: "torch", "numpy.random" or "".

    Python's generator is not compared, since type checkers draw from it.
    """
    if not torch.equal(before.torch, after.torch):
        return "torch"
    (_, keys, position, *_), (_, other_keys, other_position, *_) = before.numpy, after.numpy
    same = np.array_equal(keys, other_keys) and position == other_position
    return "" if same else "numpy.random"


@contextlib.contextmanager
def restored_generators() -> Iterator[None]:
    """A context after which the global random generators are as they were before."""
    states = generator_states()
    try:
        yield
    finally:
        torch.set_rng_state(states.torch)
        np.random.set_state(states.numpy)  # noqa: NPY002
        random.setstate(states.python)


@contextlib.contextmanager
def unseeded_training() -> Iterator[None]:
    """A context in which training does not seed the global generator of torch in each epoch.

    What a method draws from it then shows.
    """
    seeded = loop.global_noise
    loop.global_noise = _no_seed
    try:
        yield
    finally:
        loop.global_noise = seeded


@contextlib.contextmanager
def _no_seed(device: torch.device, seed: int) -> Iterator[None]:
    yield


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """A context with one CPU thread, as in a run: results do not depend on the machine's cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
