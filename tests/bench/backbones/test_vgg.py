"""VGG: size of its maps."""

import pytest

from legible.bench.backbones.vgg import vgg


def test_vgg_at_32_pixels_ends_in_an_8_by_8_map():
    assert vgg((3, 32, 32), 5).taps["conv6"].shape == (64, 8, 8)


@pytest.mark.parametrize(("depth", "stages"), [(1, 2), (2, 3), (3, 1)])
def test_a_tap_stands_after_each_convolution(depth, stages):
    taps = vgg((1, 16, 16), 5, width=4, depth=depth, stages=stages).taps
    assert list(taps) == [f"conv{i + 1}" for i in range(depth * stages)]
    shapes = [(4 * 2**s, 16 // 2**s, 16 // 2**s) for s in range(stages) for _ in range(depth)]
    assert [tap.shape for tap in taps.values()] == shapes
