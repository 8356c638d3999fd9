"""A benchmark of training methods that make ordinary neural networks interpretable.

The public names are listed in `__init__.pyi`; each is imported when it is first used.
"""

from pathlib import Path as _Path

import lazy_loader as _lazy

if not _Path(__file__).with_name("bench").is_dir():
    raise ImportError(
        "legible/bench is a file, not a link to ../bench: this copy was made without symbolic "
        "links. Run `git config core.symlinks true && git checkout -- legible`, or install a wheel"
    )

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
