"""Commands that run something: run, tune, adopt."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest
from tiny_suites import TUNED_SUITE, write_suite

from .conftest import TINY

PLUGIN = '''
from legible import Method, register

@register
class Mine(Method):
    """Changes nothing."""
'''


@pytest.mark.parametrize(("option", "text"), [("--time-limit", "soon"), ("--memory-limit", "16GB")])
def test_limits_are_amounts_with_a_unit(empty, legible, option, text):
    write_suite(empty, TINY, "limited")
    code, _, err = legible("run", "limited.toml", option, text, "--dry-run")
    assert code == 2 and f"limit '{text}': write a number with one of" in err


@pytest.mark.slow
class TestRun:
    def test_progress_is_plain_lines_with_the_time_left(self, finished):
        lines = [line for line in finished[1].splitlines() if line.startswith("[")]
        assert len(lines) == 10 and "accuracy" in lines[0] and "left" in lines[0]

    def test_every_run_is_complete(self, here):
        folders = [path for path in Path("runs").iterdir() if path.name.startswith("toy")]
        assert len(folders) == 10
        for folder in folders:
            manifest = json.loads((folder / "manifest.json").read_text())
            assert manifest["status"] == "done" and manifest["identity"]["fingerprint"]
            assert (folder / "network.safetensors").exists()
            assert not (folder / "training.safetensors").exists()

    def test_a_second_time_there_is_nothing_to_do(self, here, legible):
        code, out, _ = legible("run", "tiny.toml")
        assert code == 0 and "0 of 10 runs to do (10 done)" in out

    def test_a_half_written_run_is_set_aside_and_made_again(self, here, legible, run_folder):
        manifest = run_folder("bean-s1") / "manifest.json"
        manifest.write_text('{"status": "do')
        code, out, err = legible("run", "tiny.toml", "--jobs", "1")
        assert code == 0 and "set aside" in out and "corrupt-1" in out, err
        assert json.loads(manifest.read_text())["status"] == "done"


class TestDryRun:
    def test_it_shows_what_is_missing_and_trains_nothing(self, empty, legible):
        write_suite(empty, TINY + "data = {missing = true}\n", "gone")
        code, out, _ = legible("run", "gone.toml", "--dry-run")
        assert code == 0 and "10 missing" in out
        lines = [line for line in out.splitlines() if "made, not fetched" in line]
        assert len(lines) == 10  # long names are not cut
        assert all("-vgg(width=4,stages=2)-" in line for line in lines)
        assert not list(Path("runs").glob("toy*"))

    @pytest.mark.parametrize(("options", "rows"), [((), 12), (("--methods", "mine"), 2)])
    def test_the_method_of_a_plugin_joins_the_suite(
        self, empty, legible, kept_registry, options, rows
    ):
        Path("mine.py").write_text(PLUGIN)
        _, out, err = legible("run", "tiny.toml", "--dry-run", *options, "--plugin", "mine.py")
        assert f"{rows} to run" in out and out.count("-mine-s") == 2, err

    def test_a_method_that_cannot_run_is_skipped_with_the_reason(self, empty, legible):
        text = TINY.replace('"vgg"', '"mlp"').replace('"sync"', '"icnn"')
        write_suite(empty, text.replace("net = {width = 4, stages = 2}", "net = {hidden = [8]}"))
        _, out, _ = legible("run", "tiny.toml", "--dry-run", "--methods", "icnn")
        assert "needs a Tap with a map" in " ".join(out.split()) and "2 skipped" in out

    def test_a_seed_named_twice_runs_once(self, empty, legible):
        _, out, _ = legible("run", "tiny.toml", "--dry-run", "--seeds", "1,1", "--methods", "plain")
        assert "1 to run" in out

    @pytest.mark.parametrize(
        ("old", "new", "code", "message"),
        [
            ("SIZE", "size = 3", 2, "dataset 'shapes': size must be between 28 and 512, not 3"),
            ("net = {}", "net = {width = 0}", 0, "'vgg' cannot be built: "),
            ("TOP", 'layers = ["conv99"]', 0, "no Tap 'conv99'; did you mean 'conv"),
        ],
    )
    def test_impossible_values_are_said_before_anything_runs(
        self, empty, legible, old, new, code, message
    ):
        text = (
            'title = "Wrong"\nseeds = [0]\nmethods = ["plain"]\nTOP\n[[blocks]]\n'
            'dataset = "shapes"\nbackbone = "vgg"\nnet = {}\n'
            "data = {train = 60, validation = 20, test = 20, SIZE}\n"
        )
        text = text.replace(old, new).replace("TOP", "").replace(", SIZE", "")
        write_suite(empty, text, "wrong")
        options = ("--dry-run", "--data-root", empty / "data")
        exit_code, out, err = legible("run", "wrong.toml", *options)
        assert exit_code == code and message in " ".join((out + err).split())
        assert "to run" not in out or "0 to run" in out


def test_slurm_is_refused_on_a_machine_without_it(empty, monkeypatch, legible):
    monkeypatch.setattr("shutil.which", lambda name: None)
    code, out, err = legible("run", "tiny.toml", "--slurm", "partition=gpu")
    assert code == 2 and "no Slurm on this machine" in err and "submitted" not in out


def test_options_of_the_script_need_slurm(empty, legible):
    code, _, err = legible("run", "tiny.toml", "--slurm-setup", "module load x")
    assert code == 2 and "--slurm-setup needs --slurm" in err


def test_a_shard_is_part_of_the_suite(empty, legible):
    counts = []
    for number in (1, 2):
        code, out, _ = legible("run", "tiny.toml", "--dry-run", "--shard", f"{number}/2")
        assert code == 0
        counts.append(int(re.search(r"(\d+) to run", out)[1]))
    assert sum(counts) == 10 and min(counts) >= 4
    code, _, err = legible("run", "tiny.toml", "--dry-run", "--shard", "3/2")
    assert code == 2 and "write I/N with I from 1 to N" in err


@pytest.mark.slow
class TestWorker:
    def test_workers_do_a_suite_and_its_status_says_so(self, empty, legible):
        code, out, _ = legible("run", "tiny.toml", "--worker", "--methods", "plain,untrained")
        assert code == 0 and "nothing is left" in out and "4 of 4 runs to do" in out
        code, out, _ = legible("status", "tiny.toml", "--methods", "plain,untrained")
        assert code == 0 and out == "tiny on cpu: 4 done, 0 running, 0 failed, 0 left\n"
        code, out, _ = legible("run", "tiny.toml", "--worker", "--methods", "plain,untrained")
        assert code == 0 and "0 of 4 runs to do (4 done)" in out

    def test_nobody_is_cancelled_where_nobody_works(self, empty, legible):
        code, out, _ = legible("cancel", "tiny.toml")
        assert code == 0 and out == "no worker of tiny works or waits\n"


def unseal() -> None:
    """Removes what guards a publication against being edited; older publications have none."""
    for name in ("publication.json", "provenance.json", "runs.csv"):
        (Path("results/tiny") / name).unlink()


@pytest.mark.slow
class TestAdopt:
    def test_published_rows_take_the_present_names(self, here, legible):
        assert legible("publish", "tiny.toml", "--no-cost", "--no-pictures")[0] == 0
        file = Path("results/tiny/scores.csv")
        present = file.read_text()
        unseal()
        file.write_text(re.sub(r"(-s\d)-[0-9a-f]{12}", r"\1-0123456789ab", present))
        code, out, err = legible("adopt", "tiny.toml", "--methods", "plain,bean")
        assert code == 0 and out.count("adopted: ") == 2, err
        text = file.read_text()
        assert text.count("0123456789ab") > 0 and "-plain-s0-0123456789ab" not in text
        assert legible("adopt", "tiny.toml")[0] == 0
        assert file.read_text() == present
        code, out, _ = legible("adopt", "tiny.toml")
        assert code == 0 and "all rows match the current code" in out

    def test_a_stale_row_is_listed_with_exit_code_1(self, here, legible):
        assert legible("publish", "tiny.toml", "--no-cost", "--no-pictures")[0] == 0
        file = Path("results/tiny/scores.csv")
        table = pd.read_csv(file, dtype=str, keep_default_na=False)
        bean = (table["method"] == "bean") & (table["metric"] == "accuracy")
        table.loc[bean, "value"] = "0.123456789"
        table["run"] = table["run"].str.replace(r"[0-9a-f]{12}$", "0123456789ab", regex=True)
        table.to_csv(file, index=False)
        code, _, err = legible("adopt", "tiny.toml")
        assert code == 2 and "it was changed after" in err and len(err.splitlines()) == 1
        unseal()
        code, out, _ = legible("adopt", "tiny.toml", "--methods", "plain,bean")
        assert code == 1 and "stale: bean on toy" in out and "adopted: plain" in out

    def test_nothing_published_is_one_line(self, here, legible):
        code, _, err = legible("adopt", "tiny.toml")
        assert code == 2 and "nothing to adopt: no results/tiny/scores.csv" in err
        assert len(err.strip().splitlines()) == 1


class TestTune:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["tune", "quick"], "suite 'quick' has no [tune] table"),
            (["tune", "standart"], "did you mean 'standard'?"),
            (["tune", "standard", "--methods", "snyc"], "did you mean 'sync'?"),
            (["run", "tiny.toml", "--dry-run"], "run `legible tune tiny` first"),
            (["publish", "tiny.toml"], "run `legible tune tiny` first"),
            (["tune", "standard", "--jobs", "-1"], "--jobs must be 0"),
        ],
    )
    def test_a_wrong_command_is_one_line(self, empty, legible, arguments, message):
        write_suite(empty, TUNED_SUITE)
        code, _, err = legible(*arguments)
        assert code == 2 and message in err and len(err.strip().splitlines()) == 1

    def test_a_dry_run_lists_the_trials_and_makes_none(self, empty, legible):
        write_suite(empty, TUNED_SUITE)
        code, out, _ = legible("tune", "tiny.toml", "--dry-run")
        assert code == 0 and "6 to run" in out
        assert not Path("results").exists() and not list(Path("runs").glob("toy*"))

    @pytest.mark.slow
    def test_the_choice_is_run_and_published(self, empty, legible):
        write_suite(empty, TUNED_SUITE)
        code, out, err = legible("tune", "tiny.toml", "--jobs", "1")
        assert code == 0 and "best within the tolerance" in " ".join(out.split()), err
        ledger = pd.read_csv("results/tiny/ledger.csv", keep_default_na=False)
        (choice,) = ledger.loc[(ledger.method == "dropout") & (ledger.chosen == "yes"), "setting"]
        assert legible("run", "tiny.toml", "--jobs", "1")[0] == 0
        code, _, err = legible("publish", "tiny.toml", "--no-cost", "--no-pictures")
        assert code == 0, err
        scores = pd.read_csv("results/tiny/scores.csv")
        iou = scores[scores.metric == "netdissect_iou"].pivot(
            index="seed", columns="method", values="value"
        )
        gain = (iou["dropout"] - iou["plain"]).mean()
        readme = Path("results/tiny/README.md").read_text()
        title = "at a cost of at most 5 points of accuracy"
        section = readme.partition(title)[2].partition("\n## ")[0]
        (line,) = [row for row in section.splitlines() if row.startswith("| dropout")]
        columns = [part.strip() for part in line.strip("|").split("|")]
        assert "±" in columns[1]
        number = float(columns[1].split(" ")[0].replace("−", "-"))
        assert number == pytest.approx(gain, abs=0.006)
        assert columns[3] == f"p={json.loads(choice)['p']}" and columns[4] == "2"
        assert len(json.loads(Path("results/tiny/leaderboard.json").read_text())["trials"]) == 6
        names = {path.name for path in Path("results/tiny").rglob("*")}
        assert {"doses-0.svg", "fronts-0.svg", "ledger.csv"} <= names
        assert "at most 5 points of accuracy" in Path("results/tiny/report.html").read_text()
