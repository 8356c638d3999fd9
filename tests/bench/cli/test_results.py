"""Commands that publish and exchange results: publish, export, merge, verify."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from legible.bench.plugins import registry
from legible.bench.scores import exchange, submission

pytestmark = pytest.mark.slow
QUICK = ("--no-cost", "--no-pictures")


MINE = '''
from legible import Method, register


@register
class Mine(Method):
    """Keeps activations small."""

    def penalty(self, step):
        return {"size": 0.1 * step.activations[self.taps[0]].mean()}
'''


def scores(folder: str = "results") -> pd.DataFrame:
    return pd.read_csv(Path(folder) / "tiny" / "scores.csv", keep_default_na=False)


class TestPublish:
    def test_twice_it_gives_the_same_bytes(self, here, legible):
        assert legible("publish", "tiny.toml")[0] == 0
        first = {p: p.read_bytes() for p in Path("results/tiny").rglob("*") if p.is_file()}
        assert {"README.md", "scores.csv", "cost.csv"} <= {path.name for path in first}
        assert legible("publish", "tiny.toml")[0] == 0
        assert all(path.read_bytes() == content for path, content in first.items())

    def test_runs_made_again_give_the_same_scores(self, here, legible):
        legible("publish", "tiny.toml", *QUICK)
        code, *_ = legible("run", "tiny.toml", "--runs", "again", "--jobs", "1", "--only-local")
        assert code == 0
        legible("publish", "tiny.toml", *QUICK, "--runs", "again", "--results", "other")
        first, second = (Path(f"{name}/tiny/scores.csv") for name in ("results", "other"))
        assert first.read_bytes() == second.read_bytes()

    def test_null_rows_are_what_they_say(self, here, legible):
        legible("publish", "tiny.toml", *QUICK)
        table = scores()
        accuracy = table[table.metric == "accuracy"].set_index(["method", "seed"]).value
        for seed in (0, 1):
            rotated, plain = (float(accuracy[m, seed]) for m in ("plain_rotated", "plain"))
            assert rotated == pytest.approx(plain)
        assert "oracle" in set(table.method)

    def test_what_is_missing_or_corrupt_is_a_row_with_the_reason(self, here, legible, run_folder):
        text = Path("tiny.toml").read_text()
        Path("tiny.toml").write_text(
            f"{text}\n[[blocks]]\ndataset = 'toy'\nbackbone = 'vgg'\ndata = {{missing = true}}\n"
        )
        (run_folder("bean-s0") / "manifest.json").write_text("junk")
        code, _, err = legible("publish", "tiny.toml", *QUICK)
        assert code == 2 and "1 run has no scores yet: run `legible run tiny`" in err
        code, _, err = legible("publish", "tiny.toml", *QUICK, "--partial")
        assert code == 0, err
        assert "**Partial:**" in Path("results/tiny/README.md").read_text()
        table = scores()
        reasons = " ".join(table.loc[table["status"] == "missing", "reason"])
        assert "made, not fetched" in reasons and "unreadable" in reasons

    def test_a_run_without_scores_of_this_code_says_what_makes_them(
        self, here, legible, run_folder
    ):
        run = run_folder("bean-s0")
        next(run.glob("scores-*.json")).rename(run / "scores-0.json")  # as the probe had changed
        assert legible("publish", "tiny.toml", *QUICK, "--partial")[0] == 0
        table = scores()
        (reason,) = table.loc[table["status"] == "missing", "reason"].unique()
        assert "`legible run` scores it again without retraining" in reason

    def test_what_has_not_run_is_one_line_and_measures_nothing(self, empty, legible):
        code, _, err = legible("publish", "tiny.toml")
        assert code == 2 and "suite 'tiny' has no finished runs: run `legible run tiny`" in err
        assert not Path("results").exists() and not Path("runs/costs").exists()

    def test_a_folder_that_cannot_be_written_is_one_line(self, here, legible):
        Path("blocked").write_text("a file, not a folder")
        code, _, err = legible("publish", "tiny.toml", *QUICK, "--results", "blocked")
        assert code == 2 and "blocked" in err and "Not a directory" in err
        assert len(err.splitlines()) == 1


class TestExchange:
    def test_submissions_are_exported_verified_merged_and_published(self, here, legible):
        code, out, err = legible("export", "tiny.toml", "--origin", "Lab X", "--out", "x.json",
                                 "--methods", "bean,plain")  # fmt: skip
        assert code == 0 and out.strip() == "x.json", err
        code, out, err = legible("verify", "tiny.toml", "x.json")
        assert code == 0 and "a rerun of seed 0 agrees" in out, err
        code, out, err = legible("merge", "tiny.toml", "x.json")
        assert code == 0 and out.strip() == "results/tiny/submissions/Lab_X.json", err
        assert legible("publish", "tiny.toml", *QUICK)[0] == 0
        text = Path("results/tiny/README.md").read_text()
        assert "bean (Lab X)" in text and "a rerun of seed 0 agrees" in text

    def test_a_damaged_submission_is_one_line_and_nothing_is_merged(self, here, legible):
        legible("export", "tiny.toml", "--origin", "Lab X", "--out", "x.json")
        Path("wrong.json").write_text(Path("x.json").read_text().replace('"toy"', '"tyo"'))
        code, _, err = legible("merge", "tiny.toml", "wrong.json")
        assert code == 2 and len(err.strip().splitlines()) == 1
        assert not Path("results").exists()

    def test_a_rerun_that_disagrees_has_exit_code_1(self, here, legible, kept_registry):
        Path("mine.py").write_text(MINE)
        plugin = ("--plugin", "mine.py")
        assert legible("run", "tiny.toml", "--methods", "mine", *plugin)[0] == 0
        legible("export", "tiny.toml", "--origin", "Lab X", "--out", "x.json", *plugin)
        assert legible("verify", "tiny.toml", "x.json", *plugin)[0] == 0
        Path("mine.py").write_text(MINE.replace("0.1", "99"))
        code, out, _ = legible("verify", "tiny.toml", "x.json", *plugin)
        assert code == 1 and "FLAGGED" in out

    def test_runs_of_a_plugin_that_is_not_given_are_named(self, here, legible, kept_registry):
        Path("mine.py").write_text(MINE)
        plugin = ("--plugin", "mine.py")
        assert legible("run", "tiny.toml", "--methods", "mine", *plugin)[0] == 0
        registry.METHODS.pop("mine")  # as in a new process
        code, out, err = legible("publish", "tiny.toml", *QUICK)
        assert code == 0, err
        assert "left out: the finished runs of mine: add --plugin " in out and "mine.py" in out
        assert "mine" not in Path("results/tiny/README.md").read_text().partition("## ")[0]

    def test_a_hostile_method_harms_its_own_verdict_alone(self, here, legible, kept_registry):
        Path("mine.py").write_text(MINE)
        plugin = ("--plugin", "mine.py")
        assert legible("run", "tiny.toml", "--methods", "mine", *plugin)[0] == 0
        legible("export", "tiny.toml", "--origin", "Lab X", "--out", "x.json", *plugin)
        for harm in (
            "import os\nos._exit(0)\n",
            "import sys\nsys.exit('gone')\n",
            "from legible.bench.scores import exchange\nexchange.disagreements = lambda *a: []\n",
        ):
            Path("mine.py").write_text(harm + MINE.replace("0.1", "99"))
            code, out, err = legible("verify", "tiny.toml", "x.json", *plugin)
            assert code == 2 and len(err.splitlines()) == 1, out + err
        assert exchange.disagreements.__module__ == submission.__name__
