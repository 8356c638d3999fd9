"""Two suite files of one name: the second is refused before anything runs."""

from __future__ import annotations

import json

import pytest

from legible.bench.errors import UserError
from legible.bench.execution.listing import LISTING, Listing, write_publication_files
from legible.bench.execution.namesakes import OWNERS, claim_results


@pytest.fixture
def files(tmp_path):
    paths = [tmp_path / folder / "tiny.toml" for folder in ("a", "b")]
    for path in paths:
        path.parent.mkdir()
        path.write_text("")
    return paths


def test_the_second_of_two_namesakes_is_refused(files, tmp_path):
    first, second = files
    runs, results = tmp_path / "runs", tmp_path / "results" / "tiny"
    for _ in range(2):
        claim_results(runs, results, first)
    with pytest.raises(UserError, match=r"would both publish to .*tiny: give one of them another"):
        claim_results(runs, results, second)
    claim_results(runs, tmp_path / "other" / "tiny", second)
    first.unlink()  # moved
    claim_results(runs, results, second)


def test_a_damaged_note_is_written_again(files, tmp_path):
    (tmp_path / OWNERS).write_text("[")
    claim_results(tmp_path, tmp_path / "results", files[0])
    with pytest.raises(UserError):
        claim_results(tmp_path, tmp_path / "results", files[1])


class TestPublishedTitles:
    """A fresh folder of runs knows no owner, so that what is published must tell."""

    @pytest.fixture
    def results(self, tmp_path):
        folder = tmp_path / "results" / "tiny"
        listing = Listing("One", ["toy on vgg", "toy on mlp"])
        write_publication_files(folder, listing, {"README.md": b""})
        return folder

    def test_the_same_title_and_a_block_in_common_is_the_same_suite(self, files, results, tmp_path):
        claim_results(tmp_path / "runs", results, files[0], "One", ["toy on vgg", "kanji on vgg"])

    @pytest.mark.parametrize(
        ("title", "blocks", "message"),
        [
            ("Two", ["toy on vgg"], "holds the suite 'One', not"),
            ("One", ["kanji on vgg"], "holds a suite of other blocks, not"),
        ],
    )
    def test_another_title_or_other_blocks_are_refused(
        self, files, results, tmp_path, title, blocks, message
    ):
        with pytest.raises(UserError, match=message):
            claim_results(tmp_path / "runs", results, files[0], title, blocks)
        (results / LISTING).unlink()
        claim_results(tmp_path / "runs", results, files[0], title, blocks)

    def test_a_file_that_published_there_before_may_change(self, files, results, tmp_path):
        claim_results(tmp_path / "runs", results, files[0], "One", ["toy on vgg"])
        claim_results(tmp_path / "runs", results, files[0], "Two", ["kanji on vgg"])


def test_an_interrupted_publication_is_completed(files, tmp_path):
    results = tmp_path / "results"
    (results / "submissions").mkdir(parents=True)
    for folder in (results, results / "submissions"):
        (folder / f".{16 * 'a'}.new").write_text("new")
        (folder / ".journal").write_text(
            json.dumps({"renames": {f".{16 * 'a'}.new": "a"}, "removals": []})
        )
    claim_results(tmp_path / "runs", results, files[0])
    assert sorted(str(p.relative_to(results)) for p in results.rglob("*") if p.is_file()) == [
        "a", "submissions/a",
    ]  # fmt: skip
