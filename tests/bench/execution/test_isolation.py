"""Hostile and clumsy plugins: each fails by itself, and no other row's number changes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
import torch
from hostile_plugins import HostilePlugin, hostile_plugins, method
from tiny_suites import TOY_PLUGIN, toy_suite, write_suite

from legible.bench.errors import UserError
from legible.bench.execution.schedule import attempt
from legible.bench.execution.store import Store
from legible.bench.execution.workspace import Workspace, probe_key
from legible.bench.leaderboard.publish import write_publication
from legible.bench.plugins import registry
from legible.bench.plugins.limits import RunLimits
from legible.bench.suites.run_spec import RunSpec, expand
from legible.bench.suites.schema import read_suite

#: All plugins are tried if this is set; otherwise every fourth.
ALL = bool(os.environ.get("LEGIBLE_TORTURE"))
PLUGINS = hostile_plugins() if ALL else hostile_plugins()[::4]
BUILT_IN = ("plain", "dropout")
#: Of a run that hangs or eats memory; the built-in runs take a fraction of it.
TIGHT = RunLimits(seconds=30.0 if ALL else 12.0, memory=2.5 * 2.0**30)


def of_kind(*kinds: str, slow: bool = False) -> list[HostilePlugin]:
    """The plugins that are loaded, of some kinds."""
    return [
        plugin
        for plugin in PLUGINS
        if plugin.kind in kinds and plugin.slow == slow and plugin.outcome != "refused"
    ]


def batches(plugins: Sequence[HostilePlugin], size: int) -> list[list[HostilePlugin]]:
    """Groups of plugins that are tried in one suite."""
    return [list(plugins[start : start + size]) for start in range(0, len(plugins), size)]


def names_of(batch: Sequence[HostilePlugin]) -> str:
    """The id of a test."""
    return f"{batch[0].name}-and-{len(batch) - 1}-more"


Numbers = dict[str, dict[str, list[tuple[str, bytes]]]]


@dataclass
class Trial:
    """A suite that was run and published: what it gave."""

    workspace: Workspace
    specs: list[RunSpec]
    failed: list[str]
    table: pd.DataFrame

    def numbers(self) -> Numbers:
        """The scores of built-in metrics on the built-in rows of the toy block, bit for bit."""
        return {
            spec.method: {
                name: [(score.layer, score.values.tobytes()) for score in entry.layers]
                for name, entry in self.scores(spec).items()
                if registry.plugin_of("metrics", name) is None
            }
            for spec in self.built_in()
        }

    def weights(self) -> list[dict[str, torch.Tensor]]:
        """The weights of the built-in rows."""
        return [self.workspace.run_of(spec).weights("cpu") for spec in self.built_in()]

    def built_in(self) -> list[RunSpec]:
        """The run specs without plugins, but for the toy dataset."""
        return [spec for spec in self.specs if spec.method in BUILT_IN
                and (spec.dataset, spec.backbone) == ("toy", "vgg")]  # fmt: skip

    def scores(self, spec: RunSpec):
        """The scores of a run by metric."""
        return self.workspace.run_of(spec).scores(probe_key(self.workspace, spec))

    def reasons(self, column: str, name: str) -> list[tuple[str, str]]:
        """Status and reason of all rows of scores.csv that have a name in a column."""
        names = self.table[column].str.replace(r"[(].*", "", regex=True)
        rows = self.table[(names == name) & (self.table["method"] != "oracle")]
        return list(zip(rows["status"], rows["reason"], strict=True))


def attempted(
    folder: Path, plugins: Sequence[HostilePlugin], limits: RunLimits | None = None, jobs: int = 1
) -> Trial:
    """Runs and publishes a suite: the plugins first, then the built-in rows."""
    files = []
    for plugin in plugins:
        files.append(folder / f"{plugin.name}.py")
        files[-1].write_text(plugin.text)
    methods = [plugin.name for plugin in plugins if plugin.kind == "method"]
    text = toy_suite(
        ", ".join(f'"{name}"' for name in [*methods, *BUILT_IN]),
        aspects='"task", "class specificity"',
    )
    for plugin in plugins:
        if plugin.kind in ("dataset", "backbone"):
            place = {"dataset": "toy", "backbone": "mlp"} | {plugin.kind: plugin.name}
            lines = [f'{kind} = "{name}"' for kind, name in place.items()]
            text += "\n[[blocks]]\n" + "\n".join([*lines, 'methods = ["plain"]'])
    registry.load(plugins=[TOY_PLUGIN, *files])
    suite = read_suite(write_suite(folder, text))
    workspace = Workspace(Store(folder / "runs"), limits=limits or RunLimits())
    specs = expand(suite)
    failed = attempt(workspace, specs, jobs, [TOY_PLUGIN, *files])
    page = write_publication(
        workspace, suite, specs, folder / "results", cost=False, command="", with_pictures=ALL,
        say=lambda line: None,
    )  # fmt: skip
    table = pd.read_csv(page.with_name("scores.csv"), dtype=str, keep_default_na=False)
    return Trial(workspace, specs, failed, table)


@pytest.fixture
def only_these(kept_registry: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The registry forgets the plugins, and constructors that hang are ended soon."""
    monkeypatch.setattr(registry, "BRIEF", RunLimits(seconds=6.0))
    yield


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory, toy_plugin: Path) -> Trial:
    return attempted(tmp_path_factory.mktemp("clean"), [])


def check_others(trial: Trial, clean: Trial) -> None:
    """The built-in rows are done, with the numbers and weights of a run without plugins."""
    assert trial.numbers() == clean.numbers()
    assert all(len(scores) > 3 for scores in trial.numbers().values())
    for ours, theirs in zip(trial.weights(), clean.weights(), strict=True):
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def check_reason(reason: str, plugin: HostilePlugin) -> None:
    """A reason holds what it must, in one line of bounded length that can be printed."""
    assert plugin.reason in reason, (plugin.name, reason)
    assert reason.isprintable() and 0 < len(reason) <= 700, (plugin.name, reason)


def check_rows(trial: Trial, plugin: HostilePlugin, column: str) -> None:
    """The runs of a method, dataset or backbone failed, or are done."""
    specs = [spec for spec in trial.specs if getattr(spec, column) == plugin.name]
    rows = trial.reasons(column, plugin.name)
    assert specs and rows
    if plugin.outcome == "failed":
        assert all(spec.name in trial.failed for spec in specs), plugin.name
        assert [status for status, _ in rows] == ["failed"] * len(specs), (plugin.name, rows)
        check_reason(rows[0][1], plugin)
    else:
        assert not any(spec.name in trial.failed for spec in specs), (plugin.name, rows)
        assert all(trial.workspace.run_of(spec).done() for spec in specs)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of a plugin's file
@pytest.mark.parametrize("batch", batches(of_kind("method"), 12), ids=names_of)
def test_methods(batch, clean, tmp_path, only_these):
    trial = attempted(tmp_path, batch)
    check_others(trial, clean)
    for plugin in batch:
        check_rows(trial, plugin, "method")


@pytest.mark.parametrize("batch", batches(of_kind("dataset", "backbone"), 20), ids=names_of)
def test_datasets_and_backbones(batch, clean, tmp_path, only_these):
    trial = attempted(tmp_path, batch)
    check_others(trial, clean)
    for plugin in batch:
        check_rows(trial, plugin, plugin.kind)


@pytest.mark.parametrize("batch", batches(of_kind("metric"), 40), ids=names_of)
def test_metrics(batch, clean, tmp_path, only_these):
    trial = attempted(tmp_path, batch)
    check_others(trial, clean)
    assert trial.failed == []
    for plugin in batch:
        check_metric(trial, plugin)


def check_metric(trial: Trial, plugin: HostilePlugin) -> None:
    """A metric has a value on each built-in run, or an error with its reason."""
    for spec in trial.built_in():
        entry = trial.scores(spec)[plugin.name]
        assert bool(entry.key) == (plugin.outcome == "harmless"), (plugin.name, entry)
        if plugin.outcome == "failed":
            check_reason(entry.layers[0].reason, plugin)


@pytest.mark.parametrize("batch", batches(of_kind("method", "metric", slow=True), 12), ids=names_of)
def test_limits(batch, clean, tmp_path, only_these):
    trial = attempted(tmp_path, batch, TIGHT)
    check_others(trial, clean)
    for plugin in batch:
        if plugin.kind == "metric":
            check_metric(trial, plugin)
        else:
            check_rows(trial, plugin, "method")


@pytest.mark.parametrize(
    "plugin", [plugin for plugin in PLUGINS if plugin.outcome == "refused"], ids=lambda p: p.name
)
def test_files_that_are_refused(plugin, tmp_path, only_these):
    file = tmp_path / f"{plugin.name}.py"
    file.write_text(plugin.text)
    state = (torch.relu, torch.topk, torch.nn.functional.relu, torch.Tensor.mean)
    with pytest.raises(UserError) as caught:
        registry.load(plugins=[file])
    check_reason(str(caught.value), plugin)
    assert plugin.name not in {*registry.METHODS, *registry.METRICS}
    assert state == (torch.relu, torch.topk, torch.nn.functional.relu, torch.Tensor.mean)


def test_several_jobs(clean, tmp_path, only_these):
    names = ("threads_penalty", "writes_labels_attach", "leave_penalty", "starts_process")
    batch = [plugin for plugin in hostile_plugins() if plugin.name in names]
    trial = attempted(tmp_path, batch, jobs=2)
    check_others(trial, clean)
    for plugin in batch:
        check_rows(trial, plugin, "method")


def test_settings_that_training_leaves_behind_do_not_reach_scores(tmp_path, only_these):
    """A method that leaves autocast on after training has the scores of one that does not."""
    leaves = method(
        "leaves_on", "after_training", "torch.autocast('cpu', torch.bfloat16).__enter__()",
        "harmless",
    )  # fmt: skip
    same = method("leaves_nothing", "after_training", "pass", "harmless")
    trial = attempted(tmp_path, [leaves, same])
    first, second = (trial.scores(next(s for s in trial.specs if s.method == plugin.name))
                     for plugin in (leaves, same))  # fmt: skip
    values = [[score.values.tobytes() for entry in scores.values() for score in entry.layers]
              for scores in (first, second)]  # fmt: skip
    assert trial.failed == [] and values[0] == values[1] and len(values[0]) > 3


LATE = '''
from pathlib import Path
from legible import Method, register

@register
class Late(Method):
    """Fails once a file is there."""

    def partition(self, network):
        if (Path(__file__).parent / "late").exists():
            raise OSError("no file")
        return {}
'''


def test_a_row_whose_pictures_fail_is_published_without_them(tmp_path, only_these):
    (tmp_path / "late.py").write_text(LATE)
    registry.load(plugins=[tmp_path / "late.py"])
    suite = read_suite(write_suite(tmp_path, toy_suite('"late", "plain"')))
    workspace, specs = Workspace(Store(tmp_path / "runs")), expand(suite)
    assert attempt(workspace, specs, 1, []) == []
    (tmp_path / "late").write_text("")
    said: list[str] = []
    page = write_publication(
        workspace, suite, specs, tmp_path / "results", cost=False, command="", say=said.append
    )
    reason = "in partition of method 'late': OSError: no file"
    assert said == [f"no pictures of {specs[0].name}: {reason}"]
    assert "late" in page.read_text()
    assert any("plain" in path.name for path in (page.parent / "figures").iterdir())
