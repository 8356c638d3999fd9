"""Generated scenes: images, masks and labels agree, and only the asked factors leak the class."""

import time

import pytest
import torch

from legible.bench.data.shapes import DISTRACTORS, INFORMATIVE, NEIGHBOURS, SHAPES, shapes
from legible.bench.scoring.oracle import measurability

SMALL = {"train": 300, "validation": 20, "test": 100}


def contains(split, category):
    """Which concepts of a category each image contains."""
    columns = [k for k, c in enumerate(split.concepts.categories) if c == category]
    return split.concepts.masks()[:, columns].flatten(2).any(2)


def middles(split):
    """Where the object's middle lies, in pixels."""
    own = split.concepts.masks()[torch.arange(len(split)), 16 + split.labels].float()
    steps = torch.arange(own.shape[-1]).float()
    area = own.sum((1, 2))
    return (
        torch.stack([(own.sum(1) * steps).sum(1), (own.sum(2) * steps).sum(1)], 1) / area[:, None]
    )


def nearest_neighbour_accuracy(features, labels):
    """How often the nearest other neighbour has the same label."""
    away = torch.cdist(features, features).fill_diagonal_(float("inf"))
    return (labels[away.argmin(1)] == labels).float().mean().item()


def test_what_a_split_holds(scenes):
    assert scenes.image == (3, 32, 32) and scenes.drawn
    assert scenes.class_names[0] == "disc + square" and scenes.class_names[-1] == "tee + disc"
    assert tuple(scenes.train.concepts.names[k] for k in scenes.train.concepts.of_class) == (
        scenes.class_names
    )
    assert (scenes.train.labels.bincount() == 60).all()
    assert scenes.train.images.min() > 0
    assert scenes.train.concepts.names[:16] == INFORMATIVE + DISTRACTORS


def test_labels_follow_from_the_masks(scenes):
    """Class c is where parts c and c + 1 are, and no other two neighbours of the ring."""
    parts = contains(scenes.train, "part")[:, :10]
    both = parts & parts.roll(-1, 1)
    assert torch.equal(both, torch.nn.functional.one_hot(scenes.train.labels, 10).bool())
    assert (parts.sum(1) == 2).all()
    assert torch.equal(contains(scenes.train, "object"), both)


def test_masks_of_objects_and_places_are_those_of_their_parts(scenes):
    masks = scenes.train.concepts.masks()
    categories = scenes.train.concepts.categories
    by = {c: masks[:, [k for k, x in enumerate(categories) if x == c]] for c in set(categories)}
    parts = by["part"]
    own = parts[:, :10].any(1)
    assert torch.equal(by["object"].any(1), own)
    assert torch.equal(by["position"].any(1), own)
    assert (by["position"].flatten(2).any(2).sum(1) == 1).all()
    assert parts.sum(1).max() == 1  # a pixel shows one part
    for category in ("colour", "texture"):
        assert by[category].sum(1).max() == 1
        assert not (by[category].any(1) & ~parts.any(1)).any()


def test_masks_are_where_the_parts_are(scenes):
    """On a plain ground, nearly all masked pixels, and beyond their rims next to none, differ."""
    images = scenes.train.images.float()
    ground = images.flatten(2).median(2).values[..., None, None]
    change = (images - ground).abs().amax(1)
    masked = scenes.train.concepts.masks()[:, :16].any(1)
    rim = torch.nn.functional.max_pool2d(masked.float()[:, None], 3, 1, 1)[:, 0] > 0
    assert (change[masked] > 8).float().mean() > 0.95
    assert (change[~rim] > 8).float().mean() < 0.01


def test_shapes_are_different_and_of_similar_size():
    """Each stays within the square around its disc, covers much of the disc, and is its own."""
    steps = torch.linspace(-1.2, 1.2, 97)
    down, right = torch.meshgrid(steps, steps, indexing="ij")
    pictures = torch.stack([shape(right, down) > 0 for shape in SHAPES.values()])
    assert not (pictures & (right.hypot(down) > 2**0.5 + 0.02)).any()
    share = pictures.flatten(1).float().sum(1) / (right.hypot(down) < 1).sum()
    assert share.min() > 0.25 and share.max() < 1
    flat = pictures.flatten(1).float()
    overlap = flat @ flat.T
    union = flat.sum(1)[:, None] + flat.sum(1) - overlap
    assert (overlap / union).fill_diagonal_(0).max() < 0.85


def test_by_default_nothing_but_the_parts_tells_the_class(root):
    data = shapes(root, train=1000, validation=10, test=10)
    labels = data.train.labels
    for category in ("colour", "texture", "position"):
        assert nearest_neighbour_accuracy(contains(data.train, category).float(), labels) < 0.16
    assert nearest_neighbour_accuracy(contains(data.train, "part")[:, 10:].float(), labels) < 0.16
    assert nearest_neighbour_accuracy(middles(data.train), labels) < 0.16


@pytest.mark.parametrize(("correlation", "expected"), [(0.0, 1 / 6), (0.5, 7 / 12), (1.0, 1.0)])
def test_a_correlated_distractor(root, correlation, expected):
    data = shapes(root, **SMALL, correlation=correlation, test_correlation=0.0)
    for split, share_expected in ((data.train, expected), (data.test, 1 / 6)):
        distractor = contains(split, "part")[:, 10:].float().argmax(1)
        share = (distractor == split.labels % 6).float().mean().item()
        assert share == pytest.approx(share_expected, abs=0.12)


def test_the_test_set_is_correlated_like_training_by_default(root):
    data = shapes(root, **SMALL, correlation=1.0)
    distractor = contains(data.test, "part")[:, 10:].float().argmax(1)
    assert torch.equal(distractor, data.test.labels % 6)


def test_a_fixed_position_tells_the_class(root):
    data = shapes(root, **SMALL, position="fixed")
    assert nearest_neighbour_accuracy(middles(data.train), data.train.labels) > 0.9


@pytest.mark.parametrize("factor", ["colour", "texture"])
def test_a_factor_tied_to_shape_or_class(root, factor):
    many = {"colour": 7, "texture": 3}[factor]
    free = shapes(root, **SMALL, distractors=0)
    by_class = shapes(root, **SMALL, distractors=0, **{factor: "class"})
    values = contains(by_class.train, factor)
    kind = torch.where(values.any(1), values.float().argmax(1) + 1, 0)
    assert torch.equal(kind, by_class.train.labels % many)
    by_part = shapes(root, **SMALL, **{factor: "part"})
    masks = by_part.train.concepts.masks()
    first = by_part.train.concepts.categories.index(factor)
    for part in range(16):
        for value in range(1, many):
            expected = masks[:, part] if part % many == value else masks[:, part] & False
            assert torch.equal(masks[:, part] & masks[:, first + value - 1], expected)
    assert free.train.concepts.names[10] == "disc + square"  # no distractors, no such concepts


def test_more_distractors_are_all_different(root):
    data = shapes(root, **SMALL, distractors=5)
    assert (contains(data.train, "part").sum(1) == 7).all()


def test_neighbours_are_the_24_pairs_side_by_side():
    row, column = NEIGHBOURS // 3, NEIGHBOURS % 3
    apart = (row[:, 0] - row[:, 1]).abs() + (column[:, 0] - column[:, 1]).abs()
    assert len(NEIGHBOURS.unique(dim=0)) == 24 and (apart == 1).all()


def test_the_same_seed_draws_the_same(root, tmp_path):
    first = shapes(root, **SMALL)
    assert shapes(tmp_path, **SMALL).fingerprint() == first.fingerprint()
    assert shapes(root, **SMALL).fingerprint() == first.fingerprint()  # from the cache
    assert shapes(root, **SMALL, seed=1).fingerprint() != first.fingerprint()


def test_splits_are_drawn_apart(root):
    data = shapes(root, train=200, validation=200, test=200)
    for first, second in (("train", "validation"), ("train", "test"), ("validation", "test")):
        pair = [getattr(data, name).images.flatten(1).float() for name in (first, second)]
        assert torch.cdist(*pair).min() > 0


@pytest.mark.parametrize("size", [28, 48])
def test_sizes(root, size):
    data = shapes(root, **SMALL, size=size, classes=4)
    assert data.image == (3, size, size) and data.train.classes == 4


@pytest.mark.slow
def test_maps_of_8_x_8_are_measurable(root):
    """On 8 x 8 maps the oracle passes the measurability gate."""
    data = shapes(root, train=10, validation=10, test=1000)
    gate = measurability(data.test.concepts, (8, 8))
    assert gate.passes and gate.iou > 0.42 and gate.interpretability > 0.95


@pytest.mark.slow
def test_twenty_thousand_scenes_take_less_than_twenty_seconds(tmp_path):
    start = time.process_time()
    shapes(tmp_path, train=16000, validation=2000, test=2000)
    assert time.process_time() - start < 20


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("size", 5), ("classes", 1), ("classes", 2), ("classes", 11), ("distractors", -1),
        ("distractors", 7), ("train", -1), ("validation", 0), ("test", 9), ("correlation", 1.1),
        ("test_correlation", -0.5), ("position", "left"), ("colour", "blue"), ("texture", ""),
        ("contrast", 0.0), ("background", -1.0), ("seed", -1),
    ],
)  # fmt: skip
def test_parameters_out_of_range(root, name, value):
    with pytest.raises(ValueError, match=rf"^{name} must be .* not '?{value}'?$"):
        shapes(root, **{name: value})
