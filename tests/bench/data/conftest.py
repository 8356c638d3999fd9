"""Datasets that several tests share: each is read or drawn once."""

import pytest
from image_files import write_digits

from legible.bench.data.kanji import kanji
from legible.bench.data.kanji_plan import plan_characters
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
def plain_kanji(root):
    """Kanji on a plain background, without clutter: all that differs from it is ink."""
    return kanji(root, train=360, validation=90, test=180, texture=0.0, clutter=0)


@pytest.fixture(scope="session")
def scenes(root):
    """Shapes on a plain background."""
    return shapes(root, train=600, validation=100, test=200, background=0.0)


@pytest.fixture
def offline(monkeypatch):
    """No download is allowed."""
    monkeypatch.delenv("LEGIBLE_DOWNLOAD", raising=False)


@pytest.fixture
def digits(tmp_path, offline):
    """A data root with small files of MNIST (see `write_digits`)."""
    write_digits(tmp_path / "MNIST/raw")
    return tmp_path
