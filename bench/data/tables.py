"""Reading of the text tables that come with datasets of photographs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from legible.bench.data.image_files import shown_path


def table_rows(file: Path, columns: int, separator: str | None = None) -> Iterator[list[str]]:
    """Yields the fields of each line that is not empty; the last field holds the rest of the line.

    Raises ValueError with the number of the first line that has fewer fields.
    """
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise ValueError(f"cannot read {shown_path(file)}: {error.strerror}") from error
    for number, line in enumerate(lines, 1):
        fields = line.split(separator, columns - 1)
        if not line.strip():
            continue
        if len(fields) < columns:
            raise ValueError(
                f"{shown_path(file)}, line {number}: there are {len(fields)} fields, not {columns}"
            )
        yield fields
