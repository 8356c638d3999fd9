"""What a recipe says: how a network is trained, the same for every method of a block."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Recipe(BaseModel):
    """How a network is trained: the same for every method of a block."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: int = Field(10, ge=0)
    batch: int = Field(128, ge=1)
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    lr: float = Field(2e-3, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: float = Field(0.1, ge=0, le=1)  # share of all steps, cosine only
    precision: Literal["float32", "bf16"] = "float32"
    channels_last: bool = True
    augment: bool = True
    clip: float | None = Field(None, gt=0)  # largest norm of the network's own gradient
    validate_every: int = Field(0, ge=0)  # epochs between validations; 0: only at the end
    validate_images: int = Field(1000, ge=1)  # the first of each held-out split, for those
    watch: tuple[str, ...] = ()  # metrics of validation images, kept in the history every epoch
