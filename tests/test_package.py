"""The package as strangers meet it: public names, one name a module, a wheel, the command."""

from __future__ import annotations

import ast
import csv
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import legible

ROOT = Path(__file__).parents[1]
STUB = ROOT / "legible" / "__init__.pyi"


def python(code: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs code in a fresh interpreter."""
    return subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, env={**os.environ, **environment},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def public_names() -> dict[str, str]:
    """Name -> module, as the stub lists them."""
    nodes = [node for node in ast.parse(STUB.read_text()).body if isinstance(node, ast.ImportFrom)]
    return {alias.name: f"legible.{node.module}" for node in nodes for alias in node.names}


@pytest.mark.parametrize("name", sorted(public_names()))
def test_every_public_name_can_be_used_and_has_a_docstring(name: str) -> None:
    assert (getattr(legible, name).__doc__ or "").strip() or name in ("TapChoice",)


def test_importing_legible_imports_nothing_before_it_is_asked_for(tmp_path: Path) -> None:
    code = "import sys, legible; print(sorted(m for m in sys.modules if m.startswith('legible')))"
    assert python(code, tmp_path).stdout.strip() == "['legible']"
    code = "import sys; from legible import Method; print('matplotlib' in sys.modules)"
    assert python(code, tmp_path).stdout.strip() == "False"


@pytest.mark.parametrize("folder", ["bench", "methods", "metrics"])
def test_a_folder_cannot_be_imported_under_another_name(folder: str) -> None:
    done = python(f"import {folder}", ROOT, PYTHONPATH=str(ROOT))
    assert f"ImportError: import legible.{folder}, not {folder}" in done.stderr


def test_no_module_is_loaded_under_two_names() -> None:
    code = (
        "import sys, collections; from legible.bench.plugins import registry; registry.load()\n"
        "import legible.bench.cli.main, legible.bench.api\n"
        "import os\n"
        "files = collections.Counter(os.path.realpath(m.__file__) for m in sys.modules.values()"
        " if getattr(m, '__file__', None) and '/legible' in m.__file__)\n"
        "print([file for file, count in files.items() if count > 1])"
    )
    done = python(code, ROOT)
    assert done.stdout.strip() == "[]", done.stderr


def test_a_copy_without_links_says_how_to_mend_it(tmp_path: Path) -> None:
    """What git with core.symlinks=false, or a naive unzip, makes of the links."""
    shutil.copytree(ROOT / "legible", tmp_path / "legible", symlinks=True)
    for name in ("bench", "methods", "metrics"):
        (tmp_path / "legible" / name).unlink()
        (tmp_path / "legible" / name).write_text(f"../{name}")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import legible"
    done = python(code, tmp_path)
    assert "git config core.symlinks true" in done.stderr


def test_built_in_code_imports_modules_and_not_the_public_names() -> None:
    for folder in ("bench", "methods", "metrics"):
        for file in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ImportFrom):
                    assert node.module != "legible", file
                    root = (node.module or "").partition(".")[0]
                    assert root not in ("bench", "methods", "metrics"), file


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of a copy of the repository, built offline."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    ignored = shutil.ignore_patterns(".*", "runs", "build", "*.egg-info", "__pycache__", "tests")
    shutil.copytree(ROOT, source, symlinks=True, ignore=ignored)
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index",
         "--no-build-isolation", "--disable-pip-version-check", "-w", folder, source],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    (file,) = folder.glob("*.whl")
    return file


@pytest.mark.slow
def test_a_wheel_holds_each_file_once_and_all_that_is_needed(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert len(names) == len(set(names))
    ours = {name for name in names if ".dist-info/" not in name}
    assert {name.partition("/")[0] for name in ours} == {"legible"}
    code = {
        f"legible/{folder}/{file.relative_to(ROOT / folder)}"
        for folder in ("bench", "methods", "metrics")
        for file in (ROOT / folder).rglob("*")
        if file.suffix in (".py", ".toml", ".j2", ".css", ".js", ".json", ".txt", ".csv")
        and "__pycache__" not in file.parts
    }
    assert code <= ours
    published = {
        f"legible/bench/execution/published_tables/{file.relative_to(ROOT / 'results')}"
        for pattern in ("*/*.csv", "*/provenance.json")
        for file in (ROOT / "results").glob(pattern)
    }
    assert {name for name in ours if "/published_tables/" in name} == published
    assert "legible/bench/execution/published_tables/cards/scores.csv" in published
    assert {"legible/py.typed", "legible/__init__.pyi", "legible/__main__.py"} <= ours


@pytest.mark.slow
def test_a_wheel_lists_what_the_repository_lists(wheel: Path, tmp_path: Path) -> None:
    """Unpacked outside the repository, with the dependencies of this environment."""
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    for kind in ("methods", "metrics", "datasets", "backbones", "suites"):
        listed = [
            subprocess.run(
                [sys.executable, "-m", "legible", "list", kind], cwd=tmp_path,
                env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=True,
            ).stdout
            for path in (str(tmp_path / "site"), str(ROOT))
        ]  # fmt: skip
        assert listed[0] == listed[1]
        assert len(listed[0].splitlines()) > 3
    code = "import legible; print(len(legible.scores('quick')))"
    published = python(code, tmp_path, PYTHONPATH=str(tmp_path / "site"))
    with (ROOT / "results" / "quick" / "scores.csv").open(newline="") as file:
        assert int(published.stdout) == len(list(csv.reader(file))) - 1
