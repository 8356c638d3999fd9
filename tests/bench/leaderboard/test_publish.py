"""The commands that a leaderboard says make it again."""

from __future__ import annotations

import pytest

from legible.bench.leaderboard.publish import reproduction


@pytest.mark.parametrize(
    "published, run",
    [
        ("legible publish quick", "legible run quick"),
        ("legible publish my/suite.toml", "legible run my/suite.toml"),
        ("legible publish quick --seeds 0,1 --no-cost", "legible run quick --seeds 0,1"),
        ("legible publish quick --results out --runs r", "legible run quick --runs r"),
        ("legible publish quick --format=csv --methods plain", "legible run quick --methods plain"),
        (
            "legible publish quick --plugin 'my method.py'",
            "legible run quick --plugin 'my method.py'",
        ),
        ("legible publish --no-pictures quick", "legible run quick"),
    ],
)
def test_the_run_of_a_publication_has_its_suite_and_choices(published, run):
    assert reproduction(published, "name") == f"{run} && {published}"


def test_published_from_python_it_names_the_suite():
    assert reproduction("", "quick") == "legible run quick"


def test_a_tuned_suite_is_tuned_first():
    told = reproduction("legible publish my/suite.toml --no-cost", "suite", tuned=True)
    assert told == (
        "legible tune my/suite.toml && legible run my/suite.toml && "
        "legible publish my/suite.toml --no-cost"
    )
