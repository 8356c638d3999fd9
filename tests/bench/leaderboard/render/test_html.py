"""The HTML report: self-contained, escaped, and usable in a real browser."""

from __future__ import annotations

import dataclasses
import re

import pandas as pd
import pytest
from browser import Browser

from legible.bench.leaderboard.publication import make_publication
from legible.bench.leaderboard.render.html import metric_card, render_html

ENTER, ESCAPE, TAB = "\ue007", "\ue00c", "\ue004"


@pytest.fixture(scope="module")
def report(board, pictures):
    return render_html(make_publication(board, pictures))


@pytest.fixture(scope="module")
def page(report, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(report, encoding="utf-8")
    return path.as_uri()


@pytest.fixture(scope="module")
def browser():
    with Browser() as opened:
        yield opened


# ------------------------------------------------------------- the file


def test_the_report_is_the_same_twice(board, pictures, report):
    assert render_html(make_publication(board, pictures)) == report


def test_the_report_needs_nothing_from_outside(report):
    sources = re.findall(r'(?:src|href|action)\s*=\s*"([^"]{0,30})', report)
    assert sources
    assert all(source.startswith("data:image/") for source in sources)
    assert "default-src &#39;none&#39;" in report
    assert "@import" not in report
    assert "url(" not in report


def test_nothing_is_dropped(board, report):
    for row in board.rows:
        assert row.label in report
    assert "needs a dense | layer with &lt;b&gt;weights&lt;/b&gt;" in report
    assert "Concepts: exact masks of drawn characters" in report
    assert "Of 2 methods, 2 improve an aspect" in report
    assert "<pre>legible run quick &amp;&amp; legible publish quick</pre>" in report


def test_every_table_of_the_main_page_is_there(publication, report):
    captions = re.findall("<caption>(.*?)</caption>", report)
    titles = [table.title for section in publication.sections for table in section.tables]
    after = titles.index("Was the treatment delivered?") + 1
    assert captions == [*titles[:after], *["All metrics"] * 3, *titles[after:]]


def test_a_suite_of_accuracy_alone_has_a_sentence_and_a_table(board):
    task = board.scores[board.scores["metric"].isin(["accuracy", ""])]
    small = dataclasses.replace(board, scores=task, unmasked=["kanji"])
    text = render_html(make_publication(small))
    assert '<p class="summary">Of 3 methods, none improve an aspect, 2 worsen one (task: ' in text
    assert '<span class="layer">− plain</span>' in text
    assert "without semantics: kanji." in text


def test_a_metric_has_a_card(board):
    facts = dict(metric_card(board, "rank"))
    assert facts["note"] == "moves with the number of units"
    assert facts["range"] == "0 to 1" and facts["better"] == "neither"


@pytest.fixture(scope="module")
def hostile_report(hostile):
    return render_html(make_publication(hostile))


def test_hostile_text_is_escaped_everywhere(report, hostile_report):
    assert hostile_report.count("<script>") == report.count("<script>") == 1
    assert "<img src=x" not in hostile_report
    assert "{{ 7*7 }}" in hostile_report


# ------------------------------------------------------------- in the browser

NAMES = "return [...document.querySelectorAll('#overview-table tbody tr[data-row]')].map(r => r.firstElementChild.dataset.key.trim())"  # noqa: E501
SHOWN = "return [...document.querySelectorAll('{}')].filter(e => e.offsetParent !== null).length"


@pytest.mark.parametrize("width, dark", [(1280, False), (390, False), (390, True), (800, True)])
def test_it_loads_without_errors_and_fits(browser, page, width, dark):
    browser.open(page, width, 800, dark)
    assert browser.errors() == []
    assert browser.js("return document.documentElement.scrollWidth") <= width
    assert browser.js("return document.title") == "Synthetic <leaderboard>"
    light = browser.js("return getComputedStyle(document.body).backgroundColor")
    assert (light == "rgb(255, 255, 255)") != dark
    assert len(browser.screenshot()) > 5000


def test_colours_repeat_the_signs(browser, page):
    browser.open(page)
    look = "return [...document.querySelectorAll('#overview-table td.{}')].map(e => e.textContent.trim()[0])"  # noqa: E501
    assert set(browser.js(look.format("better"))) == {"▲"}
    assert set(browser.js(look.format("worse"))) == {"▼", "▽"}
    assert set(browser.js(look.format("small"))) == {"▽"}
    colour = (
        "return getComputedStyle(document.querySelector('#overview-table td.{}')).backgroundColor"
    )
    assert browser.js(colour.format("better")) != browser.js(colour.format("worse"))


def test_a_click_sorts_and_another_turns_the_order(browser, page):
    browser.open(page)
    head = "#overview-table thead th:nth-child(3) .sort"  # focus
    browser.click(head)
    up = browser.js(NAMES)
    browser.click(head)
    down = browser.js(NAMES)
    sync = "sync (reconstruction)"
    assert up[:4] == ["plain", "bean", sync, f"{sync} strength=2.0"]  # plain's difference is 0
    assert down[:4] == up[:4][::-1]
    assert up[4:] == ["atoms", "greedy", "untrained", "oracle"]  # groups stay apart
    state = "return document.querySelector('#overview-table thead th:nth-child(3)').ariaSort"
    assert browser.js(state) == "descending"
    assert browser.errors() == []


def test_the_keyboard_sorts_opens_and_closes(browser, page):
    browser.open(page)
    browser.js("document.querySelector('#overview-table .sort').focus()")
    browser.press(ENTER)
    names = browser.js(NAMES)[:4]
    assert names == sorted(names, key=str.lower)
    browser.js("document.querySelector('#overview-table .open').focus()")
    browser.press(ENTER)
    assert browser.js("return document.getElementById('detail').open")
    browser.press(ESCAPE)
    assert not browser.js("return document.getElementById('detail').open")
    assert browser.js("return document.activeElement.className") == "open"


def test_filters_hide_rows_blocks_and_columns(browser, page):
    browser.open(page)
    assert browser.js("return document.getElementById('count').textContent") == "8 shown"
    browser.js("document.getElementById('search').focus()")
    browser.press(*"sync")
    assert browser.js("return document.getElementById('count').textContent") == "2 shown"
    assert browser.js(SHOWN.format("#overview-table tbody tr")) == 2
    browser.open(page)
    browser.click("#apart")
    assert browser.js("return document.getElementById('count').textContent") == "4 shown"
    choose = "const s = document.getElementById('{}'); s.value = '{}'; s.dispatchEvent(new Event('input'))"  # noqa: E501
    browser.js(choose.format("block", "1"))
    assert browser.js(SHOWN.format("section.block")) == 1
    assert browser.js(SHOWN.format("#block1-1 thead th")) == 5  # method and four headlines
    browser.js(choose.format("aspect", ""))
    before = browser.js(SHOWN.format("#block1-1 thead th"))
    browser.js(choose.format("aspect", "focus"))
    assert browser.js(SHOWN.format("#block1-1 thead th")) == 3 < before
    assert browser.js(SHOWN.format("#overview-table thead th")) == 5
    assert browser.errors() == []


def test_a_method_opens_its_pictures_and_numbers(browser, page):
    browser.open(page)
    browser.click("#overview-table tbody tr:nth-child(4) .open")
    assert browser.js("return document.getElementById('detail-head').textContent") == (
        "sync (reconstruction) strength=2.0"
    )
    browser.open(page)
    browser.click("#overview-table tbody tr:nth-child(1) .open")  # plain
    loaded = "return [...document.querySelectorAll('#detail-body img')].filter(i => i.src).length"
    assert browser.js(loaded) == 3
    body = "return document.getElementById('detail-body').innerText"
    assert "0.501 ± 0.006" in browser.js(body)
    assert "instability" not in browser.js(body)  # no headline: folded away
    browser.click("#detail-body summary")
    assert "instability" in browser.js(body)
    browser.click("#close")
    assert browser.errors() == []


def test_two_methods_stand_side_by_side(browser, page):
    browser.open(page, 1280)
    left, right = browser.js(
        "return [...document.querySelectorAll('#pair > div')].map(d => d.getBoundingClientRect().x)"
    )
    assert left < right
    heads = "return [...document.querySelectorAll('#pair h3')].map(h => h.textContent.trim())"
    assert browser.js(heads) == ["plain", "bean"]
    assert browser.js(SHOWN.format("#pair img")) == 2
    browser.open(page, 390)
    xs = (
        "return [...document.querySelectorAll('#pair > div')].map(d => d.getBoundingClientRect().x)"
    )
    assert len(set(browser.js(xs))) == 1


def test_a_metric_s_card_shows_on_keyboard_focus_and_goes_on_escape(browser, page):
    browser.open(page)
    browser.js("document.querySelector('#block0-1 thead th:nth-child(2) .sort').focus()")
    browser.press(TAB)
    card = "const c = document.activeElement.closest('th').querySelector('.card'); return getComputedStyle(c).display + c.textContent"  # noqa: E501
    shown = browser.js(card)
    assert shown.startswith("block")
    assert "Spread of a unit's activation." in shown
    browser.press(ESCAPE)
    assert browser.js(card).startswith("none")


def test_reasons_stand_in_words_where_a_value_stands_apart(browser, page):
    """In the table they are footnotes; beside pictures there is no table."""
    browser.open(page)
    browser.click("#overview-table tbody tr:nth-child(2) .open")  # bean, skipped on one block
    body = browser.js("return document.getElementById('detail-body').innerText")
    assert "skipped: needs a dense | layer" in body


def test_a_row_of_thirty_fits_and_sorts(browser, board, tmp_path):
    """Twenty-three methods more, with long parameters, at phone width."""
    sync = board.scores[(board.scores["method"] == "sync") & (board.scores["params"] == "{}")]
    more = [
        sync.assign(params=f'{{"centre": "centroid", "neighbours": "global", "focus": {i / 100}}}')
        for i in range(1, 24)
    ]
    large = dataclasses.replace(board, scores=pd.concat([board.scores, *more]))
    path = tmp_path / "large.html"
    path.write_text(render_html(make_publication(large)), encoding="utf-8")
    browser.open(path.as_uri(), 390)
    assert browser.js("return document.documentElement.scrollWidth") <= 390
    assert browser.js(SHOWN.format("#overview-table tbody tr")) == 34  # with lines of groups
    browser.js("document.getElementById('search').focus()")
    browser.press(*"focus=0.17")
    assert browser.js(SHOWN.format("#overview-table tbody tr")) == 1
    assert browser.errors() == []


def test_hostile_text_runs_nothing(browser, hostile_report, tmp_path):
    path = tmp_path / "hostile.html"
    path.write_text(hostile_report, encoding="utf-8")
    browser.open(path.as_uri())
    browser.click("#overview-table .open")
    assert browser.js("return window.hit === undefined")
    assert (
        browser.js("return document.querySelectorAll('img:not([src^=\"data:image/\"])').length")
        == 0
    )
    assert browser.errors() == []
