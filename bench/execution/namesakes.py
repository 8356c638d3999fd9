"""Two suites that would publish to the same folder are told apart before anything runs."""

from __future__ import annotations

import errno
import json
from collections.abc import Sequence
from pathlib import Path

from legible.bench.errors import UserError, reason_of
from legible.bench.execution.listing import LISTING, read_listing
from legible.bench.execution.store import Corrupt, read_json
from legible.bench.files import settle, write_together

#: Which suite file belongs to each folder of results; lies in the folder of runs.
OWNERS = ".suites.json"


def claim_results(
    runs: Path, results: Path, file: Path, title: str = "", blocks: Sequence[str] = ()
) -> None:
    """Notes that a suite file publishes to a folder, and completes a publication there that was
    interrupted.

    Raises UserError if another suite file does that is still there, and if what is published there
    has another title or no block in common, unless this very file published there before.
    """
    try:
        settle(results)
        settle(results / "submissions")
    except OSError as error:
        raise UserError(
            f"cannot complete the interrupted publication in {results}: {error.filename}: "
            f"{reason_of(error)}"
        ) from error
    own = str(file.resolve())
    owner = _owners(runs).get(str(results.resolve()))
    if owner == own:
        return
    if isinstance(owner, str) and Path(owner).is_file():
        raise UserError(
            f"{file} and {owner} would both publish to {results}: give one of them another "
            '`name = "..."`, or use another --results'
        )
    _refuse_other_publication(results, file, title, blocks)

    def changes() -> dict[str, bytes | None]:
        owners = {**_owners(runs), str(results.resolve()): own}
        return {OWNERS: json.dumps(owners, indent=1, sort_keys=True).encode()}

    try:
        write_together(runs, changes)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):  # reading is enough
            raise UserError(f"cannot write {runs / OWNERS}: {reason_of(error)}") from error


def _owners(runs: Path) -> dict[str, object]:
    """The suite file of each folder of results; empty where the note is damaged: it is written
    again."""
    try:
        value = read_json(runs / OWNERS)
    except Corrupt:
        return {}
    return value if isinstance(value, dict) else {}


def _refuse_other_publication(results: Path, file: Path, title: str, blocks: Sequence[str]) -> None:
    """Raises UserError if the publication in a folder is of another suite, as its title or blocks
    tell."""
    listing = read_listing(results)
    if not listing.title or not title:
        return
    if listing.title == title and (not listing.blocks or set(listing.blocks) & set(blocks)):
        return
    what = f"the suite '{listing.title}'" if listing.title != title else "a suite of other blocks"
    raise UserError(
        f'{results} holds {what}, not {file}: give this suite another `name = "..."`, use another '
        f"--results, or delete {results / LISTING} to publish over it"
    )
