"""Miniatures of datasets of photographs, in their true layouts and file formats."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from PIL import Image

#: Colours of the two classes of most miniatures.
RED, BLUE = (250, 0, 0), (0, 0, 250)


def write_image(
    file: Path,
    colour: tuple[int, int, int] = RED,
    width: int = 40,
    height: int = 30,
    shade: int = 0,
) -> None:
    """A plain image in the format of its name; ``shade`` tells images of one colour apart."""
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((height, width, 3), np.uint8) + np.uint8(colour)
    pixels[..., 1] += np.uint8(2 * shade)
    Image.fromarray(pixels).save(file, quality=95)


def write_mask(file: Path, values: np.ndarray, palette: bool = False) -> None:
    """A PNG file of numbers, with a palette if PASCAL VOC's are meant."""
    file.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values.astype(np.uint8))
    if palette:
        image.putpalette([(37 * k) % 256 for k in range(768)])
    image.save(file)


def square(width: int, height: int, box: tuple[int, int, int, int], value: int = 1) -> np.ndarray:
    """Zeros with a rectangle (left, top, right, bottom) of one value."""
    values = np.zeros((height, width), np.uint8)
    left, top, right, bottom = box
    values[top:bottom, left:right] = value
    return values


# ----------------------------------------------------------------- COCO

CATEGORIES = [
    {"id": 7, "name": "cat", "supercategory": "animal"},
    {"id": 3, "name": "dog", "supercategory": "animal"},
    {"id": 9, "name": "ear", "supercategory": "part"},
    {"id": 4, "name": "pose", "supercategory": "keypoints", "keypoints": ["nose", "left_eye"]},
]


def annotation(number: int, image: int, category: int, **shape: Any) -> dict[str, Any]:
    """An annotation as COCO writes it."""
    return {"id": number, "image_id": image, "category_id": category, "iscrowd": 0, **shape}


def write_json(
    file: Path,
    images: list[tuple[int, str, int, int]],
    annotations: list[dict[str, Any]],
    categories: list[dict[str, Any]] = CATEGORIES,
) -> None:
    """A file in COCO's format; images are id, name, width and height."""
    file.parent.mkdir(parents=True, exist_ok=True)
    names = ("id", "file_name", "width", "height")
    content = {
        "info": {"description": "miniature"},
        "images": [dict(zip(names, image, strict=True)) for image in images],
        "annotations": annotations,
        "categories": categories,
    }
    file.write_text(json.dumps(content))


def write_coco(place: Path, each: int = 6) -> list[tuple[int, str, int, int]]:
    """ImageNet's layout with two classes, and one polygon, box and pose on each image: the upper
    left quarter is the cat or dog, the ear is a box, the nose a point."""
    images, annotations = [], []
    for split in ("train", "test"):
        for name, colour, category in (("cat", RED, 7), ("dog", BLUE, 3)):
            for _ in range(each):
                number = len(images) + 1
                path = f"{split}/{name}/{number}.png"
                write_image(place / path, colour, shade=number)
                images.append((number, path, 40, 30))
                polygon = [0, 0, 20, 0, 20, 15, 0, 15]
                annotations += [
                    annotation(3 * number, number, category, segmentation=[polygon], area=300),
                    annotation(3 * number + 1, number, 9, bbox=[10, 5, 5, 10]),
                    annotation(3 * number + 2, number, 4, keypoints=[20, 15, 2, 0, 0, 0]),
                ]
    write_json(place / "annotations.json", images, annotations)
    return images


# ----------------------------------------------------------------- others


def write_voc(place: Path, each: int = 4) -> None:
    """VOC's layout: cats (8) are the left half of red images, dogs (12) the right half of blue."""
    for split in ("train", "val"):
        stems = []
        for k in range(2 * each):
            stem = f"2007_{split}_{k:06}"
            stems.append(stem)
            colour, value, box = ((RED, 8, (0, 0, 20, 30)), (BLUE, 12, (20, 0, 40, 30)))[k % 2]
            write_image(place / "JPEGImages" / f"{stem}.jpg", colour, shade=k)
            values = square(40, 30, box, value)
            values[:, 19:21] = 255
            write_mask(place / "SegmentationClass" / f"{stem}.png", values, palette=True)
        sets = place / "ImageSets" / "Segmentation"
        sets.mkdir(parents=True, exist_ok=True)
        (sets / f"{split}.txt").write_text("\n".join(stems) + "\n")


def write_cub(place: Path, each: int = 4, masks: bool = True) -> None:
    """CUB-200-2011's layout with two classes; the bird is the box (10, 5, 30, 25), and the beak is
    at (20, 15)."""
    rows: dict[str, list[str]] = {name: [] for name in (
        "images.txt", "image_class_labels.txt", "train_test_split.txt", "bounding_boxes.txt",
        "parts/part_locs.txt")}  # fmt: skip
    number = 0
    for label, (name, colour) in enumerate((("001.Laysan_Albatross", RED), ("002.Crow", BLUE)), 1):
        for k in range(2 * each):
            number += 1
            path = f"{name}/{name.partition('.')[2]}_{k:04}.jpg"
            write_image(place / "images" / path, colour, shade=number)
            if masks:
                values = square(40, 30, (10, 5, 30, 25), 255)
                write_mask((place.parent / "segmentations" / path).with_suffix(".png"), values)
            rows["images.txt"].append(f"{number} {path}")
            rows["image_class_labels.txt"].append(f"{number} {label}")
            rows["train_test_split.txt"].append(f"{number} {int(k < each)}")
            rows["bounding_boxes.txt"].append(f"{number} 10.0 5.0 20.0 20.0")
            rows["parts/part_locs.txt"] += [
                f"{number} 1 0.0 0.0 0", f"{number} 2 20.0 15.0 1",
            ]  # fmt: skip
    rows["classes.txt"] = ["1 001.Laysan_Albatross", "2 002.Crow"]
    rows["parts/parts.txt"] = ["1 back", "2 beak"]
    for name, lines in rows.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text("\n".join(lines) + "\n")


def write_voc_parts(place: Path, each: int = 4) -> None:
    """VOC2010's layout with PASCAL-Part's .mat files: a cat or dog with a head, or nothing else."""
    for split in ("train", "val"):
        stems = []
        for k in range(2 * each):
            stem = f"2008_{split}_{k:06}"
            stems.append(stem)
            name, colour = (("cat", RED), ("dog", BLUE))[k % 2]
            write_image(place / "JPEGImages" / f"{stem}.jpg", colour, shade=k)
            whole, head = square(40, 30, (10, 5, 30, 25)), square(40, 30, (10, 5, 20, 15))
            parts = np.array([("head", head)], dtype=[("part_name", object), ("mask", object)])
            objects = np.array(
                [(name, k % 2 + 1, whole, parts if k < 6 else np.zeros(0))],
                dtype=[
                    ("class", object),
                    ("class_ind", object),
                    ("mask", object),
                    ("parts", object),
                ],
            )
            (place / "Annotations_Part").mkdir(parents=True, exist_ok=True)
            scipy.io.savemat(
                str(place / "Annotations_Part" / f"{stem}.mat"),
                {"anno": {"imname": stem, "objects": objects}},
            )
        sets = place / "ImageSets" / "Main"
        sets.mkdir(parents=True, exist_ok=True)
        (sets / f"{split}.txt").write_text("\n".join(stems) + "\n2008_without_parts\n")


def _attributes(names: list[str], rows: dict[str, list[int]]) -> str:
    lines = [str(len(rows)), " ".join(names)]
    return "\n".join([*lines, *(f"{f}  {' '.join(map(str, v))}" for f, v in rows.items())]) + "\n"


def write_celeba(place: Path, count: int = 12) -> None:
    """CelebA's layout: every second face smiles (red), every third wears a hat; its left eye is at
    (10, 12)."""
    attributes, points, splits = {}, {}, []
    for k in range(1, count + 1):
        name = f"{k:06}.jpg"
        write_image(place / "Img" / "img_align_celeba" / name, RED if k % 2 else BLUE, shade=k)
        attributes[name] = [1 if k % 2 else -1, 1 if k % 3 == 0 else -1]
        points[name] = [10, 12, 30, 12, 20, 15, 12, 20, 28, 20]
        splits.append(f"{name} {min(2, (k - 1) * 3 // count)}")
    for folder in ("Anno", "Eval"):
        (place / folder).mkdir(exist_ok=True)
    text = _attributes(["Smiling", "Wearing_Hat"], attributes)
    (place / "Anno" / "list_attr_celeba.txt").write_text(text)
    names = [f"{part}_{axis}" for part in "abcde" for axis in "xy"]
    text = _attributes(names, points)
    (place / "Anno" / "list_landmarks_align_celeba.txt").write_text(text)
    (place / "Eval" / "list_eval_partition.txt").write_text("\n".join(splits) + "\n")


def write_celeba_masks(place: Path, count: int = 12) -> None:
    """CelebAMask-HQ's layout: image k is CelebA's k + 1; masks have half the images' size; the left
    eye is the box (4, 4, 8, 8) of the mask."""
    rows, lines = {}, ["idx orig_idx orig_file"]
    for k in range(count):
        write_image(place / "CelebA-HQ-img" / f"{k}.jpg", BLUE if k % 2 else RED, 32, 32, k)
        rows[f"{k}.jpg"] = [-1 if k % 2 else 1, -1]
        lines.append(f"{k} {k} {k + 1:06}.jpg")
        folder = place / "CelebAMask-HQ-mask-anno" / str(k // 2000)
        write_mask(folder / f"{k:05}_l_eye.png", square(16, 16, (4, 4, 8, 8), 255))
    text = _attributes(["Smiling", "Wearing_Hat"], rows)
    (place / "CelebAMask-HQ-attribute-anno.txt").write_text(text)
    (place / "CelebA-HQ-to-CelebA-mapping.txt").write_text("\n".join(lines) + "\n")


def write_broden(place: Path, each: int = 4) -> None:
    """Broden's layout: streets (label 1) and rooms (2); the left half is sky (300), and its upper
    quarter is a wing (301); every image has the texture 5."""
    header = [
        "image", "split", "ih", "iw", "sh", "sw", *("color", "object", "material", "part"),
        *("scene", "texture"),
    ]  # fmt: skip
    rows = []
    for split in ("train", "val"):
        for k in range(2 * each):
            name = f"ade20k/{split}_{k}"
            write_image(place / "images" / f"{name}.jpg", (RED, BLUE)[k % 2], 32, 32, k)
            for kind, box, value in (("object", (0, 0, 8, 16), 300), ("part", (0, 0, 8, 4), 301)):
                numbers = square(16, 16, box, 1).astype(int) * value
                coded = np.stack([numbers % 256, numbers // 256, 0 * numbers], -1).astype(np.uint8)
                Image.fromarray(coded).save(place / "images" / f"{name}_{kind}.png")
            rows.append([f"{name}.jpg", split, 32, 32, 16, 16, "", f"{name}_object.png", "",
                         f"{name}_part.png", str(k % 2 + 1), "5"])  # fmt: skip
    with (place / "index.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])
    labels = [
        (1, "street", "scene(8)", 8), (2, "room", "scene(8)", 8), (5, "woven", "texture(16)", 16),
        (300, "sky", "object(16)", 16), (301, "wing", "object(2);part(14)", 14),
    ]  # fmt: skip
    with (place / "label.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["number", "name", "category", "frequency", "coverage", "syns"])
        writer.writerows([(*label, 1.0, "") for label in labels])


def write_imagenet(place: Path, each: int = 4, folders: bool = False) -> None:
    """ImageNet's layout of 2012 with two classes and the devkit; dogs (red) are number 1."""
    synsets = [(1, "n02", "dog, hound", "a dog", 0), (2, "n01", "cat", "a cat", 0),
               (3, "n00", "animal", "an animal", 2)]  # fmt: skip
    kinds = ["ILSVRC2012_ID", "WNID", "words", "gloss", "num_children"]
    table = np.array(synsets, dtype=[(kind, object) for kind in kinds])
    data = place / "ILSVRC2012_devkit_t12" / "data"
    data.mkdir(parents=True)
    scipy.io.savemat(str(data / "meta.mat"), {"synsets": table})
    for wnid, colour in (("n02", RED), ("n01", BLUE)):
        for k in range(each):
            write_image(place / "train" / wnid / f"{wnid}_{k}.JPEG", colour, shade=k)
    numbers = [k % 2 + 1 for k in range(2 * each)]
    for k, number in enumerate(numbers):
        folder = ("n02", "n01")[number - 1] if folders else ""
        file = place / "val" / folder / f"ILSVRC2012_val_{k + 1:08}.JPEG"
        write_image(file, (RED, BLUE)[number - 1], shade=10 + k)
    truth = data / "ILSVRC2012_validation_ground_truth.txt"
    truth.write_text("\n".join(map(str, numbers)) + "\n")
