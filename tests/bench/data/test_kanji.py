"""Kanji: images, masks and labels agree."""

import pytest
import torch

from legible.bench.data.kanji import kanji
from legible.bench.data.strokes import kanjivg_files
from legible.bench.scoring.oracle import measurability

SMALL = {"train": 54, "validation": 18, "test": 18}


def test_what_a_split_holds(plain_kanji):
    assert plain_kanji.image == (1, 32, 32)
    assert plain_kanji.drawn and "CC BY-SA" in plain_kanji.attribution
    assert plain_kanji.class_names == plain_kanji.train.concepts.names[:18]
    assert plain_kanji.train.concepts.of_class == tuple(range(18))
    for split, count in (
        (plain_kanji.train, 360),
        (plain_kanji.validation, 90),
        (plain_kanji.test, 180),
    ):
        assert split.images.dtype == torch.uint8 and len(split.images) == count
        assert split.concepts.packed.shape == (count, len(split.concepts), 32, 4)
        assert (split.labels.bincount() == count / 18).all()
        assert split.images.min() > 0  # attributions of a zero ground would be zero


def test_the_class_component_is_there_and_no_other(plain_kanji):
    present = plain_kanji.train.concepts.masks()[:, :18].flatten(2).any(2)
    assert torch.equal(present, torch.nn.functional.one_hot(plain_kanji.train.labels, 18).bool())


def test_masks_lie_on_ink(plain_kanji):
    """On a plain ground, all that is masked has at least about a quarter of the full ink."""
    image = plain_kanji.train.images[:, 0].float()
    ground, full = image.amin((1, 2), keepdim=True), image.amax((1, 2), keepdim=True)
    ink = (image - ground) / (full - ground)
    masked = plain_kanji.train.concepts.masks().any(1)
    assert ink[masked].min() > 0.2
    covered = (masked & (ink > 0.5)).sum() / (ink > 0.5).sum()
    assert covered > 0.5  # and masks are not specks


def test_the_position_is_that_of_the_class_component(plain_kanji):
    concepts = plain_kanji.train.concepts
    masks = concepts.masks()
    places = masks[:, [k for k, c in enumerate(concepts.categories) if c == "position"]]
    own = masks[torch.arange(len(masks)), plain_kanji.train.labels]
    assert (places.flatten(2).any(2).sum(1) == 1).all()
    assert torch.equal(places.any(1), own)
    left, right = (masks[:, concepts.names.index(name)] for name in ("left", "right"))
    columns = torch.arange(32).float()
    middle = [(m.sum((0, 1)) * columns).sum() / m.sum() for m in (left, right)]
    assert middle[0] < 13 < 19 < middle[1]


def test_training_images_contain_nearly_all_concepts(plain_kanji):
    assert plain_kanji.train.concepts.masks().any(0).flatten(1).any(1).float().mean() > 0.9


def test_the_same_seed_draws_the_same(root, tmp_path):
    first = kanji(root, **SMALL)
    assert kanji(tmp_path, **SMALL).fingerprint() == first.fingerprint()
    assert kanji(root, **SMALL).fingerprint() == first.fingerprint()  # from the cache
    assert kanji(root, **SMALL, seed=1).fingerprint() != first.fingerprint()


def test_images_differ_in_width_contrast_and_place(root):
    """Two drawings of one character are not the same."""
    few = kanji(root, classes=2, train=600, validation=2, test=2)
    flat = few.train.images.flatten(1).float()
    assert torch.pdist(flat[:200]).min() > 100


@pytest.mark.parametrize("size", [28, 40, 64])
def test_sizes_and_channels(root, size):
    data = kanji(root, **SMALL, size=size, channels=3)
    assert data.image == (3, size, size)
    assert data.train.concepts.masks(slice(0, 2)).shape[-2:] == (size, size)
    share = data.train.concepts.masks()[:, :18].any(1).float().mean((1, 2))
    assert 0.04 < share.mean() < 0.2  # strokes grow with the image


def test_knobs_change_the_images_they_name(root):
    plain = kanji(root, **SMALL, texture=0.0, clutter=0, warp=0.0)
    assert (
        kanji(root, **SMALL, texture=2.0, clutter=0, warp=0.0).fingerprint() != plain.fingerprint()
    )
    cluttered = kanji(root, **SMALL, texture=0.0, clutter=9, warp=0.0)
    assert torch.equal(
        cluttered.train.concepts.packed[:10] > 0, plain.train.concepts.packed[:10] > 0
    )
    dark = kanji(root, **SMALL, texture=0.0, clutter=0, inverted=1.0)
    corner = dark.train.images[:, 0, 0, 0].float()
    assert (corner > dark.train.images.flatten(1).float().mean(1)).all()


@pytest.mark.slow
def test_maps_of_8_x_8_are_measurable(root):
    """On 8 x 8 maps the oracle passes the measurability gate."""
    data = kanji(root, train=18, validation=18, test=1000)
    gate = measurability(data.test.concepts, (8, 8))
    assert gate.passes and gate.iou > 0.42 and gate.interpretability > 0.95


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("size", 5), ("size", 27), ("classes", 1), ("classes", 99), ("channels", 0), ("train", -1),
        ("validation", 0), ("test", 3), ("warp", -0.1), ("clutter", -1), ("texture", 99.0),
        ("inverted", 1.5), ("seed", -1),
    ],
)  # fmt: skip
def test_parameters_out_of_range(root, name, value):
    with pytest.raises(ValueError, match=rf"^{name} must be .* not {value}$"):
        kanji(root, **{name: value})


def test_no_drawing_of_the_package_is_needed_twice(root, monkeypatch):
    """What is cached is not plain_kanji again."""
    kanji(root, **SMALL)
    files = kanjivg_files()
    monkeypatch.setattr("legible.bench.data.kanji.kanjivg_files", lambda: files)
    monkeypatch.setattr("legible.bench.data.kanji.read_characters", lambda files: 1 / 0)
    kanji(root, **SMALL)
