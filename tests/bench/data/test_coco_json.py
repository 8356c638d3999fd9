"""Streaming reading of COCO's annotation files."""

import json
import tracemalloc

import numpy as np
import pytest
from photograph_files import annotation, write_json
from pycocotools import mask as coco_mask

from legible.bench.data.coco_json import (
    _total,
    concepts_of,
    read_coco,
    unpack_regions,
)

#: pycocotools 2.0.11 with NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture
def file(tmp_path):
    polygon = [[1, 1, 5, 1, 5, 4, 1, 4]]
    write_json(
        tmp_path / "a.json",
        [(5, "a.jpg", 12, 10), (6, "b.jpg", 12, 10)],
        [
            annotation(1, 5, 7, segmentation=polygon, bbox=[1, 1, 4, 3]),
            annotation(2, 5, 9, segmentation=[], bbox=[2, 3, 4, 5]),
            annotation(3, 5, 4, keypoints=[1, 2, 2, 3, 4, 1], bbox=[0, 0, 9, 9]),
        ],
    )
    return tmp_path / "a.json"


def test_masks_boxes_and_points(file):
    content = read_coco(file)
    assert content.concepts == [
        ("cat", "animal"), ("dog", "animal"), ("ear", "part"), ("pose", "keypoints"),
        ("nose", "keypoints"), ("left eye", "keypoints"),
    ]  # fmt: skip
    mask, box, nose, eye = unpack_regions(content.regions[5], (12, 10))
    expected = np.zeros((10, 12), bool)
    expected[1:4, 1:5] = True
    assert (mask.concept, mask.extent) == (0, "mask") and (mask.shape == expected).all()
    assert (box.concept, box.extent, box.shape.tolist()) == (2, "box", [2, 3, 6, 8])
    assert (nose.concept, nose.extent, nose.shape.tolist()) == (4, "point", [1, 2])
    assert (eye.concept, eye.shape.tolist()) == (5, [3, 4])
    assert content.areas[5] == {0: 12, 2: 20} and 6 not in content.regions
    assert concepts_of(content.regions[5]) == {0, 2, 4, 5}


def test_the_number_of_pixels_of_run_lengths():
    generator = np.random.default_rng(0)
    for _ in range(20):
        shape = np.asfortranarray(generator.random((37, 53)) < 0.5).astype(np.uint8)
        shape[:, : generator.integers(53)] = 0
        assert _total(coco_mask.encode(shape)["counts"]) == 37 * 53
    assert _total(b"") == -1 and _total(b"\xff") == -1 and _total(b"z") == -1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"category_id": 99}, "annotation 3 has category 99, which is not listed"),
        ({"keypoints": [1, 2, 2] * 3}, "it has 3 keypoints, but its category names 2"),
        ({"keypoints": [1, 2, "x"]}, "could not convert"),
        ({"bbox": [1, 2], "keypoints": []}, "must be 4 finite numbers"),
        ({"image_id": []}, "not in COCO's format"),
    ],
)
def test_annotations_that_make_no_sense(file, change, message):
    content = json.loads(file.read_text())
    content["annotations"][2].update(change)
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message) as error:
        read_coco(file)
    assert "\n" not in str(error.value) and "a.json" in str(error.value)


def jagged(generator, corners):
    """A polygon whose run lengths are longer than its corners."""
    return generator.uniform(0, 480, 2 * corners).round(2).tolist()


def test_polygons_are_held_in_the_shorter_way(tmp_path):
    """What is drawn is the same as from run lengths."""
    polygon = jagged(np.random.default_rng(0), 9)
    images = [(1, "a.jpg", 640, 480)]
    write_json(tmp_path / "a.json", images, [annotation(1, 1, 7, segmentation=[polygon, polygon])])
    content = read_coco(tmp_path / "a.json")
    assert len(content.regions[1]) == 7 + 2 * (4 + 18 * 4)
    (region,) = unpack_regions(content.regions[1], (640, 480))
    single = np.float32(polygon).astype(float).tolist()
    expected = coco_mask.decode(coco_mask.frPyObjects([single], 480, 640))[..., 0].astype(bool)
    assert region.extent == "mask" and (region.shape == expected).all()
    assert content.areas[1] == {0: int(expected.sum())}


@pytest.mark.parametrize("kind", ["boxes", "polygons"])
def test_memory_grows_by_less_than_the_file(tmp_path, kind):
    """At most 0.9 bytes for each byte of the shortest annotations (boxes) and of polygons that make
    long run lengths: a file of 2 GB takes less than 2 GB."""
    file, generator = tmp_path / "many.json", np.random.default_rng(0)
    images = [(k, f"{k}.jpg", 640, 480) for k in range(50)]
    count = 20000 if kind == "boxes" else 2000
    shapes = [
        {"segmentation": [jagged(generator, 40)]} if kind == "polygons" else {}
        for _ in range(count)
    ]
    write_json(file, images, [
        annotation(k, k % 50, 7, area=5895.4, bbox=[8.8, 37.3, 110.4, 53.4], **shape)
        for k, shape in enumerate(shapes)
    ])  # fmt: skip
    write_json(tmp_path / "first.json", images, [annotation(1, 1, 7, **shapes[0])])
    read_coco(tmp_path / "first.json")  # what is imported does not count
    tracemalloc.start()
    read_coco(file)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.9 * file.stat().st_size
