"""What a training is asked for, checked before anything begins."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from flows.params import StoreUri
from infra.errors import InputError
from models.training.registry import CHIP_MODELS, entry_of


class TrainParams(BaseModel):
    """Say which model is trained, how long and where; None leaves a number to the model's own defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(description="Name of the model, e.g. mapglue-tiny")
    store: StoreUri = Field(description="Path or s3://bucket/prefix that the trained model goes to")
    steps: int | None = Field(default=None, ge=1, description="Updates of the weights in all")
    minutes: float | None = Field(
        default=None, gt=0, description="Stop at a checkpoint after that long; the training can be resumed"
    )
    seed: int | None = Field(default=None, ge=0, lt=1 << 63, description="Of weights and batches")
    learning_rate: float | None = Field(default=None, gt=0, description="Highest rate")
    batches_per_step: int | None = Field(
        default=None, ge=1, description="Batches averaged for one update, over all processes"
    )
    evaluate_every: int | None = Field(
        default=None, ge=0, description="Steps between evaluations; 0 for one at the end"
    )
    checkpoint_minutes: float | None = Field(default=None, ge=0, description="Between checkpoints")
    workers: int | None = Field(default=None, ge=0, description="Processes that make batches ahead")
    threads: int | None = Field(default=None, ge=1, description="Threads of torch on the CPU")
    device: str = Field(default="auto", description="auto, cpu, cuda or cuda:N")
    processes: int | None = Field(
        default=None, ge=1, description="Processes that share a step; None takes the GPUs that can"
    )
    resume: str | None = Field(
        default=None, description="Name of a training that was begun, to go on with its own numbers"
    )
    chips: str | None = Field(
        default=None, min_length=1, description="Folder of chips to learn from; None takes TERRALOOM_CHIPS"
    )
    start: str | None = Field(
        default=None, min_length=1, description="File of weights to go on from; None takes TERRALOOM_START"
    )

    @field_validator("model")
    @classmethod
    def _model_is_known(cls, value: str) -> str:
        entry_of(value)
        return value

    @model_validator(mode="after")
    def _resumed_as_it_was(self) -> Self:
        fixed = ("steps", "seed", "learning_rate", "batches_per_step", "evaluate_every")
        given = [name for name in fixed if getattr(self, name) is not None]
        if self.resume is not None and given:
            raise InputError(
                "a training is resumed with its own numbers; "
                f"leave out --{given[0].replace('_', '-')}, or --resume"
            )
        for name, value in (("chips", self.chips), ("start", self.start)):
            if value is not None and self.model not in CHIP_MODELS:
                raise InputError(
                    f"{self.model!r} takes no --{name}; leave it out, or train {' or '.join(CHIP_MODELS)}"
                )
        return self
