"""Checks of dataset parameters."""

import pytest

from legible.bench.data.parameter_checks import at_least, between, one_of


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
