"""Shared options: what is accepted, and what is refused in one line."""

from __future__ import annotations

import pytest
import typer

from legible.bench.cli.options import error_message, names, numbers, some, stopped_message
from legible.bench.errors import UserError


def test_lists_are_split_at_commas():
    assert names(None) is None and names("a, b,") == ["a", "b"] and names(",") == []
    rows = ["sync(taps=['conv2', 'conv4'],focus=0.1)", "bean", "sync(centre=centroid)", "sync()"]
    assert names(",".join(rows)) == rows
    assert some("methods", "a") == ["a"]
    assert numbers("seeds", "1,0,1") == [1, 0] and numbers("seeds", None) is None
    assert numbers("seeds", "7,0-2") == [7, 0, 1, 2] and numbers("seeds", "3-3") == [3]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--device", "gpu"], "use auto, cpu or cuda"),
        (["--seeds", "a"], "whole numbers"),
        (["--seeds", "0,-1"], "whole numbers from 0"),
        (["--seeds", "²"], "whole numbers from 0"),
        (["--seeds", "0-"], "whole numbers from 0"),
        (["--seeds", "3-1"], "a range starts with its smaller number"),
        (["--seeds", "0-10000"], "at most 10,000 numbers"),
        (["--seeds", ""], "--seeds is empty"),
        (["--methods", ","], "--methods is empty"),
        (["--datasets", ""], "--datasets is empty"),
        (["--methods", "snyc"], "did you mean 'sync'?"),
        (["--datasets", "kanij"], "did you mean 'kanji'?"),
        (["--plugin", "nowhere.py"], "no plugin file"),
        (["--jobs", "-1", "--datasets", "toy"], "the suite has no dataset"),
        (["--slurm", "gpu", "--methods", "x"], "the suite has no method"),
        (["--jbos", "1"], "No such option"),
    ],
)
def test_a_wrong_option_is_one_line(empty, legible, arguments, message):
    code, _, err = legible("run", "quick", *arguments)
    assert code == 2 and message in err and len(err.strip().splitlines()) == 1


def test_the_user_s_errors_have_a_message_and_others_are_raised():
    assert error_message(UserError("wrong")) == ("wrong", 2)
    assert error_message(typer.Abort()) == (stopped_message([]), 130)
    with pytest.raises(ZeroDivisionError):
        error_message(ZeroDivisionError())


@pytest.mark.parametrize("text", [str(2**63), "9" * 5000])
def test_numbers_of_more_than_64_bits_are_refused(text):
    with pytest.raises(typer.BadParameter, match=r"below 2\*\*63"):
        numbers("seeds", text)
    assert numbers("seeds", str(2**63 - 1)) == [2**63 - 1]


def test_files_that_cannot_be_used_are_one_line():
    full = OSError(28, "No space left on device", "a\nb")
    assert error_message(full) == ("cannot read or write a b: No space left on device", 2)
