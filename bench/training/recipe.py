"""The recipe of a training: optimiser, schedule, precision and augmentation."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

#: Fields that were added after results had been published.
LATER = ("freeze", "backbone_lr")


class Recipe(BaseModel):
    """How a network is trained; the same for every method of a block."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: int = Field(10, ge=0)
    batch: int = Field(128, ge=1)
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    lr: float = Field(2e-3, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: float = Field(0.1, ge=0, le=1)  # share of all steps; for "cosine" only
    precision: Literal["float32", "bf16"] = "float32"
    channels_last: bool = True
    augment: bool = True
    clip: float | None = Field(None, gt=0)  # largest norm of the network's gradient
    validate_every: int = Field(0, ge=0)  # epochs between validations; 0: none during training
    validate_images: int = Field(1000, ge=1)  # images of each held-out split for validations
    freeze: str | None = None  # a Tap: all up to it keeps its weights; needs augment = false
    backbone_lr: float = Field(1.0, gt=0)  # factor of lr, for all parameters but the head's
    watch: tuple[str, ...] = ()  # metrics of validation images, added to the history every epoch

    @model_validator(mode="after")
    def _frozen_outputs_are_kept(self) -> Recipe:
        if self.freeze is not None and self.augment:
            raise ValueError("freeze needs augment = false: the frozen part is computed once")
        return self

    def identity(self) -> dict[str, Any]:
        """What tells recipes apart, as JSON values. Later fields are left out while they have their
        defaults, so that published results stay valid."""
        fields = type(self).model_fields
        values = self.model_dump(mode="json")
        return {k: v for k, v in values.items() if k not in LATER or v != fields[k].default}
