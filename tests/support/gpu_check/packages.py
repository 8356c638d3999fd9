"""The packages that the check needs. This file imports the standard library alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib.metadata import PackageNotFoundError, version

#: What is never carried along: the interpreter must have it, built for the card.
BUILT_FOR_THE_CARD = ("torch", "torchvision")
#: The other packages, with all that they need in turn.
CARRIED = (
    "annotated-doc", "annotated-types", "captum", "cloudpickle", "contourpy", "cycler",
    "fonttools", "hypothesis", "iniconfig", "jaxtyping", "jinja2", "joblib", "kanjivg",
    "kiwisolver", "lazy-loader", "markdown-it-py", "markupsafe", "matplotlib", "mdurl",
    "narwhals", "networkx", "numpy", "packaging", "pandas", "pillow", "pluggy", "pyarrow",
    "pydantic", "pydantic-core", "pygments", "pyparsing", "pytest", "python-dateutil", "rich",
    "safetensors", "scikit-learn", "scipy", "shellingham", "sortedcontainers", "tabulate",
    "threadpoolctl", "tqdm", "typer", "typing-extensions", "typing-inspection", "tzdata",
    "wadler-lindig",
)  # fmt: skip
#: The folder for packages that are carried along, and the most it may hold.
FOLDER, MOST_BYTES = "gpu_packages", 64 * 2**20


def installed(name: str) -> bool:
    """Whether this interpreter has a distribution."""
    try:
        return bool(version(name))
    except PackageNotFoundError:
        return False


def missing(
    names: Iterable[str] = (*BUILT_FOR_THE_CARD, *CARRIED),
    has: Callable[[str], bool] = installed,
) -> list[str]:
    """Those of some distributions that this interpreter lacks."""
    return [name for name in names if not has(name)]


def advice(names: Iterable[str]) -> str:
    """What to do about missing packages, in a few lines."""
    names = list(names)
    if lacking := [name for name in names if name in BUILT_FOR_THE_CARD]:
        return f"this interpreter has no {' and no '.join(lacking)}: use one that has it (PYTHON=)"
    return (
        f"missing packages: {' '.join(names)}\n"
        "Nothing was installed. Where there is a network, put them into a folder that travels "
        "with the repository:\n"
        f"  python3 -m pip install --target {FOLDER} --no-deps --only-binary=:all: "
        f"--python-version 3.12 {' '.join(names)}"
    )
