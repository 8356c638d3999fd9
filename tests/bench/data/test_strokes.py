"""KanjiVG's drawings, and distances to strokes."""

import importlib.metadata

import numpy as np
import pytest
import torch

from legible.bench.data import strokes
from legible.bench.data.base import DataMissing
from legible.bench.data.strokes import POINTS, distance


def test_a_known_character(characters):
    """林 is two 木 side by side, four strokes each."""
    wood = next(c for c in characters if c.code == ord("林"))
    assert "".join(wood.types) == "㇐㇑㇒㇔㇐㇑㇒㇏"
    components = {(c.element, c.strokes) for c in wood.components}
    assert components == {("林", tuple(range(8))), ("木", (0, 1, 2, 3)), ("木", (4, 5, 6, 7))}


def test_parts_of_one_component_are_joined(characters):
    """The outside of 衝 (行, in two groups) is one component with the strokes of both."""
    character = next(c for c in characters if c.code == ord("衝"))
    outside = [c for c in character.components if c.element == "行"]
    assert len(outside) == 1
    inside = next(c for c in character.components if c.element == "重")
    assert set(outside[0].strokes) == set(range(len(character.types))) - set(inside.strokes)


def test_polylines_lie_on_the_canvas_evenly_spaced(characters):
    for character in characters[::200]:
        assert character.points.shape == (len(character.types), POINTS, 2)
        assert -0.05 < character.points.min() < character.points.max() < 1.05
        steps = np.linalg.norm(np.diff(character.points, axis=1), axis=-1)
        # a chord across a corner is shorter than the way around it
        assert np.median(steps.max(1) / np.median(steps, axis=1)) < 1.1


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("M1,2c1,0,2,0,3,0", [[(1, 2), (2, 2), (3, 2), (4, 2)]]),
        ("M1,2C1,0,2,0,3,0", [[(1, 2), (1, 0), (2, 0), (3, 0)]]),
        ("M1 2c1-1 2-1 3 0-1.5.5-2 1-3 1",
         [[(1, 2), (2, 1), (3, 1), (4, 2)], [(4, 2), (2.5, 2.5), (2, 3), (1, 3)]]),
        ("M0,0c0,1,1,2,2,2s2,1,2,2", [[(0, 0), (0, 1), (1, 2), (2, 2)],
                                      [(2, 2), (3, 2), (4, 3), (4, 4)]]),
        ("M0,0C0,1,1,2,2,2S4,3,4,4", [[(0, 0), (0, 1), (1, 2), (2, 2)],
                                      [(2, 2), (3, 2), (4, 3), (4, 4)]]),
        ("M1,1m1,1c1,0,2,0,3,0", [[(2, 2), (3, 2), (4, 2), (5, 2)]]),
    ],
)  # fmt: skip
def test_paths(path, expected):
    assert strokes._curves(path) == expected


def test_distance_is_that_to_the_nearest_point():
    """Against ten thousand points along each polyline."""
    lines = torch.rand(5, 4, 2, generator=torch.Generator().manual_seed(0)).double() * 16
    share = torch.linspace(0, 1, 3334).double().view(1, 1, -1, 1)
    dots = (lines[:, :-1, None] * (1 - share) + lines[:, 1:, None] * share).flatten(1, 2)
    centre = torch.arange(16).double() + 0.5
    pixels = torch.stack(torch.meshgrid(centre, centre, indexing="xy"), -1).view(1, -1, 2)
    expected = torch.cdist(pixels.expand(5, -1, -1), dots).amin(2).view(5, 16, 16)
    torch.testing.assert_close(distance(lines, 16), expected, atol=2e-3, rtol=0)


def test_a_stroke_of_one_point_is_no_division_by_zero():
    dot = torch.full((1, 3, 2), 4.5)
    assert distance(dot, 8)[0, 4, 4] == 0
    assert distance(dot, 8)[0, 4, 0] == 4


def test_without_the_package_data_is_missing(monkeypatch):
    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", absent)
    monkeypatch.setattr(importlib.metadata, "version", absent)
    with pytest.raises(DataMissing, match="pip install kanjivg"):
        strokes.kanjivg_files()
    assert strokes.kanjivg_version() == ""


def test_a_package_without_drawings_is_missing_data(monkeypatch):
    class Empty:
        files = ()

    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: Empty)
    with pytest.raises(DataMissing, match="no drawings"):
        strokes.kanjivg_files()
