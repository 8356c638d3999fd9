"""The leaderboard as Markdown, against golden files and piece by piece."""

from __future__ import annotations

import re
from dataclasses import replace

import pandas as pd
import pytest

from legible.bench.leaderboard.board import Board
from legible.bench.leaderboard.publication import make_publication
from legible.bench.leaderboard.render.markdown import (
    code_block,
    escape,
    grid,
    render_page,
    render_readme,
)
from legible.bench.leaderboard.tables.attribution_algorithms import AUDIT
from legible.bench.scores.collect import BY_ALGORITHM
from legible.bench.scores.score_table import read_scores, scores_text


def readme(board):
    return render_readme(make_publication(board))


def pages(board):
    publication = make_publication(board)
    return [render_page(publication, page) for page in publication.pages]


def lines_of_tables(text):
    return [line for line in text.splitlines() if line.startswith("|")]


def test_the_leaderboard_is_as_it_was(publication, golden):
    golden("leaderboard.md", render_readme(publication))
    golden("leaderboard-block.md", render_page(publication, publication.pages[1]))


def test_row_order_and_a_trip_through_the_file_change_nothing(board, publication, tmp_path):
    (tmp_path / "scores.csv").write_text(scores_text(board.scores))
    shuffled = read_scores(tmp_path / "scores.csv").sample(frac=1, random_state=0)
    assert readme(replace(board, scores=shuffled)) == render_readme(publication)


def test_nothing_is_dropped(board, publication):
    text = render_readme(publication)
    for row in board.rows:
        assert escape(row.label) in text
        assert any(escape(row.label) in page for page in pages(board))
    assert "skipped: needs a dense &#124; layer with &lt;b&gt;weights" in text
    assert "failed: step 7" in text


def test_the_sentence_and_the_table_of_verdicts_stand_first(publication):
    head, _, rest = render_readme(publication).partition("\n## ")
    title, sentence, basis, table = head.split("\n\n")[:4]
    assert basis.startswith("On kanji · vgg, ")
    assert title.startswith("# Synthetic") and sentence.startswith("**Of 2 methods, 2 improve")
    assert table.startswith("| method | [accuracy][accuracy]<br><sub>− plain</sub> |")
    assert "| **▲ +0.031 ± 0.002** |" in table and "\n- ▲ better · ▼ worse" in head
    assert rest.startswith("Further comparisons") and "Concepts: exact masks" in rest


def test_the_tuned_table_is_a_detail(tuned):
    text = readme(tuned)
    _, _, rest = text.partition("## Tuned settings, at a cost of at most 1 point of accuracy")
    rows = [x for x in lines_of_tables(rest.partition("\n## ")[0]) if "| strength=1.0 |" in x]
    assert rows[0].startswith("| sync (reconstruction) ") and "| 6 |" in rows[0]
    assert "[iou]: " in text


def test_undecided_table_cells_name_the_seeds_below(three_seeds):
    text = readme(three_seeds)
    assert "**All 3 methods are undecided" in text
    assert re.search(r"\| \? \+0\.049 ± 0\.006<sup>t</sup><br><sub>8 seeds</sub> \|", text)
    assert "| detectable difference | ± 0." in text


def test_groups_of_rows_follow_a_line_that_names_them(publication):
    lines = lines_of_tables(render_page(publication, publication.pages[0]))
    names = ("| *training-free rows*", "| *controls*", "| *null rows*")
    heads = [line for line in lines if line.startswith(names)]
    assert len(heads) == 3 * len(publication.pages[0].tables)


def test_every_link_to_a_metric_has_its_definition(publication):
    for text, docs in [
        (render_readme(publication), "../../docs/metrics.md"),
        *(
            (render_page(publication, page), "../../../docs/metrics.md")
            for page in publication.pages
        ),
    ]:
        used = set(re.findall(r"\]\[(\w+)\]", text))
        defined = set(re.findall(rf"(?m)^\[(\w+)\]: {re.escape(docs)}#\1$", text))
        assert used == defined


def test_an_unregistered_metric_is_shown_all_the_same(board):
    text = pages(replace(board, metrics={}))[0]
    assert "[dispersion][dispersion]" in text
    assert "\n[dispersion]: ../../../docs/metrics.md#dispersion\n" in text


def test_algorithms_stand_below_the_aspect_of_attributions(board):
    block = board.blocks[0]
    rows = [(*block, "plain", "{}", 0, "saliency", AUDIT, 0.0),
            (*block, "plain", "{}", 0, "saliency", "relevance_mass", float("nan")),
            (*block, "plain", "{}", 0, "gradcam", AUDIT, 1.0),
            (*block, "plain", "{}", 0, "gradcam", "relevance_mass", 0.5)]  # fmt: skip
    mass = board.scores[board.scores["metric"] == "accuracy"]
    mass = mass.assign(metric="relevance_mass", aspect="attribution")
    explained = replace(
        board,
        scores=pd.concat([board.scores, mass]),
        algorithms=pd.DataFrame(rows, columns=list(BY_ALGORITHM)),
    )
    text = pages(explained)[0]
    assert text.index("## Attribution") < text.index("By algorithm: relevance mass")
    assert "| plain | ✗ 1/1 | 0.500 |" in text


def test_markup_in_texts_stays_text(hostile, publication):
    text = readme(replace(hostile, command=""))  # a code block shows its text as it is
    assert "<img" not in text and "<script" not in text
    assert "](x:y)" not in text.replace("\\", "")
    before = [line.count("|") for line in lines_of_tables(render_readme(publication))]
    after = [line.count("|") for line in lines_of_tables(text)]
    assert [n for n in after if n not in before] == []


def test_variants_of_one_method_are_rows_of_their_own(board):
    rest = board.scores[board.scores["method"].isin(["plain", "untrained"])]
    sync = board.scores[(board.scores["method"] == "sync") & (board.scores["params"] == "{}")]
    params = '{{"centre": "centroid", "neighbours": "global", "focus": 0.{:02d}}}'
    more = [sync.assign(params=params.format(i)) for i in range(30)]
    text = readme(replace(board, scores=pd.concat([rest, *more])))
    head = text.split("\n## ")[0]
    assert len([line for line in head.splitlines() if "focus=0." in line]) == 30
    for i in range(30):
        assert f"<sub>centre=centroid, neighbours=global, focus={i / 100}</sub>" in text
    assert len(text) < 120_000


def test_a_board_needs_only_scores(board):
    assert "(details/kanji-vgg.md)" in readme(Board(board.scores))


HOSTILE = [
    "a|b", "<script>alert(1)</script>", "`x`", "line\nbreak", "**bold** _it_", "[a](http://b)",
    "![a](javascript:b)", "x\u202ey", "$\\alpha$", "&lt;", "www.evil.example", "# head", "\x00",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_escaped_text_has_no_live_markup(text):
    out = escape(text)
    assert not set(out) & set("|<>`*[]$\n\u202e\x00")
    assert "://" not in out
    assert "www." not in out


def test_a_code_block_cannot_be_left():
    assert code_block("a\n```\nb").startswith("````sh\n")


def test_a_grid_has_its_first_column_on_the_left():
    assert grid(["a", "b"], [["1", "2"]], ["---:"]) == "| a | b |\n|:---|---:|\n| 1 | 2 |"
