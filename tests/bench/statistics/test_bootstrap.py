"""Bootstrap means over blocks: known answers, and coverage on simulated data."""

import numpy as np
import pytest

from legible.bench.statistics.bootstrap import aggregate, bootstrap_means
from legible.bench.statistics.intervals import t_interval

SEEDS = [3, 5, 10]


@pytest.mark.parametrize("over", ["seeds", "blocks"])
def test_with_one_block_the_bootstrap_is_the_t_interval(rng, over):
    x = rng.normal(size=(1, 3, 20))
    np.testing.assert_allclose(
        aggregate(x, over).half, t_interval(x[0]).half, rtol=0.06, err_msg="draws"
    )


def test_the_bootstrap_is_seeded_and_keeps_pairing(rng):
    x = rng.normal(size=(3, 4, 1))
    draws = bootstrap_means(np.concatenate([x, x + 1], -1), "seeds", 500)
    np.testing.assert_allclose(draws[:, 1] - draws[:, 0], 1)
    np.testing.assert_allclose(draws[:, 0], bootstrap_means(x, "seeds", 500)[:, 0])


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("blocks", [1, 3, 6])
def test_intervals_over_seeds_cover_these_blocks(rng, seeds, blocks, covered):
    fixed = rng.normal(0, 3, size=(blocks, 1, 1))
    x = fixed + rng.normal(size=(blocks, seeds, 600))
    assert 0.92 < covered(aggregate(x, "seeds", 1000), fixed.mean()) < 0.985


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("blocks", [2, 3, 6])
@pytest.mark.parametrize("spread", [0.0, 0.5, 3.0])
def test_intervals_over_blocks_cover_the_population(rng, seeds, blocks, spread, covered):
    """Exact where blocks differ much, on the wide side where they hardly do."""
    x = rng.normal(0, spread, (blocks, 1, 600)) + rng.normal(size=(blocks, seeds, 600))
    coverage = covered(aggregate(x, "blocks", 1000), 0.0)
    assert coverage > 0.92
    assert spread < 3 or coverage < 0.975


def test_missing_values_are_left_out(rng):
    x = rng.normal(size=(3, 4, 2))
    x[1, :, 0] = np.nan
    interval = aggregate(x, "seeds")
    np.testing.assert_allclose(interval.mean[0], x[[0, 2], :, 0].mean())
    assert interval.n.tolist() == [2, 3]


def test_one_seed_in_one_block_has_no_interval():
    assert np.isnan(aggregate(np.zeros((1, 1, 1))).half[0])
