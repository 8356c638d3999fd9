"""The costs of runs on disk, and estimates of larger suites."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tiny_suites import specs_of, toy_suite, work

from legible.bench.cards.scale import (
    BlockCost,
    GpuCost,
    RunCost,
    as_page,
    by_block,
    estimate,
    gpu_seconds,
    imagenet_runs,
    main,
    read_costs,
    read_gpu,
    suite_rows,
    wall_hours,
)
from legible.bench.execution.workspace import Workspace
from legible.bench.plugins import registry
from legible.bench.suites.run_spec import RunSpec, expand
from legible.bench.suites.schema import find_suite, read_suite

KANJI = BlockCost(("kanji", "vgg", "a core"), ("kanji", "vgg"), 5, 20.0, 3.0, 800 * 10, 600)
GPU = GpuCost({"plain": 0.005, "sync": 0.01}, 8.0, 3000.0)


@pytest.fixture
def quick() -> list[RunSpec]:
    registry.load()
    return expand(read_suite(find_suite("quick")))


def test_medians_are_those_of_runs_of_one_length() -> None:
    cost = RunCost(("kanji", "vgg", "a core"), ("kanji", "vgg"), 10.0, 1.0, 8000, 600)
    runs = [
        cost,
        replace(cost, training=30.0),
        replace(cost, training=20.0),
        replace(cost, passes=9),
    ]
    short, block = sorted(by_block(runs), key=lambda block: block.passes)
    assert (short.runs, block.runs, block.training, block.scoring) == (1, 3, 20.0, 1.0)
    assert block.rate == 400
    label = "coco(path=a_folder_of_photographs,class_concept=animal)"
    long = replace(cost, block=(label, "vgg", "a core"), kinds=("coco", "vgg"))
    other = replace(long, block=(label.replace("animal", "plant"), "vgg", "a core"))
    assert [block.runs for block in by_block([long, other])] == [1, 1]
    assert "| coco | vgg | a core | 1 | 10.0 |" in as_page(by_block([long]), "x", [], 1.0)


def test_a_run_is_estimated_from_the_longest_training_of_its_kind(quick: list[RunSpec]) -> None:
    spec = next(spec for spec in quick if spec.method == "plain")
    assert (spec.data["train"], spec.recipe.epochs, spec.probe) == (800, 12, 600)
    slow = replace(KANJI, training=999.0, passes=10)
    assert estimate(spec, [slow, KANJI]) == pytest.approx(24.0 + 3.0)
    longer = replace(spec, data={**spec.data, "train": 1600}, probe=1200)
    assert estimate(longer, [KANJI]) == pytest.approx(48.0 + 6.0)
    assert estimate(replace(spec, method="untrained"), [KANJI]) == pytest.approx(3.0)
    assert estimate(replace(spec, dataset="shapes"), [KANJI]) is None


def test_more_workers_than_runs_wait_for_the_longest_run() -> None:
    assert wall_hours([3600.0] * 16, 8) == 2
    assert wall_hours([3600.0, 7200.0], 64) == 2
    assert suite_rows("x", [3600.0] * 16, 2.5)[1] == ["x", "16", "8", "2.0", "16", "40"]


def test_an_imagenet_sized_suite_at_a_rate() -> None:
    runs = imagenet_runs(1_281_167.0)
    assert (len(runs), runs[0]) == (12 * 8 + 24, 90.0)


def test_a_run_on_a_gpu_is_its_steps_and_the_scoring_of_a_run_of_quick(
    quick: list[RunSpec],
) -> None:
    trained = [spec for spec in quick if registry.get("methods", spec.method).trains]
    assert sum(gpu_seconds(trained, GPU)) / len(trained) == pytest.approx(8.0)
    plain, sync = (next(s for s in quick if s.method == name) for name in ("plain", "sync"))
    steps = 800 / 32 * 12
    first, second = gpu_seconds([plain, sync], GPU)
    assert second - first == pytest.approx(steps * 0.005)
    (untrained,) = gpu_seconds([replace(plain, method="untrained")], GPU)
    assert first - untrained == pytest.approx(steps * 0.005)


def test_the_table_of_the_gpu_check_is_read(tmp_path: Path) -> None:
    gpu = read_gpu(Path(__file__).parents[3] / "results" / "gpu" / "checks.csv")
    assert gpu is not None and {"plain", "sync", "bean"} <= set(gpu.step)
    assert 0 < gpu.step["plain"] < 1 < gpu.quick_run < 1000 < gpu.forward
    assert read_gpu(tmp_path / "none.csv") is None
    table = tmp_path / "checks.csv"
    table.write_text('part,case,quantity,value\nmethods,plain,"step, ms",4\n')
    assert read_gpu(table) is None


def test_the_page_labels_estimates(quick: list[RunSpec]) -> None:
    page = as_page([KANJI], "quick", quick, 3.0, note="On one core.")
    head, estimates = page.split("## Estimates")
    assert "| kanji | vgg | a core | 5 | 20.0 | 3.0 | 600 | 400 |" in head
    assert "of its probe. On one core.\n" in head
    assert "Nothing in this table was measured." in estimates and "GPU" not in estimates
    seconds = [estimate(spec, [KANJI]) for spec in quick]
    hours = sum(value for value in seconds if value) / 3600
    row = f"| quick, as measured above | {len(quick)} | 1 | {hours:.1f} | {hours:.0f} |"
    assert row in page
    none = as_page([replace(KANJI, kinds=("x", "vgg"))], "quick", quick, 3.0, GPU)
    assert f"Of `quick`, {len(quick)} runs have no measured block and are left out." in none
    hours = sum(gpu_seconds(quick, GPU)) / 3600
    assert f"| quick, GPUs | {len(quick)} | 1 | {hours:.1f} |" in none
    assert "| ImageNet-sized, GPUs | 120 | 64 | 60.1 |" in none


def test_costs_are_read_from_the_records_of_runs(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = workspace.store.root
    assert main([str(root)]) == 1
    assert "no finished run" in capsys.readouterr().err
    specs = specs_of(tmp_path, toy_suite('"plain", "untrained"', [0, 1], epochs=2))
    work(workspace, specs)
    costs = read_costs(root)
    assert len(costs) == 2  # those that were trained
    manifest = workspace.run_of(specs[0]).require_manifest()
    assert sum(manifest.seconds) in [cost.training for cost in costs]
    out = tmp_path / "scale.md"
    assert main([str(root), "--suite", "quick", "--out", str(out)]) == 0
    assert "| toy | vgg(width=4,stages=2) |" in out.read_text()
    gone = manifest.model_copy(update={"spec": {**manifest.spec, "method": "no_such_method"}})
    workspace.run_of(specs[0]).finish(gone)
    assert len(read_costs(root)) == 1
