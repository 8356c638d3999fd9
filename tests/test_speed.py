"""`make speed`: comparisons, the page, and what is written."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from speed import __main__ as speed
from speed import growth, large_probe, reruns
from speed.comparison import Comparison, compare_with, floating_point_operations, peak_rate
from speed.page import as_page, duration, table


def sleeper(seconds: float):
    return lambda: time.sleep(seconds)


def test_the_ratio_is_the_peers_time_over_ours():
    comparison = compare_with("x", "y", sleeper(0.01), sleeper(0.05), rounds=3)
    assert comparison.ours_seconds >= 0.01 and comparison.peer_seconds >= 0.05
    assert comparison.ratio > 1 and comparison.low <= comparison.ratio <= comparison.high
    assert comparison.floor == 0


def test_without_its_peer_ours_is_timed_alone():
    comparison = compare_with("x", "y", sleeper(0.01), None, 2, "the package y is not installed")
    assert (comparison.ratio, comparison.peer_seconds) == (0, 0)
    assert comparison.ours_seconds >= 0.01


def test_operations_are_those_of_matrix_products():
    first, second = torch.ones(10, 20), torch.ones(20, 30, requires_grad=True)
    assert floating_point_operations(lambda: first @ second) == 2 * 10 * 20 * 30
    backward = lambda: (first @ second).sum().backward()  # noqa: E731
    assert floating_point_operations(backward) == 2 * 2 * 10 * 20 * 30
    assert peak_rate(1) > 1e8


def test_the_page_has_the_hardware_the_floor_and_the_missing_peers():
    rows = [
        Comparison("an epoch", "a loop", 0.5, 1.25, 2.5, 2.0, 3.0, floor=0.25),
        Comparison("sorting", "a loop", 2e-5, 1e-4, 5.0, 4.9, 5.1),
        Comparison("an epoch", "Lightning", 0.5, missing="the package lightning is not installed"),
    ]
    page = as_page(rows, {"processor": "a core"})
    assert "- processor: a core" in page and "written by `make speed`" in page
    assert "| an epoch | a loop | 500 ms | 1.25 s | 2.5 (2 to 3) | 250 ms | 2 |" in page
    assert "| sorting | a loop | 20 µs | 100 µs | 5 (4.9 to 5.1) |  |  |" in page
    assert (
        "- an epoch, against Lightning: the package lightning is not installed. Ours takes 500 ms."
        in page
    )
    assert table(rows).count("\n") == 4


@pytest.mark.parametrize(("seconds", "text"), [(123.4, "123 s"), (0.0123, "12.3 ms")])
def test_durations_are_easy_to_read(seconds, text):
    assert duration(seconds) == text


def test_a_page_of_a_busy_machine_is_not_written(tmp_path, monkeypatch, capsys):
    """Runs real benchmarks, those of BEAN, and reads pytest-benchmark's report."""
    out = tmp_path / "performance.md"
    monkeypatch.setattr(speed.os, "getloadavg", lambda: (7.0, 7.0, 7.0))
    assert speed.main(["--out", str(out), "--only", "bean and pairs"]) == 1
    printed = capsys.readouterr()
    assert "| BEAN's penalty of order 1, 400 units, 128 images | all pairs" in printed.out
    assert "is not written, because other programs were running (load 7.0" in printed.err
    assert not out.exists()


def test_a_page_is_written_on_an_idle_machine(tmp_path, monkeypatch, capsys):
    out = tmp_path / "performance.md"
    row = Comparison("x", "y", 1.0, 2.0, 2.0, 2.0, 2.0)
    report = {"benchmarks": [{"extra_info": {"comparison": asdict(row)}}, {"extra_info": {}}]}
    assert speed.read_comparisons(report) == [row]
    monkeypatch.setattr(speed.os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    monkeypatch.setattr(speed, "read_comparisons", lambda report: [row])
    monkeypatch.setattr(speed, "command", lambda file, only: ["sh", "-c", f"echo '{{}}' > {file}"])
    monkeypatch.setattr(speed, "growth_section", lambda: "\n## How cost grows\n")
    assert speed.main(["--out", str(out)]) == 0
    assert "| x | y | 1 s | 2 s | 2 (2 to 2) |  |  |" in out.read_text()
    assert "- load before it started: 0.0" in out.read_text()
    assert out.read_text().endswith("## How cost grows\n")
    monkeypatch.setattr(speed, "command", lambda file, only: ["false"])
    assert speed.main(["--out", str(out)]) == 1
    assert "the benchmarks failed" in capsys.readouterr().err


def test_growth_is_an_exponent_for_each_aspect_and_size(monkeypatch):
    monkeypatch.setattr(growth, "LEAST", 0.0)
    base = {"images": 40, "units": 8, "classes": 2, "concepts": 3}
    section = growth.growth_section(base, (1, 2))
    assert "40 images, 8 units, 2 classes and 3 concepts" in section
    rows = [line.split(" | ") for line in section.splitlines() if line.startswith("| ")]
    assert {len(row) for row in rows} == {6}
    assert {"| semantics", "| focus", "| structure"} <= {row[0] for row in rows}


def test_a_power_law_has_its_exponent(monkeypatch):
    cost = lambda images, units, classes, concepts: {"x": images * units**2.0}  # noqa: E731
    monkeypatch.setattr(growth, "seconds_by_aspect", cost)
    assert "| x | 8192000.00 | 1.0 | 2.0 | 0.0 | 0.0 |" in growth.growth_section()


def test_large_layers_are_measured_metric_by_metric(tmp_path, capsys):
    out, threads = tmp_path / "page.md", torch.get_num_threads()
    large_probe.main(["--layers", "layer4", "--images", "12", "--concepts", "2", "--threads", "1",
                      "--metrics", "focus_compactness,concept_auc", "--out", str(out)])  # fmt: skip
    torch.set_num_threads(threads)
    assert "focus_compactness" in capsys.readouterr().out
    page = out.read_text()
    assert "12 images" in page and "| all " in page and "| focus_compactness " in page
    assert "Not measured yet" not in page and page.count("| concept_auc ") == 1


@pytest.mark.slow
def test_how_often_metrics_run_the_network_is_counted(tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- reruns -->\nold\n<!-- /reruns -->\nafter\n")
    reruns.main(["--metrics", "pruned_accuracy,own_unit_share,concept_purity", "--out", str(page)])
    text = page.read_text()
    rows = [line for line in text.splitlines() if line.startswith("| ")][1:]
    assert [row.split()[1] for row in rows] == ["pruned_accuracy", "own_unit_share"]
    published = (Path(__file__).parents[1] / "docs" / "scoring.md").read_text()
    assert rows[0].split() in [line.split() for line in published.splitlines()]
    assert "old" not in text and text.startswith("before") and text.endswith("after\n")
    assert {"pruning_area", "relevance_mass", "lesion_importance"} <= set(
        reruns.metrics_that_rerun()
    )
