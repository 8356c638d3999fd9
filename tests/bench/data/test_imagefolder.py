"""Folders of images."""

import os
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import ImageFolder

from legible.bench.data import imagefolder as module
from legible.bench.data import photographs
from legible.bench.data.base import DataMissing
from legible.bench.data.imagefolder import imagefolder

COLOURS = {"blue": (0, 0, 250), "green": (0, 250, 0), "red": (250, 0, 0)}


def write(folder, counts, shape=(40, 30), suffix="png"):
    """Plain images in the colour of their class, brighter by one from each to the next."""
    for split, count in counts.items():
        for name, colour in COLOURS.items():
            (folder / split / name).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                pixels = np.zeros((*shape, 3), np.uint8) + np.uint8(colour)
                pixels[..., 0] += np.uint8(number)
                Image.fromarray(pixels).save(folder / split / name / f"{number}.{suffix}")


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "photos", {"train": 10, "test": 4})
    return tmp_path


def test_train_and_test_folders(folder):
    data = imagefolder(folder, path="photos", size=8)
    assert data.class_names == ("blue", "green", "red") and not data.drawn
    assert [len(s) for s in (data.train, data.validation, data.test)] == [27, 3, 12]
    assert data.image == (3, 8, 8) and data.train.images.dtype == torch.uint8
    for split in (data.train, data.validation, data.test):
        brightest = split.images[:, :, 4, 4].argmax(1)  # red, green, blue
        assert torch.equal(2 - brightest, split.labels)


def test_an_absolute_path_and_one_from_the_root_are_the_same(folder):
    first = imagefolder(folder, path="photos", size=8)
    assert imagefolder(folder, path=str(folder / "photos"), size=8).fingerprint() == (
        first.fingerprint()
    )


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_three_folders(folder, name):
    write(folder / "photos", {name: 2})
    data = imagefolder(folder, path="photos", size=8, limit=9)
    assert [len(s) for s in (data.train, data.validation, data.test)] == [9, 6, 12]


def test_a_validation_folder_alone_is_the_test_set(folder):
    (folder / "photos/test").rename(folder / "photos/val")
    data = imagefolder(folder, path="photos", size=8)
    assert [len(s) for s in (data.train, data.validation, data.test)] == [27, 3, 12]


def test_images_fill_the_square_and_are_cropped_at_the_centre(tmp_path):
    """Of a wide image whose outer quarters are white, only the black middle is left."""
    for split in ("train", "test"):
        for name in ("a", "b"):
            (tmp_path / split / name).mkdir(parents=True)
            pixels = np.full((20, 40, 3), 255, np.uint8)
            pixels[:, 10:30] = 0
            for number in range(10):
                Image.fromarray(pixels).save(tmp_path / split / name / f"{number}.png")
    data = imagefolder(tmp_path, path=str(tmp_path), size=20)
    assert data.test.images.max() == 0
    assert imagefolder(tmp_path, path=str(tmp_path), size=10).test.images[..., 2:-2].max() == 0


def test_the_recipe_of_size_can_be_chosen(tmp_path):
    """A wide image, black with white ends: all of it between two borders, or its black middle."""
    pixels = np.full((20, 40, 3), 255, np.uint8)
    pixels[:, 10:30] = 0
    for split in ("train", "test"):
        for name in ("a", "b"):
            (tmp_path / split / name).mkdir(parents=True)
            for number in range(5):
                Image.fromarray(pixels).save(tmp_path / split / name / f"{number}.png")
    whole, short = (
        imagefolder(tmp_path, path=".", size=40, resize=recipe, background="red").test.images[0]
        for recipe in ("whole", "short")
    )
    assert (whole[:, 0, 0] == torch.tensor([255, 0, 0])).all()
    assert (whole[:, 20, 0] == 255).all() and (whole[:, 20, 20] == 0).all()
    assert (short == 0).all()
    with pytest.raises(ValueError, match="resize must be"):
        imagefolder(tmp_path, path=".", resize="centr")


def test_grey_and_transparent_images_become_three_channels(folder):
    place = folder / "photos/train/red"
    Image.fromarray(np.full((9, 9), 200, np.uint8)).save(place / "grey.png")
    Image.fromarray(np.full((9, 9, 4), 200, np.uint8)).save(place / "clear.PNG")
    data = imagefolder(folder, path="photos", size=8)
    assert len(data.train) + len(data.validation) == 32


def test_images_are_decoded_once(folder, monkeypatch):
    first = imagefolder(folder, path="photos", size=8)
    monkeypatch.setattr(photographs, "read_rgb", lambda *_: 1 / 0)
    assert imagefolder(folder, path="photos", size=8).fingerprint() == first.fingerprint()
    assert len(list((folder / "cache").glob("*.safetensors"))) == 1


def test_a_changed_file_is_decoded_anew(folder):
    first = imagefolder(folder, path="photos", size=8)
    file = folder / "photos/test/red/0.png"
    before = file.stat()
    Image.fromarray(np.full((40, 30, 3), 99, np.uint8)).save(file)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert imagefolder(folder, path="photos", size=8).fingerprint() != first.fingerprint()


@pytest.mark.parametrize("path", ["", "nowhere", "/nowhere/at/all"])
def test_no_folder_is_missing_data(tmp_path, path):
    with pytest.raises(DataMissing) as error:
        imagefolder(tmp_path, path=path)
    assert "\n" not in str(error.value) and path in str(error.value)


def refused(folder, message, **params):
    with pytest.raises(ValueError, match=message) as error:
        imagefolder(folder, path="photos", size=8, **params)
    assert "\n" not in str(error.value)


def test_a_folder_without_splits(tmp_path):
    (tmp_path / "photos/cats").mkdir(parents=True)
    refused(tmp_path, r"must hold train/ and test/ or val/; it holds \['cats'\]")


def test_a_folder_without_images(folder):
    for file in (folder / "photos/test").rglob("*.png"):
        file.rename(file.with_suffix(".txt"))
    refused(folder, r"photos/test holds no images")


def test_a_class_that_one_split_lacks(folder):
    (folder / "photos/train/yellow").mkdir()
    refused(folder, r"class 'yellow' is not in both")


def test_one_class_is_no_task(tmp_path):
    for split in ("train", "test"):
        (tmp_path / "photos" / split / "only").mkdir(parents=True)
    refused(tmp_path, "at least two class folders")


def test_unreadable_files_are_named(folder):
    broken = sorted((folder / "photos/train/red").glob("*.png"))[:5]
    broken[0].write_bytes(b"no image")
    for file in broken[1:]:
        file.write_bytes(file.read_bytes()[:60])
    refused(folder, r"cannot read \S+red/\d\.png, \S+, \S+ and 2 more \(the first: ")
    assert not list((folder / "cache").glob("*.safetensors"))


@pytest.mark.parametrize("own", [{}, {"val": 3}])  # a folder of validation images
def test_images_in_files_are_those_in_memory(tmp_path, monkeypatch, own):
    write(tmp_path / "photos", {"train": 10, "test": 4, **own})
    datasets = []
    for choice in ("memory", "file", "file"):
        monkeypatch.setenv("LEGIBLE_IMAGES", choice)
        datasets.append(imagefolder(tmp_path, path="photos", size=8, limit=20, seed=3))
    memory, first, second = datasets
    assert not memory.train.streamed and first.train.streamed and second.test.streamed
    for data in (first, second):
        assert data.fingerprint() == memory.fingerprint()
        for part in ("train", "validation", "test"):
            ours, theirs = getattr(data, part), getattr(memory, part)
            assert torch.equal(ours.labels, theirs.labels)
            assert torch.equal(ours.take(torch.arange(len(ours))), theirs.images)


def test_images_that_do_not_fit_in_memory(folder, monkeypatch):
    monkeypatch.setattr(os, "sysconf", lambda name: 64)
    assert imagefolder(folder, path="photos", size=8).train.streamed
    monkeypatch.setenv("LEGIBLE_IMAGES", "memory")
    refused(folder, r"42 images of 8 x 8 pixels need .* choose fewer or smaller")


@pytest.mark.parametrize(
    ("name", "value"), [("size", 5), ("validation", -1), ("limit", 0), ("seed", -1)]
)
def test_parameters_out_of_range(folder, name, value):
    with pytest.raises(ValueError, match=rf"^{name} must be .* not {value}$"):
        imagefolder(folder, path="photos", **{name: value})


def test_held_out_images_are_mixed(tmp_path):
    """A probe takes the first images of a split, so they must not all be of one class."""
    write(tmp_path / "photos", {"train": 10, "test": 30, "val": 30})
    data = imagefolder(tmp_path, path="photos", size=8)
    for split in (data.validation, data.test):
        assert len(set(split.labels[:15].tolist())) == 3


class TestWhatIsRead:
    """Pictures are decoded by `read_rgb`, which has tests of its own."""

    def test_transparency_is_laid_on_the_background(self, folder):
        for file in (folder / "photos/test/red").glob("*.png"):
            Image.fromarray(np.zeros((9, 9, 4), np.uint8)).save(file)
        for colour, value in (({}, [255] * 3), ({"background": "#010203"}, [1, 2, 3])):
            test = imagefolder(folder, path="photos", size=8, **colour).test
            red = test.images[test.labels == 2]
            assert (red == torch.tensor(value).view(3, 1, 1)).all()

    def test_a_background_that_is_no_colour(self, folder):
        refused(folder, "background must be an opaque colour", background="whyte")

    def test_orientation_is_applied_before_cropping(self, folder):
        """Stored 60 x 20 with a black left third; seen 20 x 60 with a black top third."""
        pixels = np.full((20, 60, 3), 255, np.uint8)
        pixels[:, :25] = 0
        exif = Image.Exif()
        exif[0x0112] = 6
        for file in (folder / "photos/test/red").glob("*.png"):
            Image.fromarray(pixels).save(file, exif=exif)
        test = imagefolder(folder, path="photos", size=20).test
        red = test.images[test.labels == 2]
        assert red[:, :, :5].max() == 0 and red[:, :, 5:].min() == 255

    def test_16_bit_grey(self, folder):
        for file in (folder / "photos/test/red").glob("*.png"):
            Image.fromarray(np.full((9, 9), 100 * 257, np.uint16)).save(file)
        test = imagefolder(folder, path="photos", size=8).test
        assert test.images[test.labels == 2].unique().tolist() == [100]

    def test_an_animated_file_is_named(self, folder):
        first, second = (Image.new("RGB", (9, 9), (v, v, v)) for v in (1, 200))
        first.save(folder / "photos/train/red/x.webp", save_all=True, append_images=[second])
        refused(
            folder, r"cannot read \S+train/red/x\.webp \(it holds 2 frames or pages: keep one\)$"
        )

    def test_an_empty_file_is_named(self, folder):
        (folder / "photos/train/red/x.jpg").touch()
        refused(folder, r"cannot read \S+train/red/x\.jpg \(it is empty\)$")

    def test_a_pipe_is_named(self, folder):
        os.mkfifo(folder / "photos/train/red/x.jpg")
        refused(folder, r"cannot read \S+train/red/x\.jpg \(it is not a regular file\)$")

    @pytest.mark.parametrize("suffix", ["gif", "HEIC", "avif", "jfif"])
    def test_an_image_of_a_format_that_is_not_read_is_named(self, folder, suffix):
        Image.new("L", (9, 9)).save(folder / f"photos/train/red/x.{suffix}", "GIF")
        refused(folder, rf"train/red/x\.{suffix}: \.{suffix} files are not read")


class TestHidden:
    def test_files_and_folders_are_neither_classes_nor_images(self, folder):
        before = imagefolder(folder, path="photos", size=8)
        train = folder / "photos/train"
        for name in (".ipynb_checkpoints", "__MACOSX", "@eaDir", ".git"):
            for place in (train, train / "red", folder / "photos"):
                (place / name / "red").mkdir(parents=True)
                (place / name / "a.png").write_bytes(b"no image")
                (place / name / "red/a.png").write_bytes(b"no image")
        for name in (".DS_Store", "._0.png", "Thumbs.db", "desktop.ini", ".hidden.jpg", "read.me"):
            for place in (train, train / "red", folder / "photos"):
                (place / name).write_bytes(b"no image")
        (train / "red/.link").symlink_to("nowhere")
        after = imagefolder(folder, path="photos", size=8)
        assert after.class_names == before.class_names == ("blue", "green", "red")
        assert after.fingerprint() == before.fingerprint()

    def test_a_hidden_folder_above_hides_nothing(self, folder):
        (folder / ".cache").mkdir()
        (folder / "photos").rename(folder / ".cache/photos")
        assert len(imagefolder(folder, path=".cache/photos", size=8).test) == 12

    def test_a_class_of_hidden_files_alone_is_empty(self, folder):
        for file in (folder / "photos/test/red").glob("*.png"):
            file.rename(file.with_name("._" + file.name))
        refused(folder, r"photos/test holds no images of class 'red'")


class TestLinks:
    @pytest.mark.parametrize("name", ["x.png", "more", "notes.v1"])
    def test_a_broken_one_is_named(self, folder, name):
        (folder / "photos/train/red" / name).symlink_to("nowhere")
        refused(folder, rf"train/red/{name} is a broken link")

    @pytest.mark.parametrize("place", ["", "train/", "test/"])
    def test_a_broken_link_to_a_folder_is_named(self, folder, place):
        (folder / f"photos/{place}yellow").symlink_to("nowhere")
        refused(folder, rf"photos/{place}yellow is a broken link")

    def test_linked_files_and_folders_count(self, folder):
        before = imagefolder(folder, path="photos", size=8)
        (folder / "photos").rename(folder / "real")
        red = folder / "real/train/red"
        red.rename(folder / "red")
        red.mkdir()
        (folder / "away").mkdir()
        for number, file in enumerate(sorted((folder / "red").iterdir())):
            if number < 4:
                (red / file.name).symlink_to(file)
            else:
                file.rename(folder / "away" / file.name)
        (red / "z").symlink_to(folder / "away")  # a folder in the class
        (folder / "real/test").rename(folder / "held out")
        (folder / "real/test").symlink_to(folder / "held out")  # a split
        (folder / "real/train/green").rename(folder / "grün")
        (folder / "real/train/green").symlink_to(folder / "grün")  # a class
        (folder / "photos").symlink_to("real")  # all of it
        assert imagefolder(folder, path="photos", size=8).fingerprint() == before.fingerprint()

    def test_the_files_are_those_of_torchvision(self, folder):
        place = folder / "photos/train"
        (place / "red/deep/er").mkdir(parents=True)
        Image.new("L", (9, 9)).save(place / "red/deep/er/a.JPG", "JPEG")
        (place / "blue/link").symlink_to(place / "green")
        (place / "yellow").symlink_to(place / "red/deep")
        ours = module.class_files(place, module.folders_in(place))
        theirs = ImageFolder(place)
        assert module.folders_in(place) == theirs.classes
        assert sorted((str(f), label) for f, label in ours) == sorted(theirs.samples)

    @pytest.mark.parametrize("target", [".", ".."])
    def test_a_link_to_a_folder_above_is_refused(self, folder, target):
        (folder / "photos/train/red/loop").symlink_to(target)
        refused(folder, r"train/red/loop leads back to a folder that holds it")

    def test_a_link_to_itself_is_broken(self, folder):
        (folder / "photos/train/red/x.png").symlink_to("x.png")
        refused(folder, r"train/red/x\.png is a broken link")


class TestNames:
    @pytest.mark.parametrize(
        "name", ["日本語", "[ab]*", "a b", "ü%20{x}", "~me", "#1", "-r", "x.jpg"]
    )
    def test_of_paths_and_classes(self, tmp_path, name):
        for split in ("train", "test"):
            for number, label in enumerate((name, "zzz")):
                (tmp_path / name / split / label).mkdir(parents=True)
                for file in (f"{name}.png", "b.png"):
                    image = Image.new("L", (9, 9), 100 * number + 1)
                    image.save(tmp_path / name / split / label / file, "PNG")
        data = imagefolder(tmp_path, path=str(tmp_path / name), size=8)
        assert set(data.class_names) == {name, "zzz"}
        assert (data.test.images[:, 0, 0, 0] > 50).tolist() == [
            data.class_names[label] == "zzz" for label in data.test.labels
        ]

    @pytest.mark.parametrize("name", [b"a\nb", b"\xff", b"\x1b[31m"])
    def test_of_classes_that_cannot_be_printed(self, tmp_path, name):
        for split in ("train", "test"):
            for label in (name, b"b"):
                (tmp_path / "photos" / split / os.fsdecode(label)).mkdir(parents=True)
        refused(tmp_path, "the name of the class folder '.*' in .* cannot be printed: rename it")

    def test_of_files_that_cannot_be_printed(self, folder):
        (folder / "photos/train/red" / os.fsdecode(b"a\n\xff.png")).write_bytes(b"no image")
        refused(folder, r"cannot read \S+train/red/a .*png")


def test_an_empty_class_folder_is_named_with_its_split(folder):
    for split in ("train", "test"):
        (folder / "photos" / split / "yellow").mkdir()
    Image.new("L", (9, 9)).save(folder / "photos/train/yellow/0.png")
    refused(folder, r"photos/test holds no images of class 'yellow'")


def test_a_folder_that_may_not_be_read_is_named(folder, monkeypatch):
    scan = os.scandir

    def scandir(path):
        if str(path).endswith("green"):
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    refused(folder, r"cannot read the folder \S+train/green: Permission denied")


class TestCache:
    def swap(self, first, second):
        spare = first.with_name("spare")
        first.rename(spare)
        second.rename(first)
        spare.rename(second)

    def test_files_that_change_places_get_their_new_labels(self, folder):
        """Of two files of one size and time, whatever way they change places."""
        red, blue = (folder / f"photos/test/{name}/0.png" for name in ("red", "blue"))
        for value, file in ((10, red), (200, blue)):
            Image.new("L", (9, 9), value).save(file.with_suffix(".bmp"))
            file.unlink()
            os.utime(file.with_suffix(".bmp"), ns=(0, 0))
        red, blue = red.with_suffix(".bmp"), blue.with_suffix(".bmp")

        def label_of(value):
            test = imagefolder(folder, path="photos", size=8).test
            return test.labels[(test.images == value).flatten(1).all(1)].tolist()

        assert (label_of(10), label_of(200)) == ([2], [0])
        self.swap(red, blue)
        assert (label_of(10), label_of(200)) == ([0], [2])
        contents = red.read_bytes(), blue.read_bytes()
        for file, content in zip((blue, red), contents, strict=True):
            file.write_bytes(content)
            os.utime(file, ns=(0, 0))
        assert (label_of(10), label_of(200)) == ([2], [0])

    def test_folders_that_change_places(self, folder):
        first = imagefolder(folder, path="photos", size=8)
        self.swap(folder / "photos/test/red", folder / "photos/test/blue")
        second = imagefolder(folder, path="photos", size=8)
        assert not torch.equal(first.test.images, second.test.images)

    def test_a_copy_of_the_folder_is_not_decoded_again(self, folder, monkeypatch):
        first = imagefolder(folder, path="photos", size=8)
        shutil.copytree(folder / "photos", folder / "copy")
        monkeypatch.setattr(photographs, "read_rgb", lambda *_: 1 / 0)
        assert imagefolder(folder, path="copy", size=8).fingerprint() == first.fingerprint()


@pytest.mark.parametrize("seed", range(20))
def test_the_only_image_of_a_class_is_never_held_out(folder, seed):
    for file in sorted((folder / "photos/train/red").glob("*.png"))[1:]:
        file.unlink()
    data = imagefolder(folder, path="photos", size=8, validation=18, seed=seed)
    assert (len(data.train), len(data.validation)) == (3, 18)
    assert sorted(data.train.labels.tolist()) == [0, 1, 2]


def test_more_validation_images_than_leave_one_of_each_class(folder):
    refused(folder, "validation must be at most 27, not 28", validation=28)


def test_folders_of_plain_pictures_keep_their_fingerprint(tmp_path):
    """Computed before pictures with transparency, orientation or 16 bits were read rightly."""
    generator = np.random.default_rng(0)
    for split, count in (("train", 7), ("test", 3)):
        for name in ("a", "b"):
            for place in (tmp_path / split / name, tmp_path / split / name / "z/y"):
                place.mkdir(parents=True)
                for number in range(count):
                    shape = (12, 17, 3) if number % 2 else (12, 17)
                    pixels = generator.integers(0, 256, shape).astype(np.uint8)
                    Image.fromarray(pixels).save(place / f"{number}.png")
    data = imagefolder(tmp_path / "root", path=str(tmp_path), size=8)
    assert data.fingerprint() == "5ed3303f05a0e41a"
