"""Run specs: what a suite expands to, how they are named, and the nearest name for a typo."""

from __future__ import annotations

import dataclasses
import json
import re

import pytest
from tiny_suites import toy_suite

from legible.bench.errors import UserError
from legible.bench.suites.run_spec import (
    BASELINE,
    Block,
    RowKey,
    RunSpec,
    canonical,
    contrast_rows,
    expand,
    label,
    row_label,
    suite_margins,
)
from legible.bench.suites.schema import SUITES, Suite, find_suite, read_suite
from legible.metrics.base import METRICS, scope

GOOD = toy_suite('"plain", {name = "sync", focus = 0.5}', [0, 1])


@pytest.fixture
def specs(write):
    """The run specs of a suite's text."""
    return lambda text=GOOD, **selection: expand(read_suite(write(text)), **selection)


def test_a_suite_becomes_run_specs_paired_by_seed(specs):
    made = specs()
    assert [(spec.method, spec.seed) for spec in made] == [
        ("plain", 0), ("sync", 0), ("plain", 1), ("sync", 1),
    ]  # fmt: skip
    assert made[1].given == {"focus": 0.5} and made[1].params["k"] == 3
    assert made[0].recipe.epochs == 1
    assert made[0].block == Block("toy", "vgg(width=4,stages=2)")
    assert made[0].row == BASELINE and made[1].row == RowKey("sync", '{"focus": 0.5}')


def test_a_method_that_would_never_act_is_refused(specs):
    suite = toy_suite('"plain", "csg"', epochs=1)
    with pytest.raises(UserError, match=r"method 'csg': the gate .* is open in none of 1 epochs"):
        specs(suite)
    assert len(specs(suite, methods=["plain"])) == 1
    assert len(specs(toy_suite('"plain", "csg"', epochs=2))) == 2
    swaps = toy_suite('{name = "bimt", swap_every = 5}', epochs=4)
    with pytest.raises(UserError, match="swap_every=5 swaps no units after the start"):
        specs(swaps)


def test_every_row_is_scored_on_what_any_method_of_the_suite_treats(specs):
    made = specs(toy_suite('"plain", "activation_l1", "icnn", "untrained"'))
    targets = {"activation_size", "focus_spread"}
    assert all(set(spec.targets) == targets for spec in made)
    assert all(targets < set(spec.metrics) for spec in made)
    assert "weight_power" not in made[0].metrics
    assert specs(toy_suite('"plain", "activation_l1", "icnn"'), methods=["plain"])[0].metrics == (
        made[0].metrics
    )
    at_rest = specs(toy_suite('"plain", {name = "icnn", strength = 0.0}'))
    assert at_rest[0].targets == ()


def test_seeds_methods_and_datasets_can_be_selected(specs):
    (spec,) = specs(seeds=[7], methods=["sync"], datasets=["toy"])
    assert (spec.method, spec.seed) == ("sync", 7)


def test_one_row_of_a_method_can_be_selected(specs):
    text = toy_suite(
        '"plain", "sync", {name = "sync", neighbours = "random"}, '
        '{name = "sync", taps = ["conv1", "conv2"], focus = 0.1}'
    )
    labels = ["sync()", "sync(neighbours=random)", "sync(focus=0.1,taps=['conv1', 'conv2'])"]
    given = [{}, {"neighbours": "random"}, {"taps": ["conv1", "conv2"], "focus": 0.1}]
    for name, params in zip(labels, given, strict=True):
        made = specs(text, methods=[name])
        assert made and all(spec.given == params for spec in made)
    assert specs(text, methods=["sync()", "plain"]) == specs(text, methods=["plain", "sync()"])
    assert {spec.method for spec in specs(text, methods=["sync()", "plain"])} == {"plain", "sync"}
    assert len(specs(text, methods=["sync"])) == 3 * len(specs(text, methods=["sync()"]))
    with pytest.raises(UserError, match=r"no row 'sync\(neighbours=randm\)'; did you mean"):
        specs(text, methods=["sync(neighbours=randm)"])


def test_each_seed_is_compared_with_the_next_of_the_suite(specs):
    three = toy_suite(seeds=[0, 1, 2])
    assert [spec.partner for spec in specs(three)] == [1, 2, 0]
    assert [spec.partner for spec in specs(three, seeds=[1])] == [2]
    assert [spec.partner for spec in specs(three, seeds=[7, 8])] == [8, 7]
    assert [spec.partner for spec in specs(toy_suite(seeds=[3]))] == [None]


def test_plain_alone_has_further_seeds(specs):
    text = toy_suite('"plain", "sync"', [0, 1], top="plain_seeds = 4", aspects='"consistency"')
    made = specs(text)
    assert [(spec.method, spec.seed) for spec in made] == [
        ("plain", 0), ("sync", 0), ("plain", 1), ("sync", 1), ("plain", 2), ("plain", 3),
    ]  # fmt: skip
    assert [spec.partner for spec in made] == [1, 1, 0, 0, None, None]
    pairs = set(made[0].metrics) - set(made[-1].metrics)
    assert pairs and {scope(METRICS[name].function) for name in pairs} == {"seeds"}
    assert [spec.seed for spec in specs(text, seeds=[0, 3])] == [0, 0, 3, 3]


def test_a_row_may_have_fewer_seeds(specs):
    rows = '"plain", "sync", {name = "sync", focus = 0.5}'
    made = specs(toy_suite(rows, range(4), top='row_seeds = {"sync(focus=0.5)" = 2}'))
    seeds = {label: [(s.seed, s.partner) for s in made if row_label(s.row) == label]
             for label in ("sync", "sync(focus=0.5)")}  # fmt: skip
    assert seeds["sync"] == [(0, 1), (1, 2), (2, 3), (3, 0)]
    assert seeds["sync(focus=0.5)"] == [(0, 1), (1, 0)]


def test_rows_made_from_plain_s_networks_share_its_first_seeds(specs):
    made = specs(toy_suite('"plain", "plain_rotated"', range(8)))
    rotated = [spec.seed for spec in made if spec.method == "plain_rotated"]
    assert rotated == list(range(8)) and len(made) == 8 + 24


def test_a_block_may_name_its_aspects(specs):
    two = toy_suite(aspects='"task", "focus"', block='aspects = ["task"]')
    assert specs(two)[0].aspects == ("task",)
    assert specs(toy_suite(aspects='"task", "focus"'))[0].aspects == ("task", "focus")


def test_a_block_may_name_its_layers_need_a_gpu_and_have_no_pictures(specs):
    (made,) = specs(toy_suite(block='layers = ["spatial"]\ngpu = true\npictures = false'))
    assert (made.layers, made.gpu, made.pictures) == (("spatial",), True, False)
    (plain,) = specs(toy_suite())
    assert (plain.layers, plain.gpu, plain.pictures) == (("last_spatial",), False, True)


def test_contrasts_are_pairs_of_rows(write):
    top = 'contrasts = [["sync(focus=0.5)", "plain"]]'
    text = toy_suite('"plain", {name = "sync", focus = 0.5}', top=top)
    assert contrast_rows(read_suite(write(text))) == [(RowKey("sync", '{"focus": 0.5}'), BASELINE)]


def test_a_block_may_name_its_methods_and_change_the_recipe(specs):
    block = GOOD[GOOD.index("[[blocks]]") :].replace("width = 4", "width = 5")
    block += 'methods = ["sync"]\nrecipe = {epochs = 9}\n'
    made = specs(GOOD + block, seeds=[0])
    assert [(s.method, s.recipe.epochs) for s in made] == [("plain", 1), ("sync", 1), ("sync", 9)]
    with pytest.raises(UserError, match="no method 'snyc'; did you mean 'sync'"):
        specs(GOOD + block.replace('["sync"]', '["snyc"]'))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"plain"', '"plian"', "no method 'plian'; did you mean 'plain'?"),
        ("focus", "focsu", "'sync' has no parameter 'focsu'; did you mean 'focus'?"),
        ("focus = 0.5", "focus = -1", "method 'sync': focus must be at least 0"),
        ("focus = 0.5", "focus = 'x'", "valid number"),
        ("focus = 0.5", "focus = true", "focus = True: use a value of type float"),
        ("focus = 0.5", "focus = '0.5'", "focus = '0.5': use a value of type float"),
        ("width = 4, stages = 2", "stages = 30", "choose fewer or narrower layers"),
        ("width = 4, stages = 2", "width = 4611686018427387904", "is larger than 1000000"),
        ('"plain"', '"plain", "plain"', "'plain' is listed twice for toy on vgg"),
        ('"plain"', '"sync", {name = "sync", k = 3}', "'sync' is listed twice"),
        ("focus = 0.5", "centre = 'middle'", "'argmax' or 'centroid'"),
        ('"toy"', '"shaps"', "no dataset 'shaps'; did you mean 'shapes'?"),
        ('"vgg"', '"vvg"', "no backbone 'vvg'; did you mean 'vgg'?"),
        ("width = 4", "widht = 4", "did you mean 'width'?"),
        ('["task"]', '["tsak"]', "aspects: no aspect 'tsak'; did you mean 'task'?"),
        ("[recipe]", "[headline]\nfocuss = 'x'\n[recipe]", "headline: no aspect 'focuss'"),
        ("[recipe]", "[headline]\ntask = 'acuracy'\n[recipe]", "did you mean 'accuracy'"),
        ("[recipe]", "[recipe]\nwatch = ['acuracy']", "did you mean 'accuracy'"),
        ("[recipe]", "[images]\ntaks = 9\n[recipe]", "images: 'taks' is not among the suite's"),
        (
            "[recipe]",
            "[margins.acuracy]\nvalue = 1.0\nreason = 'x'\n[recipe]",
            "did you mean 'accuracy'",
        ),
        ("net = {", "aspects = ['focus']\nnet = {", "'focus' is not among the suite's aspects"),
        (
            "net = {",
            "margins = {acuracy = {value = 1.0, reason = 'x'}}\nnet = {",
            "did you mean 'accuracy'",
        ),
        (
            "probe = 40",
            'probe = 40\ncontrasts = [["sync(focus=0.4)", "plain"]]',
            "contrasts: the suite has no row 'sync(focus=0.4)'; did you mean 'sync(focus=0.5)'?",
        ),
        (
            "probe = 40",
            'probe = 40\ncontrasts = [["plain", "plain"]]',
            "'plain' is compared with itself",
        ),
        (
            "probe = 40",
            'probe = 40\ncontrasts = [["plain", "sync(focus=0.5)"], ["sync(focus=0.5)", "plain"]]',
            "are listed twice",
        ),
    ],
)
def test_unknown_names_fail_before_anything_runs(specs, old, new, message):
    with pytest.raises(UserError) as error:
        specs(GOOD.replace(old, new))
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("selection", "message"),
    [({"methods": ["snyc"]}, "did you mean 'sync'?"), ({"datasets": ["x"]}, "it has: toy")],
)
def test_a_selection_that_is_not_in_the_suite_is_refused(specs, selection, message):
    with pytest.raises(UserError, match="the suite has no") as error:
        specs(**selection)
    assert message in str(error.value)


def test_blocks_that_differ_only_in_their_recipe_are_refused(specs):
    block = GOOD[GOOD.index("[[blocks]]") :] + "recipe = {epochs = 9}\n"
    with pytest.raises(UserError, match=r"the same label toy on vgg\(.*different recipes"):
        specs(GOOD + block)


@pytest.mark.parametrize("seed", [-1, 2**63, True])
def test_seeds_that_cannot_be_scored_are_refused(specs, seed):
    with pytest.raises(UserError, match=r"a seed is a whole number from 0 to 9223372036854775807"):
        specs(seeds=[seed])


def test_a_parameter_that_no_table_takes_is_refused(specs):
    taps = ", ".join(f'"conv{n}"' for n in range(300))
    with pytest.raises(UserError, match="'sync': its parameters are longer than 2000 characters"):
        specs(toy_suite(f'"plain", {{name = "sync", taps = [{taps}]}}'))


class TestNames:
    def test_variants_of_a_method_have_names_of_their_own_fit_for_files(self, specs):
        text = toy_suite('"plain", {name = "sync", focus = 0.5}, {name = "sync", taps = ["conv1"]}')
        assert [spec.name for spec in specs(text)] == [
            "toy-vgg(width=4,stages=2)-plain-s0",
            "toy-vgg(width=4,stages=2)-sync(focus=0.5)-s0",
            "toy-vgg(width=4,stages=2)-sync(taps=_conv1_)-s0",
        ]

    def test_in_a_long_name_a_checksum_stands_for_the_parameters(self, specs):
        (spec, *_) = specs()
        long, other = (dataclasses.replace(spec, given={"x": y * 300}) for y in "yz")
        assert re.fullmatch(f"toy-vgg-{spec.method}-[0-9a-f]{{8}}-s0", long.name)
        assert long.name != other.name
        again = dataclasses.replace(long, seed=7)
        assert again.name == long.name.replace("-s0", "-s7")

    def test_labels_hold_parameters_that_are_not_defaults(self, toy_plugin):
        assert label("datasets", "toy", {"images": 96, "size": 16}) == "toy"
        assert label("datasets", "toy", {"images": 96, "size": 20}) == "toy(size=20)"
        assert label("datasets", "forgotten", {"size": 16}) == "forgotten(size=16)"

    def test_shots_are_part_of_the_dataset_s_label(self, specs):
        assert specs(toy_suite(block="shots = 2"))[0].dataset_label == "toy(shots=2)"

    def test_a_tuned_setting_keeps_the_row_that_the_suite_declares(self, specs):
        spec = specs()[1]
        tuned = dataclasses.replace(spec, given={"focus": 9.0}, declared={})
        assert tuned.row == RowKey("sync", "{}") and "focus=9.0" in tuned.name

    def test_the_order_of_parameters_does_not_matter(self):
        assert canonical({"b": 1, "a": (2,)}) == canonical({"a": [2], "b": 1})


class TestMetrics:
    def test_they_are_those_of_the_aspects(self, specs):
        assert specs(toy_suite())[0].metrics == ["accuracy", "expected_calibration_error"]

    def test_validation_while_training_adds_those_that_need_it(self, specs):
        text = toy_suite(recipe="validate_every = 1")
        assert "selected_accuracy" in specs(text)[0].metrics

    def test_measures_replace_them(self, specs):
        spec = dataclasses.replace(specs()[0], measures=("ari", "accuracy"))
        assert spec.metrics == ["accuracy", "ari"]


class TestJson:
    def test_a_run_spec_is_read_as_it_was_written(self, specs):
        for spec in specs():
            value = json.loads(json.dumps(spec.to_json()))
            assert RunSpec.from_json(value) == spec

    def test_parameters_that_are_new_since_have_their_defaults(self, specs):
        value = specs()[1].to_json()
        del value["params"]["k"], value["net"]["width"]
        back = RunSpec.from_json(value)
        assert back.params["k"] == 3 and back.net["width"] > 4

    def test_what_is_gone_is_named(self, specs):
        value = specs()[0].to_json()
        with pytest.raises(UserError, match="no method 'forgotten'"):
            RunSpec.from_json(value | {"method": "forgotten"})
        with pytest.raises(KeyError):
            RunSpec.from_json({})


def test_margins_are_those_of_each_block():
    few = {"value": 0.02, "reason": "few images"}
    suite = Suite(
        name="tiny", title="Tiny", methods=["plain"],
        blocks=[
            {"dataset": "kanji", "backbone": "lenet5", "data": {"size": 28}, "shots": 5,
             "margins": {"accuracy": few}},
            {"dataset": "shapes", "backbone": "vgg"},
        ],
        margins={"accuracy": {"value": 0.01, "reason": "a point"}},
    )  # fmt: skip
    assert suite_margins(suite) == {
        Block("kanji(size=28,shots=5)", "lenet5"): {"accuracy": 0.02},
        Block("shapes", "vgg"): {"accuracy": 0.01},
    }


@pytest.mark.parametrize("name", sorted(path.stem for path in SUITES.glob("*.toml")))
def test_margins_name_the_blocks_as_the_runs_do(name):
    suite = read_suite(find_suite(name))
    assert set(suite_margins(suite)) == {spec.block for spec in expand(suite)}
