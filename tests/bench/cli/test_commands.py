"""The commands from end to end, on a toy suite, the way a user meets them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from legible.bench.cli import main as cli
from legible.bench.plugins import registry

TINY = """
title = "Tiny"
seeds = [0, 1]
probe = 40
plugins = ["{plugin}"]
methods = ["plain", "sync", "untrained", "plain_rotated", "bean"]
[recipe]
epochs = 2
batch = 16
[[blocks]]
dataset = "toy"
backbone = "vgg"
net = {{width = 4, stages = 2}}
"""


@pytest.fixture
def legible(monkeypatch, capsys):
    """``legible(*args)`` -> (exit code, stdout, stderr), in this process."""

    def run(*args):
        monkeypatch.setattr(sys, "argv", ["legible", *map(str, args)])
        try:
            cli.main()
            code = 0
        except SystemExit as leave:
            code = leave.code
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


@pytest.fixture(scope="module")
def workplace(tmp_path_factory, toy_plugin):
    """A folder with a tiny suite in it, run once."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "tiny.toml").write_text(TINY.format(plugin=toy_plugin))
    command = [sys.executable, "-m", "legible", "run", "tiny.toml", "--jobs", "2"]
    done = subprocess.run(
        [*command, "--device", "cpu"], cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[1])},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done.stdout


@pytest.fixture
def here(workplace, monkeypatch):
    monkeypatch.chdir(workplace[0])
    return workplace[0]


@pytest.mark.slow
class TestAfterARun:
    def test_progress_is_plain_lines_with_time_left(self, workplace):
        lines = [line for line in workplace[1].splitlines() if line.startswith("[")]
        assert len(lines) == 10 and "accuracy" in lines[0] and "left" in lines[0]

    def test_every_run_is_complete(self, here):
        folders = [p for p in Path("runs").iterdir() if p.name.startswith("toy")]
        assert len(folders) == 10
        for folder in folders:
            manifest = json.loads((folder / "manifest.json").read_text())
            assert manifest["status"] == "done"
            assert manifest["environment"]["torch"] and manifest["identity"]["fingerprint"]
            assert (folder / "network.safetensors").exists()
            assert not (folder / "training.safetensors").exists()

    def test_a_second_run_has_nothing_to_do(self, here, legible):
        code, out, _ = legible("run", "tiny.toml", "--device", "cpu")
        assert code == 0 and "0 of 10 cells to run (10 done)" in out

    def test_publishing_twice_gives_the_same_bytes(self, here, legible):
        assert legible("publish", "tiny.toml", "--device", "cpu")[0] == 0
        first = {p: p.read_bytes() for p in Path("results/tiny").rglob("*") if p.is_file()}
        assert {"README.md", "scores.csv", "cost.csv"} <= {p.name for p in first}
        assert legible("publish", "tiny.toml", "--device", "cpu")[0] == 0
        assert all(p.read_bytes() == old for p, old in first.items())

    def test_rerunning_gives_the_same_scores(self, here, legible):
        legible("publish", "tiny.toml", "--device", "cpu", "--no-cost")
        old = Path("results/tiny/scores.csv").read_bytes()
        code, *_ = legible("run", "tiny.toml", "--device", "cpu", "--runs", "again", "--jobs", "1")
        assert code == 0
        legible("publish", "tiny.toml", "--device", "cpu", "--no-cost", "--runs", "again",
                "--results", "other")  # fmt: skip
        assert Path("other/tiny/scores.csv").read_bytes() == old

    def test_null_rows_are_what_they_say(self, here, legible):
        legible("publish", "tiny.toml", "--device", "cpu", "--no-cost")
        scores = pd.read_csv("results/tiny/scores.csv")
        accuracy = scores[scores.metric == "accuracy"].set_index(["method", "seed"]).value
        for seed in (0, 1):
            assert accuracy["plain_rotated", seed] == pytest.approx(accuracy["plain", seed])
        assert "oracle" in set(scores.method)

    def test_why_says_up_to_date_and_names_a_change(self, here, legible):
        code, out, _ = legible("why", "toy-vgg(width=4,stages=2)-sync-s0", "--device", "cpu",
                               "--plugin", TOY)  # fmt: skip
        assert code == 0 and "up to date" in out
        run = next(p for p in Path("runs").iterdir() if "sync-s0" in p.name)
        manifest = json.loads((run / "manifest.json").read_text())
        manifest["identity"]["recipe"]["lr"] = 7.0
        (run / "manifest.json").write_text(json.dumps(manifest))
        code, out, _ = legible("why", run, "--device", "cpu", "--plugin", TOY)
        assert code == 0 and "recipe.lr: 7.0 -> 0.002" in out

    def test_show_draws_units(self, here, legible):
        run = "toy-vgg(width=4,stages=2)-plain-s0"
        options = ("--out", "units.png", "--device", "cpu", "--plugin", TOY)
        code, _, err = legible("show", run, "--units", "0,2", *options)
        assert code == 0, err
        assert Path("units.png").read_bytes()[:4] == b"\x89PNG"
        code, _, err = legible("show", "toy-vgg(width=4,stages=2)-plain-s0", "--units", "99",
                               "--device", "cpu", "--plugin", TOY)  # fmt: skip
        assert code == 2 and "units 0 to" in err

    def test_submissions_are_exported_merged_and_verified(self, here, legible):
        options = ("--device", "cpu")
        code, _, err = legible("export", "tiny.toml", "--origin", "Lab X", "--out", "x.json",
                               "--methods", "bean,plain", *options)  # fmt: skip
        assert code == 0, err
        code, out, err = legible("verify", "tiny.toml", "x.json", "--results", "shared", *options)
        assert code == 0 and "agrees" in out, err
        code, _, err = legible("merge", "tiny.toml", "x.json", "--results", "shared", *options)
        assert code == 0, err
        legible("publish", "tiny.toml", "--no-cost", "--results", "shared", *options)
        text = Path("shared/tiny/README.md").read_text()
        assert "bean (Lab X)" in text and "a rerun of seed 0 agrees" in text
        wrong = Path("x.json").read_text().replace('"toy"', '"tyo"')
        Path("wrong.json").write_text(wrong)
        code, _, err = legible("merge", "tiny.toml", "wrong.json", "--results", "none", *options)
        assert code == 2 and len(err.strip().splitlines()) == 1
        assert not Path("none").exists()

    def test_results_that_cannot_be_written_are_one_line(self, here, legible):
        Path("blocked").write_text("a file, not a folder")
        options = ("--device", "cpu", "--no-cost", "--results", "blocked")
        code, _, err = legible("publish", "tiny.toml", *options)
        assert code == 2 and "cannot write to blocked" in err and len(err.splitlines()) == 1

    def test_what_is_missing_or_corrupt_is_a_row_of_what_is_published(self, here, legible):
        text = Path("tiny.toml").read_text()
        Path("partly.toml").write_text(
            text.replace('title = "', 'title = "Partly ') + "\n[[blocks]]\ndataset = 'toy'\n"
            "backbone = 'vgg'\ndata = {missing = true}\n"
        )
        run = next(p for p in Path("runs").iterdir() if "bean-s0" in p.name)
        kept = (run / "manifest.json").read_text()
        (run / "manifest.json").write_text("junk")
        options = ("--device", "cpu", "--no-cost", "--no-pictures", "--results", "partly")
        code, _, err = legible("publish", "partly.toml", *options)
        (run / "manifest.json").write_text(kept)
        assert code == 0, err
        table = pd.read_csv("partly/partly/scores.csv", keep_default_na=False)
        reasons = " ".join(table.loc[table["status"] == "missing", "reason"])
        assert "made, not fetched" in reasons and "unreadable" in reasons

    def test_a_trained_run_without_scores_of_this_code_says_what_makes_them(self, here, legible):
        run = next(p for p in Path("runs").iterdir() if "bean-s0" in p.name)
        scores = next(run.glob("scores-*.json"))
        scores.rename(run / "scores-0.json")  # as after a change of the probe
        options = ("--device", "cpu", "--no-cost", "--no-pictures", "--results", "older")
        code, _, err = legible("publish", "tiny.toml", *options)
        (run / "scores-0.json").rename(scores)
        assert code == 0, err
        table = pd.read_csv("older/tiny/scores.csv", keep_default_na=False)
        reason = table.loc[table["status"] == "missing", "reason"].unique()
        assert len(reason) == 1 and "`legible run` does that without training" in reason[0]

    def test_a_half_written_run_is_set_aside_named_and_redone(self, here, legible):
        run = next(p for p in Path("runs").iterdir() if "bean-s1" in p.name)
        (run / "manifest.json").write_text('{"status": "do')
        code, out, err = legible("run", "tiny.toml", "--device", "cpu", "--jobs", "1")
        assert code == 0 and "set aside" in out and "corrupt-1" in out, err
        assert json.loads((run / "manifest.json").read_text())["status"] == "done"


TOY = Path(__file__).with_name("toy_plugin.py")


def test_help_is_quick_and_imports_no_torch():
    script = "import sys, bench.cli; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_run_imports_nothing_that_draws():
    script = "import sys, bench.session, bench.tune; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_dry_run_shows_what_is_missing_and_trains_nothing(tmp_path, legible, toy_plugin):
    text = TINY.format(plugin=toy_plugin) + "data = {missing = true}\n"
    (tmp_path / "gone.toml").write_text(text)
    code, out, _ = legible("run", tmp_path / "gone.toml", "--dry-run", "--device", "cpu",
                           "--runs", tmp_path / "runs")  # fmt: skip
    assert code == 0 and "10 missing" in out
    lines = [line for line in out.splitlines() if "made, not fetched" in line]
    assert len(lines) == 10 and all("-vgg(width=4,stages=2)-" in line for line in lines)  # uncut
    assert not list((tmp_path / "runs").glob("toy*"))


PLUGIN = """
from legible import Method, register

@register
class Mine(Method):
    \"\"\"Changes nothing.\"\"\"
"""


@pytest.mark.parametrize(("chosen", "rows"), [((), 12), (("--methods", "mine"), 2)])
def test_a_method_given_by_plugin_joins_the_suite(tmp_path, legible, toy_plugin, chosen, rows):
    (tmp_path / "mine.py").write_text(PLUGIN)
    (tmp_path / "tiny.toml").write_text(TINY.format(plugin=toy_plugin))
    _, out, err = legible("run", tmp_path / "tiny.toml", "--dry-run", "--device", "cpu", *chosen,
                        "--plugin", tmp_path / "mine.py", "--runs", tmp_path / "runs")  # fmt: skip
    assert f"{rows} to run" in out and out.count("-mine-s") == 2, err
    registry.METHODS.pop("mine")


def test_a_method_that_cannot_run_is_skipped_with_its_reason(tmp_path, legible, toy_plugin):
    text = TINY.format(plugin=toy_plugin).replace('"vgg"', '"mlp"').replace('"sync"', '"icnn"')
    text = text.replace("net = {width = 4, stages = 2}", "net = {hidden = [8]}")
    (tmp_path / "flat.toml").write_text(text)
    _, out, _ = legible("run", tmp_path / "flat.toml", "--dry-run", "--device", "cpu",
                        "--runs", tmp_path / "runs")  # fmt: skip
    assert "needs a Tap with a map" in " ".join(out.split()) and "2 skipped" in out


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["run", "quik"], "no suite 'quik'; did you mean 'quick'?"),
        (["run", "quick", "--device", "gpu"], "use auto, cpu or cuda"),
        (["run", "quick", "--seeds", "a"], "whole numbers"),
        (["run", "quick", "--seeds", "0,-1"], "whole numbers from 0"),
        (["run", "quick", "--seeds", ""], "--seeds is empty"),
        (["run", "quick", "--methods", ","], "--methods is empty"),
        (["run", "quick", "--datasets", ""], "--datasets is empty"),
        (["run", "quick", "--methods", "snyc"], "did you mean 'sync'?"),
        (["run", "quick", "--datasets", "kanij"], "did you mean 'kanji'?"),
        (["run", "quick", "--plugin", "nowhere.py"], "no plugin file"),
        (["run", "quick", "--jobs", "-1", "--datasets", "toy"], "the suite has no dataset"),
        (["run", "quick", "--slurm", "gpu", "--methods", "x"], "the suite has no method"),
        (["list", "method"], "did you mean 'methods'?"),
        (["why", "nothing"], "no run 'nothing'"),
        (["frobnicate"], "No such command"),
        (["run"], "Missing argument"),
    ],
)
def test_a_wrong_argument_is_one_line(tmp_path, monkeypatch, legible, args, message):
    monkeypatch.chdir(tmp_path)
    code, _, err = legible(*args)
    assert code == 2 and message in err and len(err.strip().splitlines()) == 1


@pytest.mark.parametrize("kind", ["methods", "metrics", "datasets", "backbones", "suites"])
def test_lists(legible, kind):
    code, out, _ = legible("list", kind)
    assert code == 0 and len(out.splitlines()) >= 1


@pytest.mark.parametrize(
    ("wrong", "right", "code", "message"),
    [
        ("data = {size = 3}\n", "", 2, "dataset 'shapes': size must be between 28 and 512, not 3"),
        ("net = {width = 0}\n", "", 0, "'vgg' cannot be built: "),
        ("", 'layers = ["conv99"]\n', 0, "no Tap 'conv99'; did you mean 'conv"),
    ],
)
def test_values_that_cannot_be_are_said_before_anything_runs(
    tmp_path, legible, wrong, right, code, message
):
    text = f"""title = "Wrong"
seeds = [0]
methods = ["plain"]
{right}
[[blocks]]
dataset = "shapes"
backbone = "vgg"
"""
    data = "data = {train = 60, validation = 20, test = 20}\n" if "size" not in wrong else ""
    (tmp_path / "wrong.toml").write_text(text + data + wrong)
    got, out, err = legible("run", tmp_path / "wrong.toml", "--dry-run", "--device", "cpu",
                            "--runs", tmp_path / "runs", "--data-root", tmp_path)  # fmt: skip
    assert got == code and message in " ".join((out + err).split())
    assert "to run" not in out or "0 to run" in out


def test_a_seed_named_twice_runs_once(tmp_path, legible, toy_plugin):
    (tmp_path / "tiny.toml").write_text(TINY.format(plugin=toy_plugin))
    _, out, _ = legible("run", tmp_path / "tiny.toml", "--dry-run", "--device", "cpu", "--seeds",
                        "1,1", "--methods", "plain", "--runs", tmp_path / "runs")  # fmt: skip
    assert "1 to run" in out


def test_publishing_what_has_not_run_says_so_and_measures_nothing(tmp_path, legible, toy_plugin):
    (tmp_path / "tiny.toml").write_text(TINY.format(plugin=toy_plugin))
    code, _, err = legible("publish", tmp_path / "tiny.toml", "--device", "cpu",
                           "--runs", tmp_path / "runs", "--results", tmp_path / "res")  # fmt: skip
    assert code == 2 and "nothing of 'tiny' has run yet: legible run tiny" in err
    assert not (tmp_path / "res").exists() and not (tmp_path / "runs" / "costs").exists()


def test_slurm_is_asked_for_where_there_is_none(tmp_path, monkeypatch, legible, toy_plugin):
    """submitit alone would start a process a cell on this machine."""
    monkeypatch.setattr("shutil.which", lambda name: None)
    (tmp_path / "tiny.toml").write_text(TINY.format(plugin=toy_plugin))
    code, out, err = legible("run", tmp_path / "tiny.toml", "--slurm", "partition=gpu",
                             "--device", "cpu", "--runs", tmp_path / "runs")  # fmt: skip
    assert code == 2 and "no Slurm on this machine" in err and "submitted" not in out


@pytest.mark.slow
def test_ctrl_c_stops_cleanly_and_the_next_run_continues(tmp_path, toy_plugin):
    text = TINY.format(plugin=toy_plugin).replace("epochs = 2", "epochs = 400")
    (tmp_path / "long.toml").write_text(text)
    command = [sys.executable, "-m", "legible", "run", "long.toml", "--methods", "plain",
               "--device", "cpu", "--jobs", "1"]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[1])}
    restored = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731 - CI may ignore it
    process = subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        env=environment, preexec_fn=restored,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("runs/*/training.safetensors")) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "the same command continues" in err
    assert "Traceback" not in err
    assert list(tmp_path.glob("runs/*/training.safetensors"))
