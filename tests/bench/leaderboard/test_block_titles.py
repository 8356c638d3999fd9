"""Titles of blocks: short where a name is long, whole where short names would be the same."""

from legible.bench.leaderboard.block_titles import LONGEST, short_titles
from legible.bench.suites.run_spec import Block

BIRDS = "coco(path=data/birds,size=144,class_concept=bird,annotated=['object', 'part'])"
SMALL_BIRDS = BIRDS.replace("144", "64")
NETWORK = "torchvision:squeezenet1_0(taps=['features.7.cat', 'features.10.cat'])"


def test_short_names_stand_as_they_are():
    block = Block("shapes(train=3000)", "vgg")
    assert short_titles([block]) == {block: "shapes(train=3000) · vgg"}


def test_long_names_lose_their_parameters_and_data_is_named_by_its_folder():
    block = Block(BIRDS, NETWORK)
    assert short_titles([block])[block] == "birds · torchvision:squeezenet1_0"
    plain = Block("kanji(" + "x" * LONGEST + ")", "vgg")
    assert short_titles([plain])[plain] == "kanji · vgg"


def test_names_that_would_be_the_same_stand_whole():
    titles = short_titles([Block(BIRDS, NETWORK), Block(SMALL_BIRDS, NETWORK)])
    assert list(titles.values()) == [
        f"{BIRDS} · torchvision:squeezenet1_0", f"{SMALL_BIRDS} · torchvision:squeezenet1_0"
    ]  # fmt: skip


def test_a_folder_named_with_a_slash_at_its_end_has_a_title():
    block = Block("coco(path=data/photographs/birds/,size=144)", "vgg")
    assert short_titles([block])[block] == "birds · vgg"
