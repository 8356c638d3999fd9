"""`make speed`: comparisons, the page, and what is written."""

from __future__ import annotations

import time
from dataclasses import asdict

import pytest
import torch
from speed import __main__ as speed
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
    assert speed.main(["--out", str(out)]) == 0
    assert "| x | y | 1 s | 2 s | 2 (2 to 2) |  |  |" in out.read_text()
    assert "- load before it started: 0.0" in out.read_text()
    monkeypatch.setattr(speed, "command", lambda file, only: ["false"])
    assert speed.main(["--out", str(out)]) == 1
    assert "the benchmarks failed" in capsys.readouterr().err
