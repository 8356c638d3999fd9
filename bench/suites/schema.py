"""Suite files: their schema, and how they are read and checked."""

from __future__ import annotations

import codecs
import itertools
import math
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from legible.bench.errors import UserError, nearest, reason_of, shortened
from legible.bench.plugins import registry
from legible.bench.text import name_problem
from legible.bench.training.recipe import Recipe
from legible.metrics.base import ASPECTS

LARGEST_FILE = 2**20  # bytes of a suite file
SEEDS = 2**63  # seeds are below it: tables and files hold 64 bits with a sign


class Limits(NamedTuple):
    """What a suite file may hold at most."""

    depth: int = 8  # of tables and lists in one another
    values: int = 20_000
    characters: int = 5_000  # of one text


LIMITS = Limits()
#: Largest values of a recipe. The recipe's own schema has the smallest.
RECIPE_LIMITS = {
    "epochs": 10**6, "batch": 10**6, "validate_every": 10**6, "validate_images": 10**9,
}  # fmt: skip


def _distinct(seeds: list[int]) -> list[int]:
    if len(set(seeds)) < len(seeds):
        raise ValueError("a seed is listed twice")
    return seeds


def _folder_name(name: str) -> str:
    if problem := name_problem(name):
        raise ValueError(f"{problem}; the suite's name is also the name of its results folder")
    return name


def _recipe(value: Any) -> Any:
    """A [recipe] table whose values have the right types: no text or truth values as numbers."""
    if not isinstance(value, Mapping):
        return value
    lists = {key: tuple(item) if isinstance(item, list) else item for key, item in value.items()}
    return limited(Recipe.model_validate(lists, strict=True))


def limited(recipe: Recipe) -> Recipe:
    """The recipe. Raises ValueError for a value above `RECIPE_LIMITS`."""
    for name, largest in RECIPE_LIMITS.items():
        if getattr(recipe, name) > largest:
            raise ValueError(f"recipe.{name} is larger than {largest}")
    return recipe


def is_seed(value: Any) -> bool:
    """Whether a value can be a seed: a whole number from 0 to 2**63 - 1."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < SEEDS


Line = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
Seeds = Annotated[
    list[Annotated[int, Field(ge=0, lt=SEEDS)]],
    Field(min_length=1, max_length=1000), AfterValidator(_distinct),
]  # fmt: skip  # -1 stands for comparisons across seeds


class MarginEntry(BaseModel):
    """The largest difference in a metric that makes no difference in practice, and why."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    value: float = Field(gt=0)
    reason: Line


class SuiteBlock(BaseModel):
    """One dataset on one backbone. ``recipe`` overrides values of the suite's recipe.

    ``shots`` above 0 leaves only that many training images of each class, drawn anew for each seed.
    ``methods`` names the methods of the suite that run on this block, ``aspects`` the aspects that
    are scored on it, ``layers`` the Taps (empty: all of the suite). ``margins`` replace those of
    the suite. A block with ``gpu`` is run on a GPU alone; elsewhere it is missing. A block without
    ``pictures`` is published without pictures of its networks.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    dataset: str
    backbone: str
    data: dict[str, Any] = {}
    net: dict[str, Any] = {}
    recipe: dict[str, Any] = {}
    shots: int = Field(0, ge=0, le=10**9)
    methods: list[str] = []
    aspects: list[str] = []
    layers: list[str] = []
    margins: dict[str, MarginEntry] = {}
    gpu: bool = False
    pictures: bool = True


class MethodEntry(BaseModel):
    """A method and its parameters: every key except ``name`` is a parameter."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    name: str

    @property
    def params(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class Tune(BaseModel):
    """The [tune] table: how the setting of each method is chosen (see tuning/trials.py).

    ``dataset`` names the one block on which settings are chosen for all blocks (default: each block
    for itself). ``extensions`` is how many further values of the strength a method may get whose
    best setting lies at the edge of those tried.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    metric: str
    layer: str = "last_spatial"
    trials: int = Field(ge=1, le=1000)
    seeds: Seeds
    tolerance: float = Field(0.01, ge=0, le=1)
    epochs: int | None = Field(None, ge=1, le=RECIPE_LIMITS["epochs"])
    dataset: str | None = None
    extensions: int = Field(0, ge=0, le=20)


def _ascending(values: list[float]) -> list[float]:
    if values != sorted(set(values)):
        raise ValueError("the values must rise")
    return values


Grid = Annotated[
    list[Annotated[float, Field(gt=0)]],
    Field(min_length=2, max_length=20), AfterValidator(_ascending),
]  # fmt: skip


class TuneRecipe(BaseModel):
    """The [tune_recipe] table: how the recipe of plain is chosen (see tuning/recipe_search.py).

    The search starts with the epochs of the suite's recipe and ends where twice the epochs gain
    less than ``tolerance`` of validation accuracy; no training has more than ``longest`` epochs.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    lr: Grid
    weight_decay: Grid
    seeds: Seeds
    tolerance: float = Field(0.01, gt=0, le=1)
    longest: int = Field(ge=1, le=RECIPE_LIMITS["epochs"])


#: With fewer seeds no verdict is given: every sign is "?".
SEEDS_FOR_VERDICTS = 8
#: Seeds of plain for each seed of the other rows, because every comparison uses plain.
PLAIN_FACTOR = 3


class Suite(BaseModel):
    """The content of a suite file.

    ``plain_seeds`` is the number of seeds of plain, and ``row_seeds`` that of rows with fewer seeds
    than the others, by label as `run_spec.row_label` writes it. ``images`` holds, for some aspects,
    a smaller number of images than ``probe``. ``contrasts`` are pairs of labels of rows that are
    compared with each other. ``margins`` holds the largest difference without practical meaning of
    each metric.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: Annotated[str, AfterValidator(_folder_name)]
    title: Line
    description: str = ""
    version: int = Field(1, ge=0, le=10**6)
    seeds: Seeds = [0, 1, 2]
    plain_seeds: int | None = Field(None, ge=1, le=3000)
    row_seeds: dict[str, Annotated[int, Field(ge=1)]] = {}
    layers: list[Line] = Field(["last_spatial", "last"], min_length=1)
    probe: int = Field(1000, ge=2, le=10**9)
    images: dict[str, Annotated[int, Field(ge=2)]] = {}
    recipe: Annotated[Recipe, BeforeValidator(_recipe)] = Recipe()
    blocks: list[SuiteBlock] = Field(min_length=1)
    methods: list[MethodEntry] = Field(min_length=1)
    headline: dict[str, str] = {}
    aspects: list[str] = Field(list(ASPECTS), min_length=1)
    contrasts: list[Annotated[list[Line], Field(min_length=2, max_length=2)]] = []
    margins: dict[str, MarginEntry] = {}
    plugins: list[Annotated[Path, Field(strict=False)]] = []
    tune: Tune | None = None
    tune_recipe: TuneRecipe | None = None

    @property
    def block_names(self) -> list[str]:
        """Dataset and backbone of each block, ``kanji on vgg``, without parameters."""
        return list(dict.fromkeys(f"{b.dataset} on {b.backbone}" for b in self.blocks))

    @field_validator("methods", mode="before")
    @classmethod
    def _names_alone(cls, value: Any) -> Any:
        if isinstance(value, list):
            return [{"name": item} if isinstance(item, str) else item for item in value]
        return value

    @model_validator(mode="after")
    def _counts_fit(self) -> Suite:
        if self.plain_seeds is not None and self.plain_seeds < len(self.seeds):
            raise ValueError(f"plain_seeds = {self.plain_seeds} is less than the number of seeds, "
                             f"{len(self.seeds)}")  # fmt: skip
        if (last := baseline_seeds(self)[-1]) >= SEEDS:
            raise ValueError(f"the last seed of plain would be {last}: use smaller seeds")
        for label, count in self.row_seeds.items():
            if count > len(self.seeds):
                raise ValueError(
                    f"row_seeds: '{label}' = {count} is more than the number of seeds, "
                    f"{len(self.seeds)}"
                )
        for aspect, count in self.images.items():
            if count > self.probe:
                raise ValueError(f"images: {aspect} = {count} is more than probe = {self.probe}")
        return self


def baseline_seeds(suite: Suite) -> list[int]:
    """The seeds of plain: the suite's, then the whole numbers after the largest of them.

    There are ``plain_seeds`` of them; by default three times as many as the suite has seeds, and
    where these are too few for verdicts, as many as the suite has. Tuning seeds are left out.
    """
    seeds = suite.seeds
    factor = PLAIN_FACTOR if len(seeds) >= SEEDS_FOR_VERDICTS else 1
    further = (suite.plain_seeds or factor * len(seeds)) - len(seeds)
    tuned = set(suite.tune.seeds) if suite.tune else set()
    free = (seed for seed in itertools.count(max(seeds) + 1) if seed not in tuned)
    return [*seeds, *itertools.islice(free, max(0, further))]


def block_margins(suite: Suite, block: SuiteBlock) -> dict[str, MarginEntry]:
    """The margin of each metric on a block: the suite's, with the block's changes."""
    return {**suite.margins, **block.margins}


# ----------------------------------------------------------------- reading a suite file


#: The folder of the built-in suites.
SUITES = Path(__file__).parent


def find_suite(name: str) -> Path:
    """The path of a suite file, from its path or the name of a built-in suite. Raises UserError."""
    path = Path(name)
    if path.suffix.lower() == ".toml":
        try:
            is_file = path.is_file()
        except OSError as error:
            raise UserError(f"{path}: {reason_of(error)}") from error
        if not is_file:
            raise UserError(f"no suite file {path}")
        return path
    built_in = {p.stem: p for p in sorted(SUITES.glob("*.toml"))}
    if name not in built_in:
        names = ", ".join(built_in)
        raise UserError(f"no suite '{name}'{nearest(name, built_in) or ': ' + names}")
    return built_in[name]


def read_suite(path: Path) -> Suite:
    """Reads and checks a suite file. Raises UserError, in one line, for anything wrong in it."""
    raw = _parse(path, _text(path))
    if not raw:
        raise UserError(f"{path}: the suite file is empty (needs title, blocks and methods)")
    if problem := _value_problem(raw):
        raise UserError(f"{path}: {problem}")
    for key in raw:
        if key not in Suite.model_fields:
            raise UserError(f"{path}: unknown key '{key}'{nearest(key, Suite.model_fields)}")
    try:
        suite = Suite(**{"name": path.stem, **raw})
        for block in suite.blocks:
            block_recipe(suite, block)
        plugins = [(path.parent / plugin).resolve() for plugin in suite.plugins]
    except ValidationError as error:
        raise UserError(f"{path}: {_first_problem(error)}") from error
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(f"{path}: {error}") from error
    return suite.model_copy(update={"plugins": plugins})


def block_recipe(suite: Suite, block: SuiteBlock) -> Recipe:
    """The recipe of a block: the suite's, with the block's changes. Raises ValueError."""
    recipe: Recipe = _recipe({**suite.recipe.model_dump(), **block.recipe})
    return recipe


def _text(path: Path) -> str:
    """The text of a file in UTF-8, without a byte order mark. Raises UserError."""
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise UserError(f"{path}: larger than {LARGEST_FILE // 2**20} MiB")
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {reason_of(error)}") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        what = "UTF-16" if utf16 else f"byte {error.start} is not UTF-8"
        raise UserError(f"{path}: not TOML: {what}; save it as UTF-8") from error


def _parse(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise UserError(f"{path}: not TOML: nested too deep") from None
    except (ValueError, OverflowError, AttributeError) as error:  # also of dates and long numbers
        raise UserError(f"{path}: not TOML: {shortened(str(error), 200)}") from error


def _value_problem(raw: Mapping[str, Any]) -> str:
    """The first value or key that no part of a suite can have; empty if there is none."""
    waiting: list[tuple[str, Any, int]] = [("", raw, 0)]
    count = 0
    while waiting:
        where, value, depth = waiting.pop()
        count += 1
        if count > LIMITS.values:
            return f"more than {LIMITS.values} values"
        if depth > LIMITS.depth:
            return f"{shortened(where, 80)}: nested deeper than {LIMITS.depth}"
        if problem := _scalar_problem(value, where == "description"):
            return f"{shortened(where, 80)} = {shortened(repr(value), 60)}: {problem}"
        if isinstance(value, dict):
            if long := next((key for key in value if not 0 < len(key) <= 100), None):
                return f"a key of {len(long)} characters"
            pairs = [(f"{where}.{key}".strip("."), item) for key, item in value.items()]
        else:
            items = value if isinstance(value, list) else []
            pairs = [(f"{where}.{number}", item) for number, item in enumerate(items)]
        waiting += [(name, item, depth + 1) for name, item in reversed(pairs)]
    return ""


def _scalar_problem(value: Any, free: bool) -> str:
    """Why a single value cannot be in a suite file. ``free``: it may have line breaks."""
    if isinstance(value, dict | list | bool):
        return ""
    if isinstance(value, int):
        return "" if -SEEDS <= value < SEEDS else "a whole number that does not fit into 64 bits"
    if isinstance(value, float):
        return "" if math.isfinite(value) else "not a finite number"
    if not isinstance(value, str):
        return f"a {type(value).__name__}: use numbers, text, true or false, lists and tables"
    if len(value) > LIMITS.characters:
        return f"longer than {LIMITS.characters} characters"
    control = any((c < " " or c == "\x7f") and not (free and c in "\n\t") for c in value)
    return "has control characters or line breaks" if control else ""


def _first_problem(error: ValidationError) -> str:
    errors = error.errors()  # a misspelt key is more helpful than the key that is then missing
    first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
    where = shortened(".".join(str(part) for part in first["loc"]), 100)
    if first["type"] == "extra_forbidden":
        fields = {
            **Recipe.model_fields,
            **SuiteBlock.model_fields,
            **Tune.model_fields,
            **TuneRecipe.model_fields,
        }
        return f"unknown key '{where}'{nearest(str(first['loc'][-1]), fields)}"
    if first["type"] == "missing":
        return f"'{where}' is missing"
    reason = first["msg"].removeprefix("Value error, ")
    return f"{where} = {shortened(repr(first['input']), 80)}: {reason}"


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
