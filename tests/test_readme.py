"""README and CONTRIBUTING say nothing that does not work, and suites run in reduced form."""

from __future__ import annotations

import inspect
import re
import shlex
from pathlib import Path

import pytest

from legible.bench.check.conformance import check, failed, render
from legible.bench.cli.main import app
from legible.bench.execution.store import Store
from legible.bench.execution.worker import work_through as worker
from legible.bench.execution.workspace import Workspace
from legible.bench.plugins import registry
from legible.bench.suites import run_spec as suite
from legible.bench.tuning import tune

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
TUNED = [p for p in sorted(suite.SUITES.glob("*.toml")) if suite.read(p).tune]


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def commands() -> list[list[str]]:
    lines = "\n".join(blocks(README, "sh")).splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.strip()]


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text()
    targets = [words[1] for words in commands() if words[0] == "make"]
    assert {"bench", "test"} <= set(targets)
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)


@pytest.mark.parametrize("words", [w for w in commands() if w[0] == "legible"], ids=" ".join)
def test_every_command_parses(words):
    """Options and arguments are known to the command line (what it does is tested elsewhere)."""
    from typer.main import get_command

    group = get_command(app)
    command = group.commands[words[1]]
    with command.make_context(words[1], words[2:], resilient_parsing=False) as context:
        assert context.params


def test_the_readmes_method_passes_the_check(tmp_path):
    (code,) = blocks(README, "python")
    (tmp_path / "my_method.py").write_text(code)
    outcomes = check(tmp_path / "my_method.py")
    assert not failed(outcomes), render(outcomes)


def test_contributings_metric_registers(tmp_path):
    (code,) = blocks((ROOT / "CONTRIBUTING.md").read_text(), "python")
    (tmp_path / "my_metrics.py").write_text(code)
    registry.load_plugin(tmp_path / "my_metrics.py")
    assert registry.METRICS.pop("active_share").aspect == "class specificity"


def test_the_readmes_table_is_the_published_one():
    """Row by row, but for the spaces that align the columns."""
    published = (ROOT / "results" / "quick" / "README.md").read_text(encoding="utf-8")
    block = README.partition("<!-- table -->\n")[2].partition("<!-- /table -->")[0]
    rows = [line for line in block.splitlines() if line.startswith("|") and "---" not in line]
    known = {re.sub(r" {2,}", " ", line) for line in published.splitlines()}
    assert len(rows) > 5 and set(rows) <= known


def test_links_lead_somewhere():
    for name in ("README.md", "CONTRIBUTING.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
            assert (ROOT / link).exists(), f"{name}: {link}"


#: Fewer images, by whatever of these names a dataset has.
FEW = {"train": 200, "limit": 600, "validation": 60, "test": 120}


def reduced(block: suite.Block) -> suite.Block:
    """A block of few images; what its recipe says of epochs and batches is left out."""
    known = inspect.signature(registry.get("datasets", block.dataset)).parameters
    few = {name: count for name, count in FEW.items() if name in known}
    recipe = {k: v for k, v in block.recipe.items() if k not in ("epochs", "batch")}
    return block.model_copy(update={"data": {**block.data, **few}, "recipe": recipe})


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(suite.SUITES.glob("*.toml")), ids=lambda p: p.stem)
def test_every_suite_runs_in_reduced_form(path, tmp_path):
    """One seed, one epoch, few images: every cell of every shipped suite ends well, but for those
    whose data is not on this machine."""
    registry.load()
    read = suite.read(path)
    recipe = read.recipe.model_copy(update={"epochs": 1, "batch": 50, "validate_images": 60})
    blocks = [reduced(block) for block in read.blocks]
    small = read.model_copy(update={"blocks": blocks, "recipe": recipe, "probe": 100})
    workspace = Workspace(Store(tmp_path))
    status = [(spec, workspace.obstacle(spec)) for spec in suite.specs(small, seeds=[0])]
    assert {why_not for _, why_not in status} <= {"", "missing"}
    specs = [spec for spec, why_not in status if not why_not]
    events = []
    worker(workspace, specs, events.append)
    assert [e for e in events if e.kind in ("failed", "note")] == []
    assert {e.spec for e in events if e.kind == "done"} == {c.name for c in specs}


@pytest.mark.slow
@pytest.mark.parametrize("path", TUNED, ids=lambda p: p.stem)
def test_every_tuned_suite_tunes_in_reduced_form(path, tmp_path):
    """One trial a method, one epoch, few images: a ledger, and cells that follow from it."""
    registry.load()
    read = suite.read(path)
    small = read.model_copy(
        update={
            "blocks": [reduced(block) for block in read.blocks],
            "recipe": read.recipe.model_copy(update={"epochs": 1, "batch": 50}),
            "tune": read.tune.model_copy(update={"trials": 1, "seeds": read.tune.seeds[:1]}),
            "probe": 60,
        }
    )
    tune.tune(Workspace(Store(tmp_path)), small, tmp_path, jobs=1)
    specs = suite.specs(small, seeds=[0])
    settled = tune.settled(small, specs, tmp_path)
    assert [c.row for c in settled] == [c.row for c in specs]
    assert {c.stage for c in settled} == {"final"}


def test_every_suite_stands_in_the_readme():
    for path in suite.SUITES.glob("*.toml"):
        assert f"| `{path.stem}` |" in README
