"""Fixtures that the tests of statistics share."""

import numpy as np
import pytest


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture
def covered():
    """Share of the intervals that contain the true value."""

    def share(interval, truth):
        return float(np.mean((interval.low <= truth) & (truth <= interval.high)))

    return share
