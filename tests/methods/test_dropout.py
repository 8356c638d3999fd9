"""Dropout: what is silenced, how much the rest grows, and when."""

import pytest
import torch

from legible.methods.dropout import Dropout


def make(p=0.3, strength=1.0):
    method = Dropout(strength=strength, p=p)
    method.generator = torch.Generator().manual_seed(0)
    return method


def test_a_unit_is_silenced_or_grows_as_in_torch():
    x = torch.rand(400, 50) + 0.5
    out = make().drop(x)
    silent = out == 0
    torch.testing.assert_close(out[~silent], x[~silent] / 0.7)
    torch.manual_seed(0)
    reference = torch.nn.functional.dropout(x, 0.3)
    live = reference != 0
    torch.testing.assert_close(reference[live], x[live] / 0.7)
    assert silent.float().mean() == pytest.approx(0.3, abs=0.02)
    by_unit, by_image = silent.float().mean(0), silent.float().mean(1)
    assert by_unit.max() < 0.45 and by_image.std() > 0.03  # independent


def test_channels_are_silenced_whole():
    silent = make(0.5).drop(torch.ones(200, 30, 4, 4)) == 0
    assert torch.equal(silent.all((2, 3)), silent.any((2, 3)))
    assert silent.float().mean() == pytest.approx(0.5, abs=0.03)


def test_evaluation_silences_nothing():
    x = torch.rand(5, 3)
    assert torch.equal(make().eval().drop(x), x)


def test_strength_interpolates(fit, toy):
    """Half a dropout leaves half of a silenced unit: (1 - s) a, the rest (1 + s p / (1 - p)) a."""
    fitted = fit("dropout", {"strength": 0.5, "p": 0.5}, epochs=1)
    fitted.method.train()
    tap = fitted.network.taps[fitted.method.taps[0]]
    with torch.no_grad():
        ratio = tap(torch.ones(64, tap.units, 2, 2))
    torch.testing.assert_close(ratio.unique(), torch.tensor([0.5, 1.5]))


@pytest.mark.parametrize("p", [-0.1, 1.0, 2.0])
def test_p_is_a_probability(p):
    with pytest.raises(ValueError, match=r"p must be in \[0, 1\)"):
        Dropout(p=p)
