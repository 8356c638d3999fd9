"""The shell commands that make a publication again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

ONLY_LOCAL = "--only-local"
Option = str | Path | bool | Sequence[Path] | None


def reproduce_command(
    suite: str,
    options: Mapping[str, Option],
    publish_options: Mapping[str, Option] | None = None,
    tuned: bool = False,
) -> str:
    """``legible run SUITE && legible publish SUITE``; a tuned suite is tuned first.

    ``options`` belong to all commands (`tune` has no ``--seeds``), ``publish_options`` to `publish`
    alone. An option with the value None, False or [] is left out, True stands for a flag, and a
    list repeats the option. All runs are made anew: no published rows are used.
    """
    commands = [
        ["run", suite, ONLY_LOCAL, *_words(options)],
        ["publish", suite, ONLY_LOCAL, *_words(options), *_words(publish_options or {})],
    ]
    if tuned:
        of_tune = {name: value for name, value in options.items() if name != "--seeds"}
        commands.insert(0, ["tune", suite, *_words(of_tune)])
    return " && ".join(shlex.join(["legible", *command]) for command in commands)


def _words(options: Mapping[str, Option]) -> list[str]:
    words: list[str] = []
    for name, value in options.items():
        values = [value] if value is None or isinstance(value, str | Path | bool) else value
        for item in values:
            if item is True:
                words.append(name)
            elif item is not None and item is not False:
                words += [name, str(item)]
    return words
