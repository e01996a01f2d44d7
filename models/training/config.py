"""How a training goes: lengths, rates, seeds. What is trained is a ``Trainable``."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from infra.errors import DataError, InputError

Precision = Literal["auto", "float32", "bfloat16"]

_AT_LEAST: dict[str, float] = {
    "steps": 1,
    "batches_per_step": 1,
    "warmup_steps": 0,
    "evaluate_every": 0,
    "log_every": 1,
    "workers": 0,
    "seed": 0,
    "weight_decay": 0,
    "checkpoint_minutes": 0,
}
_WHOLE = ("steps", "batches_per_step", "warmup_steps", "evaluate_every", "log_every", "workers", "seed")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Hold the choices of one training; ``identity`` leaves out what does not change its result.

    Raises:
        InputError: a number out of its range.
    """

    steps: int = 1000
    """Updates of the weights in all; the learning rate's course is laid out over them."""
    batches_per_step: int = 1
    """Batches whose gradients are averaged for one update, over all processes together."""
    learning_rate: float = 1e-3
    """Highest rate, reached at the end of the warm-up."""
    final_rate: float = 0.01
    """Rate of the last step, as a share of the highest."""
    warmup_steps: int = 50
    weight_decay: float = 0.01
    """Of weights with two axes or more; biases and norms have none."""
    clip_norm: float = 1.0
    """Gradients longer than this are shortened to it."""
    precision: Precision = "auto"
    """Numbers of the forward pass; auto: bfloat16 on a GPU that has it, float32 elsewhere."""
    seed: int = 0
    evaluate_every: int = 500
    """Steps between evaluations; 0 evaluates at the end only."""
    checkpoint_minutes: float = 5.0
    log_every: int = 10
    """Steps between readings of the losses; each reading waits for the GPU."""
    threads: int | None = None
    """Threads of torch on the CPU; None leaves torch's own number."""
    workers: int = 0
    """Processes that make batches ahead; 0 makes them in the training process."""

    def __post_init__(self) -> None:
        """Check every number."""
        for name, least in _AT_LEAST.items():
            value = getattr(self, name)
            _require(
                not isinstance(value, bool) and math.isfinite(value) and value >= least,
                name,
                value,
                f"{least} or more",
            )
            _require(name not in _WHOLE or isinstance(value, int), name, value, "a whole number")
        for name in ("learning_rate", "clip_norm"):
            value = getattr(self, name)
            _require(math.isfinite(value) and value > 0, name, value, "more than 0")
        _require(0 <= self.final_rate <= 1, "final_rate", self.final_rate, "0 to 1")
        _require(self.seed < 1 << 63, "seed", self.seed, "less than 2**63")
        _require(self.threads is None or self.threads >= 1, "threads", self.threads, "1 or more")
        _require(
            self.precision in get_args(Precision),
            "precision",
            self.precision,
            " or ".join(get_args(Precision)),
        )

    def identity(self) -> dict[str, Any]:
        """Return what decides the trained weights, as a JSON object."""
        chosen = dataclasses.asdict(self)
        for name in ("checkpoint_minutes", "log_every", "threads", "workers"):
            del chosen[name]
        return chosen

    def override(self, chosen: Mapping[str, Any]) -> TrainingConfig:
        """Return the configuration with other numbers; None, and names it does not know, change nothing.

        Raises:
            InputError: a number out of its range.
        """
        known = config_names()
        return dataclasses.replace(
            self, **{name: value for name, value in chosen.items() if name in known and value is not None}
        )


def read_config(values: Mapping[str, Any]) -> TrainingConfig:
    """Return the configuration that ``dataclasses.asdict`` spelt, e.g. in a file.

    Raises:
        DataError: names or values are not those of a configuration.
    """
    try:
        return TrainingConfig(**values)
    except (TypeError, InputError) as exc:
        raise DataError(f"stored training numbers cannot be used ({exc}); start the training anew") from exc


def config_names() -> tuple[str, ...]:
    """Return the names of the numbers that a configuration holds."""
    return tuple(field.name for field in dataclasses.fields(TrainingConfig))


def _require(holds: bool, name: str, value: object, expected: str) -> None:
    if not holds:
        raise InputError(f"training's {name} is {value!r}; expected {expected}")
