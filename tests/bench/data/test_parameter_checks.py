"""Checks of dataset parameters."""

import pytest

from legible.bench.data.kanji import kanji
from legible.bench.data.parameter_checks import (
    at_least,
    between,
    fits_in_memory,
    memory_limit,
    one_of,
)
from legible.bench.data.planted import planted
from legible.bench.data.shapes import shapes


@pytest.mark.parametrize(
    ("check", "arguments", "message"),
    [
        (between, ("size", 5, 28, 512), "size must be between 28 and 512, not 5"),
        (between, ("warp", float("nan"), 0, 2), "warp must be between 0 and 2, not nan"),
        (at_least, ("train", -1, 0), "train must be at least 0, not -1"),
        (one_of, ("how", "x", ("b", "a")), "how must be one of a, b, not 'x'"),
    ],
)
def test_a_value_out_of_range_is_an_error_of_one_line(check, arguments, message):
    with pytest.raises(ValueError) as error:
        check(*arguments)
    assert str(error.value) == message


def test_the_limits_themselves_are_allowed():
    between("size", 28, 28, 512)
    between("size", 512, 28, 512)
    at_least("train", 0, 0)
    one_of("how", "a", ("a", "b"))


def test_too_many_images_are_refused_with_the_estimate_and_the_limit():
    fits_in_memory(1000, 32, 3)
    limit = memory_limit() / 2**30
    text = (
        f"1000000000 images of 64 x 64 pixels need about 1.526e+04 GiB, more than {limit:.4g} GiB, "
        "a quarter of this machine's memory: choose fewer or smaller images"
    )
    with pytest.raises(ValueError) as error:
        fits_in_memory(10**9, 64, 4)
    assert str(error.value) == text


@pytest.mark.parametrize("make", [kanji, shapes, planted])
@pytest.mark.parametrize("count", [10**9, 2**62])
def test_datasets_of_any_size_are_refused_before_anything_is_made(tmp_path, make, count):
    for split in ("train", "validation", "test"):
        with pytest.raises(ValueError, match=r"images of 32 x 32 pixels need about .* GiB"):
            make(tmp_path, **{split: count})
    assert not list(tmp_path.iterdir())
