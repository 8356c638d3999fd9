"""Pictures of one network from plain arrays: the same bytes twice, known geometry, captions."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import matplotlib as mpl
import numpy as np
import pytest

from legible.bench.leaderboard.figures import network_pictures as pictures
from legible.bench.leaderboard.figures.style import save
from legible.bench.suites.run_spec import Block, RowKey


@pytest.fixture
def rng():
    return np.random.default_rng(3)


@pytest.fixture
def units(rng):
    images, maps = rng.random((2, 4, 1, 16, 16)), rng.random((2, 4, 4, 4))
    masks = rng.random((4, 16, 16)) > 0.7
    return [pictures.UnitExamples(u, images[u], maps[u], 0.8, "氵 $x$", 0.3, masks)
            for u in range(2)]  # fmt: skip


@pytest.fixture
def modules(rng):
    correlation = np.corrcoef(rng.random((9, 20)))
    labels = np.array([1, 0, 1, -1, 0, 1, 2, -1, 1])
    walls = [pictures.ModuleWall(m, 2, rng.random((11, 3, 8, 8)), rng.random((11, 4, 4)))
             for m in range(3)]  # fmt: skip
    return pictures.ModuleExamples(correlation, labels, walls)


@pytest.fixture
def data(rng, units, modules):
    effects = np.array([[0.1, -0.3, 0.0], [np.nan, 0.2, 0.1]])
    return pictures.PictureData(
        "conv6",
        units,
        modules,
        pictures.Lesions(effects, ["a", "漢", "c"]),
        pictures.StrongestUnits(
            rng.random((3, 1, 16, 16)), rng.random((3, 4, 4)), np.arange(3), ["a", "", "氵"]
        ),
        rng.random((7, 7)),
        pictures.AttributionExamples(
            rng.random((2, 1, 16, 16)), rng.random((2, 16, 16)) > 0.8,
            {"Saliency": rng.random((2, 16, 16)), "GradCam": rng.normal(size=(2, 4, 4))},
        ),
    )  # fmt: skip


HISTORY = [{"epoch": 1, "cross_entropy": 2.0, "focus": 0.5, "accuracy": 0.3},
           {"epoch": 2, "cross_entropy": 1.0}]  # fmt: skip
PLACE = (Block("kanji", "vgg"), RowKey("plain", "{}"), "plain", HISTORY)


def test_every_picture_is_the_same_twice_whatever_the_settings(data):
    drawn = pictures.draw_pictures(data, *PLACE, data, "KanjiVG, CC BY-SA 3.0")
    assert {picture.kind for picture in drawn} == set(pictures.CAPTIONS)
    with mpl.rc_context({"font.size": 20, "lines.linewidth": 9}):
        again = pictures.draw_pictures(data, *PLACE, data, "KanjiVG, CC BY-SA 3.0")
    assert [p.data for p in again] == [p.data for p in drawn]
    assert all(picture.data.startswith(b"\x89PNG") for picture in drawn)


def test_captions_name_units_classes_and_concepts(data):
    assert "Classes: a, 漢, c." in pictures.caption("lesions", data, "t")
    assert "unit 0 氵 $x$ 0.30" in pictures.caption("units", data, "t")
    assert "Units: 0 a, 1, 2 氵." in pictures.caption("views", data, "t")
    assert pictures.caption("focus", data, "plain · kanji").startswith("plain · kanji. Mean")


def test_empty_data_has_only_the_curves(data):
    empty = pictures.PictureData("conv6", [])
    assert [p.kind for p in pictures.draw_pictures(empty, *PLACE)] == ["curves"]
    kinds = [p.kind for p in pictures.draw_pictures(data, *PLACE)]
    assert "focus" not in kinds  # plain's spot is not there to compare with


def test_titles_name_the_place_that_is_given(data):
    given = pictures.draw_pictures(data, *PLACE, data, place="birds · vgg")
    assert all(picture.alt.startswith("plain · birds · vgg · ") for picture in given)
    whole = pictures.draw_pictures(data, *PLACE, data)
    assert all(picture.alt.startswith("plain · kanji · vgg · ") for picture in whole)


def test_only_loss_terms_are_drawn():
    terms = pictures.loss_terms(HISTORY)
    assert list(terms) == ["cross_entropy", "focus"]
    assert terms["cross_entropy"] == [2.0, 1.0] and np.isnan(terms["focus"][1])
    assert pictures.loss_terms([]) == {}


def test_curves_have_a_logarithmic_scale_if_all_are_positive():
    positive = pictures.draw_curves({"a": [2.0, 1.0]}).axes[0]
    signed = pictures.draw_curves({"a": [2.0, -1.0]}).axes[0]
    assert (positive.get_yscale(), signed.get_yscale()) == ("log", "linear")


def test_modules_are_ordered_by_size_and_units_without_one_come_last():
    order, bounds = pictures.by_module(np.array([1, 0, 1, -1, 1]))
    assert order.tolist() == [0, 2, 4, 1, 3]
    assert bounds == [3, 4, 5]
    assert pictures.by_module(np.array([-1, -1]))[0].tolist() == [0, 1]


def test_the_mean_spot_of_points_is_a_point_wherever_they_are():
    maps = np.zeros((3, 2, 4, 5))
    maps[0, 0, 1, 2] = maps[1, 0, 3, 4] = maps[2, 1, 0, 0] = 7.0
    spot = pictures.mean_spot(maps)
    assert spot.shape == (7, 9)
    assert spot[3, 4] == 1
    assert np.nansum(spot) == 1


def test_a_spread_out_unit_has_a_wider_mean_spot():
    y, x = np.mgrid[:9, :9]
    peaks = [(2, 3), (6, 5)]

    def blob(width):
        return np.stack([np.exp(-((y - a) ** 2 + (x - b) ** 2) / width) for a, b in peaks])[None]

    assert np.nanmean(pictures.mean_spot(blob(9.0))) > np.nanmean(pictures.mean_spot(blob(2.0)))


def test_dead_units_have_no_mean_spot():
    assert np.isnan(pictures.mean_spot(np.zeros((2, 2, 3, 3)))).all()


def outlines(figure):
    """The number of outlines by colour."""
    return {mpl.colors.to_hex(lines.get_colors()[0]): len(lines.get_segments())
            for lines in figure.axes[0].collections}  # fmt: skip


def test_regions_and_masks_are_outlined_in_colours_of_their_own(units):
    unit = replace(units[0], images=units[0].images[:2], maps=np.zeros((2, 4, 4)),
                   masks=np.zeros((2, 16, 16), dtype=bool))  # fmt: skip
    unit.maps[:, 1:3, 1:3] = 1.0
    unit.masks[0, 4:8, 4:8] = True  # the second image does not show the concept
    assert outlines(pictures.draw_units([unit])) == {
        "#000000": 2, "#e69f00": 2, "#56b4e9": 1,
    }  # fmt: skip
    assert outlines(pictures.draw_units([replace(unit, masks=None)]))["#56b4e9"] == 0


def test_two_networks_stand_side_by_side(units):
    alone = pictures.draw_units(units)
    both = pictures.draw_units(units, "t", "", units, ("plain", "sync"))
    assert len(both.axes[0].images) == 2 * len(alone.axes[0].images)
    texts = [text.get_text() for text in both.axes[0].texts]
    assert sum(text.startswith("sync: ") and "IoU 0.30" in text for text in texts) == len(units)
    with pytest.raises(ValueError, match="shorter"):
        pictures.draw_units(units, "t", "", units[:1], ("plain", "sync"))


def test_a_wall_has_a_title_and_as_many_lines_as_it_needs(modules):
    figure = pictures.draw_module_walls(modules.walls, columns=4)  # 11 images: three lines
    assert len(figure.axes[0].images) == 33
    texts = [text.get_text() for text in figure.axes[0].texts if text.get_text()]
    assert texts == [f"module {m}\n2 units" for m in range(3)]


def test_nothing_to_draw_is_an_error():
    with pytest.raises(ValueError, match="no modules"):
        pictures.draw_module_walls([])
    with pytest.raises(ValueError, match="at least one unit"):
        pictures.draw_units([])


def test_a_svg_can_be_drawn_too(units):
    assert save(partial(pictures.draw_units, units), "svg").startswith(b"<?xml")
