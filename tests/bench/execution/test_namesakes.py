"""Two suite files of one name: the second is refused before anything runs."""

from __future__ import annotations

import pytest

from legible.bench.errors import UserError
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
