"""The commands that a leaderboard says make it again."""

from pathlib import Path

from legible.bench.leaderboard.reproduce import reproduce_command


def test_a_suite_is_run_and_published():
    assert reproduce_command("quick", {}) == (
        "legible run quick --only-local && legible publish quick --only-local"
    )


def test_options_that_are_not_given_are_left_out():
    options = {"--seeds": None, "--plugin": [], "--methods": "plain"}
    command = reproduce_command("quick", options, {"--no-cost": False, "--no-pictures": True})
    assert command == (
        "legible run quick --only-local --methods plain && "
        "legible publish quick --only-local --methods plain --no-pictures"
    )


def test_a_repeated_option_and_a_path_with_a_space():
    command = reproduce_command("my/suite.toml", {"--plugin": [Path("a.py"), Path("my b.py")]})
    assert command.startswith(
        "legible run my/suite.toml --only-local --plugin a.py --plugin 'my b.py' && "
    )


def test_a_tuned_suite_is_tuned_first_without_seeds():
    command = reproduce_command("standard", {"--seeds": "0,1", "--runs": "r"}, tuned=True)
    assert command == (
        "legible tune standard --runs r && "
        "legible run standard --only-local --seeds 0,1 --runs r && "
        "legible publish standard --only-local --seeds 0,1 --runs r"
    )
