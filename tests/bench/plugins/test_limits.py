"""Limits of a run: read from text, and said in the same units."""

from __future__ import annotations

import pytest

from legible.bench.errors import UserError
from legible.bench.plugins.limits import RunLimits, machine_memory, read_limits


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("90min", 5400), ("2h", 7200), ("1.5 h", 5400), ("1d", 86400)],
)
def test_times(text, seconds):
    assert read_limits(time=text).seconds == seconds


@pytest.mark.parametrize(
    ("text", "size"), [("512MiB", 2**29), ("16GiB", 2**34), ("0.5 TiB", 2**39)]
)
def test_sizes(text, size):
    assert read_limits(memory=text).memory == size


def test_defaults_are_a_day_and_most_of_the_memory():
    limits = read_limits()
    assert limits.seconds == 86400
    assert 0.5 * machine_memory() < limits.memory < machine_memory()
    assert 2**28 < machine_memory() <= 2**40


@pytest.mark.parametrize("text", ["", "2", "h", "-1h", "0h", "2 hours", "1e3s", "9" * 400 + "h"])
def test_other_texts_are_refused_in_one_line(text):
    with pytest.raises(UserError, match=r"time limit .*write a number with one of .* like 2h"):
        read_limits(time=text)


def test_a_memory_limit_names_its_units():
    with pytest.raises(UserError, match=r"memory limit '16GB': .*MiB, GiB, TiB, like 16GiB"):
        read_limits(memory="16GB")


def test_what_is_exceeded_is_said():
    limits = RunLimits(7200, 2**34)
    assert limits.broken(7200, 2**34) == ""
    assert limits.broken(7201, 0) == "was over the time limit of 2 h"
    assert limits.broken(0, 2**34 + 1) == "was over the memory limit of 16 GiB"
    assert RunLimits(0.5, 1).broken(1, 0) == "was over the time limit of 0.5 s"


def test_a_metric_may_take_less_than_its_run():
    assert RunLimits(100, 1000).for_metric() == RunLimits(10, 750)
