"""Suite files: their schema, and how they are read and checked."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
)

from legible.bench.errors import UserError, nearest
from legible.bench.plugins import registry
from legible.bench.training.recipe import Recipe
from legible.metrics.base import ASPECTS


def _distinct(seeds: list[int]) -> list[int]:
    if len(set(seeds)) < len(seeds):
        raise ValueError("a seed is listed twice")
    return seeds


Seeds = Annotated[
    list[Annotated[int, Field(ge=0)]], Field(min_length=1), AfterValidator(_distinct)
]  # -1 stands for comparisons across seeds


class SuiteBlock(BaseModel):
    """One dataset on one backbone. ``recipe`` overrides values of the suite's recipe.

    ``shots`` above 0 leaves only that many training images of each class, drawn anew for each seed.
    ``methods`` names the methods of the suite that run on this block (empty: all).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: str
    backbone: str
    data: dict[str, Any] = {}
    net: dict[str, Any] = {}
    recipe: dict[str, Any] = {}
    shots: int = Field(0, ge=0)
    methods: list[str] = []


class MethodEntry(BaseModel):
    """A method and its parameters: every key except ``name`` is a parameter."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str

    @property
    def params(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class Tune(BaseModel):
    """The [tune] table: how the setting of each method is chosen (see tuning/trials.py)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    metric: str
    layer: str = "last_spatial"
    trials: int = Field(ge=1, le=1000)
    seeds: Seeds
    tolerance: float = Field(0.01, ge=0, le=1)
    epochs: int | None = Field(None, ge=1)


class Suite(BaseModel):
    """The content of a suite file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    title: str
    description: str = ""
    version: int = 1
    seeds: Seeds = [0, 1, 2]
    layers: list[str] = ["last_spatial", "last"]
    probe: int = Field(1000, ge=2)
    recipe: Recipe = Recipe()
    blocks: list[SuiteBlock] = Field(min_length=1)
    methods: list[MethodEntry] = Field(min_length=1)
    headline: dict[str, str] = {}
    aspects: list[str] = list(ASPECTS)
    plugins: list[Path] = []
    tune: Tune | None = None

    @field_validator("methods", mode="before")
    @classmethod
    def _names_alone(cls, value: Any) -> Any:
        if isinstance(value, list):
            return [{"name": item} if isinstance(item, str) else item for item in value]
        return value


# ----------------------------------------------------------------- reading a suite file


#: The folder of the built-in suites.
SUITES = Path(__file__).parent


def find_suite(name: str) -> Path:
    """The path of a suite file, from its path or the name of a built-in suite. Raises UserError."""
    path = Path(name)
    if path.suffix == ".toml":
        if not path.is_file():
            raise UserError(f"no suite file {path}")
        return path
    built_in = {p.stem: p for p in sorted(SUITES.glob("*.toml"))}
    if name not in built_in:
        names = ", ".join(built_in)
        raise UserError(f"no suite '{name}'{nearest(name, built_in) or ': ' + names}")
    return built_in[name]


def read_suite(path: Path) -> Suite:
    """Reads and checks a suite file. Raises UserError, in one line, for anything wrong in it."""
    try:
        text = path.read_text(encoding="utf-8")
        raw = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not TOML: {error}") from error
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    if not raw:
        raise UserError(f"{path}: the suite file is empty (needs title, blocks and methods)")
    for key in raw:
        if key not in Suite.model_fields:
            raise UserError(f"{path}: unknown key '{key}'{nearest(key, Suite.model_fields)}")
    try:
        suite = Suite(**{"name": path.stem, **raw})
        for block in suite.blocks:
            Recipe(**{**suite.recipe.model_dump(), **block.recipe})
    except ValidationError as error:
        raise UserError(f"{path}: {_first_problem(error)}") from error
    return suite.model_copy(
        update={"plugins": [(path.parent / plugin).resolve() for plugin in suite.plugins]}
    )


def _first_problem(error: ValidationError) -> str:
    errors = error.errors()  # a misspelt key is more helpful than the key that is then missing
    first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        fields = {**Recipe.model_fields, **SuiteBlock.model_fields, **Tune.model_fields}
        return f"unknown key '{where}'{nearest(str(first['loc'][-1]), fields)}"
    if first["type"] == "missing":
        return f"'{where}' is missing"
    return f"{where} = {first['input']!r}: {first['msg']}"


def with_plugins(suite: Suite, plugins: Sequence[Path]) -> Suite:
    """The suite with the methods of plugin files added to every block, unless it lists them."""
    files = {path.resolve() for path in plugins}
    listed = {entry.name for entry in suite.methods}
    new = [
        name
        for name, cls in sorted(registry.METHODS.items())
        if name not in listed and Path(cls.origin).resolve() in files
    ]
    entries = [*suite.methods, *(MethodEntry(name=name) for name in new)]
    blocks = [
        block.model_copy(update={"methods": [*block.methods, *new]}) if block.methods else block
        for block in suite.blocks
    ]
    return suite.model_copy(update={"methods": entries, "blocks": blocks})
