"""The listing of a publication: which files in a suite's results Legible wrote, with checksums.

It guards the numbers that are read from results: scores.csv and ledger.csv.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from legible.bench.errors import UserError, reason_of
from legible.bench.files import checksum, write_together

LISTING = "publication.json"
_OF_A_PUBLICATION = re.compile(r"(figures|details)/[^/\\\x00]+")


class Listing(NamedTuple):
    """What a publication says of itself: the suite's title, its blocks as ``dataset on backbone``,
    the checksum of each file (empty if it is not known), and what its pictures show."""

    title: str = ""
    blocks: Sequence[str] = ()
    files: Mapping[str, str] = {}
    pictures: Mapping[str, Mapping[str, Any]] = {}

    def to_bytes(self) -> bytes:
        """The content of the file."""
        value = self._asdict()
        return f"{json.dumps(value, indent=1, ensure_ascii=False, sort_keys=True)}\n".encode()


def read_listing(folder: Path) -> Listing:
    """The listing in a folder of results; an empty one if there is none that can be read."""
    try:
        value = json.loads((folder / LISTING).read_text(encoding="utf-8"))
        files = value["files"]
        checksums = files if isinstance(files, dict) else dict.fromkeys(files, "")
        about = {
            path: item for path, item in value.get("pictures", {}).items()
            if _OF_A_PUBLICATION.fullmatch(path)
        }  # fmt: skip
        listing = Listing(value.get("title", ""), value.get("blocks", []), checksums, about)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return Listing()
    texts = [listing.title, *listing.blocks, *listing.files, *listing.files.values()]
    return listing if all(isinstance(text, str) for text in texts) else Listing()


def earlier_pages(folder: Path) -> list[str]:
    """The pages and figures of the publication in a folder: what the next one removes. If no
    listing names them, they are those that the README links to."""
    names = [*read_listing(folder).files]
    if not names:
        try:
            text = (folder / "README.md").read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return []
        names = sorted(set(re.findall(r"(?:figures|details)/[\w.%-]+\w", text)))
    return [name for name in names if _OF_A_PUBLICATION.fullmatch(name)]


def write_listed(folder: Path, files: Mapping[str, bytes]) -> None:
    """Writes some files of a folder of results together with their checksums; the listing keeps
    what it says of others. Raises OSError."""

    def changes() -> dict[str, bytes | None]:
        old = read_listing(folder)
        checksums = {**old.files, **_checksums(files)}
        return {**files, LISTING: old._replace(files=checksums).to_bytes()}

    write_together(folder, changes)


def write_publication_files(folder: Path, listing: Listing, files: Mapping[str, bytes]) -> None:
    """Writes a whole publication in the place of an earlier one, with its listing, to which the
    checksums of all files are added.

    Pages and figures of the earlier publication are removed, other files stay. Raises OSError.
    """

    def changes() -> dict[str, bytes | None]:
        ledger = {"ledger.csv": read_listing(folder).files.get("ledger.csv", "")}
        checksums = {name: value for name, value in ledger.items() if value} | _checksums(files)
        removals = dict.fromkeys(earlier_pages(folder))
        return {**removals, **files, LISTING: listing._replace(files=checksums).to_bytes()}

    write_together(folder, changes)


def refuse_edited(path: Path, folder: Path | None = None) -> None:
    """Raises UserError if a file of results is not as it was written. A file whose checksum is not
    listed is not judged. ``folder`` is that of the listing, if it is not the file's own."""
    folder = folder or path.parent
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {reason_of(error)}") from error
    expected = read_listing(folder).files.get(str(path.relative_to(folder)))
    if expected and expected != _checksum(data):
        raise UserError(
            f"{path} is damaged or was edited: its checksum differs from that in {LISTING}"
        )


def _checksums(files: Mapping[str, bytes]) -> dict[str, str]:
    return {name: _checksum(data) for name, data in files.items()}


def _checksum(data: bytes) -> str:
    """A checksum that does not depend on line ends and a byte order mark, which editors change."""
    return checksum(data.removeprefix(codecs.BOM_UTF8).replace(b"\r\n", b"\n"))
