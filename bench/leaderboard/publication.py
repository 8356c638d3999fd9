"""The content of a publication: all tables, sentences and figures, in sections, without markup."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from legible.bench.leaderboard import conclusions
from legible.bench.leaderboard.board import Board
from legible.bench.leaderboard.conclusions import Sentence
from legible.bench.leaderboard.figures.network_pictures import Picture
from legible.bench.leaderboard.figures.table_figures import TableFigure, available_figures
from legible.bench.leaderboard.tables import cost
from legible.bench.leaderboard.tables.aspects import aspect_tables
from legible.bench.leaderboard.tables.attribution_algorithms import algorithms_table
from legible.bench.leaderboard.tables.block_details import aspect_details, layer_details
from legible.bench.leaderboard.tables.correlations import agreement_table
from legible.bench.leaderboard.tables.cost import cost_tables
from legible.bench.leaderboard.tables.deliveries import deliveries_table
from legible.bench.leaderboard.tables.descriptions import descriptions_table
from legible.bench.leaderboard.tables.differences import READING
from legible.bench.leaderboard.tables.missing_runs import missing_runs_table
from legible.bench.leaderboard.tables.named_contrasts import contrasts_table
from legible.bench.leaderboard.tables.overview import overview_table
from legible.bench.leaderboard.tables.provenance import provenance_table
from legible.bench.leaderboard.tables.table import Table
from legible.bench.leaderboard.tables.tuned_settings import (
    tuned_reading,
    tuned_tables,
    tuned_title,
)
from legible.bench.leaderboard.verdicts import Standings
from legible.bench.suites.run_spec import Block
from legible.bench.text import plain_letters, settings

PARTIAL = "Some runs have not been made; the numbers will change with them. Missing: "


@dataclass(frozen=True)
class Section:
    """A titled part of a publication. ``text`` holds paragraphs that say how to read its tables."""

    title: str
    tables: tuple[Table, ...] = ()
    text: tuple[str, ...] = ()
    sentences: tuple[Sentence, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.tables or self.sentences)


@dataclass(frozen=True)
class BlockPage:
    """Everything about one block. ``path`` is its page below the README's folder."""

    block: Block
    path: str
    aspects: Mapping[str, Table]
    algorithms: Table | None
    layers: tuple[Table, ...]

    @property
    def tables(self) -> list[Table]:
        """All tables; that of the attribution algorithms follows the aspect that it belongs to."""
        tables = []
        for aspect, table in self.aspects.items():
            tables.append(table)
            if aspect == "attribution" and self.algorithms:
                tables.append(self.algorithms)
        return [*tables, *self.layers]


@dataclass(frozen=True, eq=False)
class Publication:
    """A leaderboard as data, for the renderers to lay out. Empty sections are false.

    ``partial`` says which runs are missing ("" if none); ``summary`` is the sentence above the
    table of verdicts and ``basis`` what the table rests on; ``concepts`` says where concept masks
    come from.
    """

    board: Board
    standings: Standings
    partial: str
    summary: str
    basis: str
    concepts: str
    overview: Section
    contrasts: Section
    conclusions: Section
    aspects: Section
    tuned: Section
    deliveries: Section
    pages: tuple[BlockPage, ...]
    cost: Section
    correlations: Section
    missing: Section
    provenance: Section
    figures: tuple[TableFigure, ...]
    pictures: Mapping[str, Picture]

    @property
    def sections(self) -> list[Section]:
        """All sections of the main page that have tables, in reading order."""
        sections = (
            self.overview, self.contrasts, self.aspects, self.tuned, self.deliveries, self.cost,
            self.correlations, self.missing, self.provenance,
        )  # fmt: skip
        return [section for section in sections if section.tables]


def make_publication(board: Board, pictures: Sequence[Picture] = ()) -> Publication:
    """Derives every table and sentence of a leaderboard, each once.

    Raises ValueError for a picture of a row that the board does not have.
    """
    standings, ledger = Standings(board), board.ledger
    missing = [*conclusions.unfinished(board), *board.left_out]
    return Publication(
        board,
        standings,
        PARTIAL + "; ".join(missing) + "." if missing else "",
        conclusions.summary(standings),
        conclusions.basis(standings),
        concept_source(board),
        _section("Verdicts", [overview_table(standings)]),
        _section(
            "Further comparisons", [contrasts_table(standings), descriptions_table(standings)]
        ),
        Section("Remarks", (), (), tuple(conclusions.conclude(standings))),
        _section("Aspects by block", aspect_tables(standings), READING),
        Section(tuned_title(ledger), tuple(tuned_tables(board)), (tuned_reading(ledger),))
        if ledger else Section(""),
        _section("Targets", [deliveries_table(standings)]),
        block_pages(board),
        _section("Cost", cost_tables(board), cost.READING),
        _section("Correlations", [agreement_table(standings)]),
        _section("Skipped, failed and missing runs", [missing_runs_table(board)]),
        _section("How this was made", [provenance_table(board)]),
        tuple(available_figures(standings)),
        dict(zip(picture_paths(board, pictures), pictures, strict=True)),
    )  # fmt: skip


def _section(title: str, tables: Sequence[Table | None], *text: str) -> Section:
    return Section(title, tuple(table for table in tables if table is not None), text)


def block_pages(board: Board) -> tuple[BlockPage, ...]:
    """The pages of all blocks. Blocks whose names look alike in a path get a number."""
    pages: list[BlockPage] = []
    names: list[str] = []
    for block in board.blocks:
        names.append(plain_letters(board.block_title(block))[:80])
        count = names.count(names[-1])
        path = f"details/{names[-1]}{f'-{count}' if count > 1 else ''}.md"
        tables = aspect_details(board, block)
        algorithms, layers = algorithms_table(board, block), tuple(layer_details(board, block))
        pages.append(BlockPage(block, path, tables, algorithms, layers))
    return tuple(pages)


def picture_paths(board: Board, pictures: Sequence[Picture]) -> list[str]:
    """The file of each picture below the README's folder, in plain letters.

    Names are cut where parameters are long; equal names get a number. Raises ValueError for a
    picture of a row that the board does not have.
    """
    rows = {row.key: row for row in board.rows}
    paths: list[str] = []
    for picture in pictures:
        if picture.row not in rows:
            raise ValueError(f"a picture of {picture.row}, which has no row in the table")
        row = rows[picture.row]
        name = plain_letters(
            "-".join([board.block_title(picture.block), row.method, settings(row.params)])
        )[:90]
        ending = {"image/png": "png", "image/svg+xml": "svg"}[picture.mime]
        candidates = (f"figures/{name}{count}-{picture.kind}.{ending}"
                      for count in ["", *range(2, 1000)])  # fmt: skip
        paths.append(next(path for path in candidates if path not in paths))
    return paths


def concept_source(board: Board) -> str:
    """Where concept masks come from: photographs, drawings, or nowhere."""
    datasets = sorted({block.dataset for block in board.blocks})
    photographs = [name for name in datasets if name in board.photographs]
    unmasked = [name for name in datasets if name in board.unmasked]
    if datasets and len(unmasked) == len(datasets):
        return (
            "Concepts: no dataset of this suite has concept masks, so it is not measured whether a "
            "unit stands for a concept."
        )
    text = (
        "Concepts: exact masks of drawn characters and synthetic scenes. This suite has no "
        "photographs with concept masks, so its results about units and concepts may not hold for "
        "natural images."
    )
    if photographs:
        drawn = set(datasets) - set(photographs) - set(unmasked)
        beside = ", and exact masks of drawn or generated images" if drawn else ""
        text = f"Concepts: masks on photographs ({', '.join(photographs)}){beside}."
    if unmasked:
        text += f" Datasets without masks, and so without semantics: {', '.join(unmasked)}."
    for name in datasets:
        if notes := board.data_notes.get(name):
            text += f" Of {name}: {'; '.join(notes)}."
    return text
