"""The search for a recipe on made-up accuracies: where it goes and where it stops."""

from __future__ import annotations

import math

import pytest

from legible.bench.suites.schema import TuneRecipe
from legible.bench.tuning.recipe_search import RecipePoint, beside, difference, neighbours, search

TABLE = TuneRecipe(lr=[1.0, 2.0], weight_decay=[0.1, 0.3], seeds=[7, 8], longest=8)


def follow(accuracy, table=TABLE, epochs=2):
    """The order of trials and the choice, where ``accuracy(point)`` is that of the first seed; the
    second seed is .02 more accurate."""
    made = {}
    for _ in range(50):
        asked, choice = search(table, epochs, made)
        if choice is not None:
            return asked, choice
        assert set(made) < set(asked)
        made = {point: [accuracy(point), accuracy(point) + 0.02] for point in asked}
    raise AssertionError("the search does not end")


def bump(lr, weight_decay, top=0.9):
    """Accuracies with one maximum, in logarithms, that do not depend on the epochs."""
    return lambda p: (
        top - 0.1 * (math.log(p.lr / lr) ** 2 + math.log(p.weight_decay / weight_decay) ** 2)
    )


def test_the_whole_grid_comes_first():
    asked, choice = search(TABLE, 2, {})
    assert choice is None
    assert asked == [RecipePoint(2, lr, decay) for lr in (1.0, 2.0) for decay in (0.1, 0.3)]


def test_an_optimum_at_the_edge_extends_the_grid_until_it_lies_within():
    asked, choice = follow(bump(lr=16.0, weight_decay=0.3))
    assert choice.point == RecipePoint(2, 16.0, 0.3)
    assert choice.accuracy == pytest.approx(0.91)
    tried = {(p.lr, p.weight_decay) for p in asked}
    assert {(8.0, 0.3), (32.0, 0.3), (16.0, 0.1), (16.0, 0.9)} <= tried
    assert not any(p.lr > 32 or p.weight_decay > 0.9 for p in asked)


def test_the_lower_edge_is_an_edge_too():
    asked, choice = follow(bump(lr=0.5, weight_decay=0.0333))
    assert (choice.point.lr, choice.point.weight_decay) == (0.5, 0.0333)
    assert min(p.lr for p in asked) == 0.25


def test_epochs_are_doubled_as_long_as_that_gains_the_tolerance():
    at = {2: 0.80, 4: 0.85, 8: 0.855}
    asked, choice = follow(lambda p: at[p.epochs] + bump(1.5, 0.2, 0.0)(p))
    assert choice.point.epochs == 4 and choice.gain == pytest.approx(0.005)
    assert "twice the epochs gain 0.0050" in choice.reason
    assert sum(p.epochs == 8 for p in asked) == 1
    best = [p for p in asked if p.epochs == 4]
    assert len(best) >= 5, "the neighbours are tried again with more epochs"


def test_a_gain_of_exactly_the_tolerance_goes_on():
    at = {2: 0.5, 4: 0.75, 8: 0.75}
    table = TABLE.model_copy(update={"tolerance": 0.25})
    assert follow(lambda p: at[p.epochs] + bump(1.5, 0.2, 0.0)(p), table)[1].point.epochs == 4


def test_no_training_is_longer_than_allowed():
    asked, choice = follow(lambda p: 0.1 * p.epochs + bump(1.5, 0.2, 0.0)(p))
    assert choice.point.epochs == 8 and max(p.epochs for p in asked) == 8
    assert math.isnan(choice.gain) and "most epochs allowed, 8" in choice.reason


def test_a_setting_that_fails_is_never_chosen():
    best = bump(lr=16.0, weight_decay=0.3)
    asked, choice = follow(lambda p: math.nan if p.lr > 2 else best(p))
    assert choice.point == RecipePoint(2, 2.0, 0.3)
    assert RecipePoint(2, 4.0, 0.3) in asked and not any(p.lr > 4 for p in asked)


def test_neighbours_lie_on_the_grid_or_one_step_beyond():
    grid = [RecipePoint(1, lr, 0.1) for lr in (1.0, 2.0, 8.0)]
    assert set(neighbours(grid[2], grid)) == {
        (1, 2.0, 0.1), (1, 32.0, 0.1), (1, 8.0, 0.05), (1, 8.0, 0.2),
    }  # fmt: skip
    assert beside(0.3, [0.1, 0.3]) == (0.1, 0.9)


def test_a_difference_is_paired_by_seed():
    gain, error = difference([0.9, 0.8, 0.7], [0.8, 0.8, 0.6])
    assert gain == pytest.approx(0.2 / 3)
    assert error == pytest.approx(1 / 30)  # the gaps .1, 0, .1 have the deviation 1 / sqrt(300)
    assert math.isnan(difference([0.9], [0.8])[1])
