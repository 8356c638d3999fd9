"""The command `legible`: runs one command, and prints a user's error in one line.

Commands import torch and the benchmark when they run, so that help is quick.
"""

from __future__ import annotations

import io
import sys

from legible.bench.cli import (  # noqa: F401  (adds the commands)
    inspection,
    plugins,
    results,
    runs,
    scoring,
)
from legible.bench.cli.app import app
from legible.bench.cli.options import error_message, stopped_message
from legible.bench.execution.stop import sure_ctrl_c


def main() -> None:
    """Runs one command and exits with its code. A user's error or Ctrl-C is printed in one line."""
    for stream in (sys.stdout, sys.stderr):  # a path or name may hold what it cannot encode
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        with sure_ctrl_c():
            code = app(standalone_mode=False)  # typer.Exit(code) comes back as a number
    except KeyboardInterrupt:
        code = 130
    except Exception as error:
        _leave(*error_message(error))
    if code == 130:  # what typer makes of Ctrl-C
        _leave(stopped_message(sys.argv[1:]), 130)
    sys.exit(code or 0)


def _leave(message: str, code: int) -> None:
    print(f"legible: {message}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
