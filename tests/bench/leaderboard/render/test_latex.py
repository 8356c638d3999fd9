"""The tables in LaTeX: balanced, complete, and every text escaped."""

from __future__ import annotations

import re

import pytest

from legible.bench.leaderboard.publication import make_publication
from legible.bench.leaderboard.render.latex import escape, render_latex


@pytest.fixture(scope="module")
def text(publication):
    return render_latex(publication)


def check_balance(text):
    code = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    code = code.replace(r"\{", "").replace(r"\}", "").replace(r"\&", "").replace(r"\%", "")
    depth = 0
    for character in code:
        depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0
    assert depth == 0
    assert code.count("$") % 2 == 0
    for name in ("table", "tabular"):
        assert code.count(rf"\begin{{{name}}}") == code.count(rf"\end{{{name}}}") > 0
    assert code.isascii() or not re.findall(r"[±−▲▼△▽≈∅↑↓·–—÷]", code)


def test_environments_braces_and_mathematics_are_balanced(text, hostile):
    check_balance(text)
    check_balance(render_latex(make_publication(hostile)))


def test_every_line_of_a_table_has_its_columns(text):
    for alignment, body in re.findall(r"\\begin{tabular}{(\w+)}(.*?)\\end{tabular}", text, re.S):
        lines = [line for line in body.splitlines() if line.endswith(r" \\")]
        assert len(lines) > 2
        assert {len(re.findall(r"(?<!\\)&", line)) + 1 for line in lines} == {len(alignment)}


def test_it_holds_the_verdicts_the_contrasts_and_a_table_for_each_aspect(text, publication, tuned):
    captions = re.findall(r"\\caption{(.*)}", text)
    tables = [*publication.contrasts.tables, *publication.aspects.tables]
    assert captions == ["Verdicts", *(escape(t.title) for t in tables)]
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == len(captions)
    assert r"% Needs \usepackage{booktabs}" in text
    assert r"at most 1 point of accuracy" in render_latex(make_publication(tuned))


def test_values_differences_marks_and_footnotes(text):
    assert r"\textbf{$\blacktriangle$ +0.101 $\pm$ 0.002}\textsuperscript{t}" in text
    assert r"{\footnotesize $\blacktriangle$ $-$0.10" in text
    assert r"{\footnotesize dispersion, turned}" in text
    assert r"sync (reconstruction) (strength=2.0)" in text
    assert r"{\footnotesize $\varnothing$18/144}" in text
    assert r"\textsuperscript{1} replaces a norm" in text
    assert r"\emph{null rows}" in text


@pytest.mark.parametrize(
    ("plain", "latex"),
    [
        ("a_b & 5%", r"a\_b \& 5\%"),
        (r"\input{x}", r"\textbackslash{}input\{x\}"),
        ("x^2 ~ #1 $y$", r"x\textasciicircum{}2 \textasciitilde{} \#1 \$y\$"),
        ("[1] − 2", "{[}1{]} $-$ 2"),
        ("line\nbreak", "line break"),
    ],
)
def test_text_is_escaped(plain, latex):
    assert escape(plain) == latex
