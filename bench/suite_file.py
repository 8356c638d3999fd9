"""What a suite file may say; see `bench.suite` for how it is read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

from bench.train import Recipe
from metrics.base import ASPECTS


def _apart(seeds: list[int]) -> list[int]:
    if len(set(seeds)) < len(seeds):
        raise ValueError("a seed stands there twice")
    return seeds


Seeds = Annotated[
    list[Annotated[int, Field(ge=0)]], Field(min_length=1), AfterValidator(_apart)
]  # -1 stands for comparisons across seeds


class Block(BaseModel):
    """One dataset on one backbone; ``recipe`` overrides the suite's.

    ``shots`` above 0: only so many training images a class, other ones for each seed.
    ``methods`` names those of the suite's that run here; empty: all.
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
    """A method and its parameters; any key but ``name`` is a parameter."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str

    @property
    def params(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class Tune(BaseModel):
    """How a suite chooses the setting of each method (see bench/tune.py)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    metric: str
    layer: str = "last_spatial"
    trials: int = Field(ge=1, le=1000)
    seeds: Seeds
    tolerance: float = Field(0.01, ge=0, le=1)
    epochs: int | None = Field(None, ge=1)


class Suite(BaseModel):
    """What a suite file says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    title: str
    description: str = ""
    version: int = 1
    seeds: Seeds = [0, 1, 2]
    layers: list[str] = ["last_spatial", "last"]
    probe: int = Field(1000, ge=2)
    recipe: Recipe = Recipe()
    blocks: list[Block] = Field(min_length=1)
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
