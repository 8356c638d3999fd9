"""Suite files: every mistake is one line with the nearest valid name."""

import pytest

from legible.bench.errors import UserError
from legible.bench.suites import run_spec, schema
from legible.bench.suites.run_spec import specs
from legible.bench.suites.schema import SUITES, find, read

GOOD = """
title = "Tiny"
seeds = [0, 1]
methods = ["plain", {name = "sync", focus = 0.5}]
[recipe]
epochs = 1
[[blocks]]
dataset = "toy"
backbone = "vgg"
net = {width = 4, stages = 2}
"""


@pytest.fixture
def write(tmp_path, toy_plugin):
    def make(text):
        path = tmp_path / "tiny.toml"
        path.write_text(text)
        return path

    return make


def test_a_suite_becomes_cells_paired_by_seed(write):
    made = specs(read(write(GOOD)))
    assert [(c.method, c.seed) for c in made] == [
        ("plain", 0), ("sync", 0), ("plain", 1), ("sync", 1),
    ]  # fmt: skip
    assert made[1].given == {"focus": 0.5} and made[1].params["k"] == 3
    assert made[0].recipe.epochs == 1
    assert made[0].backbone_label == "vgg(width=4,stages=2)" and made[0].dataset_label == "toy"


def test_a_choice_of_seeds_methods_and_datasets(write):
    suite = read(write(GOOD))
    assert [(c.method, c.seed) for c in specs(suite, [7], ["sync"], ["toy"])] == [("sync", 7)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("", ""), "empty"),
        (("title", "= title"), "not TOML"),
        (("seeds", "sedes"), "unknown key 'sedes'; did you mean 'seeds'?"),
        (("epochs = 1", "epoch = 1"), "did you mean 'epochs'?"),
        (("epochs = 1", "epochs = -1"), "greater than or equal to 0"),
        (("epochs = 1", "epochs = 'many'"), "valid integer"),
        (('dataset = "toy"', ""), "'blocks.0.dataset' is missing"),
        (("seeds = [0, 1]", "seeds = []"), "at least 1 item"),
        (("seeds = [0, 1]", "seeds = [0, -1]"), "greater than or equal to 0"),
        (("seeds = [0, 1]", "seeds = [1, 1]"), "a seed stands there twice"),
        (("[[blocks]]", "[[blokcs]]"), "did you mean 'blocks'?"),
    ],
)
def test_a_wrong_suite_file_is_refused_in_one_line(write, change, message):
    text = "" if change == ("", "") else GOOD.replace(*change)
    with pytest.raises(UserError) as error:
        read(write(text))
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('"plain"', '"plian"'), "no method 'plian'; did you mean 'plain'?"),
        (("focus", "focsu"), "'sync' has no parameter 'focsu'; did you mean 'focus'?"),
        (("focus = 0.5", "focus = -1"), "method 'sync': focus must be at least 0"),
        (("focus = 0.5", "focus = 'x'"), "valid number"),
        (("focus = 0.5", "centre = 'middle'"), "'argmax' or 'centroid'"),
        (('"toy"', '"shaps"'), "no dataset 'shaps'; did you mean 'shapes'?"),
        (('"vgg"', '"vvg"'), "no backbone 'vvg'; did you mean 'vgg'?"),
        (("width = 4", "widht = 4"), "did you mean 'width'?"),
        (("seeds = [0, 1]", "[headline]\nfocuss = 'x'\n"), "no aspect 'focuss'"),
    ],
)
def test_unknown_names_fail_before_anything_runs(write, change, message):
    text = GOOD.replace(*change)
    if "headline" in change[1]:
        text = GOOD + "\n[headline]\nfocuss = 'x'\n"
    with pytest.raises(UserError) as error:
        specs(read(write(text)))
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [({"methods": ["snyc"]}, "did you mean 'sync'?"), ({"datasets": ["x"]}, "it has: toy")],
)
def test_a_choice_that_is_not_in_the_suite_is_refused(write, wanted, message):
    with pytest.raises(UserError, match="the suite has no") as error:
        specs(read(write(GOOD)), **wanted)
    assert message in str(error.value)


def test_suites_are_found_by_name_and_by_path(write):
    assert find("quick") == SUITES / "quick.toml"
    path = write(GOOD)
    assert find(str(path)) == path
    with pytest.raises(UserError, match="did you mean 'quick'"):
        find("quik")
    with pytest.raises(UserError, match="no suite file"):
        find("nowhere.toml")


@pytest.mark.parametrize("path", sorted(SUITES.glob("*.toml")), ids=lambda p: p.stem)
def test_every_shipped_suite_is_valid(path, toy_plugin):
    assert run_spec.expand(schema.read_suite(path))
