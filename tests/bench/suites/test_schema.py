"""Suite files: every mistake is one line with the nearest valid name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tiny_suites import toy_suite

from legible.bench.errors import UserError
from legible.bench.plugins import registry
from legible.bench.suites.run_spec import contrast_rows, expand, row_label, seeds_of
from legible.bench.suites.schema import (
    SUITES,
    Suite,
    SuiteBlock,
    baseline_seeds,
    block_margins,
    find_suite,
    read_suite,
    with_plugins,
)
from legible.bench.training.recipe import Recipe

GOOD = toy_suite('"plain", {name = "sync", focus = 0.5}', [0, 1])

PLUGIN = '''
from legible import Method, register

@register
class Mine(Method):
    """Changes nothing."""
'''


def test_a_suite_file_is_read_as_it_says(write):
    suite = read_suite(write(GOOD))
    assert (suite.name, suite.title, suite.seeds) == ("tiny", "Tiny", [0, 1])
    assert [(entry.name, entry.params) for entry in suite.methods] == [
        ("plain", {}), ("sync", {"focus": 0.5}),
    ]  # fmt: skip
    assert suite.recipe.epochs == 1 and suite.blocks[0].net == {"width": 4, "stages": 2}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("title", "= title", "not TOML"),
        ("seeds", "sedes", "unknown key 'sedes'; did you mean 'seeds'?"),
        ("epochs = 1", "epoch = 1", "did you mean 'epochs'?"),
        ("epochs = 1", "epochs = -1", "greater than or equal to 0"),
        ("epochs = 1", "epochs = 'many'", "valid integer"),
        ('dataset = "toy"', "", "'blocks.0.dataset' is missing"),
        ("seeds = [0, 1]", "seeds = []", "at least 1 item"),
        ("seeds = [0, 1]", "seeds = [0, -1]", "greater than or equal to 0"),
        ("seeds = [0, 1]", "seeds = [1, 1]", "a seed is listed twice"),
        ("seeds = [0, 1]", "seeds = [9223372036854775808]", "does not fit into 64 bits"),
        ("seeds = [0, 1]", "seeds = [true]", "valid integer"),
        ("seeds = [0, 1]", "seeds = [1.0]", "valid integer"),
        ("epochs = 1", "epochs = true", "valid integer"),
        ("epochs = 1", "epochs = 9000000000", "larger than 1000000"),
        ("batch = 16", "batch = 16\nlr = inf", "lr = inf: not a finite number"),
        ("batch = 16", "batch = 16\nlr = nan", "lr = nan: not a finite number"),
        ('layers = ["last_spatial"]', "layers = []", "at least 1 item"),
        ('aspects = ["task"]', "aspects = []", "at least 1 item"),
        ('title = "Tiny"', 'title = "Ti\\nny"', "line breaks"),
        ('title = "Tiny"', 'title = "T"\nversion = -1', "greater than or equal to 0"),
        ('title = "Tiny"', 'title = "T"\nname = "../escape"', "cannot be part of a folder's name"),
        ('title = "Tiny"', 'title = "T"\nname = "/absolute"', "cannot be part of a folder's name"),
        ('title = "Tiny"', 'title = "T"\nname = ".."', "starts with a '.'"),
        ('title = "Tiny"', 'title = "T"\nname = ""', "is empty"),
        ("focus = 0.5", "focus = 1979-05-27", "a date"),
        ("[[blocks]]", "[[blokcs]]", "did you mean 'blocks'?"),
        ("net = {", "recipe = {epochs = -3}\nnet = {", "greater than or equal to 0"),
        ("seeds = [0, 1]", "seeds = [0, 1]\nplain_seeds = 1", "less than the number of seeds, 2"),
        ("seeds = [0, 1]", "seeds = [0, 1]\nrow_seeds = {plain = 3}", "'plain' = 3 is more than"),
        ("seeds = [0, 1]", "seeds = [0, 1]\nplain_sedes = 6", "did you mean 'plain_seeds'?"),
        ("seeds = [0, 1]", f"seeds = [{2**63 - 1}]\nplain_seeds = 2", "use smaller seeds"),
        ("[recipe]", "[images]\ntask = 41\n[recipe]", "task = 41 is more than probe = 40"),
        ("[recipe]", "[images]\ntask = 1\n[recipe]", "greater than or equal to 2"),
        ("[recipe]", "[margins]\naccuracy = 0.01\n[recipe]", "should be a valid dictionary"),
        ("[recipe]", "[margins.accuracy]\nvalue = 0.0\nreason = 'x'\n[recipe]", "greater than 0"),
        ("[recipe]", "[margins.accuracy]\nvalue = 0.01\n[recipe]", "reason' is missing"),
        ("seeds = [0, 1]", 'seeds = [0, 1]\ncontrasts = [["sync"]]', "at least 2 items"),
    ],
)
def test_a_wrong_suite_file_is_refused_in_one_line(write, old, new, message):
    with pytest.raises(UserError) as error:
        read_suite(write(GOOD.replace(old, new)))
    assert message in str(error.value) and "\n" not in str(error.value)


class TestSeedsOfPlain:
    def test_three_times_as_many_where_verdicts_are_given(self, write):
        eight = read_suite(write(toy_suite(seeds=range(8))))
        assert baseline_seeds(eight) == list(range(24))

    def test_as_many_as_the_others_where_none_are(self, write):
        assert baseline_seeds(read_suite(write(toy_suite(seeds=range(7))))) == list(range(7))

    def test_the_suite_may_say_how_many(self, write):
        suite = read_suite(write(toy_suite(seeds=[3, 1], top="plain_seeds = 5")))
        assert baseline_seeds(suite) == [3, 1, 4, 5, 6]

    def test_tuning_seeds_are_left_out(self, write):
        tune = '[tune]\nmetric = "accuracy"\ntrials = 1\nseeds = [2, 4]'
        suite = read_suite(write(toy_suite(seeds=[0, 1], top=f"plain_seeds = 4\n{tune}")))
        assert baseline_seeds(suite) == [0, 1, 3, 5]


def test_a_block_may_change_margins(write):
    top = "[margins]\naccuracy = {value = 0.01, reason = 'one in a hundred'}"
    block = "margins = {accuracy = {value = 0.02, reason = 'few images'}}"
    suite = read_suite(write(toy_suite(top=top, block=block)))
    assert block_margins(suite, suite.blocks[0])["accuracy"].value == 0.02
    plain = suite.blocks[0].model_copy(update={"margins": {}})
    assert block_margins(suite, plain)["accuracy"].reason == "one in a hundred"


def test_a_file_that_cannot_be_read_is_refused_in_one_line(write, tmp_path):
    with pytest.raises(UserError, match="empty"):
        read_suite(write(""))
    path = write(GOOD)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="not TOML"):
        read_suite(path)
    with pytest.raises(UserError, match="directory"):
        read_suite(tmp_path)


def test_a_file_in_another_encoding_says_how_to_save_it(write):
    path = write(GOOD)
    path.write_text(GOOD, encoding="utf-16")
    with pytest.raises(UserError, match="UTF-16; save it as UTF-8"):
        read_suite(path)


def test_a_byte_order_mark_and_windows_line_ends_change_nothing(write, tmp_path):
    path = tmp_path / "größe [1].toml"
    path.write_bytes(GOOD.replace("\n", "\r\n").encode("utf-8-sig"))
    suite = read_suite(path)
    assert suite.name == "größe [1]"
    assert suite.model_copy(update={"name": "tiny"}) == read_suite(write(GOOD))


def test_suites_are_found_by_name_and_by_path(write):
    assert find_suite("quick") == SUITES / "quick.toml"
    path = write(GOOD)
    assert find_suite(str(path)) == path
    with pytest.raises(UserError, match="did you mean 'quick'"):
        find_suite("quik")
    with pytest.raises(UserError, match="no suite file"):
        find_suite("nowhere.toml")


def test_plugins_lie_relative_to_the_suite_file(write, tmp_path):
    suite = read_suite(write(GOOD.replace("[recipe]", 'plugins = ["mine.py"]\n[recipe]')))
    assert suite.plugins == [tmp_path / "mine.py"]


def test_methods_of_a_plugin_join_every_block(write, tmp_path, kept_registry):
    file = tmp_path / "mine.py"
    file.write_text(PLUGIN)
    registry.load_plugin(file)
    block = GOOD[GOOD.index("[[blocks]]") :] + 'methods = ["plain"]\n'
    suite = with_plugins(read_suite(write(GOOD + block)), [file])
    assert [entry.name for entry in suite.methods] == ["plain", "sync", "mine"]
    assert [block.methods for block in suite.blocks] == [[], ["plain", "mine"]]
    assert with_plugins(suite, [file]) == suite


@pytest.mark.parametrize("path", sorted(SUITES.glob("*.toml")), ids=lambda p: p.stem)
def test_every_built_in_suite_can_run_as_written(path, toy_plugin):
    suite = read_suite(path)
    assert suite.name == path.stem and suite.description
    assert expand(suite)


class TestBuiltInSuites:
    NAMES = [path.stem for path in sorted(SUITES.glob("*.toml"))]

    @pytest.mark.parametrize("name", NAMES)
    def test_each_can_be_expanded(self, name):
        registry.load()
        suite = read_suite(find_suite(name))
        assert suite.description and expand(suite)

    def test_standard_holds_every_method(self):
        """The only one left out is a second penalty of weights, beside `weight_decay`."""
        registry.load()
        suite = read_suite(find_suite("standard"))
        built_in = {n for n in registry.METHODS if registry.plugin_of("methods", n) is None}
        assert {entry.name for entry in suite.methods} == built_in - {"weight_l1"}
        assert baseline_seeds(suite) == list(range(24)) and len(suite.seeds) == 8

    def test_efficiency_and_attribution_are_scored_on_kanji_alone(self):
        specs = expand(read_suite(find_suite("standard")), [0], ["plain"])
        few = {"attribution", "efficiency"}
        assert {s.dataset: few <= set(s.aspects) for s in specs} == {"kanji": True, "shapes": False}

    def test_the_ablation_compares_local_interaction_with_ten_seeds(self):
        registry.load()
        suite = read_suite(find_suite("sync_ablation"))
        pairs = [tuple(map(row_label, pair)) for pair in contrast_rows(suite)]
        assert pairs == [
            ("sync", "sync(neighbours=random)"), ("sync", "sync(neighbours=global)"),
        ]  # fmt: skip
        seeds = [len(seeds_of(suite, entry)) for entry in suite.methods if entry.name == "sync"]
        assert seeds == [10] * 5 + [5] * 8

    def test_seeds_of_cards_and_of_tuning_are_published_nowhere_else(self):
        registry.load()
        suites = {name: read_suite(find_suite(name)) for name in self.NAMES}
        tables = [s.tune or s.tune_recipe for s in suites.values() if s.tune or s.tune_recipe]
        private = {*suites["cards"].seeds, *(seed for table in tables for seed in table.seeds)}
        assert private == {*range(100, 108), 200, 201, 202}
        for name in set(self.NAMES) - {"cards"}:
            assert not private & {spec.seed for spec in expand(suites[name])}, name


class TestPage:
    """docs/suites.md."""

    PAGE = (Path(__file__).parents[3] / "docs" / "suites.md").read_text(encoding="utf-8")

    def test_its_example_is_a_suite(self, tmp_path):
        registry.load()
        (text,) = re.findall(r"```toml\n(.*?)```", self.PAGE, re.DOTALL)
        (tmp_path / "page.toml").write_text(text)
        specs = expand(read_suite(tmp_path / "page.toml"))
        assert len(specs) == 2 * (24 + 2 * 8)
        assert {spec.aspects[-1] for spec in specs} == {"attribution", "structure"}

    def test_it_names_every_key(self):
        named = set(re.findall(r"`\[*(\w+)\]*`", self.PAGE))
        for model in (Suite, SuiteBlock, Recipe):
            assert set(model.model_fields) <= named
