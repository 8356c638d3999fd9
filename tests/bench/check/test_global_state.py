"""Global random generators and threads are seeded, compared and restored."""

from __future__ import annotations

import random

import numpy as np
import torch

from legible.bench.check.global_state import (
    generator_states,
    one_thread,
    restored_generators,
    seed_generators,
    used_generator,
)


def draw() -> tuple[float, float, float]:
    return float(torch.rand(())), np.random.rand(), random.random()  # noqa: NPY002


def test_one_seed_gives_the_same_numbers() -> None:
    with restored_generators():
        seed_generators(1)
        first = draw()
        seed_generators(1)
        assert draw() == first
        seed_generators(2)
        assert not set(draw()) & set(first)


def test_generators_are_restored_also_after_an_error() -> None:
    before = generator_states()
    try:
        with restored_generators():
            draw()
            raise ValueError
    except ValueError:
        pass
    after = generator_states()
    assert used_generator(before, after) == ""
    assert before.python == after.python


def test_the_generator_that_was_used_is_named() -> None:
    with restored_generators():
        before = generator_states()
        assert used_generator(before, generator_states()) == ""
        np.random.rand()  # noqa: NPY002
        assert used_generator(before, generator_states()) == "numpy.random"
        torch.rand(())
        assert used_generator(before, generator_states()) == "torch"


def test_one_thread_and_back() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
