"""Safe text, enlarged maps, frames, and the same bytes whatever the machine's settings."""

from __future__ import annotations

import io

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from legible.bench.leaderboard.figures.style import (
    as_webp,
    central,
    drawable,
    frame,
    legend,
    panels,
    save,
    upsample,
)


def drawing() -> Figure:
    figure, (axis,) = panels(1, 2.0, 2.0)
    axis.plot([0, 1], [1, 0], label="line")
    legend(figure, [axis])
    return figure


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_a_figure_is_the_same_twice_whatever_the_settings(kind):
    first = save(drawing, kind)
    with mpl.rc_context({"font.size": 20, "lines.linewidth": 9, "savefig.dpi": 30}):
        assert save(drawing, kind) == first
    assert b"<dc:date>" not in first and b"Matplotlib v" not in first


def picture(image) -> Figure:
    figure, (axis,) = panels(1, 4.0, 4.0)
    axis.imshow(image)
    return figure


def colours(png: bytes) -> int:
    with Image.open(io.BytesIO(png)) as image:
        return len(image.convert("RGB").getcolors(2**24))


def test_photographs_have_a_larger_palette_and_a_shown_run_has_none():
    photograph = np.random.default_rng(0).random((200, 200, 3))
    gradient = np.repeat(np.linspace(0, 1, 200)[:, None, None], 200, 1).repeat(3, 2)
    assert colours(save(lambda: picture(gradient), "png")) <= 24
    assert 200 < colours(save(lambda: picture(photograph), "png")) <= 256
    assert colours(save(lambda: picture(photograph), "png", full_colour=True)) > 10_000


def test_webp_loses_nothing():
    png = save(drawing, "png")
    before, after = (Image.open(io.BytesIO(data)).convert("RGB") for data in (png, as_webp(png)))
    assert before.tobytes() == after.tobytes()


def test_characters_without_a_glyph_are_shown_by_their_code():
    assert drawable("氵a$b") == r"U+6C35a\$b"
    assert "\n" not in drawable("a\nb")


def test_points_near_the_others_are_central():
    points = np.array([[0.0, 1.0], [0.1, 1.2], [-0.1, 0.9], [0.05, 40.0], [9.0, 1.1]])
    none = np.zeros((5, 2))
    assert central(points, none).tolist() == [True, True, True, False, False]
    assert central(points, np.full((5, 2), [2.0, 1.0])).tolist() == [True] * 3 + [False, True]
    assert central(np.ones((3, 2)), none[:3]).all() and not len(central(none[:0], none[:0]))


def test_upsampling_is_that_of_torch():
    area = np.random.default_rng(3).random((3, 5))
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(area)[None, None], (11, 20), mode="bilinear", align_corners=False
    )[0, 0]
    np.testing.assert_allclose(upsample(area, (11, 20)), expected.numpy())


def test_points_without_intervals_have_a_frame():
    low, high = frame(np.array([0.5, 1.0]), np.full(2, np.nan))
    assert (low, high) == pytest.approx((0.46, 1.04))


def test_a_frame_holds_the_points_and_cuts_very_wide_bars():
    points, bars = np.array([0.0, 1.0, np.nan]), np.array([0.1, 50.0, 1.0])
    low, high = frame(points, bars)
    assert low < 0.0 and 1.0 < high < 40
    assert frame(points[:2], np.zeros(2), 5.0)[1] > 5
    assert frame(np.array([np.nan]), np.zeros(1)) == (0.0, 1.0)
    low, high = frame(np.array([0.3]), np.array([0.0]))
    assert low < 0.3 < high
