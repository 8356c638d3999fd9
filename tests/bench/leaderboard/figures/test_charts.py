"""Figures: the same bytes twice, no machine settings, safe text, known geometry."""

from __future__ import annotations

import dataclasses
from functools import partial

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from legible.bench.leaderboard.figures import charts as figures
from legible.bench.leaderboard.figures import dynamics, pictures
from legible.bench.leaderboard.figures.drawing import drawable, save, upsample
from legible.bench.leaderboard.figures.pictures import Wall


@pytest.fixture
def rng():
    return np.random.default_rng(3)


@pytest.fixture
def examples(rng):
    images, maps = rng.random((2, 4, 1, 16, 16)), rng.random((2, 4, 4, 4))
    return [pictures.UnitExamples(u, images[u], maps[u], 0.8, "氵 $x$", 0.3) for u in range(2)]


@pytest.fixture
def evidence(rng):
    correlation = np.corrcoef(rng.random((9, 20)))
    labels = np.array([1, 0, 1, -1, 0, 1, 2, -1, 1])
    return pictures.ModuleEvidence(correlation, labels, rng.random((9, 3, 8, 8)))


@pytest.fixture
def drawings(board, rng, examples, evidence):
    classes = ["a", "漢", "c"]
    grid = pictures.AttributionGrid(
        rng.random((2, 1, 16, 16)), rng.random((2, 16, 16)) > 0.8,
        {"Saliency": rng.random((2, 16, 16)), "GradCam": rng.normal(size=(2, 4, 4))},
    )  # fmt: skip
    shown = pictures.Views(
        rng.random((3, 1, 16, 16)), rng.random((3, 4, 4)), np.arange(3), ["a", "", "氵"]
    )
    effects = np.array([[0.1, -0.3, 0.0], [np.nan, 0.2, 0.1]])
    return {
        "gallery": partial(pictures.gallery, examples, "title", "KanjiVG, CC BY-SA 3.0"),
        "views": partial(pictures.views, shown),
        "matrix": partial(pictures.module_matrix, evidence, "title"),
        "members": partial(pictures.module_members, evidence),
        "lesions": partial(pictures.lesion_map, pictures.Lesions(effects, classes)),
        "focus": partial(pictures.focus_pair, rng.random((7, 7)), rng.random((7, 7))),
        "attribution": partial(pictures.attribution_grid, grid),
        "curves": partial(pictures.curves, {"cross entropy": [2.0, 1.0], "focus": [0.5, 0.2]}),
    } | {stem: draw for stem, _, draw in figures.available(board)}


NAMES = ["gallery", "views", "matrix", "members", "lesions", "focus", "attribution", "curves",
         "pareto-0", "pareto-1", "pareto-2", "profile"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_is_the_same_twice_whatever_the_settings(drawings, name):
    first = save(drawings[name], "png")
    with mpl.rc_context({"font.size": 20, "lines.linewidth": 9, "savefig.dpi": 30}):
        assert save(drawings[name], "png") == first
    assert first.startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["pareto-0", "curves"])
def test_vector_files_are_the_same_twice_and_undated(drawings, name):
    text = save(drawings[name], "svg")
    assert save(drawings[name], "svg") == text
    assert b"<dc:date>" not in text
    assert b"Matplotlib v" not in text


def test_every_figure_of_the_table_is_listed(drawings):
    assert set(NAMES) == set(drawings)


def test_characters_without_a_glyph_show_their_code():
    assert drawable("氵a$b") == r"U+6C35a\$b"
    assert "\n" not in drawable("a\nb")


def test_upsampling_is_torch_s(rng):
    torch = pytest.importorskip("torch")
    area = rng.random((3, 5))
    want = torch.nn.functional.interpolate(
        torch.from_numpy(area)[None, None], (11, 20), mode="bilinear", align_corners=False
    )[0, 0]
    np.testing.assert_allclose(upsample(area, (11, 20)), want.numpy())


def test_an_outline_of_nothing_draws_nothing():
    wall = Wall(1, 1, [""])
    wall.outline(0, 0, np.zeros((4, 4)), 0.0)
    wall.outline(0, 0, np.ones((4, 4)), 0.5)
    assert not wall.borders
    wall.outline(0, 0, np.eye(4), 0.5)
    assert wall.borders


def test_images_hang_in_their_places():
    wall = Wall(2, 3, ["a", "b"])
    wall.hang(1, 2, np.zeros((1, 4, 4)))
    left, right, bottom, top = wall.axis.images[0].get_extent()
    assert right - left == bottom - top == 1
    (x0, x1), (y1, y0) = wall.axis.get_xlim(), wall.axis.get_ylim()
    assert x0 <= left < right <= x1
    assert y0 <= top < bottom <= y1


def test_modules_are_ordered_by_size_and_unassigned_units_come_last():
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


def test_a_spread_out_unit_has_a_wider_mean_spot(rng):
    y, x = np.mgrid[:9, :9]
    peaks = [(2, 3), (6, 5)]

    def blob(width):
        return np.stack([np.exp(-((y - a) ** 2 + (x - b) ** 2) / width) for a, b in peaks])[None]

    assert np.nanmean(pictures.mean_spot(blob(9.0))) > np.nanmean(pictures.mean_spot(blob(2.0)))


def test_dead_units_have_no_mean_spot():
    assert np.isnan(pictures.mean_spot(np.zeros((2, 2, 3, 3)))).all()


def test_the_pareto_front_is_what_nothing_beats():
    points = np.array([[1, 5], [2, 4], [1.5, 3], [3, 1], [np.nan, 9], [2, 4]], dtype=float)
    assert figures.pareto_front(points) == [0, 1, 5, 3]


def test_a_frame_holds_the_points_and_no_endless_bars():
    points, bars = np.array([0.0, 1.0, np.nan]), np.array([0.1, 50.0, 1.0])
    low, high = figures.frame(points, bars)
    assert low < 0.0 and 1.0 < high < 40
    assert figures.frame(points[:2], np.zeros(2), 5.0)[1] > 5
    assert figures.frame(np.array([np.nan]), np.zeros(1)) == (0.0, 1.0)
    low, high = figures.frame(np.array([0.3]), np.array([0.0]))
    assert low < 0.3 < high


def many(board, count):
    """The board with ``count`` methods more, each a copy of sync."""
    sync = board.scores[(board.scores["method"] == "sync") & (board.scores["params"] == "{}")]
    more = [sync.assign(method=f"sync{i}", label=f"method number {i}") for i in range(count)]
    return dataclasses.replace(board, scores=pd.concat([board.scores, *more]))


def texts(figure):
    return [text.get_text() for text in figure.findobj(mpl.text.Text)]


def test_beyond_ten_rows_numbers_stand_for_methods(board):
    few = texts(figures.pareto(board, board.blocks[0]))
    assert "plain" in few and "1" not in few
    large = many(board, 23)
    shown = texts(figures.pareto(large, large.blocks[0]))
    for i, row in enumerate(large.rows, 1):
        if row.method != "oracle" or f"{i}  oracle" in shown:
            assert str(i) in shown
            assert f"{i}  {figures.row_label(row)}" in shown


def test_null_rows_far_away_do_not_squeeze_the_methods(board):
    """The fixture's oracle and untrained rows lie far outside the methods' scores."""
    figure = figures.pareto(board, board.blocks[0])
    low, high = sorted(figure.axes[0].get_ylim())
    names = [line for line in figure.axes[0].lines if line.get_label() == "untrained"]
    assert names[0].get_ydata()[0] in (low, high)
    plain = next(line for line in figure.axes[0].lines if line.get_label() == "plain")
    assert low < plain.get_ydata()[0] < high


def test_a_profile_has_a_row_for_every_method_and_grows_with_them(board):
    large = many(board, 23)
    figure = figures.profile(large)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == [figures.row_label(row) for row in large.rows if row.method != "plain"]
    assert figure.get_figheight() > figures.profile(board).get_figheight() + 4
    assert len(figure.axes) == 3  # accuracy, dispersion, iou: rank has no direction


def test_in_a_profile_better_is_to_the_right(board):
    """The fixture's sync lowers dispersion, which is better."""
    axis = figures.profile(board).axes[1]
    assert axis.get_title().startswith("focus")
    left, right = axis.get_xlim()
    assert left > right
    filled = [line for line in axis.lines if line.get_markerfacecolor() == "#0072B2"]
    assert len(filled) >= 2
    assert all(line.get_xdata()[0] < 0 for line in filled if line.get_marker() == "o")


# ------------------------------------------------------------- dynamics


def watched(value, **more):
    return {"epoch": 0, "loss": 1.0, "watch.iou@stage2": value, **more}


def test_watched_metrics_are_gathered_by_block_row_seed_and_epoch(board):
    block = board.blocks[0]
    runs = [
        (block, ("plain", "{}"), [watched(0.1), watched(0.2)]),
        (block, ("plain", "{}"), [watched(0.3)]),
        (block, ("sync", "{}"), [watched(None), watched(0.5, **{"watch.rank": 4.0})]),
        (board.blocks[1], ("plain", "{}"), [{"epoch": 0, "loss": 1.0}]),
    ]
    found = dynamics.gather(runs)
    assert list(found) == [block]
    np.testing.assert_array_equal(
        found[block]["plain", "{}"]["watch.iou@stage2"], [[0.1, 0.2], [0.3, np.nan]]
    )
    np.testing.assert_array_equal(found[block]["sync", "{}"]["watch.rank"], [[np.nan, 4.0]])
    assert dynamics.gather([]) == {}


def test_dynamics_have_a_panel_a_metric_and_a_line_and_band_a_method(board):
    block = board.blocks[0]
    lines = [[watched(v, **{"watch.rank": v}) for v in (0.1, 0.2, 0.4)] for _ in range(2)]
    runs = [(block, row.key, line) for row in board.rows[:3] for line in lines]
    told = dataclasses.replace(board, dynamics=dynamics.gather(runs))
    stems = {stem: draw for stem, _, draw in figures.available(told)}
    assert "dynamics" in stems
    figure = stems["dynamics"]()
    assert [axis.get_title() for axis in figure.axes] == ["iou, stage2", "rank"]
    for axis in figure.axes:
        assert len(axis.lines) == len(axis.collections) == 3
        np.testing.assert_allclose(axis.lines[0].get_ydata(), [0.1, 0.2, 0.4])
        assert axis.lines[0].get_xdata().tolist() == [1, 2, 3]
    assert save(stems["dynamics"], "svg") == save(stems["dynamics"], "svg")


def test_what_cannot_be_drawn_says_so(board, evidence):
    alone = dataclasses.replace(board, scores=board.scores[board.scores["metric"] == "iou"])
    with pytest.raises(ValueError, match="no accuracy"):
        figures.pareto(alone, alone.blocks[0])
    with pytest.raises(ValueError, match="no modules"):
        pictures.module_members(dataclasses.replace(evidence, labels=np.full(9, -1)))
    with pytest.raises(ValueError, match="at least one unit"):
        pictures.gallery([])
