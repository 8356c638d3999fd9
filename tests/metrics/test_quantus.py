"""Scores of attributions equal Quantus's where the definitions agree.

Quantus's infidelity and sensitivity are others: they draw from the global generator, and its
infidelity is not divided by the change. It changes the arrays it is given, so it gets copies, and
warns of what it imports, so its warnings are no errors here.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from legible.metrics import relevance

quantus = pytest.importorskip("quantus")
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def maps():
    """Non-negative maps without ties, and masks of a rectangle each."""
    generator = torch.Generator().manual_seed(0)
    attributions = torch.rand(20, 16, 16, generator=generator, dtype=torch.float64) ** 3
    corner = torch.randint(0, 8, (20, 2, 1), generator=generator)
    line = torch.arange(16)
    inside = (line >= corner) & (line < corner + 6)
    return attributions, inside[:, 0, :, None] & inside[:, 1, None, :]


def theirs(metric, attributions, mask=None):
    """A Quantus metric's value for each map; it wants a model, which it does not ask here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scores = metric(
            model=nn.Sequential(nn.Flatten(), nn.Linear(256, 2)).eval(),
            x_batch=np.zeros((len(attributions), 1, 16, 16), dtype=np.float32),
            y_batch=np.zeros(len(attributions), dtype=int),
            a_batch=attributions[:, None].numpy().copy(),
            s_batch=None if mask is None else mask[:, None].numpy().copy(),
            device="cpu",
        )
    return torch.tensor(np.asarray(scores, dtype=float))


SETTINGS = {
    "abs": False,
    "normalise": False,
    "return_aggregate": False,
    "disable_warnings": True,
    "display_progressbar": False,
}


@pytest.mark.parametrize(
    ("ours", "name"),
    [
        (relevance.hits, "PointingGame"),
        (relevance.mass, "RelevanceMassAccuracy"),
        (relevance.rank, "RelevanceRankAccuracy"),
    ],
)
def test_relevance_is_quantus_s(ours, name, maps):
    attributions, mask = maps
    expected = theirs(getattr(quantus, name)(**SETTINGS), attributions, mask)
    assert 0 < expected.mean() < 1
    torch.testing.assert_close(ours(attributions, mask).double(), expected, atol=1e-9, rtol=1e-9)


def test_sparseness_is_quantus_s(maps):
    attributions, _ = maps
    expected = theirs(quantus.Sparseness(**SETTINGS), attributions)
    # Quantus adds 1e-7 to every pixel
    torch.testing.assert_close(relevance.gini(attributions), expected, atol=1e-5, rtol=0)
