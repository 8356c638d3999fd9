"""A whole publication: complete, linked, and the same bytes twice."""

from __future__ import annotations

import dataclasses
import io
import json
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from legible.bench.leaderboard.documents import documents, picture_paths
from legible.bench.leaderboard.figures.drawing import as_webp, save
from legible.bench.leaderboard.figures.evidence import Picture
from legible.bench.leaderboard.figures.pictures import curves
from legible.bench.leaderboard.formats import as_csv, as_json
from legible.bench.scores.score_table import COLUMNS, check_rows, expand, tidy, write_scores


@pytest.fixture(scope="module")
def pictures(board):
    data = save(lambda: curves({"cross entropy": [2.0, 1.0]}), "png")
    return [Picture(board.blocks[0], row.key, "curves", row.label, data) for row in board.rows]


@pytest.fixture(scope="module")
def files(board, pictures):
    return documents(board, pictures)


def test_publishing_twice_gives_the_same_bytes(board, pictures, files):
    again = dataclasses.replace(board, scores=board.scores.sample(frac=1, random_state=1))
    assert documents(again, pictures) == files


def test_every_picture_is_linked_and_every_link_has_its_file(files):
    linked = set(re.findall(r"\]\((figures/[^)]+)\)", files["README.md"].decode()))
    assert linked == {name for name in files if name.startswith("figures/")}


def test_embedded_pictures_lose_nothing(pictures):
    before, after = (
        Image.open(io.BytesIO(data)).convert("RGB")
        for data in (pictures[0].data, as_webp(pictures[0].data))
    )
    assert before.tobytes() == after.tobytes()


def test_formats_are_chosen_and_unknown_ones_refused(board):
    assert {"scores.csv", "report.html"}.isdisjoint(documents(board, formats=["json"]))
    with pytest.raises(ValueError, match="no format 'pdf'"):
        documents(board, formats=["pdf"])


def test_file_names_are_plain_distinct_and_the_same_whatever_else_is_there(board):
    pictures = [
        Picture(block, row.key, kind, "", b"")
        for block in board.blocks for row in board.rows for kind in ("units", "curves")
    ]  # fmt: skip
    names = picture_paths(board, pictures)
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"figures/[a-z0-9-]+\.png", name) for name in names)
    assert "figures/kanji-vgg-sync-strength-2-0-units.png" in names
    assert picture_paths(board, pictures[4:6]) == names[4:6]


def test_variants_with_long_parameters_keep_files_of_their_own(board):
    """Names are cut; what was cut off is what tells these rows apart."""
    long = '{"a_parameter_with_a_long_name": 1, "another_one_with_a_name": 2, "last": %d}'
    sync = board.scores[(board.scores["method"] == "sync") & (board.scores["params"] == "{}")]
    many = dataclasses.replace(
        board, scores=pd.concat([sync.assign(params=long % i) for i in range(12)])
    )
    pictures = [Picture(many.blocks[0], row.key, kind, "", f"{row.params}{kind}".encode())
                for row in many.rows for kind in ("units", "curves")]  # fmt: skip
    names = picture_paths(many, pictures)
    assert len(set(names)) == 24
    assert all(len(name) < 120 for name in names)
    assert sum(name.endswith("-units.png") for name in names) == 12
    files = documents(many, pictures, [])
    assert {files[name] for name in names} == {picture.data for picture in pictures}


def test_csv_is_the_score_file(board, tmp_path):
    write_scores(board.scores, tmp_path / "scores.csv")
    assert as_csv(board).encode() == (tmp_path / "scores.csv").read_bytes()


def test_json_is_strict_and_follows_the_schema(board):
    def refuse(name):
        raise AssertionError(name)

    value = json.loads(as_json(board), parse_constant=refuse)
    rows = expand(value["scores"])
    check_rows(rows)
    pd.testing.assert_frame_equal(tidy(pd.DataFrame(rows, columns=COLUMNS)), board.table)
    assert value["leaderboard_version"] == 2
    assert value["schema_version"] == 1
    overall = {r["method"] + r["params"]: r["tier"] for r in value["ranks"] if r["of"] == "overall"}
    assert overall["bean{}"] == 0
    assert min(tier for tier in overall.values() if tier) == 1
    assert np.array(value["agreement"]["spearman"]).shape == (4, 4)
