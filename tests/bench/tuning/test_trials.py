"""Trials: the same number for every method, the strength first, on tuning seeds."""

from __future__ import annotations

import pytest

from legible.bench.errors import UserError
from legible.bench.plugins import registry
from legible.bench.suites import schema
from legible.bench.tuning.trials import (
    Result,
    beyond_edge,
    choices,
    plan_trials,
    setup,
    spread,
    tune_table,
)
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
def settings(kept_registry):
    """The settings of a method with a search space."""

    def run(space, given=(), count=4, name="made"):
        cls = registry.METHODS[name] = method(name, space)
        return choices(cls, dict(given), count)

    return run


@pytest.mark.parametrize("path", TUNED, ids=lambda p: p.stem)
def test_every_method_of_a_shipped_suite_gets_the_same_budget(path):
    suite = schema.read_suite(path)
    counts: dict[tuple[str, ...], int] = {}
    for planned in plan_trials(suite):
        counts[planned.key] = counts.get(planned.key, 0) + 1
    searched = {p.key for p in plan_trials(suite) if not p.fixed}
    assert {counts[key] for key in searched} == {suite.tune.trials * len(suite.tune.seeds)}
    assert {counts[key] for key in set(counts) - searched} <= {len(suite.tune.seeds)}
    assert len(searched) >= 2 and TUNED


def test_the_strength_comes_first_and_then_random_combinations(settings):
    space = {"gamma": (1.0, 2.0), "strength": (0.1, 1.0, 10.0)}
    made = settings(space, count=6)
    assert made[:3] == [{"strength": 0.1}, {"strength": 1.0}, {"strength": 10.0}]
    assert all(s["gamma"] == 2.0 for s in made[3:]) and made == settings(space, count=6)
    half = settings(space, count=4)
    assert half[:2] == [{"strength": 0.1}, {"strength": 10.0}] and "gamma" in half[2]
    orders = [
        [s["strength"] for s in settings(space, count=6, name=n)[3:]] for n in ("a", "b", "made")
    ]
    assert len({tuple(order) for order in orders}) > 1, "the order does not depend on the name"


def test_a_grid_longer_than_the_budget_is_thinned_evenly():
    assert spread((1, 2, 3, 4, 5), 5) == [1, 2, 3, 4, 5]
    assert spread((1, 2, 3, 4, 5), 3) == [1, 3, 5]
    assert spread((1, 2, 3, 4, 5), 1) == [3] and spread((1, 2), 9) == [1, 2]


class TestBeyondTheEdge:
    """The next value of the strength where the best setting is at an edge of those tried."""

    TRIED = [{"strength": 0.3}, {"strength": 1.0}, {"strength": 3.0}]

    @pytest.fixture
    def after(self, kept_registry):
        """The setting after the best one of a method."""

        def run(best, tried=self.TRIED, space=("strength",), given=()):
            cls = registry.METHODS["made"] = method("made", dict.fromkeys(space, (1.0,)))
            return beyond_edge(cls, dict(given), best, tried)

        return run

    def test_the_ratio_of_the_two_outermost_values_goes_on(self, after):
        assert after({"strength": 3.0}) == {"strength": 9.0}
        assert after({"strength": 0.3}) == {"strength": 0.09}

    def test_an_optimum_within_extends_nothing(self, after):
        assert after({"strength": 1.0}) is None

    def test_the_other_parameters_stay(self, after):
        tried = [*self.TRIED, {"strength": 3.0, "gamma": 2.0}]
        assert after(tried[-1], tried, ("strength", "gamma")) == {"strength": 9.0, "gamma": 2.0}

    def test_without_a_strength_the_first_searched_parameter_counts(self, after):
        tried = [{"order": 2}, {"order": 3}]
        larger = after({"order": 3}, tried, ("order",), {"strength": 1.0})
        assert larger == {"order": 4} and isinstance(larger["order"], int)

    def test_a_value_that_the_method_refuses_is_not_tried(self, kept_registry):
        tried = [{"p": p} for p in (0.3, 0.5, 0.7)]
        dropout = registry.METHODS["dropout"]
        assert beyond_edge(dropout, {}, {"p": 0.7}, tried) == {"p": 0.98}
        assert beyond_edge(dropout, {}, {"p": 0.98}, [*tried, {"p": 0.98}]) is None

    @pytest.mark.parametrize("values", [(0.0, 1.0), (1.0,), ("a", "b"), (False, True)])
    def test_values_without_a_ratio_extend_nothing(self, after, values):
        tried = [{"strength": value} for value in values]
        assert after(tried[-1], tried) is None


class TestOneBlockThatChoosesForAll:
    TWO = SUITE + SUITE[SUITE.index("[[blocks]]") :].replace('"toy"', '"shapes"')

    def test_trials_are_made_there_alone(self, tmp_path, toy_plugin):
        path = tmp_path / "two.toml"
        path.write_text(self.TWO.replace("trials = 3", 'trials = 3\ndataset = "toy"'))
        suite = schema.read_suite(path)
        assert {p.spec.dataset for p in plan_trials(suite)} == {"toy"}
        assert {p.spec.dataset for p in plan_trials(suite, datasets=["toy"])} == {"toy"}
        with pytest.raises(UserError, match="chooses settings on 'toy' alone"):
            plan_trials(suite, datasets=["shapes"])

    @pytest.mark.parametrize("name", ["tyo", "both"])
    def test_it_must_be_one_block(self, tmp_path, toy_plugin, name):
        text = self.TWO.replace("trials = 3", f'trials = 3\ndataset = "{name}"')
        path = tmp_path / "two.toml"
        path.write_text(text.replace('"both"', '"toy"').replace('"shapes"', '"toy"')
                        if name == "both" else text)  # fmt: skip
        with pytest.raises(UserError, match="must be that of one block") as error:
            plan_trials(schema.read_suite(path))
        assert ("did you mean 'toy'?" in str(error.value)) == (name == "tyo")


def test_what_the_suite_gives_is_not_searched(settings):
    space = {"strength": (0.1, 1.0, 10.0), "gamma": (1.0, 2.0, 4.0, 8.0)}
    assert settings(space, {"strength": 5.0}) == [
        {"strength": 5.0, "gamma": g} for g in (1.0, 2.0, 4.0, 8.0)
    ]


def test_parameters_that_do_not_go_together_are_passed_over(settings):
    made = settings({"gamma": (3.0, 1.0), "order": (1, 2)}, count=3)
    assert {"gamma": 3.0, "order": 2} not in made and len(made) == 3


def test_one_setting_is_not_tried_twice_under_two_names(settings):
    with pytest.raises(UserError, match=r"'made' has 2 settings to search, fewer than .* 3 trials"):
        settings({"strength": (1.0, 1.0, 1), "order": (1, 2)}, count=3)


def test_a_method_without_search_space_has_its_defaults(settings):
    assert settings({}) == [{}] and settings({"strength": (1.0,)}, {"strength": 2.0}) == [
        {"strength": 2}
    ]


def test_trials_are_ordinary_runs_on_tuning_seeds(read):
    suite = read("epochs = 2", "epochs = 7")
    planned = plan_trials(suite)
    assert [p.spec.method for p in planned] == ["plain"] * 2 + ["bean"] * 6 + ["sync"] * 6
    assert {p.spec.seed for p in planned} == {100, 101}
    assert {p.spec.stage for p in planned} == {"tuning"}
    assert {p.spec.measures for p in planned} == {("netdissect_iou", "accuracy")}
    assert {p.spec.recipe.epochs for p in planned} == {7}
    assert planned[-1].spec.params["focus"] == 0.5 and '"focus": 0.5' in planned[-1].setting
    shorter = read("trials = 3", "trials = 3\nepochs = 1")
    assert {p.spec.recipe.epochs for p in plan_trials(shorter)} == {1}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('"netdissect_iou"', '"netdisect_iou"'), "did you mean 'netdissect_iou'?"),
        (('"netdissect_iou"', '"effective_rank"'), "neither higher nor lower is better"),
        (("layers", 'aspects = ["task"]\nlayers'), "its aspect is not among the suite's"),
        (("trials = 3", 'trials = 3\nlayer = "last"'), "one Tap among the suite's layers"),
        (("seeds = [100, 101]", "seeds = [100, 1]"), "seed 1 is also one that the suite tests"),
        (("seeds = [100, 101]", "seeds = [100, 100]"), "a seed is listed twice"),
        (('"plain", ', ""), "needs 'plain'"),
        (("trials = 3", "trials = 30"), "fewer than the suite's 30 trials"),
        (('"bean"', '"baen"'), "did you mean 'bean'?"),
    ],
)
def test_a_table_that_cannot_be_carried_out_is_refused_in_one_line(read, change, message):
    with pytest.raises(UserError) as error:
        plan_trials(read(*change))
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
        tune_table(schema.read_suite(schema.find_suite("quick")))


def test_a_block_s_own_methods_keep_the_parameters_that_the_suite_gives_them(read):
    block = SUITE[SUITE.index("[[blocks]]") :].replace("width = 4", "width = 8")
    methods = 'methods = ["plain", "sync"]\n'
    planned = plan_trials(read("[[blocks]]", f"{block}{methods}[[blocks]]"))
    first = [p for p in planned if p.spec.net["width"] == 8]
    assert {p.spec.method for p in first} == {"plain", "sync"}
    assert all(p.spec.params["focus"] == 0.5 for p in planned if p.spec.method == "sync")


def test_a_trial_becomes_a_line_of_the_ledger(read):
    planned = plan_trials(read())[2]
    trial = planned.trial("netdissect_iou", Result("conv4", 0.25, 0.5))
    assert (trial.method, trial.declared, trial.number, trial.seed) == ("bean", "{}", 0, 100)
    assert (trial.layer, trial.value, trial.accuracy, trial.chosen) == ("conv4", 0.25, 0.5, False)
    assert trial.setting == planned.setting and planned.trial("netdissect_iou").value is None


def test_trials_share_a_setup_only_with_those_of_the_same_block_and_recipe(read):
    first = {setup(p.spec) for p in plan_trials(read())}
    longer = {setup(p.spec) for p in plan_trials(read("epochs = 2", "epochs = 3"))}
    assert len(first) == len(longer) == 1 and first != longer
