"""The manifest of a run that has ended: manifest.json in its folder."""

from __future__ import annotations

import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from legible.bench.execution.environment import Environment
from legible.bench.plugins.provenance import PluginRecord


class Manifest(BaseModel):
    """The record of one run.

    ``final`` is False for a failure that the next call tries again; the others are tried again by
    `legible run --retry`. A run that is done and has a ``reason`` is trained but could not be
    scored. ``spec`` is the run spec as JSON. The run's name is a hash of ``identity``. ``sources``
    maps module names to hashes of their code; only `legible why` reads it. ``history`` holds one
    entry for each epoch, ``seconds`` the duration of each epoch. ``weights`` is the checksum of the
    file of weights, and ``copies`` holds those of the copies of plugins' sources, by file name.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    status: Literal["done", "failed"]
    reason: str = ""
    final: bool = True
    spec: dict[str, Any]
    identity: dict[str, Any]
    sources: dict[str, str]
    history: list[dict[str, float | int]] = []
    seconds: list[float] = []
    score_seconds: float = 0.0
    weights: str = ""
    validation_accuracy: float | None = None
    plugins: list[PluginRecord] = []
    copies: dict[str, str] = {}
    environment: Environment
    finished: str

    @property
    def ended(self) -> bool:
        """Whether the run needs no more training: it is done, or its failure is final."""
        return self.status == "done" or self.final

    def to_json(self) -> dict[str, Any]:
        """JSON-ready values."""
        return self.model_dump(mode="json")

    @classmethod
    def from_json(cls, value: Any) -> Manifest:
        """The manifest that `to_json` wrote. Raises ValueError, in one line, for anything else."""
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"])) or "manifest"
            raise ValueError(f"{where}: {first['msg']}") from None


def now() -> str:
    """The time in UTC, to the second, in ISO format."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
