"""The fingerprint of many files."""

import os

import pytest

from legible.bench.data import file_fingerprint
from legible.bench.data.file_fingerprint import FileFingerprint


@pytest.fixture
def files(tmp_path):
    for k in range(10):
        (tmp_path / f"{k}.jpg").write_bytes(bytes([k]) * 5)
    (tmp_path / "names.txt").write_text("names")
    return tmp_path


def fingerprint(place):
    return FileFingerprint(place, place.glob("*.jpg"), [place / "names.txt"])


def test_content_names_sizes_and_annotations_count(files):
    prints = [fingerprint(files).content]
    (files / "3.jpg").write_bytes(b"other")
    prints.append(fingerprint(files).content)
    (files / "3.jpg").rename(files / "x.jpg")
    prints.append(fingerprint(files).content)
    (files / "names.txt").write_text("nemas")
    prints.append(fingerprint(files).content)
    assert len(set(prints)) == 4


def test_it_is_the_same_in_another_place(files, tmp_path_factory):
    other = tmp_path_factory.mktemp("other") / "copy"
    before = fingerprint(files)
    os.utime(files / "1.jpg", ns=(0, 0))
    assert fingerprint(files).content == before.content
    assert fingerprint(files).here != before.here  # a cache here is not trusted any more
    files.rename(other)
    assert fingerprint(other).content == before.content


def test_of_many_files_a_sample_is_read(files, monkeypatch):
    """With a sample of 5, every second of 10 files; the size of the others counts."""
    monkeypatch.setattr(file_fingerprint, "SAMPLE", 5)
    before = fingerprint(files).content
    (files / "3.jpg").write_bytes(b"other")  # outside the sample, of the same size
    assert fingerprint(files).content == before
    (files / "3.jpg").write_bytes(b"longer")
    assert fingerprint(files).content != before
    (files / "3.jpg").write_bytes(b"other")
    (files / "4.jpg").write_bytes(b"other")
    assert fingerprint(files).content != before


def test_a_file_that_is_gone(files):
    with pytest.raises(ValueError, match=r"cannot read .*gone.jpg: No such file"):
        FileFingerprint(files, [files / "gone.jpg"], [])
