"""The listing of a publication: its files, their checksums, and damage to them."""

from __future__ import annotations

import codecs
import json
from pathlib import Path

import pytest

from legible.bench.errors import UserError
from legible.bench.execution.listing import (
    LISTING,
    Listing,
    earlier_pages,
    read_listing,
    refuse_edited,
    write_listed,
    write_publication_files,
)

FILES = {"README.md": b"# x\n", "scores.csv": b"a,b\n1,2\n", "figures/new.svg": b"<svg/>"}
SHOWN = {"figures/new.svg": {"kind": "units"}}


@pytest.fixture
def published(tmp_path: Path) -> Path:
    write_publication_files(tmp_path, Listing("Tiny", ["toy on vgg"], pictures=SHOWN), FILES)
    return tmp_path


def test_it_names_the_suite_and_all_files(published: Path) -> None:
    listing = read_listing(published)
    assert listing.title == "Tiny" and listing.blocks == ["toy on vgg"]
    assert listing.files.keys() == FILES.keys()
    assert all(len(checksum) == 32 for checksum in listing.files.values())
    assert listing.pictures == SHOWN


def test_the_next_publication_removes_pages_of_the_earlier_one_alone(published: Path) -> None:
    (published / "figures" / "mine.png").write_text("mine")
    write_publication_files(published, Listing("Tiny"), {"figures/b.svg": b"b"})
    names = {path.name for path in (published / "figures").iterdir()}
    assert names == {"b.svg", "mine.png"} and (published / "scores.csv").is_file()


def test_the_ledger_s_checksum_outlives_a_publication(published: Path) -> None:
    write_listed(published, {"ledger.csv": b"x,y\n"})
    assert read_listing(published).files.keys() == {*FILES, "ledger.csv"}
    write_publication_files(published, Listing("Tiny"), FILES)
    (published / "ledger.csv").write_bytes(b"x,z\n")
    with pytest.raises(UserError, match=r"ledger.csv is damaged or was edited"):
        refuse_edited(published / "ledger.csv")


@pytest.mark.parametrize("position", range(8))
def test_a_flipped_bit_is_refused(published: Path, position: int) -> None:
    data = bytearray(FILES["scores.csv"])
    data[position] ^= 1
    (published / "scores.csv").write_bytes(data)
    with pytest.raises(UserError, match=r"scores.csv is damaged or was edited"):
        refuse_edited(published / "scores.csv")


def test_a_damaged_figure_is_refused(published: Path) -> None:
    figure = published / "figures" / "new.svg"
    refuse_edited(figure, published)
    figure.write_bytes(b"<svg>>")
    with pytest.raises(UserError, match=r"new.svg is damaged or was edited"):
        refuse_edited(figure, published)


def test_pictures_outside_the_folder_are_no_pictures(published: Path) -> None:
    (published / LISTING).write_bytes(Listing(pictures={"../x.png": {}, **SHOWN}).to_bytes())
    assert read_listing(published).pictures == SHOWN


def test_line_ends_and_a_byte_order_mark_are_no_damage(published: Path) -> None:
    data = codecs.BOM_UTF8 + FILES["scores.csv"].replace(b"\n", b"\r\n")
    (published / "scores.csv").write_bytes(data)
    refuse_edited(published / "scores.csv")


def test_a_file_that_cannot_be_read_is_one_line(published: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read .*ledger.csv: No such file"):
        refuse_edited(published / "ledger.csv")


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"files": 1}', '{"files": {"a": 1}}', "[" * 9999]
)
def test_a_damaged_listing_lists_nothing(published: Path, text: str) -> None:
    (published / LISTING).write_text(text)
    assert read_listing(published) == Listing() and earlier_pages(published) == []
    refuse_edited(published / "scores.csv")


def test_a_listing_of_names_alone_has_no_checksums(tmp_path: Path) -> None:
    (tmp_path / LISTING).write_text(json.dumps({"files": ["figures/a.svg", "README.md"]}))
    assert earlier_pages(tmp_path) == ["figures/a.svg"]
    assert set(read_listing(tmp_path).files.values()) == {""}


def test_a_publication_without_a_listing_is_known_by_its_links(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("![x](figures/a-b.svg) [y](details/toy%20z.md). figures/")
    assert earlier_pages(tmp_path) == ["details/toy%20z.md", "figures/a-b.svg"]
