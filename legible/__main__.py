"""``python -m legible`` is the command ``legible``."""

from legible.bench.cli.main import main

if __name__ == "__main__":
    main()
