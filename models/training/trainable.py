"""What the training loop asks of a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn

from models.training.config import TrainingConfig

SCORE = "score"
"""The entry of an evaluation by which the best weights are chosen; higher is better."""


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """Say what a model is and what it learns from, for its card."""

    title: str
    summary: str
    """One or two sentences: what goes in, what comes out, how it works."""
    data: tuple[str, ...]
    """What it is trained on, one source a line, with licences."""
    validation: str
    """What ``evaluate`` measures, and on what."""
    licence: str = "Apache-2.0"
    limits: tuple[str, ...] = ()
    """Where it is not to be trusted."""


class Trainable(Protocol):
    """A model with the data and the loss it learns by.

    The same (seed, index) must give the same batch in any process and in any order: resuming to the same
    curve, and sharing batches among processes, rest on it. Random numbers drawn in ``loss`` may come from
    torch's global generator, which the loop seeds anew before every batch.
    """

    @property
    def name(self) -> str:
        """The name the model is trained by."""

    @property
    def defaults(self) -> TrainingConfig:
        """The training that suits the model."""

    @property
    def facts(self) -> ModelFacts:
        """What its card says of it."""

    def build(self, seed: int) -> nn.Module:
        """Return the module with fresh weights, on the CPU; the same seed gives the same weights."""

    def batch(self, seed: int, step: int, device: torch.device) -> Any:  # noqa: ANN401 - the model's own kind
        """Make a batch.

        Args:
            seed: The training's.
            step: Which batch of the training; 0 and up, each is used once.
            device: Where its tensors should lie; those on the CPU are moved there by the loop. Tensors may
                be nested in lists, tuples, dictionaries and dataclasses.
        """

    def loss(self, module: nn.Module, batch: Any) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:  # noqa: ANN401
        """Return the loss, a scalar, and its named parts, scalars; the same names for every batch."""

    def evaluate(self, module: nn.Module, device: torch.device) -> dict[str, float]:
        """Measure the module on held-out data, in evaluation mode and without gradients.

        ``score``, if there is one, says which weights are the best; else the last ones are.
        """
