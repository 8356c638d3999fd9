"""Data is read and drawn once for all tests of the datasets."""

import pytest

from legible.bench.data.kanji_plan import plan_characters
from legible.bench.data.kanji import kanji
from legible.bench.data.shapes import shapes
from legible.bench.data.strokes import kanjivg_files, read_characters


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="session")
def characters():
    return read_characters(kanjivg_files())


@pytest.fixture(scope="session")
def plan(characters):
    return plan_characters(characters, 18, seed=0)


@pytest.fixture(scope="session")
def drawn(root):
    """Kanji on a plain ground, without clutter: what is not ground is ink."""
    return kanji(root, train=360, validation=90, test=180, texture=0.0, clutter=0)


@pytest.fixture(scope="session")
def scenes(root):
    """Shapes on a plain ground."""
    return shapes(root, train=600, validation=100, test=200, background=0.0)
