"""`make gpu`: its parts in tiny size on the CPU, what it says when time is over, and its page."""

from __future__ import annotations

import csv
import math
import subprocess
import sys
import time
import tomllib
from importlib.metadata import requires
from pathlib import Path

import pytest
import torch
from gpu_check import __main__ as gpu_check
from gpu_check import packages
from gpu_check.networks import trained_methods
from gpu_check.parts import large_layer, marked_tests, metrics_there, steps, workers
from gpu_check.parts.__main__ import PARTS
from gpu_check.record import Check, PartEnd, as_csv, as_page, read_lines, write_line
from gpu_check.setting import Setting, do_cases
from gpu_check.waiting import refuse_waiting
from metric_values import difference
from packaging.requirements import Requirement

from legible.metrics.base import METRICS

REHEARSAL = Setting("cpu", 1e6, rehearse=True)  # seconds since the tests were collected


def records_of(module) -> list[Check]:
    return list(do_cases(module.PART, module.cases(REHEARSAL), REHEARSAL))


def of(records: list[Check], case: str) -> dict[str, Check]:
    return {record.quantity: record for record in records if record.case == case}


# ----------------------------------------------------------------- the parts


def test_metrics_are_equal_on_the_same_device():
    records = records_of(metrics_there)
    apart = of(records, "accuracy")["largest difference"]
    assert (apart.verdict, apart.value, apart.reference) == ("ok", 0.0, 1e-4)
    assert {record.verdict for record in records} <= {"ok", "note", "skipped"}


def test_a_value_of_the_other_device_that_differs_is_bad_unless_declared(monkeypatch):
    pair = [metrics_there.only(METRICS["accuracy"], metrics_there.probe(REHEARSAL))] * 2
    monkeypatch.setattr(metrics_there, "difference", lambda *values: 2e-4)
    assert metrics_there.judge(METRICS["accuracy"], *pair) == ("bad", "")
    declared = {**METRICS["accuracy"].__dict__, "breaks": {"repeats": "ties"}}
    item = type(METRICS["accuracy"])(**declared)
    assert metrics_there.judge(item, *pair) == ("note", "ties")


def test_differences_are_relative_for_large_values_and_infinite_for_other_undefined_ones():
    item = METRICS["accuracy"]
    array = torch.tensor([1.0, 200.0, math.nan]).numpy()
    assert difference(item, array, array) == 0
    assert difference(item, array * [1, 1.01, 1], array) == pytest.approx(0.01)
    assert difference(item, array * [1.5, 1, 1], array) == pytest.approx(0.5)
    assert difference(item, array, array * [1, math.nan, 1]) == math.inf
    assert difference(item, array[:2], array) == math.inf


def test_steps_are_compared_with_plain():
    records = records_of(steps)
    assert len(trained_methods()) > 20
    for name in trained_methods():
        own = of(records, name)
        assert own["no step waits"].verdict == "ok", own["no step waits"].text
        assert own["step, ms"].value > 0 < own["step, ms"].reference
    memory = of(records, "plain")["peak memory, MiB"]
    assert memory.value == memory.reference > 0


def test_a_step_that_reads_a_number_waits():
    one = torch.ones(1)
    with pytest.raises(RuntimeError, match="'item' makes the host wait"), refuse_waiting("cpu"):
        one.item()
    assert one.item() == 1


@pytest.mark.parametrize("make", [lambda: torch.eye(2), lambda: torch.tensor(1.0)])
def test_a_step_that_makes_a_tensor_on_the_host_waits(make):
    with pytest.raises(RuntimeError, match="makes the host wait"), refuse_waiting("cpu"):
        make()
    with refuse_waiting("cpu"):
        torch.eye(2, device="cpu")


def test_runs_an_hour_of_several_workers():
    records = records_of(workers)
    rates = [of(records, name)["runs an hour"] for name in ("1 worker", "2 workers")]
    assert all(rate.text == "4 runs" and rate.value > 0 for rate in rates)
    assert rates[1].reference == rates[0].value


def test_runs_an_hour_are_those_of_workers_that_are_never_idle():
    assert workers.runs_an_hour([10.0, 30.0], 4) == 4 * 3600 / 20
    assert math.isnan(workers.runs_an_hour([], 8))


def test_workers_stop_when_their_time_is_over():
    watch = workers.Watch("cpu", deadline=-1.0)
    with pytest.raises(workers.TimeOver):
        watch(workers.Event("start", "x"))
    (rate, *_) = workers.measure(REHEARSAL, workers.mixed_runs(REHEARSAL), 1, False, 0.0, [])
    assert rate.text == "0 runs; stopped when its time was over" and math.isnan(rate.value)


def test_a_large_layer_is_compared_with_the_forward_pass():
    records = records_of(large_layer)
    (pass_, *scores) = records
    assert pass_.text == "activations 40 x 8 x 8 x 8"
    assert all(score.reference == 2 * pass_.value for score in scores if score.value > 0)
    assert len(scores) == 2


def test_tests_that_need_a_gpu_are_those_with_the_mark():
    names = {path.name for path in marked_tests.marked_files()}
    assert names == {"test_laws.py", "test_loop.py"}


# ----------------------------------------------------------------- the whole


def test_a_part_runs_in_a_process_of_its_own():
    end, records = gpu_check.run_part("tests", "cpu", True, 120.0)
    assert (end.reason, end.cut) == ("", ())
    assert len(records) == 7 and {record.verdict for record in records} == {"ok"}


def test_a_part_that_does_not_end_is_killed_with_all_that_it_started():
    process = subprocess.Popen(
        ["sh", "-c", "sleep 100 & echo $!; wait"], start_new_session=True, stdout=subprocess.PIPE
    )
    child = int(process.stdout.readline())
    reason = gpu_check._wait(process, time.monotonic() + 0.1)
    process.stdout.close()
    assert reason == "stopped when its time was over" and process.returncode == -9
    deadline = time.monotonic() + 10
    while running(child) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not running(child)


def running(pid: int) -> bool:
    """Whether a process is alive; one that nobody waited for is not."""
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] not in "ZX"


def test_the_error_of_a_case_is_its_record_and_time_ends_the_others():
    def broken():
        raise ValueError("no")

    fine = lambda: [Check("p", "fine", "x", "ok")]  # noqa: E731
    records = list(do_cases("p", {"broken": broken, "fine": fine}, REHEARSAL))
    assert [(r.case, r.verdict, r.text) for r in records] == [
        ("broken", "bad", "ValueError: no"), ("fine", "ok", ""),
    ]  # fmt: skip
    assert list(do_cases("p", {"fine": fine}, Setting("cpu", 0.0))) == []


def test_cases_without_a_record_are_cut(tmp_path):
    file = tmp_path / "records"
    write_line(file, ["test_a.py", "b", "c"])
    write_line(file, Check("p", "test_a.py::test_x", "test", "ok"))
    write_line(file, Check("p", "b", "x", "note", math.nan))
    with file.open("a") as out:
        out.write('{"part": "p", "ca')
    cases, records = read_lines(file)
    assert gpu_check.cut_cases(cases, records) == ("c",)
    assert [record.case for record in records] == ["test_a.py::test_x", "b"]


def test_the_times_of_the_parts_fit_into_six_minutes():
    assert set(gpu_check.BUDGETS) | {gpu_check.LAST} == set(PARTS)
    assert sum(gpu_check.BUDGETS.values()) == 270 and gpu_check.WHOLE == 360
    assert gpu_check.seconds_of("tests", 0.0, False) == 60
    assert gpu_check.seconds_of("tests", 0.0, False, 180.0) == 30
    assert gpu_check.seconds_of("large layer", 310.0, False) == 50
    assert gpu_check.seconds_of("throughput", 100.0, False) == 260


def test_the_page_names_what_was_cut_and_shows_failures_first():
    records = [Check("a", "m", "x", "ok", 1.0, 2.0), Check("a", "n", "x", "bad", text="in | two")]
    ends = [PartEnd("a", 60.0, 12.3, ("o",)), PartEnd("b", 60.0, 61.0, (), "stopped")]
    lines = as_page({"GPU": "none"}, ends, records, "make gpu").splitlines()
    assert "| a | 12 of 60 s | 1 | 1 | 0 | 0 | cut: o |" in lines
    assert "| b | 61 of 60 s | 0 | 0 | 0 | 0 | stopped |" in lines
    assert lines.index("| a | n | x |  |  | bad | in \\| two |") < lines.index(
        "| a | m | x | 1 | 2 | ok |  |"
    )
    first, second = csv.DictReader(as_csv(records).splitlines())
    assert (first["value"], second["value"], second["text"]) == ("1.0", "", "in | two")


# ----------------------------------------------------------------- before it starts


def test_missing_packages_are_listed_and_nothing_is_installed():
    has = {"torch", "torchvision", "numpy"}.__contains__
    names = packages.missing(has=has)
    assert "numpy" not in names and {"captum", "pydantic-core", "kanjivg"} <= set(names)
    assert "pip install --target gpu_packages" in packages.advice(names)
    assert packages.advice(["captum", "torch"]) == (
        "this interpreter has no torch: use one that has it (PYTHON=)"
    )
    assert packages.missing() == []


def test_the_list_of_packages_holds_all_that_legible_needs():
    project = tomllib.loads((gpu_check.ROOT / "pyproject.toml").read_text())["project"]
    needed: set[str] = set()
    waiting = [*project["dependencies"], "pytest", "hypothesis"]
    while waiting:
        item = Requirement(waiting.pop())
        name = item.name.lower().replace("_", "-")
        applies = item.marker is None or item.marker.evaluate({"extra": ""})
        if name not in (*needed, *packages.BUILT_FOR_THE_CARD) and applies:
            needed.add(name)
            waiting += requires(name) or ()
    assert sorted(needed - set(packages.CARRIED)) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--device", "cpu"], "a CPU can only rehearse: add ARGS=--rehearse"),
        (["--rehearse"], "a rehearsal runs on a CPU: add DEVICE=cpu"),
        (["--device", "cpu", "--rehearse", "--out", str(gpu_check.RESULTS)], "never written"),
    ],
)
def test_what_cannot_start_says_so_in_one_line(capsys, words, message):
    assert gpu_check.main(words) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not gpu_check.RESULTS.exists() or gpu_check.RESULTS.is_dir()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_nothing_is_written(capsys):
    assert gpu_check.main([]) == 2
    assert "torch sees no GPU here" in capsys.readouterr().err


def test_packages_are_looked_for_by_any_interpreter(tmp_path):
    """The list must come before anything that is not in the standard library is imported."""
    support = Path(packages.__file__).parents[1]
    result = subprocess.run(
        [sys.executable, "-S", "-E", "-c",
         f"import sys; sys.path.insert(0, {str(support)!r}); sys.argv = ['x', '--device', 'cpu', "
         "'--rehearse']; from gpu_check.__main__ import main; sys.exit(main())"],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 2
    assert "no torch and no torchvision" in result.stderr
