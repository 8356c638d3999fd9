"""Shards: each run is in exactly one, with all runs that it needs."""

from __future__ import annotations

import pytest
from tiny_suites import specs_of, toy_suite

from legible.bench.errors import UserError
from legible.bench.execution.pairs import partner_of
from legible.bench.execution.shards import shard_of

METHODS = '"plain", "plain_rotated", "dropout", "activation_l1", "untrained"'


@pytest.fixture
def specs(tmp_path, toy_plugin):
    return specs_of(tmp_path, toy_suite(METHODS, [0, 1, 2], epochs=3))


@pytest.mark.parametrize("count", [1, 3, 8])
def test_each_run_is_in_one_shard(specs, count):
    shards = [shard_of(specs, f"{number}/{count}") for number in range(1, count + 1)]
    names = [spec.name for shard in shards for spec in shard]
    assert sorted(names) == sorted(spec.name for spec in specs)
    assert len(shards[0]) > 0


def test_a_shard_needs_no_other(specs):
    for number in (1, 2, 3):
        shard = shard_of(specs, f"{number}/3")
        names = {spec.name for spec in shard}
        assert all(partner_of(spec).name in names for spec in shard)
        assert ("plain_rotated" in {s.method for s in shard}) == (
            "plain" in {s.method for s in shard}
        )


def test_shards_are_about_equally_long(specs):
    """Epochs and scorings: plain with its rotation 15, dropout 12 with untrained 3, and 12."""
    sizes = [len(shard_of(specs, f"{number}/3")) for number in (1, 2, 3)]
    assert sizes == [6, 6, 3]


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "a/b", "1/0", "-1/3", "²/3"])
def test_other_text_is_refused(specs, text):
    with pytest.raises(UserError, match="write I/N with I from 1 to N, like 3/8"):
        shard_of(specs, text)
