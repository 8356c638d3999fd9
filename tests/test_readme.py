"""README and CONTRIBUTING say nothing that does not work, and suites run in reduced form."""

from __future__ import annotations

import inspect
import re
import shlex
from pathlib import Path

import pytest

from legible.bench.check.conformance import check, failed, render
from legible.bench.cli.main import app, main
from legible.bench.execution.store import Store
from legible.bench.execution.worker import work_through
from legible.bench.execution.workspace import Workspace
from legible.bench.plugins import registry
from legible.bench.scores.score_table import read_scores
from legible.bench.suites.run_spec import expand
from legible.bench.suites.schema import SUITES, SuiteBlock, read_suite
from legible.bench.tuning import tune

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
TUNED = [p for p in sorted(SUITES.glob("*.toml")) if read_suite(p).tune]


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


def test_the_counts_are_those_of_the_registry():
    registry.load()
    block = README.partition("<!-- counts -->")[2].partition("<!-- /counts -->")[0]
    names, _, counts = [line.strip("| ").split(" | ") for line in block.strip().splitlines()]
    built_in = {
        # models of libraries ("torchvision:resnet18") are registered when they are used
        kind: sum(registry.plugin_of(kind, name) is None and ":" not in name for name in items)
        for kind, items in registry.KINDS.items()
    }
    assert {name: int(count) for name, count in zip(names, counts, strict=True)} == built_in


def test_the_findings_are_those_of_the_published_tables():
    for suite in ("standard", "quick"):
        page = (ROOT / "results" / suite / "README.md").read_text(encoding="utf-8")
        (sentence,) = re.findall(r"^\*\*(Of \d+ methods.*)\*\*$", page, re.MULTILINE)
        assert sentence.lower() in " ".join(README.split()).lower()
    percent = re.search(r"drives (\d+) % of .* \(plain: (\d+) %\)", " ".join(README.split()))
    table = read_scores(ROOT / "results" / "bean_accuracy" / "scores.csv")
    table = table[(table["metric"] == "weights_under_thousandth") & (table["layer"] == "fc2")]
    table = table[table["dataset"].str.startswith("mnist")]
    means = table[table["params"] == "{}"].groupby("method")["value"].mean()
    assert percent and percent.groups() == (
        f"{means['bean']:.0%}"[:-1],
        f"{means['plain']:.0%}"[:-1],
    )


#: The aspects of README's table of signs.
SIGNED = ["focus", "localisation", "coverage", "class specificity", "consistency",
          "module semantics", "attribution", "efficiency"]  # fmt: skip


def signs_of_standard() -> list[str]:
    """The rows of README's table: the signs of standard's table of verdicts, for methods and
    training-free rows (in italics) with a difference in some aspect."""
    page = (ROOT / "results" / "standard" / "README.md").read_text(encoding="utf-8")
    lines = page[page.index("| method |") :].partition("\n\n")[0].splitlines()
    titles = [re.sub(r"\[([^]]*)\].*", r"\1", cell.strip()) for cell in lines[0].split(" | ")]
    rows, mark = [], ""
    for line in lines[2:]:
        cells = [cell.strip() for cell in line.strip("| ").split(" | ")]
        if cells[0].startswith("*"):
            mark = cells[0]
        name = re.sub(r"<.*", "", cells[0])
        found = [re.match(r"\**([▲▼△▽≈?])", cells[titles.index(aspect)]) if len(cells) > 2 else None
                 for aspect in SIGNED]  # fmt: skip
        signs = [match[1] if match else "" for match in found]
        if set(signs) & set("▲▼△▽") and mark in ("", "*training-free rows*"):
            delivered = cells[titles.index("delivered?") :][:1]
            name += " †" if delivered == ["no"] else ""
            rows.append("| " + " | ".join([f"*{name}*" if mark else name, *signs]) + " |")
    return rows


def test_the_table_of_signs_is_that_of_standard():
    block = README.partition("<!-- signs -->\n")[2].partition("<!-- /signs -->")[0]
    head, _, *rows = block.strip().splitlines()
    assert head == "| | " + " | ".join(SIGNED) + " |"
    assert rows == signs_of_standard()


def test_the_figure_is_there():
    (figure,) = re.findall(r"!\[[^]]+\]\(([^)]+)\)", README)
    assert (ROOT / figure).is_file()


def test_links_lead_somewhere():
    for name in ("README.md", "CONTRIBUTING.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
            assert (ROOT / link).exists(), f"{name}: {link}"


#: Fewer images, by whatever of these names a dataset has.
FEW = {"train": 200, "limit": 600, "validation": 60, "test": 120}


def reduced(block: SuiteBlock) -> SuiteBlock:
    """A block of few images; what its recipe says of epochs and batches is left out."""
    parameters = inspect.signature(registry.get("datasets", block.dataset)).parameters
    few = {name: count for name, count in FEW.items() if name in parameters}
    recipe = {k: v for k, v in block.recipe.items() if k not in ("epochs", "batch")}
    return block.model_copy(update={"data": {**block.data, **few}, "recipe": recipe})


@pytest.mark.slow
def test_the_trial_of_scoring_a_network_works(tmp_path, monkeypatch):
    """README's command without files, on few images: a page and a table."""
    (words,) = [w for w in commands() if w[:2] == ["legible", "score"] and "--weights" not in w]
    few = [w.replace("size=64", "size=64,train=60,validation=20,test=30") for w in words]
    monkeypatch.setattr("sys.argv", [*few, "--device", "cpu", "--data-root", str(tmp_path)])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    (page,) = tmp_path.glob("results/scored/*/README.md")
    assert "# Scores of torchvision:squeezenet1_1" in page.read_text(encoding="utf-8")
    assert (read_scores(page.with_name("scores.csv"))["layer"] == "features.4.cat").any()


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(SUITES.glob("*.toml")), ids=lambda p: p.stem)
def test_every_suite_runs_in_reduced_form(path, tmp_path):
    """One seed, two epochs, few images: every cell of every shipped suite ends well, but for those
    whose data is not on this machine."""
    registry.load()
    suite = read_suite(path)
    recipe = suite.recipe.model_copy(update={"epochs": 2, "batch": 50, "validate_images": 60})
    blocks = [reduced(block) for block in suite.blocks]
    images = {aspect: min(count, 20) for aspect, count in suite.images.items()}
    small = suite.model_copy(
        update={"blocks": blocks, "recipe": recipe, "probe": 100, "images": images}
    )
    workspace = Workspace(Store(tmp_path))
    obstacles = [(spec, workspace.obstacle(spec)) for spec in expand(small, seeds=[0])]
    assert {obstacle.status for _, obstacle in obstacles if obstacle} <= {"missing"}
    specs = [spec for spec, obstacle in obstacles if obstacle is None]
    events = []
    work_through(workspace, specs, events.append)
    assert [e for e in events if e.kind in ("failed", "note")] == []
    assert {e.run for e in events if e.kind == "done"} == {c.name for c in specs}


@pytest.mark.slow
@pytest.mark.parametrize("path", TUNED, ids=lambda p: p.stem)
def test_every_tuned_suite_tunes_in_reduced_form(path, tmp_path):
    """One trial a method, two epochs, few images: a ledger, and cells that follow from it."""
    registry.load()
    suite = read_suite(path)
    small = suite.model_copy(
        update={
            "blocks": [reduced(block) for block in suite.blocks],
            "recipe": suite.recipe.model_copy(update={"epochs": 2, "batch": 50}),
            "tune": suite.tune.model_copy(
                update={"trials": 1, "extensions": 0, "epochs": 2, "seeds": suite.tune.seeds[:1]}
            ),
            "probe": 60,
        }
    )
    tune.run_trials(Workspace(Store(tmp_path)), small, tmp_path, jobs=1)
    specs = expand(small, seeds=[0])
    final = tune.tuned_specs(small, specs, tmp_path)
    assert [c.row for c in final] == [c.row for c in specs]
    chosen = {c.block for c in final if c.stage == "final"}
    assert len(chosen) == (1 if suite.tune.dataset else len(suite.blocks))


def test_every_suite_stands_in_the_readme():
    for path in SUITES.glob("*.toml"):
        assert f"| `{path.stem}` |" in README
