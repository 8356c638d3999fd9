"""What is tried: the same number for every method, strength first, and concepts in two halves."""

from __future__ import annotations

import pytest
import torch

from legible.bench.errors import UserError
from legible.bench.plugins import registry
from legible.bench.scoring.splits import scoring_images, tuning_names
from legible.bench.suites import schema
from legible.bench.tuning.trials import choices, plan, spread, tuning
from legible.methods.base import Method

registry.load()
TUNED = [p for p in sorted(schema.SUITES.glob("*.toml")) if schema.read_suite(p).tune]

SUITE = """
title = "Tiny"
seeds = [0, 1]
layers = ["last_spatial"]
methods = ["plain", "bean", {name = "sync", focus = 0.5}]
[tune]
metric = "netdissect_iou"
trials = 3
seeds = [100, 101]
[recipe]
epochs = 2
[[blocks]]
dataset = "toy"
backbone = "vgg"
net = {width = 4, stages = 2}
"""


@pytest.fixture
def read(tmp_path, toy_plugin):
    def make(*change):
        path = tmp_path / "tiny.toml"
        path.write_text(SUITE.replace(*change) if change else SUITE)
        return schema.read_suite(path)

    return make


def method(name, space, **defaults):
    """A method class with a search space of its own, registered under a built-in's name."""

    class Made(Method):
        def __init__(self, strength: float = 1.0, gamma: float = 1.0, order: int = 1) -> None:
            super().__init__(strength)
            if gamma == 3.0 and order == 2:
                raise ValueError("not together")

    Made.name, Made.search = name, space
    return Made


@pytest.fixture
def tried(kept_registry):
    def run(space, given=(), count=4, name="made"):
        cls = registry.METHODS[name] = method(name, space)
        return choices(cls, dict(given), count)

    return run


@pytest.mark.parametrize("path", TUNED, ids=lambda p: p.stem)
def test_every_method_of_a_shipped_suite_gets_the_same_budget(path):
    suite = schema.read_suite(path)
    counts: dict[tuple[str, ...], int] = {}
    for planned in plan(suite):
        counts[planned.key] = counts.get(planned.key, 0) + 1
    searched = {p.key for p in plan(suite) if not p.fixed}
    assert {counts[key] for key in searched} == {suite.tune.trials * len(suite.tune.seeds)}
    assert {counts[key] for key in set(counts) - searched} <= {len(suite.tune.seeds)}
    assert len(searched) >= 2 and TUNED


def test_the_strength_comes_first_and_then_drawn_combinations(tried):
    space = {"gamma": (1.0, 2.0), "strength": (0.1, 1.0, 10.0)}
    found = tried(space, count=6)
    assert found[:3] == [{"strength": 0.1}, {"strength": 1.0}, {"strength": 10.0}]
    assert all(s["gamma"] == 2.0 for s in found[3:]) and found == tried(space, count=6)
    orders = [
        [s["strength"] for s in tried(space, count=6, name=n)[3:]] for n in ("a", "b", "made")
    ]
    assert len({tuple(order) for order in orders}) > 1, "the order does not depend on the name"


def test_a_grid_longer_than_the_budget_is_thinned_evenly():
    assert spread((1, 2, 3, 4, 5), 5) == [1, 2, 3, 4, 5]
    assert spread((1, 2, 3, 4, 5), 3) == [1, 3, 5]
    assert spread((1, 2, 3, 4, 5), 1) == [3] and spread((1, 2), 9) == [1, 2]


def test_what_the_suite_gives_is_not_searched(tried):
    space = {"strength": (0.1, 1.0, 10.0), "gamma": (1.0, 2.0, 4.0, 8.0)}
    assert tried(space, {"strength": 5.0}) == [
        {"strength": 5.0, "gamma": g} for g in (1.0, 2.0, 4.0, 8.0)
    ]


def test_parameters_that_do_not_go_together_are_passed_over(tried):
    found = tried({"gamma": (3.0, 1.0), "order": (1, 2)}, count=3)
    assert {"gamma": 3.0, "order": 2} not in found and len(found) == 3


def test_one_setting_is_not_tried_twice_under_two_names(tried):
    with pytest.raises(UserError, match=r"'made' has 2 settings to search, fewer than .* 3 trials"):
        tried({"strength": (1.0, 1.0, 1), "order": (1, 2)}, count=3)


def test_a_method_without_search_space_has_its_defaults(tried):
    assert tried({}) == [{}] and tried({"strength": (1.0,)}, {"strength": 2.0}) == [{"strength": 2}]


def test_trials_are_ordinary_cells_on_tuning_seeds(read):
    suite = read("epochs = 2", "epochs = 7")
    planned = plan(suite)
    assert [p.spec.method for p in planned] == ["plain"] * 2 + ["bean"] * 6 + ["sync"] * 6
    assert {p.spec.seed for p in planned} == {100, 101}
    assert {p.spec.stage for p in planned} == {"tuning"}
    assert {p.spec.measures for p in planned} == {("netdissect_iou", "accuracy")}
    assert {p.spec.recipe.epochs for p in planned} == {7}
    assert planned[-1].spec.params["focus"] == 0.5 and '"focus": 0.5' in planned[-1].setting
    shorter = read("trials = 3", "trials = 3\nepochs = 1")
    assert {p.spec.recipe.epochs for p in plan(shorter)} == {1}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('"netdissect_iou"', '"netdisect_iou"'), "did you mean 'netdissect_iou'?"),
        (('"netdissect_iou"', '"effective_rank"'), "no better direction"),
        (("layers", 'aspects = ["task"]\nlayers'), "its aspect is not among the suite's"),
        (("trials = 3", 'trials = 3\nlayer = "last"'), "one Tap among the suite's layers"),
        (("seeds = [100, 101]", "seeds = [100, 1]"), "seed 1 is also one that the suite tests"),
        (("seeds = [100, 101]", "seeds = [100, 100]"), "a seed stands there twice"),
        (('"plain", ', ""), "needs 'plain'"),
        (("trials = 3", "trials = 30"), "fewer than the suite's 30 trials"),
        (('"bean"', '"baen"'), "did you mean 'bean'?"),
    ],
)
def test_a_table_that_cannot_be_is_refused_in_one_line(read, change, message):
    with pytest.raises(UserError) as error:
        plan(read(*change))
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("trials = 3", "trails = 3"), "unknown key 'tune.trails'; did you mean 'trials'?"),
        (("trials = 3", ""), "'tune.trials' is missing"),
        (("trials = 3", "trials = 0"), "greater than or equal to 1"),
        (("seeds = [100, 101]", "seeds = []"), "at least 1 item"),
        (("trials = 3", "trials = 3\ntolerance = -0.1"), "greater than or equal to 0"),
        (("trials = 3", "trials = 3\nepochs = 0"), "greater than or equal to 1"),
    ],
)
def test_a_wrong_table_is_refused_when_the_file_is_read(read, change, message):
    with pytest.raises(UserError) as error:
        read(*change)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_suite_without_the_table_cannot_be_tuned():
    with pytest.raises(UserError, match="suite 'quick' has no \\[tune\\] table"):
        tuning(schema.read_suite(schema.find_suite("quick")))


def test_halves_share_no_concept_and_leave_none_out(toy):
    names = {
        stage: scoring_images(toy, "test", stage, 40).concepts.names
        for stage in ("", "tuning", "final")
    }
    assert set(names["tuning"]) | set(names["final"]) == set(names[""])
    assert not set(names["tuning"]) & set(names["final"])
    assert len(names["tuning"]) == 1 and len(names["final"]) == 2


def test_each_category_is_halved_whatever_the_order():
    names = [f"part {i}" for i in range(10)] + [f"colour {i}" for i in range(5)]
    kinds = ["part"] * 10 + ["colour"] * 5
    chosen = tuning_names(names, kinds)
    assert sum(n.startswith("part") for n in chosen) == 5
    assert sum(n.startswith("colour") for n in chosen) == 2
    assert tuning_names(names[::-1], kinds[::-1]) == chosen


def test_choosing_sees_validation_images_and_testing_test_images(toy):
    tuned, final = (scoring_images(toy, "test", stage, 40) for stage in ("tuning", "final"))
    assert torch.equal(tuned.images, toy.validation.images[:40])
    assert torch.equal(final.images, toy.test.images[:40])
    whole = scoring_images(toy, "test", "", 40)
    assert torch.equal(whole.concepts.packed, toy.test.concepts.packed[:40])
    training = scoring_images(toy, "train", "tuning", 40)
    assert torch.equal(training.images, toy.train.images[:40])
    assert training.concepts.names == tuned.concepts.names
