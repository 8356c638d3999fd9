"""Two suite files that would publish to the same folder are told apart before anything runs."""

from __future__ import annotations

import json
from pathlib import Path

from legible.bench.errors import UserError, reason_of
from legible.bench.execution.store import Corrupt, read_json
from legible.bench.execution.writing import write_together

#: Which suite file belongs to each folder of results; lies in the folder of runs.
OWNERS = ".suites.json"


def claim_results(runs: Path, results: Path, file: Path) -> None:
    """Notes that a suite file publishes to a folder. Raises UserError if another one does that is
    still there."""
    path, folder = runs / OWNERS, str(results.resolve())
    try:
        value = read_json(path)
    except Corrupt:  # a note of no worth by itself: it is written again
        value = None
    owners: dict[str, str] = value if isinstance(value, dict) else {}
    other = owners.get(folder)
    if isinstance(other, str) and Path(other) != file.resolve() and Path(other).is_file():
        raise UserError(
            f"{file} and {other} would both publish to {results}: give one of them another "
            '`name = "..."`, or use another --results'
        )
    if other == str(file.resolve()):
        return
    text = json.dumps({**owners, folder: str(file.resolve())}, indent=1, sort_keys=True)
    try:
        write_together({path: text.encode()})
    except OSError as error:
        raise UserError(f"cannot write runs to {runs}: {reason_of(error)}") from error
