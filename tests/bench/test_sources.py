"""What counts as a change of the code a result was made with."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from legible.bench.plugins.source_hash import is_ours, module_name, source_files, source_hashes

import methods

METHODS = Path(methods.__file__).parent

CODE = '''
"""Module docstring."""
import torch


class Thing:
    """Class docstring."""

    def double(self, x):
        """Function docstring."""
        return 2 * x  # a comment
'''


def hashed(path: Path, text: str, stamp: int = 1) -> str:
    path.write_text(text)
    os.utime(path, ns=(stamp, stamp))
    return source_hashes([path])[path.name]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("  # a comment", ""),
        ("Module docstring", "Another"),
        ('    """Class docstring."""\n\n', ""),
        ("Function docstring.", "Says more,\n        in two lines."),
        ("return 2 * x", "return (\n            2 * x\n        )"),
    ],
)
def test_what_does_not_change_the_code_does_not_count(old: str, new: str, tmp_path: Path) -> None:
    assert old in CODE
    path = tmp_path / "plugin.py"
    assert hashed(path, CODE) == hashed(path, CODE.replace(old, new), 2)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("2 * x", "3 * x"),
        ("2 * x", "x * 2"),
        ("def double", "def twice"),
        ("import torch", "import torch, math"),
        ("(self, x)", "(self, x=1)"),
        ("return 2 * x", 'return "2 * x"'),
    ],
)
def test_a_change_of_the_code_counts(old: str, new: str, tmp_path: Path) -> None:
    assert old in CODE
    path = tmp_path / "plugin.py"
    assert hashed(path, CODE) != hashed(path, CODE.replace(old, new), 2)


def test_a_function_of_only_a_docstring_is_like_one_that_passes(tmp_path: Path) -> None:
    path = tmp_path / "plugin.py"
    assert hashed(path, 'def f():\n    """Text."""\n') == hashed(path, "def f():\n    pass\n", 2)


def test_imports_of_ours_are_followed() -> None:
    found = source_hashes([METHODS / "sync.py"])
    assert {"methods.sync", "methods.base", "metrics.network"} <= set(found)
    assert not {"methods.bean", "metrics.base"} & set(found)  # a new metric retrains nothing
    assert not any(name.startswith("torch") for name in found)
    assert found == source_hashes([METHODS / "sync.py", METHODS / "sync.py"])


def test_a_plugin_file_brings_what_it_imports_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("import os, torch\nfrom metrics import similarity\n")
    found = source_hashes([path])
    assert {"mine.py", "metrics.similarity", "metrics.probed"} <= set(found)
    assert "os" not in found


def test_a_package_of_someone_else_is_followed_within(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "hers"
    (package / "inner").mkdir(parents=True)
    for name, text in {
        "__init__.py": "VERSION = 1",
        "unused.py": "",
        "maths.py": "import torch",
        "inner/__init__.py": "",
        "inner/method.py": "from ..maths import torch\nfrom . import near\nimport hers.far as far",
        "inner/near.py": "",
        "far.py": "",
    }.items():
        (package / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    found = source_files([package / "inner" / "method.py"])
    # with hers/__init__.py, which runs first, and without the empty hers/inner/__init__.py
    assert set(found) == {
        "hers", "hers.inner.method", "hers.inner.near", "hers.maths", "hers.far",
    }  # fmt: skip
    assert found["hers.maths"] == package / "maths.py"


def test_names_tell_ours_from_others(tmp_path: Path) -> None:
    assert module_name(METHODS / "sync.py") == "methods.sync"
    assert module_name(METHODS / "__init__.py") == "methods"
    assert is_ours(METHODS / "sync.py")
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods" / "__init__.py").touch()
    stranger = tmp_path / "methods" / "sync.py"  # in a package called like ours
    stranger.touch()
    assert not is_ours(stranger)
    assert module_name(stranger) == "sync.py"
