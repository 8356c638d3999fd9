"""Plugins in real runs: from a file, from a suite's list, and from an installed distribution."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from legible.bench.check.conformance import check, failed, render
from legible.bench.execution.progress import Event
from legible.bench.execution.store import Run, Store
from legible.bench.execution.worker import work_through
from legible.bench.execution.workspace import Workspace
from legible.bench.plugins import registry
from legible.bench.suites import run_spec, schema
from legible.metrics.base import METRICS

THIRD_PARTY = Path(__file__).parents[2] / "third_party"

METHOD = '''
from legible import Method, register

@register
class Small(Method):
    """Small activations.

    Equation: L = CE + s * mean a. Paper: none. Repository: none. Differences: none.
    """

    acts_on = "last"

    def penalty(self, step):
        return {"mean": self.strength * step.activations[self.taps[0]].mean()}
'''

METRIC = '''
import torch
from legible import metric

@metric(aspect="focus", better="higher", per="layer")
def loudness(layer, probe):
    """Mean activation."""
    return layer.pooled.mean()
'''

SUITE = """
title = "Tiny"
seeds = [0]
layers = ["last"]
probe = 16
plugins = {plugins}
methods = [{methods}]
recipe = {{epochs = 1, batch = 16}}

[[blocks]]
dataset = "{dataset}"
backbone = "{backbone}"
"""


def write_suite(folder: Path, methods: str, plugins: str, dataset: str, backbone: str) -> Path:
    path = folder / "tiny.toml"
    path.write_text(
        SUITE.format(methods=methods, plugins=plugins, dataset=dataset, backbone=backbone)
    )
    return path


def run_suite(path: Path, runs: Path, metrics: set[str]) -> dict[str, Run]:
    """Runs a suite file with a few metrics alone; the finished runs by method."""
    suite = schema.read_suite(path)
    registry.load(plugins=suite.plugins)
    for name in set(METRICS) - metrics:
        del METRICS[name]
    workspace = Workspace(Store(runs), root=runs)
    specs = run_spec.expand(suite)
    events: list[Event] = []
    work_through(workspace, specs, events.append)
    assert [e for e in events if e.kind in ("failed", "note")] == []
    return {spec.method: workspace.run_of(spec) for spec in specs}


def scored(run: Run, metric: str) -> list[dict]:
    (file,) = run.folder.glob("scores-*.json")
    return json.loads(file.read_text())["scores"][metric]["layers"]


def listed(run: Run) -> dict[str, tuple[str, str]]:
    """Origin and version of a run's plugins, by kind and name."""
    records = run.require_manifest().plugins
    return {f"{record.kind} {record.name}": (record.origin, record.version) for record in records}


class TestFiles:
    def test_named_by_a_suite_stand_relative_to_it(
        self, tmp_path: Path, toy_plugin: Path, kept_registry: None
    ) -> None:
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "small.py").write_text(METHOD)
        (tmp_path / "mine" / "loudness.py").write_text(METRIC)
        path = write_suite(
            tmp_path, '"plain", "small"', '["mine/small.py", "mine/loudness.py"]', "toy", "mlp"
        )
        runs = run_suite(path, tmp_path / "runs", {"accuracy", "loudness"})
        small = runs["small"]
        assert small.require_manifest().status == "done"
        assert len(scored(small, "loudness")) == 1

        plugins = listed(small)
        assert set(plugins) == {"method small", "metric loudness", "dataset toy"}
        origin, version = plugins["method small"]
        assert origin == str(tmp_path / "mine" / "small.py")
        assert version == small.require_manifest().identity["code"]["method"]
        assert (small.folder / "plugins" / "small.py").read_text() == METHOD
        assert (small.folder / "plugins" / "loudness.py").read_text() == METRIC
        assert set(listed(runs["plain"])) == {"metric loudness", "dataset toy"}

    def test_change_the_run_when_their_code_changes(
        self, tmp_path: Path, toy_plugin: Path, kept_registry: None
    ) -> None:
        file = tmp_path / "small.py"
        path = write_suite(tmp_path, '"small"', '["small.py"]', "toy", "mlp")
        names = []
        for text in (
            METHOD,
            METHOD.replace("Small activations", "Other words"),
            METHOD.replace(".mean()", ".abs().mean()"),
        ):
            file.write_text(text)
            suite = schema.read_suite(path)
            registry.load(plugins=suite.plugins)
            (spec,) = run_spec.expand(suite)
            names.append(Workspace(Store(tmp_path / "runs"), root=tmp_path).run_of(spec).name)
        assert names[0] == names[1]
        assert names[0] != names[2]

    def test_that_a_suite_names_but_are_not_there(self, tmp_path: Path) -> None:
        path = write_suite(tmp_path, '"plain"', '["nowhere.py"]', "toy", "mlp")
        with pytest.raises(registry.UserError, match=r"no plugin file .*nowhere\.py"):
            registry.load(plugins=schema.read_suite(path).plugins)


@pytest.fixture
def installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept_registry: None
) -> Iterator[Path]:
    """tests/third_party, installed by pip into a folder of its own, offline."""
    source, site = tmp_path / "source", tmp_path / "site"
    shutil.copytree(THIRD_PARTY, source)
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index",
         "--no-build-isolation", "--disable-pip-version-check", "--target", site, source],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    monkeypatch.syspath_prepend(site)
    importlib.invalidate_caches()
    yield site / "legible_swirl"
    for name in [name for name in sys.modules if name.partition(".")[0] == "legible_swirl"]:
        del sys.modules[name]


@pytest.mark.slow
def test_a_distribution_brings_methods_metrics_datasets_and_backbones(
    installed: Path, tmp_path: Path
) -> None:
    registry.load()
    assert registry.FAILED == {}
    for name in ("swirl", "steadiness", "stripes", "thin"):
        outcomes = check(name)
        assert not failed(outcomes), render(outcomes)

    path = write_suite(tmp_path, '"plain", "swirl"', "[]", "stripes", "thin")
    runs = run_suite(path, tmp_path / "runs", {"accuracy", "steadiness"})
    swirl = runs["swirl"]
    assert swirl.require_manifest().status == "done"
    assert "turning" in swirl.require_manifest().history[0]
    assert len(scored(swirl, "steadiness")[0]["values"]) == 4

    version = ("legible-swirl", "0.3.1")
    assert listed(swirl) == {
        "method swirl": version, "metric steadiness": version,
        "dataset stripes": version, "backbone thin": version,
    }  # fmt: skip
    sources = swirl.require_manifest().sources
    assert {"legible_swirl.swirl", "legible_swirl.maths", "legible_swirl.thin"} <= set(sources)
    kept = {file.name for file in (swirl.folder / "plugins").iterdir()}
    assert kept == {f"legible_swirl.{name}.py" for name in
                    ("swirl", "maths", "steadiness", "stripes", "thin")}  # fmt: skip


@pytest.mark.slow
def test_what_a_distribution_imports_of_its_own_is_part_of_the_run(
    installed: Path, tmp_path: Path
) -> None:
    path = write_suite(tmp_path, '"swirl"', "[]", "stripes", "thin")
    registry.load()
    (spec,) = run_spec.expand(schema.read_suite(path))
    store = Store(tmp_path / "runs")
    before = Workspace(store, root=tmp_path).run_of(spec).name
    maths = installed / "maths.py"
    maths.write_text(maths.read_text().replace("dims=1", "dims=-1"))
    assert Workspace(store, root=tmp_path).run_of(spec).name != before


PYTEST = """
import pytest
from legible import checks

@pytest.mark.parametrize("law", checks("small.py"), ids=str)
def test_small(law):
    law()
"""


@pytest.mark.slow
def test_a_third_party_checks_its_method_in_its_own_test_suite(tmp_path: Path) -> None:
    (tmp_path / "small.py").write_text(METHOD)
    (tmp_path / "wrong.py").write_text(METHOD.replace("self.strength * ", ""))
    (tmp_path / "test_small.py").write_text(PYTEST)
    told = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider",
         "--legible", "small.py", "--legible", "wrong.py", "-q", "-k",
         "strength or same_seed or claimed", "--rootdir", tmp_path, tmp_path],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    # strength 0, tiny strength, same seed, claimed modules: small by both ways, and wrong
    assert "1 failed, 7 passed, 4 skipped" in told.stdout, told.stdout + told.stderr
    assert "legible/wrong.py::method-wrong-strength_0_is_plain" in told.stdout
    assert "multiply all that is added by self.strength" in told.stdout


@pytest.mark.slow
def test_pytest_says_in_one_line_what_it_cannot_check(tmp_path: Path) -> None:
    told = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider",
         "--legible", "nowhere.py", "--rootdir", tmp_path, tmp_path],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert told.returncode == 4
    assert "ERROR: --legible nowhere.py: no plugin file" in told.stderr + told.stdout
