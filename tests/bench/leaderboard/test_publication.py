"""The content of a publication: sections, pages, paths, and where the concepts come from."""

from __future__ import annotations

import re
from dataclasses import replace

import pandas as pd
import pytest

from legible.bench.leaderboard.board import Board
from legible.bench.leaderboard.figures.network_pictures import Picture
from legible.bench.leaderboard.publication import (
    block_pages,
    concept_source,
    make_publication,
    picture_paths,
)
from legible.bench.scores.score_table import KEY
from legible.bench.suites.run_spec import RowKey


def test_sections_stand_in_reading_order_and_empty_ones_are_left_out(publication, tuned):
    titles = [section.title for section in publication.sections]
    assert titles == [
        "Verdicts", "Further comparisons", "Aspects by block", "Targets", "Cost", "Correlations",
        "Skipped, failed and missing runs", "How this was made",
    ]  # fmt: skip
    tuned_titles = [section.title for section in make_publication(tuned).sections]
    assert tuned_titles[3] == "Tuned settings, at a cost of at most 1 point of accuracy"


def test_a_board_of_failures_alone_has_only_the_section_of_missing_runs(board):
    failures = board.scores[board.scores["metric"] == ""]
    publication = make_publication(Board(failures))
    assert [section.title for section in publication.sections] == [
        "Skipped, failed and missing runs"
    ]
    assert not publication.conclusions


def test_missing_runs_are_named_above_everything(board, publication):
    assert publication.partial == ""
    last = (board.scores["method"] == "bean") & (board.scores["seed"] == 8)
    gap = board.scores[last & (board.scores["metric"] == "accuracy")]
    gap = gap.assign(metric="", aspect="", status="missing", reason="not run yet", value=None)
    both = pd.concat([board.scores[~last], gap.astype(board.scores.dtypes)])
    text = make_publication(replace(board, scores=both)).partial
    assert text.endswith("Missing: bean on kanji · vgg: seed 8; bean on shapes · vgg: seed 8.")
    assert make_publication(replace(board, left_out=["icnn: all seeds"])).partial.endswith(
        "Missing: icnn: all seeds."
    )


def test_a_page_shows_every_metric_of_its_block(board, publication):
    for page in publication.pages:
        table = board.of_block(board.table, page.block)
        table = table[table["value"].notna()]
        places = {(column.metric, column.layer) for item in page.tables for column in item.columns}
        assert places >= set(zip(table["metric"], table["layer"], strict=True))


def test_paths_of_pages_are_plain_and_distinct(board):
    twins = pd.concat([board.scores, board.scores.assign(dataset="kanji(size=28")])
    both = replace(board, scores=twins.drop_duplicates(["dataset", *KEY[1:]]))
    paths = [page.path for page in block_pages(both)]
    assert len(set(paths)) == len(paths) == 5
    assert all(re.fullmatch(r"details/[a-z0-9-]+\.md", path) for path in paths)


def test_paths_of_pictures_are_plain_distinct_and_independent_of_other_pictures(board):
    pictures = [
        Picture(block, row.key, kind, "", b"")
        for block in board.blocks for row in board.rows for kind in ("units", "curves")
    ]  # fmt: skip
    paths = picture_paths(board, pictures)
    assert len(set(paths)) == len(paths)
    assert all(re.fullmatch(r"figures/[a-z0-9-]+\.png", path) for path in paths)
    assert "figures/kanji-vgg-sync-strength-2-0-units.png" in paths
    assert picture_paths(board, pictures[4:6]) == paths[4:6]


def test_rows_whose_long_parameters_differ_at_the_end_have_distinct_paths(board):
    """File names are cut, and what is cut off is what distinguishes these rows."""
    long = '{"a_parameter_with_a_long_name": 1, "another_one_with_a_name": 2, "last": %d}'
    sync = board.scores[(board.scores["method"] == "sync") & (board.scores["params"] == "{}")]
    many = replace(board, scores=pd.concat([sync.assign(params=long % i) for i in range(12)]))
    pictures = [Picture(many.blocks[0], row.key, kind, "", b"")
                for row in many.rows for kind in ("units", "curves")]  # fmt: skip
    paths = picture_paths(many, pictures)
    assert len(set(paths)) == 24
    assert all(len(path) < 120 for path in paths)
    assert sum(path.endswith("-units.png") for path in paths) == 12


def test_a_picture_of_an_unknown_row_is_refused(board):
    picture = Picture(board.blocks[0], RowKey("nobody", "{}"), "units", "", b"")
    with pytest.raises(ValueError, match="no row in the table"):
        picture_paths(board, [picture])


def test_the_source_of_the_concepts_is_named(board):
    assert "no photographs with concept masks" in concept_source(board)
    photographs = replace(board, photographs=["shapes"])
    assert "masks on photographs (shapes), and exact masks" in concept_source(photographs)
    some = replace(board, unmasked=["shapes"])
    assert "Datasets without masks, and so without semantics: shapes." in concept_source(some)
    none = replace(board, unmasked=sorted({b.dataset for b in board.blocks}))
    assert "no dataset of this suite has concept masks" in concept_source(none)
    assert "exact masks" not in concept_source(none)
    notes = replace(board, data_notes={"shapes": ["1 concept is a point", "licence: none"]})
    assert concept_source(notes).endswith(" Of shapes: 1 concept is a point; licence: none.")
