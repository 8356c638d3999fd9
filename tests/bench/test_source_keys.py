"""Keys of code: what counts as a change, what is followed, and that no file name counts."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from legible.bench import source_keys as keys
from legible.bench.source_keys import (
    content_hashes,
    content_key,
    files_reached_by,
    is_ours,
    module_name,
)

ROOT = Path(__file__).resolve().parents[2]
METHODS = ROOT / "methods"
STAMPS = count(1)

CODE = '''
"""Module docstring."""
import torch


class Thing:
    """Class docstring."""

    def double(self, x):
        """Function docstring."""
        return 2 * x  # a comment
'''


def write(path: Path, text: str) -> Path:
    """A file with a modification time of its own, so that an edit is always seen."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    stamp = next(STAMPS)
    os.utime(path, ns=(stamp, stamp))
    return path


def key_of(path: Path, text: str) -> str:
    return content_key(write(path, text))


# ------------------------------------------------------------- what counts as a change


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
def test_comments_docstrings_and_layout_do_not_count(old: str, new: str, tmp_path: Path) -> None:
    assert old in CODE
    path = tmp_path / "plugin.py"
    assert key_of(path, CODE) == key_of(path, CODE.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("2 * x", "3 * x"),
        ("2 * x", "x * 2"),
        ("def double", "def twice"),
        ("import torch", "import torch, math"),
        ("import torch", "import torch as t"),
        ("(self, x)", "(self, x=1)"),
        ("return 2 * x", 'return "2 * x"'),
    ],
)
def test_a_change_of_the_code_counts(old: str, new: str, tmp_path: Path) -> None:
    assert old in CODE
    path = tmp_path / "plugin.py"
    assert key_of(path, CODE) != key_of(path, CODE.replace(old, new))


def test_a_function_of_only_a_docstring_is_like_one_that_passes(tmp_path: Path) -> None:
    path = tmp_path / "plugin.py"
    assert key_of(path, 'def f():\n    """Text."""\n') == key_of(path, "def f():\n    pass\n")


def test_imports_for_type_checkers_alone_do_not_count(tmp_path: Path) -> None:
    write(tmp_path / "helper_for_types.py", "class Shape: ...\n")
    text = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    {}\nelse:\n    x = 1\n"
    path = tmp_path / "plugin.py"
    first = key_of(path, text.format("from helper_for_types import Shape"))
    assert first == key_of(path, text.format("pass"))
    assert first != key_of(path, text.format("pass").replace("x = 1", "x = 2"))


# ------------------------------------------------------------- imports count by content


def test_a_file_may_be_renamed_but_not_exchanged(tmp_path: Path) -> None:
    """``import correlation as s`` and ``import distances as s`` have different keys."""
    one, other = "def compare(a, b): return a @ b\n", "def compare(a, b): return abs(a - b)\n"
    write(tmp_path / "correlation.py", one)
    write(tmp_path / "distances.py", other)
    write(tmp_path / "renamed.py", one)
    path = tmp_path / "plugin.py"
    text = "import {} as s\nscore = s.compare\n"
    by_correlation = key_of(path, text.format("correlation"))
    assert by_correlation != key_of(path, text.format("distances"))
    assert by_correlation == key_of(path, text.format("renamed"))


def test_importing_another_name_of_the_same_file_counts(tmp_path: Path) -> None:
    write(tmp_path / "helper.py", "def f(): return 1\n\ndef g(): return 2\n")
    path = tmp_path / "plugin.py"
    assert key_of(path, "from helper import f as h\n") != key_of(
        path, "from helper import g as h\n"
    )


def test_a_name_counts_where_it_is_defined(tmp_path: Path) -> None:
    write(tmp_path / "impl.py", "def f(): return 1\n")
    write(tmp_path / "front.py", "from impl import f\n")
    path = tmp_path / "plugin.py"
    assert key_of(path, "from front import f\n") == key_of(path, "from impl import f\n")


def test_a_helper_of_a_helper_counts(tmp_path: Path) -> None:
    path = write(tmp_path / "plugin.py", "import first\n")
    write(tmp_path / "first.py", "from second import value\n")
    write(tmp_path / "second.py", "value = 1\n")
    before = content_key(path)
    write(tmp_path / "second.py", "value = 2\n")
    assert content_key(path) != before


def test_an_import_cycle_counts_as_one_file(tmp_path: Path) -> None:
    path = write(tmp_path / "plugin.py", "from one import f\n")
    write(tmp_path / "one.py", "import two\n\ndef f(): return two.g\n")
    write(tmp_path / "two.py", "import one\n\ndef g(): return one.f\n")
    before = content_key(path)
    assert content_key(tmp_path / "one.py") != content_key(tmp_path / "two.py")
    write(tmp_path / "two.py", "import one\n\ndef g(): return 0\n")
    assert content_key(path) != before


def test_an_import_inside_a_function_counts(tmp_path: Path) -> None:
    path = write(tmp_path / "plugin.py", "def f():\n    from helper import x\n    return x\n")
    write(tmp_path / "helper.py", "x = 1\n")
    before = content_key(path)
    write(tmp_path / "helper.py", "x = 2\n")
    assert content_key(path) != before


# ------------------------------------------------------------- what is followed


def test_what_plain_depends_on() -> None:
    """The key of a plain run covers what makes its weights, and nothing that only looks at them."""
    from legible.bench.execution.workspace import source_hashes, with_method
    from legible.bench.plugins import registry
    from legible.bench.suites.run_spec import expand
    from legible.bench.suites.schema import find_suite, read_suite

    registry.load()
    spec = with_method(expand(read_suite(find_suite("quick")))[0], "plain")
    names = set(source_hashes(spec))
    assert {
        "legible.bench.training.fit", "legible.bench.training.loop",
        "legible.bench.training.augment", "legible.bench.training.checkpoint",
        "legible.bench.training.recipe", "legible.bench.backbones.taps",
        "legible.bench.backbones.vgg", "legible.bench.data.base", "legible.bench.seeds",
        "legible.methods.plain", "legible.methods.base", "legible.metrics.network",
    } <= names  # fmt: skip
    rooms = {".".join(name.split(".")[:3]) for name in names}
    assert rooms <= {
        "legible.bench.training", "legible.bench.backbones", "legible.bench.data",
        "legible.bench.seeds", "legible.methods.plain", "legible.methods.base",
        "legible.metrics.network",
    }  # fmt: skip


def test_a_new_metric_retrains_nothing() -> None:
    names = set(content_hashes([METHODS / "sync.py"]))
    assert {"legible.methods.sync", "legible.methods.base", "legible.metrics.network"} <= names
    assert not {"legible.methods.bean", "legible.metrics.base"} & names


def test_a_plugin_brings_what_it_imports_of_ours(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.py", "import os, torch\nfrom legible.metrics import similarity\n")
    names = set(content_hashes([path]))
    assert {"mine", "legible.metrics.similarity"} <= names
    assert not {"os", "torch"} & names


@pytest.mark.parametrize(
    "text", ["from legible import Method\n", "import legible\nB = legible.Method\n"]
)
def test_a_public_name_counts_as_its_own_module(text: str, tmp_path: Path) -> None:
    path = write(tmp_path / "mine.py", text)
    names = set(content_hashes([path]))
    assert {"mine", "legible.methods.base"} <= names
    assert not {"legible", "legible.bench.api"} & names
    direct = key_of(tmp_path / "direct.py", "from legible.methods.base import Method\n")
    assert (content_key(path) == direct) == text.startswith("from")


def test_helpers_beside_a_plugin_and_on_the_path_are_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(
        tmp_path / "plugins" / "mine.py", "import beside\nimport elsewhere\nimport numpy\n"
    )
    beside = write(tmp_path / "plugins" / "beside.py", "x = 1\n")
    elsewhere = write(tmp_path / "lib" / "elsewhere" / "__init__.py", "y = 1\n")
    monkeypatch.syspath_prepend(tmp_path / "lib")
    assert files_reached_by([path]) == {path, beside, elsewhere}
    before = content_key(path)
    write(elsewhere, "y = 2\n")
    assert content_key(path) != before


def test_a_library_counts_by_name_and_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "mine.py", "import numpy\n")
    before = content_key(path)
    monkeypatch.setattr(keys, "_version", lambda top: "0.0.1")
    write(path, "import numpy  # read again\n")
    assert content_key(path) != before
    assert content_key(METHODS / "plain.py") == content_key(METHODS / "plain.py")


def test_nothing_is_imported_to_find_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "mine.py", "import explosive.inner\n")
    write(tmp_path / "explosive" / "__init__.py", "raise SystemExit('imported')\n")
    inner = write(tmp_path / "explosive" / "inner.py", "x = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert inner in files_reached_by([path])
    assert "explosive" not in sys.modules


def test_a_package_is_followed_within(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "hers"
    for name, text in {
        "__init__.py": "VERSION = 1",
        "unused.py": "",
        "maths.py": "import torch",
        "inner/__init__.py": "",
        "inner/method.py": "from ..maths import torch\nfrom . import near\nimport hers.far as far",
        "inner/near.py": "",
        "far.py": "",
    }.items():
        write(package / name, text)
    files = {
        module_name(file): file for file in files_reached_by([package / "inner" / "method.py"])
    }
    # with hers/__init__.py, which runs first, and without the empty hers/inner/__init__.py
    assert set(files) == {
        "hers", "hers.inner.method", "hers.inner.near", "hers.maths", "hers.far",
    }  # fmt: skip
    assert files["hers.maths"] == package / "maths.py"


def test_names_tell_ours_from_others(tmp_path: Path) -> None:
    assert module_name(METHODS / "sync.py") == "legible.methods.sync"
    assert module_name(METHODS / "__init__.py") == "legible.methods"
    assert is_ours(METHODS / "sync.py")
    write(tmp_path / "methods" / "__init__.py", "")
    stranger = write(tmp_path / "methods" / "sync.py", "")  # in a package called like ours
    assert not is_ours(stranger)
    assert module_name(stranger) == "methods.sync"


# ------------------------------------------------------------- our own tree, moved about


@pytest.fixture
def copy(tmp_path: Path) -> Iterator[Path]:
    """A copy of Legible's code, with the links."""
    for folder in ("bench", "methods", "metrics", "legible"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, tmp_path / folder, symlinks=True, ignore=ignored)
    yield tmp_path


def keys_in(tree: Path) -> dict[str, str]:
    """Keys of some files as a process that runs from this tree computes them."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from legible.bench.source_keys import content_key, FOLDERS\n"
        "for file in sys.argv[2:]: print(file, content_key(sys.argv[1] + '/' + file))\n"
    )
    files = ["bench/training/fit.py", "methods/plain.py", "bench/backbones/vgg.py",
             "bench/scoring/probe.py", "metrics/task.py"]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", code, str(tree), *files],
        capture_output=True, text=True, check=True, cwd=tree,
    )  # fmt: skip
    return dict(line.split() for line in done.stdout.splitlines())


def edit(tree: Path, old: str, new: str) -> None:
    """Replaces a text in every source file."""
    for file in (*tree.glob("*/**/*.py"), *tree.glob("legible/*.pyi")):
        text = file.read_text()
        if old in text:
            file.write_text(text.replace(old, new))


def test_moving_a_file_changes_no_key(copy: Path) -> None:
    before = keys_in(copy)
    (copy / "bench/training/checkpoint.py").rename(copy / "bench/seed_and_state.py")
    edit(copy, "legible.bench.training.checkpoint", "legible.bench.seed_and_state")
    assert keys_in(copy) == before


def test_an_edit_of_what_only_publishes_changes_no_key(copy: Path) -> None:
    before = keys_in(copy)
    for file in ("bench/leaderboard/board.py", "legible/__init__.py", "legible/__init__.pyi"):
        with (copy / file).open("a") as text:
            text.write("\nEXTRA = 1\n")
    assert keys_in(copy) == before


@pytest.mark.parametrize(
    ("file", "untouched"),
    [
        ("bench/training/augment.py", {"methods/plain.py", "metrics/task.py"}),
        ("bench/seeds.py", {"methods/plain.py", "bench/backbones/vgg.py", "metrics/task.py"}),
        ("metrics/network.py", set()),
        ("metrics/base.py", {"bench/training/fit.py", "methods/plain.py"}),
    ],
)
def test_an_edit_changes_the_keys_of_all_that_import_it(
    copy: Path, file: str, untouched: set[str]
) -> None:
    before = keys_in(copy)
    with (copy / file).open("a") as text:
        text.write("\nEXTRA = 1\n")
    after = keys_in(copy)
    same = {name for name in before if before[name] == after[name]}
    assert same and untouched <= same if untouched else not same
