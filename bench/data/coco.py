"""Photographs with annotations in COCO's format: masks, boxes and keypoints of named things."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from legible.bench.data.base import Dataset, dataset
from legible.bench.data.coco_json import CocoFile, concepts_of, read_coco, unpack_regions
from legible.bench.data.framing import read_sizing
from legible.bench.data.image_files import shown_path
from legible.bench.data.image_sets import check_counts
from legible.bench.data.imagefolder import class_files, class_folders, folders_in, images_below
from legible.bench.data.photographs import (
    Photograph,
    PhotographPlan,
    Sources,
    arrange,
    find_place,
    load_photographs,
    missing,
    random_parts,
)
from legible.bench.errors import nearest

ORIGIN = "https://cocodataset.org, or from your own annotation tool (export as COCO JSON)"


@dataset
def coco(
    root: Path,
    path: str = "",
    annotations: str = "",
    size: int = 128,
    resize: str = "centre",
    background: str = "grey",
    class_concept: str = "",
    annotated: list[str] | None = None,
    boxes: bool = True,
    skip_missing: bool = False,
    validation: int | None = None,
    limit: int | None = None,
    shift: int = 4,
    flip: bool = True,
    seed: int = 0,
    licence: str = "not stated",
    publish: bool = False,
) -> Dataset:
    """Photographs whose concepts are annotated in COCO's JSON format (Lin et al., ECCV 2014).

    ``path`` starts at the data root and is one of these:

    - ImageNet's layout, ``path/train/CLASS/*.jpg`` and test, val or both, with one file
      ``annotations`` (default: annotations.json). The class is the folder's name.
    - COCO's layout, ``path/train2017``, ``path/val2017`` and
      ``path/annotations/instances_train2017.json``; ``annotations`` is the beginning of these
      files' names (default: instances). Test images are those of val.
    - A flat folder, ``path/*.jpg`` or ``path/images/*.jpg``, with one file; a fifth of the images,
      drawn at random, is for the test.

    In the last two, the class of an image is the category that covers most of it, and images
    without any annotation are left out. Polygons, run lengths and crowds are masks. Each keypoint
    is a concept of the category "keypoints", drawn as a small disc. The supercategory of a category
    is the category of its concept. A thing with a box but no mask is a filled box; with
    ``boxes=False`` it is left out.

    ``annotated`` names concepts or categories of concepts: validation and test images without all
    of these are left out, because a thing that nobody has annotated may be there all the same.
    ``class_concept`` names the concept that covers what the class is, in images of every class.
    Annotations of an image that does not exist are an error; with ``skip_missing`` they are left
    out. ``size``, ``resize`` and ``background`` are the recipe of size (see framing.py); masks
    follow the images. ``licence`` is that of your images; ``publish`` says that pictures of them
    may be published.
    """
    check_counts(validation, limit, seed)
    sizing = read_sizing(size, resize, background)
    place = find_place("coco", root, path or "coco", [], ORIGIN)
    layout = _layout(place, annotations)
    parameters = {
        "class_concept": class_concept, "annotated": annotated, "boxes": boxes,
        "skip_missing": skip_missing, "validation": validation, "limit": limit, "seed": seed,
        "files": [file.name for file in layout.files],
    }  # fmt: skip

    def plan() -> PhotographPlan:
        contents = [read_coco(file, boxes) for file in layout.files]
        return _plan(layout, contents, class_concept, annotated or [], skip_missing,
                     validation=validation, limit=limit, seed=seed)  # fmt: skip

    return load_photographs(
        "coco", root, __file__, Sources(place, layout.images, layout.files), sizing, parameters,
        plan, shift=shift, flip=flip, licence=licence, publishable=publish,
    )  # fmt: skip


class _Layout(NamedTuple):
    """Where images and annotations are.

    ``splits`` holds, by split, the image files with their labels, None where the annotation gives
    the label. ``classes`` is empty there.
    """

    place: Path
    splits: dict[str, list[tuple[Path, int | None]]]
    files: list[Path]
    classes: tuple[str, ...]

    @property
    def images(self) -> list[Path]:
        return [file for entries in self.splits.values() for file, _ in entries]


def _layout(place: Path, annotations: str) -> _Layout:
    """Raises ValueError if the folder has none of the three layouts."""
    folders = folders_in(place)
    years = [f.removeprefix("train") for f in folders if f.startswith("train") and f != "train"]
    if "train" in folders:
        splits, classes = class_folders(place)
        files = {s: class_files(place / folder, classes) for s, folder in splits.items()}
        return _Layout(place, dict(files), [_one_file(place, annotations)], classes)  # type: ignore[arg-type]
    if years:
        names = {"train": f"train{years[0]}", "test": f"val{years[0]}"}
        start = annotations or "instances"
        jsons = [place / "annotations" / f"{start}_{name}.json" for name in names.values()]
        for needed in [*jsons, place / names["test"]]:
            if not needed.exists():
                raise missing("coco", needed, ORIGIN)
        return _Layout(place, {s: _flat(place / n) for s, n in names.items()}, jsons, ())
    flat = place / "images" if "images" in folders else place
    return _Layout(place, {"all": _flat(flat)}, [_one_file(place, annotations)], ())


def _flat(folder: Path) -> list[tuple[Path, int | None]]:
    files = sorted(images_below(folder, (folder.parent.resolve(),)))
    if not files:
        raise ValueError(f"{shown_path(folder)} holds no images")
    return [(file, None) for file in files]


def _one_file(place: Path, annotations: str) -> Path:
    file = place / (annotations or "annotations.json")
    if not file.is_file():
        others = sorted(each.name for each in place.glob("*.json"))[:5]
        there = f"; there are {', '.join(others)}" if others else ""
        raise ValueError(
            f"{shown_path(file)} is missing: set annotations to the JSON file in that folder{there}"
        )
    return file


def _plan(
    layout: _Layout,
    contents: Sequence[CocoFile],
    class_concept: str,
    annotated: Sequence[str],
    skip_missing: bool,
    *,
    validation: int | None,
    limit: int | None,
    seed: int,
) -> PhotographPlan:
    concepts = contents[0].concepts
    for content in contents[1:]:
        if content.concepts != concepts:
            raise ValueError("the annotation files differ in their categories")
    notes: list[str] = []
    by_file = _annotations_of(layout, contents, skip_missing, notes)
    classes = layout.classes
    splits = layout.splits
    if not classes:
        classes, splits = _label(layout, contents[0], by_file, notes)
    photographs = {
        split: [_photograph(file, label, by_file) for file, label in entries]
        for split, entries in splits.items()
    }
    train, test, separate = (photographs.get(split) for split in ("train", "test", "validation"))
    if train is None or test is None:
        train, test = random_parts(photographs["all"], seed)
    parts = arrange(train, test, separate, validation=validation, limit=limit, seed=seed)
    for needed in annotated:
        parts |= _only_annotated(parts, needed, concepts, by_file, notes)
    of_class = tuple(_concept_number(class_concept, concepts, name) for name in classes)
    return PhotographPlan(
        classes, parts, tuple(concepts), of_class if max(of_class) >= 0 else (), True, tuple(notes)
    )


class _Annotation(NamedTuple):
    packed: bytearray
    areas: dict[int, float]
    size: tuple[int, int]


def _annotations_of(
    layout: _Layout, contents: Sequence[CocoFile], skip_missing: bool, notes: list[str]
) -> dict[Path, _Annotation]:
    """What is annotated in each file. Images match by their path below the folder, or else by their
    file's name. With a file for each split, only images of its split match."""
    by_path = {file.relative_to(layout.place).as_posix(): file for file in layout.images}
    annotations: dict[Path, _Annotation] = {}
    absent: list[str] = []
    groups = [layout.images] if len(contents) == 1 else [
        [file for file, _ in entries] for entries in layout.splits.values()
    ]  # fmt: skip
    for content, files in zip(contents, groups, strict=True):
        by_name: dict[str, Path | None] = {}
        for file in files:
            by_name[file.name] = None if file.name in by_name else file
        for key, image in content.images.items():
            path = image.file_name.replace("\\", "/").removeprefix("./")
            place = by_path.get(path) or by_name.get(path.rpartition("/")[2])
            if place is None:
                absent.append(path)
                continue
            annotations[place] = _Annotation(
                content.regions.get(key, bytearray()), content.areas.get(key, {}),
                (image.width, image.height),
            )  # fmt: skip
    _note_absent(layout, absent, sum(c.orphans for c in contents), skip_missing, notes)
    if crowds := sum(content.crowds for content in contents):
        notes.append(f"{crowds} crowds count as masks of their category")
    return annotations


def _note_absent(
    layout: _Layout, absent: Sequence[str], orphans: int, skip_missing: bool, notes: list[str]
) -> None:
    """Raises ValueError for annotations of images that do not exist, or notes them."""
    problems = []
    if absent:
        problems.append(f"{len(absent)} annotated images are not in the folder, the first: "
                        f"{shown_path(Path(absent[0]))}")  # fmt: skip
    if orphans:
        problems.append(f"{orphans} annotations are of images that the file does not list")
    if problems and not skip_missing:
        raise ValueError(
            f"{shown_path(layout.files[0])}: {'; '.join(problems)}: add them, or set "
            "skip_missing = true to leave them out"
        )
    notes += [f"{problem}; left out" for problem in problems]


def _label(
    layout: _Layout, content: CocoFile, by_file: dict[Path, _Annotation], notes: list[str]
) -> tuple[tuple[str, ...], dict[str, list[tuple[Path, int | None]]]]:
    """Classes and labels by the category that covers most of each image; classes need a training
    image."""
    largest: dict[Path, int] = {
        file: max(sorted(a.areas), key=a.areas.__getitem__)
        for file, a in by_file.items() if a.areas
    }  # fmt: skip
    training = layout.splits.get("train") or layout.splits["all"]
    numbers = sorted({largest[file] for file, _ in training if file in largest})
    if len(numbers) < 2:
        raise ValueError(
            f"the images have {len(numbers)} categories that can be classes; there must be two: "
            "annotate boxes or masks, or put the images in folders train/CLASS and test/CLASS"
        )
    label = {number: row for row, number in enumerate(numbers)}
    splits: dict[str, list[tuple[Path, int | None]]] = {
        split: [(f, label[largest[f]]) for f, _ in entries if largest.get(f) in label]
        for split, entries in layout.splits.items()
    }
    left_out = len(layout.images) - sum(map(len, splits.values()))
    if left_out:
        notes.append(f"{left_out} images show no category of the training images; left out")
    return tuple(content.categories[number].name for number in numbers), splits


def _photograph(file: Path, label: int | None, by_file: dict[Path, _Annotation]) -> Photograph:
    assert label is not None
    annotation = by_file.get(file)
    if annotation is None:
        return Photograph(file, label)
    regions = partial(unpack_regions, annotation.packed, annotation.size)
    return Photograph(file, label, regions, annotation.size)


def _only_annotated(
    parts: dict[str, list[Photograph]],
    name: str,
    concepts: Sequence[tuple[str, str]],
    by_file: dict[Path, _Annotation],
    notes: list[str],
) -> dict[str, list[Photograph]]:
    """Validation and test images with a region of a concept or category of that name."""
    numbers = {k for k, pair in enumerate(concepts) if name in pair}
    if not numbers:
        names: Iterable[Any] = {text for pair in concepts for text in pair}
        raise ValueError(f"annotated: there is no concept '{name}'{nearest(name, sorted(names))}")
    result = {}
    for split in ("validation", "test"):
        result[split] = [
            p for p in parts[split]
            if p.file in by_file and concepts_of(by_file[p.file].packed) & numbers
        ]  # fmt: skip
        if count := len(parts[split]) - len(result[split]):
            notes.append(f"{count} {split} images have no annotation of '{name}'; left out")
    return result


def _concept_number(class_concept: str, concepts: Sequence[tuple[str, str]], name: str) -> int:
    """The concept that defines a class: ``class_concept``, or that with the class's name; else
    -1."""
    names = [concept for concept, _ in concepts]
    if class_concept and class_concept not in names:
        raise ValueError(
            f"class_concept: there is no concept '{class_concept}'{nearest(class_concept, names)}"
        )
    searched = class_concept or name
    return names.index(searched) if searched in names else -1
