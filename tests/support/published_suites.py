"""A tiny suite whose scores are published, and a stranger who has none of its runs."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from tiny_suites import toy_suite, write_suite

from legible.bench.execution import schedule
from legible.bench.execution.published import (
    PublishedTable,
    published_folder,
    read_published,
)
from legible.bench.execution.store import Store
from legible.bench.execution.workspace import Workspace
from legible.bench.leaderboard.publish import store_files
from legible.bench.scores.suite_numbers import gather_numbers
from legible.bench.suites.run_spec import RunSpec, expand
from legible.bench.suites.schema import Suite, read_suite

#: The hash at the end of run names, as earlier code made it.
EARLIER = "0123456789ab"


def publish_tables(
    workspace: Workspace, suite: Suite, specs: list[RunSpec], results: Path
) -> list[str]:
    """Writes the tables of a publication without pages; returns what was said."""
    said: list[str] = []
    numbers = gather_numbers(workspace, suite, specs, results, say=said.append)
    folder = results / suite.name
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in store_files(numbers.scores, numbers, suite.version).items():
        (folder / name).write_bytes(data)
    return said


def aged(table: PublishedTable, method: str) -> PublishedTable:
    """The table as if earlier code had made the runs of a method."""
    names = {
        run: run[:-12] + EARLIER if table.places[run].row.method == method else run
        for run in table.runs
    }
    runs = {names[run]: replace(record, run=names[run]) for run, record in table.runs.items()}
    rows = {names[run]: rows for run, rows in table.rows.items()}
    return replace(table, runs=runs, rows=rows)


def make_published(root: Path, methods: str = '"plain", "bean", "untrained"') -> None:
    """Trains the suite below ``root`` and publishes its tables."""
    text = toy_suite(methods, [0, 1], aspects='"task", "semantics", "consistency"')
    suite = read_suite(write_suite(root, text))
    workspace, specs = Workspace(Store(root / "made")), expand(suite)
    schedule.run_all(workspace, specs, 1, [])
    publish_tables(workspace, suite, specs, root / "results")


class Published:
    """The suite, its published tables in ``folder``, the workspace ``made`` that they come from,
    and an empty workspace of a stranger."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.suite = read_suite(root / "tiny.toml")
        self.specs = expand(self.suite)
        self.made = Workspace(Store(root / "made"))
        self.results = root / "results"
        self.folder = self.results / "tiny"
        self.workspace = Workspace(Store(root / "runs"))
        self.open()

    def open(self) -> None:
        """Reads the tables as the stranger's commands do."""
        folder = published_folder(self.results, self.suite.name)
        self.workspace.published = read_published(folder)

    def edit(self, file: str, pattern: str, text: str) -> None:
        """Replaces the first match of a pattern in a file."""
        path = self.folder / file
        before = path.read_text()
        after = re.sub(pattern, text, before, count=1)
        assert after != before
        path.write_text(after)

    @property
    def runs(self) -> list[str]:
        """Names of the runs that the stranger's workspace holds."""
        return sorted(
            path.parent.name for path in self.workspace.store.root.glob("*/manifest.json")
        )
